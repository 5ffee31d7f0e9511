//! The statistics and fits of the scalability report against SciPy and NumPy
//! (`golden/scaling.py`), and as properties.
#![allow(clippy::unwrap_used, reason = "tests")]

use mizar_report::scaling::fit::{Law, fit};
use mizar_report::scaling::statistics::{bootstrap_median, half_width_of_mean, student_t};
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/scaling.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().unwrap();
    list.iter().map(|number| number.as_f64().unwrap()).collect()
}

#[track_caller]
fn assert_near(found: f64, expected: f64, tolerance: f64, what: &str) {
    let error = (found - expected).abs();
    assert!(
        error <= tolerance * expected.abs().max(1e-12),
        "{what}: {found}, expected {expected}"
    );
}

#[test]
fn student_t_is_that_of_scipy() {
    for pair in golden()["student_t"].as_array().unwrap() {
        let [degrees, expected] = numbers(pair)[..] else {
            panic!("not a pair");
        };
        assert_near(student_t(degrees), expected, 1e-10, "t");
    }
}

#[test]
fn the_interval_of_replicates_is_that_of_scipy() {
    let golden = golden();
    let half = half_width_of_mean(&numbers(&golden["replicates"])).unwrap();
    assert_near(half, golden["half_width"].as_f64().unwrap(), 1e-12, "half");
    assert_eq!(half_width_of_mean(&[1.0]), None);
}

#[test]
fn the_block_bootstrap_is_that_of_numpy() {
    let golden = golden();
    let epochs = numbers(&golden["epochs"]);
    for case in golden["bootstrap"].as_array().unwrap() {
        let [seed, low, high] = numbers(case)[..] else {
            panic!("not three numbers");
        };
        let found = bootstrap_median(&epochs, seed as u64).unwrap();
        assert_near(found.0, low, 1e-12, "low");
        assert_near(found.1, high, 1e-12, "high");
    }
    assert_eq!(bootstrap_median(&epochs[..3], 1), None);
}

#[test]
fn fits_are_those_of_scipy() {
    for case in golden()["fits"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let (law, names): (Law, &[&str]) = match case["law"].as_str().unwrap() {
            "amdahl" => (Law::Amdahl, &["T1_s", "s"]),
            _ => (Law::Usl, &["lambda", "sigma", "kappa"]),
        };
        let observations: Vec<(f64, f64)> = numbers(&case["ranks"])
            .into_iter()
            .zip(numbers(&case["times"]))
            .collect();
        let fit = fit(law, case["weak"].as_bool().unwrap(), &observations).unwrap();
        let rms = case["residual_rms"].as_f64().unwrap();
        assert_near(fit.residual_rms, rms, 1e-6, name);
        for (index, parameter) in names.iter().enumerate() {
            let found = fit.parameter(parameter).unwrap();
            let expected = |key: &str| numbers(&case[key])[index];
            assert_near(found.value, expected("values"), 1e-5, name);
            // Ends beyond what the law allows are cut.
            let low = expected("low").max(0.0);
            assert_near(
                found.low.unwrap(),
                low,
                1e-4,
                &format!("{name}: {parameter} low"),
            );
            assert_near(
                found.high.unwrap(),
                expected("high"),
                1e-4,
                &format!("{name}: {parameter} high"),
            );
            assert!(!found.at_bound);
        }
    }
}

#[test]
fn exact_times_give_their_law_back() {
    for (sigma, kappa) in [(0.0, 0.0), (0.1, 0.0), (0.02, 1e-4)] {
        let time = |n: f64| (1.0 + sigma * (n - 1.0) + kappa * n * (n - 1.0)) / (0.25 * n);
        let observations: Vec<_> = [2.0, 4.0, 8.0, 64.0].map(|n| (n, time(n))).into();
        let fit = fit(Law::Usl, false, &observations).unwrap();
        assert!((fit.parameter("sigma").unwrap().value - sigma).abs() < 1e-9);
        assert!((fit.parameter("kappa").unwrap().value - kappa).abs() < 1e-9);
        assert!((fit.parameter("lambda").unwrap().value - 0.25).abs() < 1e-9);
        assert!((fit.predict(32.0).0 - time(32.0)).abs() < 1e-9);
    }
}

#[test]
fn too_few_sizes_give_no_law() {
    let replicates = [(1.0, 10.0), (1.0, 10.1), (2.0, 5.0), (2.0, 5.2), (2.0, 5.1)];
    assert!(fit(Law::Amdahl, false, &replicates).is_none());
    let three = [(1.0, 10.0), (2.0, 5.1), (4.0, 2.7)];
    assert!(fit(Law::Amdahl, false, &three).is_some());
    assert!(fit(Law::Usl, false, &three).is_none());
    assert!(fit(Law::Amdahl, true, &three).is_none(), "weak scaling");
}

#[test]
fn faster_than_the_law_allows_is_held_at_its_bound() {
    let superlinear = [(1.0, 10.0), (2.0, 4.8), (4.0, 2.3), (8.0, 1.1)];
    let amdahl = fit(Law::Amdahl, false, &superlinear).unwrap();
    let serial = amdahl.parameter("s").unwrap();
    assert_eq!((serial.value, serial.at_bound), (0.0, true));
    let usl = fit(Law::Usl, false, &superlinear).unwrap();
    assert!(usl.parameter("sigma").unwrap().value >= 0.0);
    assert!(usl.parameter("kappa").unwrap().value >= 0.0);
    assert!(usl.residual_rms < 0.1);
}

//! Scalability reports of runs whose answers are known.
#![allow(clippy::unwrap_used, reason = "tests")]

use mizar_record::model::JobRecord;
use mizar_report::scaling::run::Run;
use mizar_report::scaling::schema::{Basis, Point, Scaling};
use mizar_report::scaling::synthetic::{Training, record};
use mizar_report::scaling::{Options, analyse, record as records};

const SERIAL: f64 = 0.02;

fn amdahl(ranks: u32) -> f64 {
    40.0 * (SERIAL + (1.0 - SERIAL) / f64::from(ranks))
}

/// A run whose first two epochs are warm-up.
fn training(id: u32, ranks: u32, factor: f64) -> Training {
    let time = amdahl(ranks) * factor;
    let mut epochs_s = vec![3.0 * time, 1.2 * time];
    epochs_s.extend([1.0, 1.003, 0.997, 1.001, 0.999].map(|noise| noise * time));
    let nodes = ranks.div_ceil(4);
    Training {
        id,
        name: "ddp-4x4",
        nodes,
        ranks_per_node: ranks / nodes,
        epochs_s,
        samples: Some(1000.0),
        gpu_watts: Some(300.0),
        node_watts: Some(1000.0),
        split: Some([0.8, 0.1, 0.05, 0.04]),
        ..Training::default()
    }
}

fn runs(jobs: &[JobRecord]) -> Vec<Run> {
    jobs.iter()
        .flat_map(|job| records::runs(job, None))
        .collect()
}

fn three_of_each(sizes: &[u32]) -> Vec<Run> {
    let mut jobs = Vec::new();
    for &ranks in sizes {
        for factor in [0.99, 1.0, 1.01] {
            jobs.push(record(&training(jobs.len() as u32 + 1, ranks, factor)));
        }
    }
    runs(&jobs)
}

fn point(report: &Scaling, ranks: u32) -> &Point {
    report
        .points
        .iter()
        .find(|point| point.ranks == ranks)
        .unwrap()
}

#[track_caller]
fn near(found: f64, expected: f64, tolerance: f64) {
    assert!(
        (found - expected).abs() <= tolerance * expected.abs(),
        "{found} is not {expected}"
    );
}

#[test]
fn times_ratios_and_laws_are_those_that_were_put_in() {
    let report = analyse(&three_of_each(&[1, 2, 4, 8, 16]), &Options::default());
    assert_eq!(report.baseline_ranks, Some(1));
    assert_eq!(report.points.len(), 5);
    for point in &report.points {
        assert_eq!(
            (point.run_count, point.epoch_count, point.warm_up_count),
            (3, 15, 6)
        );
        assert_eq!(point.strategy, "ddp");
        near(point.epoch_time_s.value, amdahl(point.ranks), 1e-6);
        let speedup = amdahl(1) / amdahl(point.ranks);
        near(point.speedup.unwrap().value, speedup, 1e-6);
        near(
            point.efficiency.unwrap().value,
            speedup / f64::from(point.ranks),
            1e-6,
        );
        near(
            point.throughput.unwrap().value,
            1000.0 / amdahl(point.ranks),
            0.01,
        );
        near(point.phases[0].seconds, 0.1 * amdahl(point.ranks), 0.01);
    }
    // Three runs 1 % apart: t = 4.3027, standard error 1 % / sqrt(3).
    let time = point(&report, 4).epoch_time_s;
    assert_eq!(time.basis, Basis::Replicates);
    near(
        time.high.unwrap() / time.value - 1.0,
        4.302_65 * 0.01 / 3.0_f64.sqrt(),
        1e-3,
    );
    let strategy = &report.strategies[0];
    let serial = strategy.fits[0].parameter("s").unwrap();
    near(serial.value, SERIAL, 0.02);
    assert!(serial.low.unwrap() < SERIAL && SERIAL < serial.high.unwrap());
    assert_eq!(strategy.fits.len(), 2, "Amdahl and USL");
}

#[test]
fn advice_is_the_largest_size_whose_lower_bound_keeps_the_target() {
    let report = analyse(&three_of_each(&[1, 2, 4, 8, 16]), &Options::default());
    // Amdahl with s = 2 %: 70 % at 22 ranks; whole nodes of 4 up to 32, bound a little below.
    let advice = &report.strategies[0].advice;
    assert_eq!(advice.ranks, Some(20), "{:?}", advice.text);
    assert!(!advice.measured);
    let strict = Options {
        target_efficiency: 0.9,
        ..Options::default()
    };
    let report = analyse(&three_of_each(&[1, 2, 4, 8, 16]), &strict);
    let advice = &report.strategies[0].advice;
    // 1/(1 + 0.02·3) = 94.3 % at 4, 87.7 % at 8.
    assert_eq!(
        (advice.ranks, advice.measured),
        (Some(4), true),
        "{:?}",
        advice.text
    );
}

#[test]
fn deadlines_and_energy_have_their_own_sizes() {
    let options = Options {
        deadline_s: Some(100.0 * 7.0),
        epochs: 100.0,
        ..Options::default()
    };
    let report = analyse(&three_of_each(&[1, 2, 4, 8, 16]), &options);
    let advice = &report.strategies[0].advice;
    // T(8) = 5.7 s, T(4) = 10.6 s: eight ranks do 100 epochs in 700 s.
    assert_eq!(advice.deadline_ranks, Some(8), "{:?}", advice.text);
    // One GPU a rank at 300 W: energy an epoch grows with the ranks.
    assert_eq!(advice.energy_ranks, Some(1), "{:?}", advice.text);
}

#[test]
fn energy_is_that_of_the_counters_within_its_bound() {
    let report = analyse(&three_of_each(&[4]), &Options::default());
    let point = point(&report, 4);
    let gpu = point.gpu_energy.as_ref().unwrap();
    assert_eq!(gpu.method, "energy counters");
    let expected = 4.0 * 300.0 * amdahl(4) / 3600.0;
    let epoch = gpu.epoch_wh.unwrap().value;
    assert!(
        (epoch - expected).abs() <= gpu.bound_wh,
        "{epoch} is not {expected}"
    );
    near(epoch, expected, 0.03);
    let node = point.node_energy.as_ref().unwrap();
    near(
        node.total_wh.value / gpu.total_wh.value,
        1000.0 / 1200.0,
        1e-6,
    );
    assert!(
        gpu.warm_up_wh.unwrap() > 4.0 * epoch,
        "3 + 1.2 epochs and start-up"
    );
    near(point.gpu_utilization.unwrap(), 0.75, 1e-6);
    near(point.cpus_busy_per_rank.unwrap(), 1.0, 1e-6);
    near(point.wh_per_sample.unwrap(), expected / 1000.0, 0.03);
    assert_eq!((point.gpus, point.nodes), (Some(4), Some(1)));
}

#[test]
fn overlapped_communication_is_counted_once() {
    let report = analyse(&three_of_each(&[4]), &Options::default());
    let split = point(&report, 4).computation.clone().unwrap();
    near(split.compute, 0.8, 1e-6);
    near(split.communication.unwrap(), 0.15, 1e-6);
    near(split.exposed.unwrap(), 0.1, 1e-6);
    near(split.overlap.unwrap(), 1.0 / 3.0, 1e-6);
    let whole = split.compute + split.exposed.unwrap() + split.io.unwrap() + split.idle.unwrap();
    near(whole, 1.0, 1e-6);
}

#[test]
fn one_run_of_a_size_has_an_interval_that_says_it_is_of_one_run() {
    let report = analyse(&runs(&[record(&training(1, 4, 1.0))]), &Options::default());
    let time = point(&report, 4).epoch_time_s;
    assert_eq!(time.basis, Basis::WithinRun);
    assert!(time.low.unwrap() < time.value && time.value < time.high.unwrap());
    assert_eq!(
        analyse(&runs(&[record(&training(1, 4, 1.0))]), &Options::default()),
        report,
        "seeded"
    );
    let advice = &report.strategies[0].advice;
    assert_eq!(advice.measure, [8], "{:?}", advice.text);
    assert!(report.strategies[0].fits.is_empty());
    assert_eq!(report.strategies[0].unfitted.len(), 2);
}

#[test]
fn wide_intervals_say_measure_instead_of_use() {
    let mut jobs = Vec::new();
    for (ranks, factors) in [(1, [1.0, 1.0]), (2, [1.0, 1.01]), (4, [0.7, 1.3])] {
        for factor in factors {
            jobs.push(record(&training(jobs.len() as u32 + 1, ranks, factor)));
        }
    }
    let report = analyse(
        &runs(&jobs),
        &Options {
            target_efficiency: 0.85,
            ..Options::default()
        },
    );
    let advice = &report.strategies[0].advice;
    assert!(
        advice.measure.iter().any(|&ranks| ranks >= 4),
        "{:?}",
        advice.text
    );
    assert!(
        advice.ranks.is_none_or(|ranks| ranks <= 2),
        "{:?}",
        advice.text
    );
    assert!(
        advice
            .text
            .iter()
            .any(|text| text.starts_with("Measure N=")),
        "{:?}",
        advice.text
    );
}

#[test]
fn runs_whose_checks_fail_are_told_and_not_compared() {
    let sound = record(&training(1, 4, 1.0));
    let diverged = record(&Training {
        diverged: true,
        ..training(2, 4, 1.0)
    });
    let mut failed = record(&training(3, 4, 1.0));
    failed.nodes[0].tasks[2].status = Some(9);
    let mut uneven = record(&training(4, 4, 1.0));
    let last_mark = uneven.nodes[0].mark_samples.len() - 1;
    uneven.nodes[0].mark_samples.remove(last_mark);
    let short = record(&Training {
        epochs_s: vec![5.0],
        ..training(5, 4, 1.0)
    });
    let report = analyse(
        &runs(&[sound, diverged, failed, uneven, short]),
        &Options::default(),
    );
    assert_eq!(report.runs.len(), 1);
    let reasons: Vec<&str> = report
        .excluded
        .iter()
        .map(|run| &run.reasons[0][..])
        .collect();
    assert_eq!(
        reasons,
        [
            "its ranks hold different models (figure ranks_diverged)",
            "rank 2 failed: signal 9",
            "ranks marked different numbers of epochs (rank 3 6, rank 0 7)",
            "it has 1 epoch, of which none is left after warm-up: run at least five",
        ]
    );
    let nothing = analyse(&[], &Options::default());
    assert_eq!((nothing.baseline_ranks, nothing.points.len()), (None, 0));
}

#[test]
fn without_marks_the_whole_time_is_one_observation() {
    let mut job = record(&training(1, 4, 1.0));
    job.nodes[0].mark_samples.clear();
    let run = &records::runs(&job, Some("named"))[0];
    assert_eq!((&run.strategy[..], run.kept().len()), ("named", 1));
    assert!(
        run.notes[0].starts_with("nothing marks epochs"),
        "{:?}",
        run.notes
    );
    let report = analyse(std::slice::from_ref(run), &Options::default());
    let time = report.points[0].epoch_time_s;
    assert_eq!((time.basis, time.low), (Basis::None, None));
    near(time.value, run.elapsed_s, 1e-12);
    assert_eq!(report.points[0].warm_up_count, 0);
}

#[test]
fn one_baseline_serves_all_strategies() {
    let mut all = three_of_each(&[2, 4]);
    let mut other = three_of_each(&[4, 8]);
    other
        .iter_mut()
        .for_each(|run| run.strategy = "zero".to_owned());
    all.extend(other);
    let report = analyse(&all, &Options::default());
    assert_eq!(report.baseline_ranks, Some(4));
    let speedup = |strategy: &str, ranks: u32| {
        let found = report
            .points
            .iter()
            .find(|p| p.strategy == strategy && p.ranks == ranks);
        found.unwrap().speedup.unwrap().value
    };
    near(speedup("ddp", 2), amdahl(4) / amdahl(2), 1e-6);
    near(speedup("zero", 8), amdahl(4) / amdahl(8), 1e-6);
    let told = analyse(
        &all,
        &Options {
            baseline: Some(2),
            ..Options::default()
        },
    );
    assert!(told.notes[0].starts_with("zero was not measured at the baseline of 2 ranks"));
    assert!(
        told.points
            .iter()
            .filter(|p| p.strategy == "zero")
            .all(|p| p.speedup.is_none())
    );
}

#[test]
fn weak_scaling_compares_times_at_growing_work() {
    let report = analyse(
        &three_of_each(&[1, 2, 4, 8]),
        &Options {
            weak: true,
            samples: None,
            ..Options::default()
        },
    );
    let point = point(&report, 4);
    assert_eq!(point.efficiency, point.speedup);
    assert!(
        report.strategies[0]
            .fits
            .iter()
            .all(|fit| fit.parameter("s").is_none())
    );
}

#[test]
fn steps_of_one_job_are_runs_of_their_own_size() {
    let mut job = record(&training(1, 4, 1.0));
    let mut second = job.nodes[0].steps[0].clone();
    second.step = mizar_core::ids::StepId(1);
    second.task_count = 2;
    job.nodes[0].steps.push(second);
    // Nothing marks epochs of either: both ran the program, so both are runs.
    job.nodes[0].mark_samples.clear();
    let found: Vec<u32> = records::runs(&job, None)
        .iter()
        .map(|run| run.ranks)
        .collect();
    assert_eq!(found, [4, 2]);
}

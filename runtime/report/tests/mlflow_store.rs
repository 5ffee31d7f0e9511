//! itwinai's MLflow file stores: one that MLflow itself wrote, one laid out by hand, and damaged
//! ones.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;

use mizar_report::scaling::{Options, StoreError, analyse, mlflow};

/// What `golden/mlflow_store.py` puts into a store.
fn check(store: &Path) {
    assert!(mlflow::is_store(store));
    let runs = mlflow::runs(store, None).unwrap();
    let report = analyse(&runs, &Options::default());
    let sizes: Vec<u32> = report.points.iter().map(|point| point.ranks).collect();
    assert_eq!(sizes, [2, 4]);
    for point in &report.points {
        let (ranks, time_s) = (f64::from(point.ranks), 8.0 / f64::from(point.ranks));
        assert_eq!((&point.strategy[..], point.run_count), ("ddp", 1));
        assert_eq!((point.epoch_count, point.warm_up_count), (4, 1));
        assert!((point.epoch_time_s.value - time_s).abs() < 1e-9);
        assert_eq!(point.gpus, Some(point.ranks));
        let energy = point.gpu_energy.as_ref().unwrap();
        // 7 T of 200 W on each GPU: by the times of the readings, not by the label of 1 s.
        let observed_s = 7.0 * time_s - energy.unobserved_s;
        let expected = ranks * 200.0 * observed_s / 3600.0;
        assert!(
            (energy.total_wh.value - expected).abs() < 1e-9,
            "{energy:?}"
        );
        assert!(energy.unobserved_s < 2.0);
        assert_eq!(energy.method, "power over measured times");
        assert!((point.gpu_utilization.unwrap() - 0.9).abs() < 1e-9);
        let split = point.computation.as_ref().unwrap();
        assert!((split.compute - 0.7).abs() < 1e-9);
        assert!(split.overlap.is_none(), "summed times know no overlap");
    }
    assert!((report.points[1].speedup.unwrap().value - 2.0).abs() < 1e-9);
    let reasons: Vec<&str> = report
        .excluded
        .iter()
        .map(|run| &run.reasons[0][..])
        .collect();
    assert_eq!(report.excluded[0].source, "MLflow run diverged");
    assert!(
        reasons[0].starts_with("its ranks disagree on global_validation_loss_epoch"),
        "{reasons:?}"
    );
    assert_eq!(reasons.len(), 1);
}

#[test]
fn a_store_that_mlflow_wrote_is_read() {
    let Some(python) = mizar_lab::venv::mlflow("python") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("mlruns");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/mlflow_store.py");
    let made = Command::new(python)
        .arg(script)
        .arg(&store)
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    check(&store);
    // The experiment and the folder above are as good a name for it.
    check(folder.path());
}

/// A run folder as MLflow 3's file store lays it out.
fn write_run(experiment: &Path, id: &str, name: &str, files: &[(&str, String)]) {
    let folder = experiment.join(id);
    let meta = format!(
        "artifact_uri: file:///nowhere\nend_time: 1790000100000\nexperiment_id: '1'\n\
         lifecycle_stage: active\nrun_id: {id}\nrun_name: {name}\nstart_time: 1790000000000\n\
         status: 3\ntags: []\nuser_id: alice\n"
    );
    std::fs::create_dir_all(folder.join("metrics")).unwrap();
    std::fs::write(folder.join("meta.yaml"), meta).unwrap();
    for (path, text) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

fn epochs(times: &[f64]) -> String {
    let line = |(step, time): (usize, &f64)| {
        format!(
            "{} {time} {step}\n",
            1_790_000_000_000_u64 + 1000 * step as u64
        )
    };
    times.iter().enumerate().map(line).collect()
}

#[test]
fn a_single_run_with_epochs_needs_no_workers_and_a_missing_size_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = folder.path().join("mlruns/1");
    let times = ("metrics/epoch_time_s", epochs(&[9.0, 2.0, 2.0, 2.0]));
    let strategy = ("params/strategy", "horovod".to_owned());
    let size = ("params/global_world_size", "8".to_owned());
    write_run(
        &experiment,
        "a",
        "whole",
        &[times.clone(), strategy.clone(), size],
    );
    write_run(&experiment, "b", "sizeless", &[times, strategy]);
    let report = analyse(
        &mlflow::runs(folder.path(), None).unwrap(),
        &Options::default(),
    );
    assert_eq!(
        (report.points[0].ranks, &report.points[0].strategy[..]),
        (8, "horovod")
    );
    assert_eq!(report.points[0].gpus, None, "not told");
    let reasons = &report.excluded[0].reasons;
    assert_eq!(
        reasons[0],
        "it has no parameter global_world_size: the number of ranks is not known"
    );
}

#[test]
fn epochs_logged_again_count_once_and_workers_without_power_leave_no_sum() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = folder.path().join("1");
    let again = epochs(&[9.0, 2.0, 2.0]) + &epochs(&[9.0, 2.0, 2.0, 2.0]);
    let size = ("params/global_world_size", "2".to_owned());
    let parent = ("tags/mlflow.parentRunId", "p".to_owned());
    let power = ("metrics/gpu_power_W", epochs(&[100.0; 9]));
    let rank = |rank: &str| ("params/global_rank", rank.to_owned());
    write_run(&experiment, "p", "parent", &[]);
    write_run(
        &experiment,
        "w0",
        "worker_0 (main)",
        &[
            ("metrics/epoch_time_s", again),
            size.clone(),
            parent.clone(),
            rank("0"),
            power,
        ],
    );
    write_run(&experiment, "w1", "worker_1", &[size, parent, rank("1")]);
    let runs = mlflow::runs(folder.path(), Some("mine")).unwrap();
    assert_eq!(runs.len(), 1);
    assert_eq!((runs[0].kept().len(), &runs[0].strategy[..]), (3, "mine"));
    assert_eq!(runs[0].gpu_energy, None);
    let notes = runs[0].notes.join("; ");
    assert!(
        notes.contains("3 epochs were logged more than once"),
        "{notes}"
    );
    assert!(
        notes.contains("power was logged by 1 of 2 workers: no sum is told"),
        "{notes}"
    );
}

#[test]
fn damaged_and_empty_stores_say_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    assert!(!mlflow::is_store(folder.path()));
    assert!(!mlflow::is_store(&folder.path().join("nowhere")));
    let experiment = folder.path().join("1");
    write_run(&experiment, "a", "other", &[]);
    let error = mlflow::runs(folder.path(), None).unwrap_err();
    assert!(
        matches!(error, StoreError::Nothing { run_count: 1, .. }),
        "{error}"
    );
    for (text, line) in [
        ("1790000000000 2.0 0\nnonsense\n", 2),
        ("1 2 3.5\n", 1),
        ("x 2 3\n", 1),
    ] {
        write_run(
            &experiment,
            "a",
            "bad",
            &[("metrics/epoch_time_s", text.to_owned())],
        );
        let error = mlflow::runs(folder.path(), None).unwrap_err();
        assert!(
            matches!(error, StoreError::Metric { line: found, .. } if found == line),
            "{error}"
        );
    }
}

//! `mizar report --export` as users run it, and a job on a real MLflow server, read back by its
//! own client.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mizar_report::scaling::synthetic::{Training, record};
use support::{mizar, refused, said, write};

/// The server imports half of Python before it listens.
const PATIENCE: Duration = Duration::from_secs(150);

/// Reads all runs of an experiment back, as JSON.
const READER: &str = r#"
import json, sys
from mlflow.tracking import MlflowClient
client = MlflowClient(sys.argv[1])
experiment = client.get_experiment_by_name(sys.argv[2])
runs = client.search_runs([experiment.experiment_id])
print(json.dumps([{
    "name": run.info.run_name, "status": run.info.status, "params": run.data.params,
    "epochs": [m.value for m in sorted(client.get_metric_history(run.info.run_id, "epoch_time_s"), key=lambda m: m.step)],
    "cpus": len(client.get_metric_history(run.info.run_id, "cpus_busy/rank_1")),
} for run in runs]))
"#;

/// A server that ends with the test, workers and all.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    /// `bin` has MLflow's programs.
    fn start(bin: &Path, folder: &Path) -> Self {
        use std::os::unix::process::CommandExt as _;
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let log = std::fs::File::create(folder.join("server.log")).unwrap();
        let child = Command::new(bin.join("mlflow"))
            .args([
                "server",
                "--host",
                "127.0.0.1",
                "--workers",
                "1",
                "--port",
                &port.to_string(),
            ])
            .arg("--backend-store-uri")
            .arg(format!("sqlite:///{}", folder.join("mlflow.db").display()))
            .arg("--artifacts-destination")
            .arg(folder.join("artifacts"))
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .env("HOME", folder)
            .env("MLFLOW_DISABLE_TELEMETRY", "true")
            .env("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
            .current_dir(folder)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut server = Self {
            child,
            address: format!("http://127.0.0.1:{port}"),
        };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let mut log = String::new();
            std::fs::File::open(folder.join("server.log"))
                .unwrap()
                .read_to_string(&mut log)
                .unwrap();
            let ended = server.child.try_wait().unwrap();
            assert!(ended.is_none() && started.elapsed() < PATIENCE, "{log}");
            std::thread::sleep(Duration::from_millis(200));
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its workers are in its group.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.child.wait();
    }
}

fn training() -> Training {
    Training {
        id: 88,
        name: "ddp-1x2",
        ranks_per_node: 2,
        epochs_s: vec![20.0, 10.0, 10.0, 10.0, 10.0],
        ..Training::default()
    }
}

#[test]
fn a_job_arrives_on_a_real_server_and_twice_is_two_runs() {
    let Some(mlflow) = mizar_lab::venv::mlflow("mlflow") else {
        return;
    };
    let bin = mlflow.parent().unwrap();
    let folder = tempfile::tempdir().unwrap();
    write(&record(&training()), folder.path());
    let record_dir = folder.path().to_str().unwrap();
    let server = Server::start(bin, folder.path());
    for _ in 0..2 {
        let arguments = [
            "report",
            "88",
            "--export",
            "mlflow",
            "--to",
            &server.address,
            "--experiment",
            "scaling ä",
            "--record-dir",
            record_dir,
        ];
        let told = said(&mizar(&arguments, folder.path()));
        assert!(
            told.starts_with(&format!("ddp-1x2-88: {}/#/experiments/", server.address)),
            "{told}"
        );
    }
    let read = Command::new(bin.join("python"))
        .args(["-c", READER, &server.address, "scaling ä"])
        .env("HOME", folder.path())
        .output()
        .unwrap();
    assert!(
        read.status.success(),
        "{}",
        String::from_utf8_lossy(&read.stderr)
    );
    let runs: serde_json::Value = serde_json::from_slice(&read.stdout).unwrap();
    assert_eq!(runs.as_array().unwrap().len(), 2);
    let run = &runs[0];
    assert_eq!(
        (&run["name"], &run["status"]),
        (&"ddp-1x2-88".into(), &"FINISHED".into())
    );
    assert_eq!(run["params"]["strategy"], "ddp");
    assert_eq!(run["params"]["global_world_size"], "2");
    assert_eq!(
        run["epochs"],
        serde_json::json!([20.0, 10.0, 10.0, 10.0, 10.0])
    );
    assert_eq!(run["cpus"], 64);
}

#[test]
fn formats_go_to_the_output_or_a_file_and_faults_are_said() {
    let folder = tempfile::tempdir().unwrap();
    write(&record(&training()), folder.path());
    let record_dir = folder.path().to_str().unwrap();
    let export = |more: &[&str]| {
        let mut arguments = vec!["report", "88", "--record-dir", record_dir, "--export"];
        arguments.extend(more);
        mizar(&arguments, folder.path())
    };
    let jobstats: serde_json::Value = serde_json::from_str(&said(&export(&["jobstats"]))).unwrap();
    assert_eq!(jobstats["nodes"]["n1"]["cpus"], 2);
    assert!(said(&export(&["admin-comment"])).starts_with("JS1:H4s"));
    let trace = folder.path().join("trace.json");
    assert_eq!(said(&export(&["trace", "-o", trace.to_str().unwrap()])), "");
    let trace: serde_json::Value = serde_json::from_slice(&std::fs::read(trace).unwrap()).unwrap();
    assert!(trace["traceEvents"].as_array().unwrap().len() > 100);
    let csv = folder.path().join("csv");
    let named = said(&export(&["omnistat", "-o", csv.to_str().unwrap()]));
    assert!(
        named.lines().all(|file| Path::new(file).is_file()) && named.contains("omnistat-host.csv")
    );

    assert!(refused(&export(&["omnistat"])).contains("name a folder with -o"));
    assert!(refused(&export(&["mlflow"])).contains("--to or MLFLOW_TRACKING_URI"));
    assert!(
        refused(&export(&["mlflow", "--to", "nowhere"])).contains("expected http:// or https://")
    );
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let nobody = format!("http://127.0.0.1:{port}");
    assert!(
        refused(&export(&["mlflow", "--to", &nobody]))
            .contains(&format!("no answer from {nobody}"))
    );
}

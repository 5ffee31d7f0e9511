//! A search for hyperparameters as one array of a real Slurm, one worker of which is cancelled.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::time::{Duration, Instant};

use mizar_lab::{Lab, binary};

/// A few short commands on two loaded cores.
const LIMIT: Duration = Duration::from_secs(120);

/// A folder whose name would be commands, patterns and options if anyone took it for such.
const FOLDER: &str = "a study; touch gone; echo $HOME %j";

/// The first trial waits until it is let go.
const STUDY: &str = r#"
command = ["sh", "-c", '[ "$1" != 0 ] || [ -e go ] || { touch waits; exec sleep 600; }; echo "{\"loss\": $2}"', "trial", "{trial}", "{rate}"]
metric = "loss"
seed = 1
budget = { trials = 4 }
[space.rate]
low = 0.0
high = 1.0
"#;

#[test]
fn workers_of_an_array_share_a_study_and_a_cancelled_one_loses_only_its_trial() {
    let Some(lab) = Lab::builder().nodes(2).cpus(2).start_or_skip() else {
        return;
    };
    let folder = lab.dir().join(FOLDER);
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("study.toml"), STUDY).unwrap();
    let tune = |arguments: &[&str]| {
        let mut command = lab.command(binary("mizar"));
        command.args(["tune", "study.toml"]).args(arguments);
        command.current_dir(&folder);
        let output = lab.run_output(command).unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output, said)
    };
    let (output, said) = tune(&["--workers", "2", "--", "--ntasks=1", "--time=5"]);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("submitted job 1 with 2 workers"), "{said}");
    let started = Instant::now();
    while !folder.join("waits").exists() {
        assert!(started.elapsed() < LIMIT, "no trial begins");
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut cancel = lab.command("scancel");
    cancel.arg("1");
    assert!(lab.run_output(cancel).unwrap().status.success());
    lab.wait_idle(LIMIT).unwrap();
    std::fs::write(folder.join("go"), "").unwrap();
    let (output, said) = tune(&["--workers", "2", "--", "--ntasks=1", "--time=5"]);
    assert!(output.status.success(), "{said}");
    lab.wait_idle(LIMIT).unwrap();

    let (output, said) = tune(&["--json"]);
    assert!(output.status.success(), "{said}");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let trials = found["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 4, "{found:#}");
    let all_measured = trials.iter().all(|trial| trial["state"] == "measured");
    assert!(all_measured, "{found:#}");
    assert!(found["lost"].as_u64().unwrap() >= 1, "{found:#}");
    let log = folder.join("study.toml.tune/worker-0.log");
    assert!(
        std::fs::read_to_string(log)
            .unwrap()
            .contains("all 4 trials are done")
    );
    lab.stop();
}

//! By which way jobs go to a real Slurm: slurmrestd while it is there, sbatch while it is not,
//! one job for each event all the same, also if slurmrestd is killed under load; and what the
//! gateway says of it.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod harness;

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use harness::{Gateway, program};
use mizar_lab::Lab;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);

fn gateway(lab: &Lab, slurm: &str) -> Gateway {
    let dir = lab.dir().join("gateway");
    fs::create_dir(&dir).unwrap();
    let script = dir.join("job.sh");
    let ran = dir.join("ran");
    let text = format!(
        "#!/bin/sh\necho \"$1 $SLURM_JOB_ID\" >> {}\n",
        ran.display()
    );
    program(&script, &text);
    let services = format!(
        "[[service]]\nname = \"way\"\nscript = \"{}\"\nargs = [{{ name = \"id\", from = \"id\" }}]\nsbatch = {{ time = \"5\", mem = 10 }}\n",
        script.display()
    );
    let conf = lab.slurm_conf();
    let extra = format!(
        "[slurm]\nconf = \"{}\"\npoll_ms = 300\ngrace_ms = 2000\nbackoff_ms = 200\n{slurm}",
        conf.display()
    );
    Gateway::prepare(&dir, &extra, &services)
}

fn send(gateway: &Gateway, numbers: std::ops::Range<usize>) {
    let ids: Vec<_> = numbers.map(|n| format!("event-{n}")).collect();
    assert!(matches!(gateway.try_batch(&ids), Some((202, _))));
}

fn await_end(gateway: &Gateway, count: usize) {
    gateway.wait_jobs(LIMIT, |jobs| {
        jobs.len() == count && jobs.iter().all(|job| job["state"] == "completed")
    });
}

/// What `status` says; the note is written at the next look.
fn await_way(gateway: &Gateway, via: &str) -> String {
    let started = Instant::now();
    loop {
        let output = gateway.command(&["status", "--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        if status["submission"]["via"] == via {
            let why = status["submission"]["why"].as_str().unwrap().to_owned();
            let overview: Value = serde_json::from_str(&gateway.get("/v1/overview").1).unwrap();
            assert_eq!(overview["submission"], status["submission"]);
            return why;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{status}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn jobs_go_through_slurmrestd_while_it_is_there() {
    let Some(mut lab) = Lab::builder()
        .nodes(1)
        .cpus(16)
        .memory_mib(16_000)
        .slurmrestd(true)
        .start_or_skip()
    else {
        return;
    };
    let table = format!(
        "[slurm.slurmrestd]\naddress = \"unix:{}\"\n",
        lab.rest_socket().display()
    );
    let mut gateway = gateway(&lab, &table);
    gateway.start();
    assert!(await_way(&gateway, "slurmrestd").starts_with("v0.0.38 at unix:"));
    send(&gateway, 0..20);
    await_end(&gateway, 20);
    // Under load: what was sent and not answered is looked up, and made at most once.
    send(&gateway, 20..120);
    std::thread::sleep(Duration::from_millis(100));
    lab.kill_slurmrestd();
    await_end(&gateway, 120);
    send(&gateway, 120..140);
    await_end(&gateway, 140);
    let why = await_way(&gateway, "sbatch");
    assert!(why.contains("nothing was sent"), "{why}");
    lab.start_slurmrestd().unwrap();
    send(&gateway, 140..160);
    await_end(&gateway, 160);
    await_way(&gateway, "slurmrestd");
    let told = gateway.command(&["status"]).stdout;
    let told = String::from_utf8(told).unwrap();
    assert!(
        told.contains("jobs go through slurmrestd: v0.0.38"),
        "{told}"
    );

    let ran = fs::read_to_string(gateway.dir.join("ran")).unwrap();
    let once: BTreeSet<&str> = ran.lines().filter_map(|l| l.split(' ').next()).collect();
    assert_eq!((once.len(), ran.lines().count()), (160, 160));
}

#[test]
fn the_configuration_chooses_the_way() {
    let Some(lab) = Lab::builder().nodes(1).start_or_skip() else {
        return;
    };
    let mut gateway = gateway(&lab, "via = \"sbatch\"\n");
    gateway.start();
    assert_eq!(await_way(&gateway, "sbatch"), "as configured");
    send(&gateway, 0..3);
    await_end(&gateway, 3);
}

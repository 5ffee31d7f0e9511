//! Bursts as job arrays on a real Slurm: the script runs once for each event, as it would alone.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod harness;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use harness::{Gateway, program};
use mizar_lab::Lab;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);

fn lab() -> Option<Lab> {
    Lab::builder()
        .nodes(1)
        .cpus(16)
        .memory_mib(16_000)
        .slurm_conf_extra(
            "MinJobAge=3600\nSchedulerParameters=batch_sched_delay=0,sched_interval=1\n",
        )
        .start_or_skip()
}

/// A gateway whose script prints what it finds and ends with its event's number.
fn gateway(lab: &Lab) -> Gateway {
    let dir = lab.dir().join("gateway");
    fs::create_dir(&dir).unwrap();
    let script = dir.join("job.sh");
    program(
        &script,
        "#!/bin/bash\n#SBATCH --mem=10\n#SBATCH --time=7\n\
         pwd -P; echo \"$1\" \"$MIZAR_MARKER\" \"$MIZAR_SERVICE\"\n\
         grep -c \"\\\"$1\\\"\" \"$MIZAR_EVENT_FILE\"\n\
         scontrol show job \"$SLURM_JOB_ID\" | grep -m1 -o 'TimeLimit=[0-9:]*'\n\
         exit ${1#event-}\n",
    );
    let services = format!(
        "[[service]]\nname = \"burst\"\nscript = \"{}\"\narray = 10\nargs = [{{ name = \"id\", from = \"id\" }}]\n",
        script.display()
    );
    let extra = format!(
        "[slurm]\nconf = \"{}\"\npoll_ms = 300\ngrace_ms = 1000\n",
        lab.slurm_conf().display()
    );
    Gateway::prepare(&dir, &extra, &services)
}

fn number(job: &Value) -> usize {
    let id = job["event_id"].as_str().unwrap();
    id.strip_prefix("event-").unwrap().parse().unwrap()
}

#[test]
fn each_task_is_its_event_from_start_to_end() {
    let Some(lab) = lab() else { return };
    let mut gateway = gateway(&lab);
    gateway.start();
    lab.set_partition("DOWN").unwrap();
    let ids: Vec<String> = (0..25).map(|n| format!("event-{n}")).collect();
    gateway.send(&ids);
    let waiting = gateway.wait_jobs(LIMIT, |jobs| {
        jobs.len() == 25 && jobs.iter().all(|job| job["state"] == "submitted")
    });
    let arrays: BTreeSet<u64> = waiting
        .iter()
        .map(|job| job["slurm_job"].as_u64().unwrap())
        .collect();
    assert_eq!(arrays.len(), 3, "25 events in tens");
    // Killed, and started again: all are still known.
    gateway.kill();
    gateway.start();
    // Somebody cancels one task while it waits: Slurm keeps nothing of it.
    let unlucky = waiting.iter().find(|job| number(job) == 3).unwrap();
    let mut cancel = lab.command("scancel");
    cancel.arg(format!(
        "{}_{}",
        unlucky["slurm_job"], unlucky["slurm_task"]
    ));
    lab.run_output(cancel).unwrap();
    gateway.wait_jobs(LIMIT, |jobs| {
        jobs.iter().any(|job| job["state"] == "cancelled")
    });
    lab.set_partition("UP").unwrap();
    let jobs = gateway.wait_jobs(LIMIT, |jobs| {
        let final_states = ["completed", "failed", "cancelled"];
        jobs.iter()
            .all(|job| final_states.iter().any(|state| job["state"] == *state))
    });
    let ids: BTreeSet<u64> = jobs
        .iter()
        .filter(|job| number(job) != 3)
        .map(|job| job["slurm_job"].as_u64().unwrap())
        .collect();
    assert_eq!(ids.len(), 24, "each task that ran has an id of its own");
    for job in &jobs {
        let n = number(job);
        let (state, code) = match n {
            0 => ("completed", Some(0)),
            3 => ("cancelled", None),
            _ => ("failed", Some(n)),
        };
        assert_eq!(job["state"], state, "{job}");
        assert_eq!(
            job["exit_code"].as_u64(),
            code.map(|code| code as u64),
            "{job}"
        );
        let Some(_) = code else { continue };
        let marker = job["marker"].as_str().unwrap();
        let hash = marker.rsplit(':').next().unwrap();
        let folder = gateway.dir.join("work/burst").join(&hash[..2]).join(hash);
        let log = folder.join(format!("slurm-{}.out", job["slurm_job"]));
        let text = fs::read_to_string(&log).unwrap();
        let folder = folder.canonicalize().unwrap();
        let expected = format!(
            "{}\nevent-{n} {marker} burst\n1\nTimeLimit=00:07:00\n",
            folder.display()
        );
        assert_eq!(text, expected);
    }
}

//! Submissions per second beside a plain loop of `sbatch`, by each way that jobs go to Slurm, on a
//! lab whose partition is down, so that running jobs take no part of the CPUs.
//!
//! All begin with the names in hand: the loop with its script, the gateway with acknowledged events of
//! a service that was paused. A job counts once the ledger has its id: from the moment that the
//! service goes on, over the event's folder, to Slurm's answer and its record on disk.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use mizar_benches::{Figure, Report};
use mizar_lab::Lab;
use serde_json::{Value, json};

use crate::client::{Client, batch};
use crate::gateway::Gateway;
use crate::{Arguments, PATIENCE};

/// The promise: submission by sbatch keeps up with `sbatch` in a loop.
const LEAST_SBATCH_RATIO: f64 = 1.0;

/// The promise: slurmrestd has several times the rate of the loop.
const LEAST_REST_RATIO: f64 = 5.0;

/// The promise: bursts as job arrays have many times the rate of the loop.
const LEAST_ARRAY_RATIO: f64 = 50.0;

/// Events for arrays, over the jobs of the other ways.
const MORE: usize = 10;

/// Events in a request.
const BATCH: usize = 500;

/// Submits the same number of jobs each way, and more of them as tasks of arrays.
pub(crate) fn submission(arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    let lab = Lab::builder()
        .nodes(1)
        .slurmrestd(true)
        .slurm_conf_extra("MaxJobCount=100000\nSchedulerParameters=batch_sched_delay=0\n")
        .start()
        .context("the lab")?;
    lab.set_partition("DOWN")?;
    let plain = plain_loop(&lab, arguments.jobs)?;
    report.add(Figure::new("sbatch in a shell loop", plain, "1/s"));
    let rest = format!(
        "[slurm.slurmrestd]\naddress = \"unix:{}\"\n",
        lab.rest_socket().display()
    );
    let cases = [
        ("sbatch", "via = \"sbatch\"\n", "", 1, LEAST_SBATCH_RATIO),
        ("slurmrestd", rest.as_str(), "", 1, LEAST_REST_RATIO),
        (
            "sbatch",
            "via = \"sbatch\"\n",
            "array = 1000\n",
            MORE,
            LEAST_ARRAY_RATIO,
        ),
    ];
    for (run, (way, slurm, service, more, least)) in cases.into_iter().enumerate() {
        let case = Case {
            slurm,
            service,
            way,
            run,
            jobs: arguments.jobs * more,
        };
        let rate = through(&lab, &case)?;
        let how = match service {
            "" => way.to_owned(),
            _ => format!("{way} as arrays of 1000"),
        };
        report.add(Figure::new(
            format!("submission from acknowledged events, by {how}"),
            rate,
            "1/s",
        ));
        report.add(
            Figure::new(format!("{how} over the loop"), rate / plain, "times").at_least(least),
        );
    }
    Ok(())
}

/// One way to submit.
struct Case<'a> {
    /// The gateway's table of Slurm.
    slurm: &'a str,
    /// More lines of its service.
    service: &'a str,
    /// The way that it is to take.
    way: &'a str,
    /// Ids of its own, so that no event of another run is known.
    run: usize,
    jobs: usize,
}

/// Jobs per second of a person's loop.
fn plain_loop(lab: &Lab, jobs: usize) -> anyhow::Result<f64> {
    let script = lab.dir().join("out/plain.sh");
    std::fs::write(&script, "#!/bin/sh\ntrue\n")?;
    let mut plain = lab.command("sh");
    plain
        .args(["-c", "n=0; while [ $n -lt $1 ]; do sbatch --parsable -o /dev/null \"$2\" || exit 1; n=$((n+1)); done", "sh"])
        .arg(jobs.to_string())
        .arg(&script)
        .stdout(Stdio::null());
    let started = Instant::now();
    ensure!(plain.status()?.success(), "the plain loop failed");
    Ok(jobs as f64 / started.elapsed().as_secs_f64())
}

/// Jobs per second of a gateway that goes this way.
fn through(lab: &Lab, case: &Case<'_>) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir_in(lab.dir())?;
    let conf = lab.slurm_conf();
    let slurm = format!(
        "conf = \"{}\"\npoll_ms = 2000\n{}",
        conf.display(),
        case.slurm
    );
    let gateway = Gateway::with_service(folder.path(), &slurm, case.service)?;
    let mut client = Client::connect(gateway.address)?;
    let flow = "/v1/services/bench/flow";
    client.put(flow, &json!({"paused": true}))?;
    for (request, first) in (0..case.jobs).step_by(BATCH).enumerate() {
        client.post(&batch(case.run, request, BATCH.min(case.jobs - first)))?;
    }
    let started = Instant::now();
    client.put(flow, &json!({"paused": false}))?;
    let overview = loop {
        let overview: Value = serde_json::from_slice(&client.get("/v1/overview")?)?;
        let submitted = overview["services"][0]["submitted"].as_u64().unwrap_or(0);
        if submitted as usize >= case.jobs {
            break overview;
        }
        ensure!(
            started.elapsed() < PATIENCE,
            "only {submitted} jobs were submitted"
        );
        std::thread::sleep(Duration::from_millis(10));
    };
    let rate = case.jobs as f64 / started.elapsed().as_secs_f64();
    let used = &overview["submission"];
    ensure!(used["via"] == case.way, "jobs went another way: {used}");
    Ok(rate)
}

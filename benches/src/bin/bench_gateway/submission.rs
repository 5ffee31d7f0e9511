//! Submissions per second beside a plain loop of `sbatch`, on a lab whose partition is down, so
//! that running jobs take no part of the CPUs.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use mizar_benches::{Figure, Report};
use mizar_lab::Lab;
use serde_json::Value;

use crate::client::{Client, batch};
use crate::gateway::Gateway;
use crate::{Arguments, PATIENCE};

/// The promise: submission keeps up with `sbatch` in a loop.
const LEAST_SUBMIT_RATIO: f64 = 1.0;

/// Submits the same number of jobs both ways.
pub(crate) fn submission(arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    let lab = Lab::builder()
        .nodes(1)
        .slurm_conf_extra("MaxJobCount=100000\nSchedulerParameters=batch_sched_delay=0\n")
        .start()
        .context("the lab")?;
    let mut sinfo = lab.command("sinfo");
    sinfo.args(["-h", "-o", "%R"]);
    let partition = String::from_utf8(lab.run_output(sinfo)?.stdout)?;
    let mut down = lab.command("scontrol");
    down.args([
        "update",
        &format!("PartitionName={}", partition.trim()),
        "State=DOWN",
    ]);
    lab.run_output(down)?;
    let folder = tempfile::tempdir_in(lab.dir())?;
    let conf = lab
        .env()
        .into_iter()
        .find(|(name, _)| name == "SLURM_CONF")
        .context("no conf")?
        .1;
    let slurm = format!("conf = \"{conf}\"\npoll_ms = 2000\n");
    let gateway = Gateway::start(folder.path(), &slurm)?;
    let script = folder.path().join("job.sh");

    let mut plain = lab.command("sh");
    plain
        .args(["-c", "n=0; while [ $n -lt $1 ]; do sbatch --parsable -o /dev/null \"$2\" || exit 1; n=$((n+1)); done", "sh"])
        .arg(arguments.jobs.to_string())
        .arg(&script)
        .stdout(Stdio::null());
    let started = Instant::now();
    ensure!(plain.status()?.success(), "the plain loop failed");
    let plain_rate = arguments.jobs as f64 / started.elapsed().as_secs_f64();

    let mut client = Client::connect(gateway.address)?;
    let started = Instant::now();
    client.post(&batch(0, 0, arguments.jobs))?;
    loop {
        let page: Value =
            serde_json::from_slice(&client.get("/v1/jobs?state=submitted&limit=1000")?)?;
        let submitted = page["jobs"].as_array().map_or(0, Vec::len);
        if submitted >= arguments.jobs.min(1000) {
            break;
        }
        ensure!(
            started.elapsed() < PATIENCE,
            "only {submitted} jobs were submitted"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let rate = arguments.jobs as f64 / started.elapsed().as_secs_f64();
    report.add(Figure::new("sbatch in a shell loop", plain_rate, "1/s"));
    report.add(Figure::new(
        "submission from acknowledged events",
        rate,
        "1/s",
    ));
    report.add(
        Figure::new("submission over the loop", rate / plain_rate, "times")
            .at_least(LEAST_SUBMIT_RATIO),
    );
    Ok(())
}

//! A synchronous call of an OSCAR service made by a warm worker, on a lab of one node, beside what
//! `sbatch` of the same script takes until its first output.
//!
//! A worker's answer tells how long the function took by itself, which a start of a shell is most
//! of; the rest is the gateway's, the worker's and the network's. Batch jobs come one after the
//! other as well, into an empty cluster with Slurm's own scheduling.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use mizar_benches::{Figure, Report, percentile};
use mizar_lab::Lab;
use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::{Arguments, PATIENCE};

/// The promises: milliseconds over the function's own time, and how many times faster than sbatch.
const MOST_OVERHEAD_MS: f64 = 20.0;
const LEAST_RATIO: f64 = 100.0;

/// Batch jobs; each takes a hundred times as long as a call.
const JOBS: usize = 20;

/// Calls before those that count.
const WARM_UP: usize = 20;

/// Between two looks for a job's output.
const LOOK: Duration = Duration::from_micros(500);

/// `ann:correct horse`, as Basic has it.
const BASIC: &str = "Basic YW5uOmNvcnJlY3QgaG9yc2U=";

const SCRIPT: &str = "#!/bin/sh\necho hello\n";

/// Times calls and jobs.
pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    let lab = Lab::builder().nodes(1).start().context("the lab")?;
    let folder = tempfile::tempdir_in(lab.dir())?;
    let users = folder.path().join("users");
    fs::write(&users, "ann:correct horse\n")?;
    fs::set_permissions(&users, fs::Permissions::from_mode(0o600))?;
    let conf = lab.slurm_conf();
    let conf = conf.display();
    let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let tables = format!(
        "conf = \"{conf}\"\n[oscar]\nuser_file = \"users\"\n[oscar.warm]\nlisten = \"{listen}\"\n"
    );
    let gateway = Gateway::start(folder.path(), &tables)?;
    let mut function = Function::define(&format!("http://{}", gateway.address))?;
    let cold_ms = function.call()?.whole_ms;
    for _ in 0..WARM_UP {
        function.call()?;
    }
    let calls: Vec<Call> = (0..arguments.calls)
        .map(|_| function.call())
        .collect::<anyhow::Result<_>>()?;
    // The worker gives its place up, so that it takes no part in what follows.
    drop(gateway);
    lab.wait_idle(PATIENCE).context("the worker does not end")?;
    let jobs_ms: Vec<f64> = (0..JOBS)
        .map(|n| first_output(&lab, folder.path(), n))
        .collect::<anyhow::Result<_>>()?;
    tell(report, &calls, cold_ms, &jobs_ms);
    Ok(())
}

fn tell(report: &mut Report, calls: &[Call], cold_ms: f64, jobs_ms: &[f64]) {
    let of = |part: fn(&Call) -> f64| calls.iter().map(part).collect::<Vec<f64>>();
    let whole_ms = of(|call| call.whole_ms);
    let over_ms = of(|call| call.whole_ms - call.function_ms);
    let function_ms = of(|call| call.function_ms);
    let mut add = |name: &str, values: &[f64], percent| {
        let figure = Figure::new(name, percentile(values, percent), "ms");
        report.add(figure);
    };
    add("warm /run, whole, p50", &whole_ms, 50.0);
    add("warm /run, whole, p99", &whole_ms, 99.0);
    add("its function by itself, p50", &function_ms, 50.0);
    add("warm /run over its function, p99", &over_ms, 99.0);
    add("the first /run, which has a worker made", &[cold_ms], 50.0);
    add("sbatch to first output, p50", jobs_ms, 50.0);
    let over = percentile(&over_ms, 50.0);
    report
        .add(Figure::new("warm /run over its function, p50", over, "ms").at_most(MOST_OVERHEAD_MS));
    let ratio = percentile(jobs_ms, 50.0) / percentile(&whole_ms, 50.0);
    let name = "sbatch to first output over warm /run, p50s";
    report.add(Figure::new(name, ratio, "times").at_least(LEAST_RATIO));
}

/// From the start of sbatch to the first byte in its job's output file.
fn first_output(lab: &Lab, folder: &Path, n: usize) -> anyhow::Result<f64> {
    let (script, output) = (
        folder.join("plain.sh"),
        folder.join(format!("plain-{n}.out")),
    );
    fs::write(&script, SCRIPT)?;
    let mut sbatch = lab.command("sbatch");
    sbatch
        .args(["--parsable", "--output"])
        .arg(&output)
        .arg(&script);
    let started = Instant::now();
    ensure!(lab.run_output(sbatch)?.status.success(), "sbatch failed");
    while !fs::metadata(&output).is_ok_and(|file| file.len() > 0) {
        ensure!(started.elapsed() < PATIENCE, "a job gives no output");
        std::thread::sleep(LOOK);
    }
    let time_ms = started.elapsed().as_secs_f64() * 1e3;
    lab.wait_idle(PATIENCE)?;
    Ok(time_ms)
}

/// How long one call took.
struct Call {
    whole_ms: f64,
    function_ms: f64,
}

/// A service, called over one connection.
struct Function {
    agent: ureq::Agent,
    url: String,
    token: String,
}

impl Function {
    fn define(gateway: &str) -> anyhow::Result<Self> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .build()
            .into();
        let service = json!({"name": "hello", "image": "none", "script": SCRIPT, "cpu": "1",
            "memory": "64Mi", "synchronous": {"min_scale": 0, "max_scale": 1}});
        let url = format!("{gateway}/system/services");
        let post = agent.post(&url).header("authorization", BASIC);
        post.send(service.to_string())?;
        let shown = agent
            .get(format!("{url}/hello"))
            .header("authorization", BASIC);
        let shown: Value = serde_json::from_str(&shown.call()?.body_mut().read_to_string()?)?;
        let token = shown["token"].as_str().context("no token")?;
        Ok(Self {
            agent,
            url: format!("{gateway}/run/hello"),
            token: format!("Bearer {token}"),
        })
    }

    fn call(&mut self) -> anyhow::Result<Call> {
        let started = Instant::now();
        let post = self
            .agent
            .post(&self.url)
            .header("authorization", &self.token);
        let mut answer = post.send("some text")?;
        let output = answer.body_mut().read_to_string()?;
        let whole_ms = started.elapsed().as_secs_f64() * 1e3;
        ensure!(output == "hello\n", "the answer is {output}");
        let timing = answer.headers().get("server-timing");
        let timing = timing
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let function = timing
            .strip_prefix("function;dur=")
            .and_then(|rest| rest.split(',').next());
        let function_ms = function.context("no worker made the call")?.parse()?;
        Ok(Call {
            whole_ms,
            function_ms,
        })
    }
}

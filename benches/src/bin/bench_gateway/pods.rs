//! What a virtual node of many pods costs: all of them asked about every five seconds, while they
//! run.
//!
//! Slurm's commands are shell scripts here that tell each job as running: a real Slurm would need
//! a node for each, and its own time is not the gateway's. What is measured is the processor time
//! of the gateway itself, of which the shared look at the queue is a part; that of the commands
//! it runs is told apart.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use mizar_benches::{Figure, Report};
use serde_json::{Value, json};

use crate::client::Client;
use crate::gateway::{Gateway, cache};
use crate::{Arguments, PATIENCE};

/// The promise: percent of a core.
const MOST_PERCENT: f64 = 2.0;

/// How often a virtual node asks.
const INTERVAL: Duration = Duration::from_secs(5);

/// Measured questions about all pods.
const ROUNDS: u32 = 6;

/// Ticks of the clock in `/proc/PID/stat`, a second.
const TICKS: f64 = 100.0;

/// Asks about running pods, all in one request as interLink's API server does.
pub(crate) fn pods(arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(cache()?)?;
    let dir = folder.path();
    slurm(&dir.join("slurm"))?;
    let tables = format!(
        "bin_dir = \"{}\"\npoll_ms = 2000\n[containers]\nruntime = \"none\"\n\
         [interlink]\ncreate_wait_ms = 0\n",
        dir.join("slurm").display()
    );
    let gateway = Gateway::start(dir, &tables)?;
    let mut client = Client::connect(gateway.address)?;
    let all: Vec<Value> = (0..arguments.pods).map(pod).collect();
    for one in &all {
        let create = json!({"pod": one, "container": [{"name": "main"}]});
        client.send("/create", "application/json", &create.to_string())?;
    }
    wait_until_running(&mut client, arguments.pods)?;
    tell_progress(dir)?;
    let question = Value::Array(all).to_string();
    let mut ask = || client.send("/status", "application/json", &question);
    let answer: Value = serde_json::from_slice(&ask()?)?;
    let ready = answer.as_array().into_iter().flatten();
    let ready = ready.filter(|pod| pod["containers"][0]["ready"] == true);
    ensure!(ready.count() == arguments.pods, "not all pods are ready");
    let (began, before) = (Instant::now(), ticks(gateway.id())?);
    let mut longest = Duration::ZERO;
    for round in 1..=ROUNDS {
        let since = Instant::now();
        ask()?;
        longest = longest.max(since.elapsed());
        std::thread::sleep((INTERVAL * round).saturating_sub(began.elapsed()));
    }
    let wall = began.elapsed().as_secs_f64();
    let after = ticks(gateway.id())?;
    let percent = |from: f64, to: f64| (to - from) / TICKS / wall * 100.0;
    let name = |what: &str| {
        format!(
            "{what}, {} pods each {} s",
            arguments.pods,
            INTERVAL.as_secs()
        )
    };
    let own = Figure::new(
        name("a core of the gateway"),
        percent(before.0, after.0),
        "%",
    );
    report.add(own.at_most(MOST_PERCENT));
    let others = percent(before.1, after.1);
    report.add(Figure::new(name("a core of its commands"), others, "%"));
    let longest = longest.as_secs_f64() * 1000.0;
    report.add(Figure::new(name("longest answer"), longest, "ms"));
    let asked = fs::read_to_string(dir.join("slurm/asked"))?;
    let at_once = asked.lines().filter_map(|line| line.parse::<f64>().ok());
    let at_once = at_once.fold(0.0, f64::max);
    report.add(Figure::new("squeue commands at once", at_once, "").at_most(1.0));
    Ok(())
}

/// A pod of the size that real ones have.
fn pod(number: usize) -> Value {
    let variable =
        |n: usize| json!({"name": format!("VARIABLE_{n}"), "value": format!("value {n}")});
    let mount = |n: usize| json!({"name": format!("v{n}"), "mountPath": format!("/mnt/{n}")});
    let container = json!({
        "name": "main", "image": "docker://busybox:1", "command": ["sleep", "1000"],
        "env": (0..20).map(variable).collect::<Vec<_>>(),
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
        "volumeMounts": (0..4).map(mount).collect::<Vec<_>>(),
        "terminationMessagePath": "/dev/termination-log", "imagePullPolicy": "IfNotPresent",
    });
    let volume = |n: usize| json!({"name": format!("v{n}"), "emptyDir": {}});
    json!({
        "metadata": {"name": format!("pod-{number}"), "namespace": "bench",
            "uid": format!("6b0c1f8e-1d2a-4c3b-9e4f-{number:012x}"),
            "annotations": {"note": "x".repeat(600)}, "labels": {"app": "bench"}},
        "spec": {"containers": [container], "volumes": (0..4).map(volume).collect::<Vec<_>>(),
            "nodeName": "virtual", "schedulerName": "default-scheduler", "tolerations": []},
        "status": {"phase": "Running", "qosClass": "Guaranteed"},
    })
}

/// Commands in the place of Slurm's, which run every job at once and for ever.
fn slurm(dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir)?;
    for name in ["jobs", "asked", "asking"] {
        fs::write(dir.join(name), "")?;
    }
    let here = dir.display();
    let programs = [
        (
            "sbatch",
            format!(
                "for a in \"$@\"; do case $a in --comment=*) m=${{a#--comment=}};; esac; done\n\
                 exec 9>>{here}/lock; flock 9\nread -r id < {here}/last || id=0\nid=$((id + 1))\n\
                 echo $id > {here}/last\necho \"$id|$id|N/A|gateway|RUNNING|0|None|$m|$m|\" >> {here}/jobs\necho $id\n"
            ),
        ),
        (
            "squeue",
            format!(
                "exec 9>>{here}/lock; n=$(wc -l < {here}/asking); echo x >> {here}/asking\n\
                 echo $((n + 1)) >> {here}/asked; cat {here}/jobs; sed -i 1d {here}/asking\n"
            ),
        ),
        ("sinfo", "echo 'n1|idle|4|8000||'\n".to_owned()),
        (
            "sacct",
            "echo 'Slurm accounting storage is disabled' >&2; exit 1\n".to_owned(),
        ),
        ("scancel", "exit 0\n".to_owned()),
    ];
    fs::write(dir.join("last"), "0\n")?;
    for (name, text) in programs {
        let path = dir.join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

fn wait_until_running(client: &mut Client, count: usize) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let page: Value =
            serde_json::from_slice(&client.get("/v1/jobs?state=running&limit=1000")?)?;
        let running = page["jobs"].as_array().map_or(0, Vec::len);
        if running >= count.min(1000) {
            return Ok(());
        }
        ensure!(started.elapsed() < PATIENCE, "only {running} pods run");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Writes what the supervisors of the jobs would.
fn tell_progress(dir: &Path) -> anyhow::Result<()> {
    for line in fs::read_to_string(dir.join("slurm/jobs"))?.lines() {
        let mut fields = line.split('|');
        let id = fields.next().context("a job has no id")?;
        let hash = fields.nth(6).and_then(|marker| marker.rsplit(':').next());
        let hash = hash
            .filter(|hash| hash.len() > 2)
            .context("a job has no marker")?;
        let folder = dir
            .join("work/interlink")
            .join(&hash[..2])
            .join(hash)
            .join("containers");
        fs::create_dir_all(&folder)?;
        let progress = json!({"start": format!("{id}.0"), "started_ms": 1_767_348_000_000_i64,
            "finished_ms": null, "exit_code": null, "ready": true, "message": ""});
        fs::write(folder.join("main.json"), progress.to_string())?;
    }
    Ok(())
}

/// Processor time of a process, and of its children that have ended.
fn ticks(process: u32) -> anyhow::Result<(f64, f64)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("no such stat")?;
    let fields: Vec<f64> = rest
        .split(' ')
        .map(|one| one.parse().unwrap_or(0.0))
        .collect();
    let sum = |at: usize| Some(fields.get(at)? + fields.get(at + 1)?);
    sum(11).zip(sum(13)).context("a short stat")
}

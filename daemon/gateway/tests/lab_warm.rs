//! Warm workers on a real Slurm: OSCAR's own client; growth and shrink; workers that are killed,
//! cancelled and lost with their node; a gateway that is killed.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod harness;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use harness::{Gateway, agent, free_address, oscar, secret};
use mizar_lab::{Lab, venv};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(90);

fn lab(nodes: u32) -> Option<Lab> {
    Lab::builder()
        .nodes(nodes)
        .cpus(8)
        .memory_mib(8_000)
        .slurm_conf_extra(
            "SchedulerParameters=batch_sched_delay=0,sched_interval=1\nSlurmdTimeout=10\n",
        )
        .start_or_skip()
}

struct Site {
    gateway: Gateway,
    agent: ureq::Agent,
    _claim: std::os::unix::net::UnixListener,
}

impl Site {
    fn new(lab: &Lab, warm: &str) -> Self {
        let dir = lab.dir().join("gateway");
        fs::create_dir_all(&dir).unwrap();
        secret(&dir.join("users"), oscar::LOGIN);
        let (listen, claim) = free_address();
        let extra = format!(
            "[oscar]\nname = \"lab\"\nuser_file = \"users\"\n[oscar.warm]\nlisten = \"{listen}\"\n{warm}\n\
             [slurm]\nconf = \"{}\"\npoll_ms = 300\ngrace_ms = 2000\n",
            lab.slurm_conf().display()
        );
        let mut gateway = Gateway::prepare(&dir, &extra, "");
        gateway.start();
        Self {
            gateway,
            agent: agent(LIMIT),
            _claim: claim,
        }
    }

    fn define(&self, script: &str, scale: (u32, u32)) -> String {
        let service = json!({"name": "plants", "image": "i", "script": script, "cpu": "1", "memory": "64Mi",
            "synchronous": {"min_scale": scale.0, "max_scale": scale.1}});
        oscar::define(&self.gateway, &self.agent, &service)
    }

    fn call(&self, token: &str, body: &str) -> JoinHandle<(u16, String)> {
        let (agent, url) = (self.agent.clone(), self.gateway.url("/run/plants"));
        let (token, body) = (format!("Bearer {token}"), body.to_owned());
        std::thread::spawn(move || {
            let mut answer = agent
                .post(url)
                .header("authorization", token)
                .send(body)
                .unwrap();
            (
                answer.status().as_u16(),
                answer.body_mut().read_to_string().unwrap(),
            )
        })
    }

    /// The workers, once they are as told.
    fn until(&self, what: &str, done: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let since = Instant::now();
        loop {
            let view: Value = serde_json::from_str(&self.gateway.get("/v1/workers").1).unwrap();
            let workers = view["services"][0]["workers"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            if done(&workers) {
                return workers;
            }
            assert!(
                since.elapsed() < LIMIT,
                "not {what}: {view}\n{}",
                self.gateway.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn idle(&self, count: usize) -> Vec<Value> {
        self.until(&format!("{count} idle"), |workers| {
            workers
                .iter()
                .filter(|worker| worker["state"] == "idle")
                .count()
                == count
        })
    }

    /// A worker's job in Slurm.
    fn slurm_job(&self, worker: &Value) -> u64 {
        let jobs = self.gateway.jobs();
        let job = jobs.iter().find(|job| job["id"] == worker["job"]).unwrap();
        job["slurm_job"].as_u64().unwrap()
    }

    /// Jobs of Slurm that are not over.
    fn in_slurm(&self, lab: &Lab) -> usize {
        let mut command = lab.command("squeue");
        command.args(["--noheader", "--states=PENDING,RUNNING,COMPLETING"]);
        let told = lab.run_output(command).unwrap();
        String::from_utf8_lossy(&told.stdout).lines().count()
    }

    /// Waits until Slurm has so many jobs.
    fn until_in_slurm(&self, lab: &Lab, count: usize) {
        let since = Instant::now();
        while self.in_slurm(lab) != count {
            assert!(since.elapsed() < LIMIT, "{}", self.gateway.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn wait_for(path: &Path, site: &Site) {
    let since = Instant::now();
    while !path.exists() {
        assert!(
            since.elapsed() < LIMIT,
            "{}: {}",
            path.display(),
            site.gateway.log()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_client_of_oscar_calls_synchronously() {
    let Some(python) = venv::python_with("oscar_python.client") else {
        return;
    };
    let Some(lab) = lab(1) else { return };
    let site = Site::new(&lab, "");
    oscar::run_client(&python, "oscar_warm_client.py", &site.gateway, &[]);
    let jobs = site.gateway.jobs();
    let workers = jobs
        .iter()
        .filter(|job| job["service"] == "oscar-workers")
        .count();
    assert!((1..=2).contains(&workers), "{jobs:?}");
    // A drain ends them: nothing is left in Slurm.
    let drained = site
        .gateway
        .command(&["drain", "--ended", "--limit-s", "60"]);
    assert!(
        drained.status.success(),
        "{}",
        String::from_utf8_lossy(&drained.stderr)
    );
    site.until_in_slurm(&lab, 0);
}

#[test]
fn workers_come_and_go_with_the_calls() {
    let Some(lab) = lab(1) else { return };
    let site = Site::new(&lab, "idle_s = 2\nworkers_per_service = 3");
    let gate = lab.dir().join("gate");
    let script = format!(
        "while ! [ -e {} ]; do sleep 0.05; done; echo done",
        gate.display()
    );
    let token = site.define(&script, (1, 0));
    site.idle(1);
    let calls: Vec<_> = (0..6).map(|_| site.call(&token, "x")).collect();
    let busy = site.until("3 busy", |workers| {
        workers
            .iter()
            .filter(|worker| worker["state"] == "busy")
            .count()
            == 3
    });
    assert_eq!(busy.len(), 3, "no more than the site allows");
    let jobs: BTreeSet<u64> = busy.iter().map(|worker| site.slurm_job(worker)).collect();
    assert_eq!((jobs.len(), site.in_slurm(&lab)), (3, 3), "a job each");
    fs::write(&gate, "").unwrap();
    for call in calls {
        assert_eq!(call.join().unwrap(), (200, "done\n".to_owned()));
    }
    site.until("one left", |workers| workers.len() == 1);
    site.until_in_slurm(&lab, 1);
    let jobs = site.gateway.jobs();
    let completed = jobs
        .iter()
        .filter(|job| job["state"] == "completed")
        .count();
    assert_eq!((jobs.len(), completed), (3, 2), "{jobs:?}");
}

#[test]
fn every_loss_is_told_and_mended() {
    let Some(mut lab) = lab(2) else { return };
    let mut site = Site::new(&lab, "reconnect_s = 3");
    let marks = lab.dir().join("marks");
    fs::create_dir(&marks).unwrap();
    let script = format!(
        "name=$(cat \"$INPUT_FILE_PATH\"); echo $PPID $SLURMD_NODENAME >> {}/$name; case $name in wait*) sleep 1000;; esac; echo $name",
        marks.display()
    );
    let token = site.define(&script, (1, 1));
    let once = |name: &str| {
        fs::read_to_string(marks.join(name))
            .unwrap()
            .lines()
            .count()
    };

    // The worker's process is killed.
    site.idle(1);
    let call = site.call(&token, "wait-kill");
    wait_for(&marks.join("wait-kill"), &site);
    let note = fs::read_to_string(marks.join("wait-kill")).unwrap();
    let pids = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).into_owned();
            let ours =
                line.contains("\0worker\0") && line.contains(&lab.dir().display().to_string());
            ours.then(|| entry.file_name().to_string_lossy().parse::<i32>().ok())?
        });
    let pids: Vec<i32> = pids.collect();
    assert_eq!(pids.len(), 1, "{note}");
    kill(Pid::from_raw(pids[0]), Signal::SIGKILL).unwrap();
    let (status, text) = call.join().unwrap();
    assert!(
        status == 503 && text.contains("is not run again"),
        "{status} {text}"
    );
    assert_eq!(
        (site.call(&token, "a").join().unwrap().0, once("wait-kill")),
        (200, 1)
    );

    // Its job is cancelled.
    let worker = site.idle(1).remove(0);
    let call = site.call(&token, "wait-cancel");
    wait_for(&marks.join("wait-cancel"), &site);
    let mut command = lab.command("scancel");
    command.arg(site.slurm_job(&worker).to_string());
    assert!(lab.run_output(command).unwrap().status.success());
    let (status, text) = call.join().unwrap();
    assert!(
        status == 503 && text.contains("told to end"),
        "{status} {text}"
    );
    assert_eq!(
        (
            site.call(&token, "b").join().unwrap().0,
            once("wait-cancel")
        ),
        (200, 1)
    );

    // The gateway is killed: its workers end by themselves, and it makes others.
    let before = site.slurm_job(&site.idle(1)[0]);
    site.gateway.kill();
    site.until_in_slurm(&lab, 0);
    site.gateway.start();
    let after = site.slurm_job(&site.idle(1)[0]);
    assert_ne!(before, after);
    // Or finds them again.
    site.gateway.kill();
    site.gateway.start();
    assert_eq!(site.slurm_job(&site.idle(1)[0]), after);

    // Its node is lost.
    let call = site.call(&token, "wait-node");
    wait_for(&marks.join("wait-node"), &site);
    let note = fs::read_to_string(marks.join("wait-node")).unwrap();
    let node = note.split_whitespace().nth(1).unwrap().to_owned();
    lab.kill_node(&node).unwrap();
    let (status, text) = call.join().unwrap();
    assert_eq!(status, 503, "{text}");
    assert_eq!(
        (site.call(&token, "c").join().unwrap().0, once("wait-node")),
        (200, 1)
    );
    let live = |job: &&Value| matches!(job["state"].as_str(), Some("submitted" | "running"));
    let jobs = site.gateway.jobs();
    assert_eq!(jobs.iter().filter(live).count(), 1, "{jobs:?}");
}

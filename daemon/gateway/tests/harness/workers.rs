//! A gateway with warm workers that are processes of this machine: a double of Slurm takes their
//! jobs, and the test runs what their batch scripts would.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mizar_gateway::oscar::warm::WORKER_FILE;
use serde_json::{Value, json};

use crate::double::Double;
use crate::harness::{Gateway, PROGRAM, agent, free_address, oscar, secret};

pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// What a call was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
    pub(crate) retry_after: Option<String>,
    pub(crate) job: Option<String>,
    pub(crate) timing: Option<String>,
}

/// One worker, killed on drop.
pub(crate) struct Worker {
    pub(crate) child: Child,
    pub(crate) folder: PathBuf,
    log: PathBuf,
}

impl Worker {
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(since.elapsed() < LIMIT, "it goes on: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The gateway and its place.
pub(crate) struct Works {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) double: Double,
    pub(crate) gateway: Gateway,
    pub(crate) listen: std::net::SocketAddr,
    seen: BTreeSet<PathBuf>,
    agent: ureq::Agent,
    _claim: std::os::unix::net::UnixListener,
}

impl Works {
    /// `table` and `warm` are more lines of the tables `oscar` and `oscar.warm`.
    pub(crate) fn new(table: &str, warm: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let double = Double::new(folder.path());
        double.set_state("RUNNING");
        secret(&folder.path().join("users"), oscar::LOGIN);
        let (listen, claim) = free_address();
        let scratch = folder.path().join("scratch");
        fs::create_dir(&scratch).unwrap();
        let extra = format!(
            "{}[oscar]\nuser_file = \"users\"\n{table}\n[oscar.warm]\nlisten = \"{listen}\"\nscratch_dir = \"{}\"\n{warm}\n",
            double.config(),
            scratch.display()
        );
        let mut gateway = Gateway::prepare(folder.path(), &extra, "");
        gateway.start();
        Self {
            folder,
            double,
            gateway,
            listen,
            seen: BTreeSet::new(),
            agent: agent(LIMIT),
            _claim: claim,
        }
    }

    /// Makes or changes a service and returns its token.
    pub(crate) fn define(&self, name: &str, script: &str, scale: (u32, u32)) -> String {
        let service = json!({"name": name, "image": "i", "script": script, "cpu": "1",
            "synchronous": {"min_scale": scale.0, "max_scale": scale.1}});
        oscar::define(&self.gateway, &self.agent, &service)
    }

    /// Removes a service.
    pub(crate) fn remove(&self, name: &str) {
        let basic = oscar::basic();
        let url = self.gateway.url(&format!("/system/services/{name}"));
        assert_eq!(
            self.agent
                .delete(&url)
                .header("authorization", &basic)
                .call()
                .unwrap()
                .status(),
            204
        );
    }

    /// A synchronous call.
    pub(crate) fn run(&self, name: &str, token: &str, body: &str) -> Answer {
        call(
            &self.agent,
            &self.gateway.url(&format!("/run/{name}")),
            token,
            body,
        )
        .unwrap()
    }

    /// A synchronous call on a thread of its own.
    pub(crate) fn run_aside(
        &self,
        name: &str,
        token: &str,
        body: &str,
    ) -> std::thread::JoinHandle<Answer> {
        let url = self.gateway.url(&format!("/run/{name}"));
        let (agent, token, body) = (self.agent.clone(), token.to_owned(), body.to_owned());
        std::thread::spawn(move || call(&agent, &url, &token, &body).unwrap())
    }

    /// Waits until the gateway wants another worker, and starts it.
    pub(crate) fn worker(&mut self) -> Worker {
        let since = Instant::now();
        loop {
            if let Some(folder) = self.wanted().into_iter().next() {
                return self.start(folder);
            }
            assert!(
                since.elapsed() < LIMIT,
                "no worker is wanted: {}",
                self.gateway.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Folders of workers that were submitted and not started.
    pub(crate) fn wanted(&self) -> Vec<PathBuf> {
        let below = |path: PathBuf| {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect::<Vec<_>>()
        };
        let first = below(self.folder.path().join("work/oscar-workers"));
        let all = first.into_iter().flat_map(below);
        all.filter(|path| path.join("job.sh").exists() && path.join(WORKER_FILE).exists())
            .filter(|path| !self.seen.contains(path))
            .collect()
    }

    pub(crate) fn start(&mut self, folder: PathBuf) -> Worker {
        self.seen.insert(folder.clone());
        let log = folder.join("log");
        let child = Command::new(PROGRAM)
            .arg("worker")
            .arg(&folder)
            .env("SLURM_JOB_ID", "42")
            .env("SLURMD_NODENAME", "n1")
            .stdin(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Worker { child, folder, log }
    }

    /// What `/v1/workers` says, once it is as told.
    pub(crate) fn until(&self, done: impl Fn(&Value) -> bool) -> Value {
        let since = Instant::now();
        loop {
            let (status, text) = self.gateway.get("/v1/workers");
            assert_eq!(status, 200);
            let found: Value = serde_json::from_str(&text).unwrap();
            if done(&found) {
                return found;
            }
            assert!(since.elapsed() < LIMIT, "{found}\n{}", self.gateway.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// How many workers are in a state.
pub(crate) fn count(view: &Value, state: &str) -> usize {
    let services = view["services"].as_array().unwrap().iter();
    let workers = services.flat_map(|service| service["workers"].as_array().unwrap());
    workers.filter(|worker| worker["state"] == state).count()
}

fn call(agent: &ureq::Agent, url: &str, token: &str, body: &str) -> Result<Answer, ureq::Error> {
    let request = agent
        .post(url)
        .header("authorization", format!("Bearer {token}"));
    let mut response = request.send(body)?;
    let header = |name: &str| {
        let value = response.headers().get(name)?;
        Some(value.to_str().ok()?.to_owned())
    };
    let (retry_after, job, timing) = (
        header("retry-after"),
        header("x-mizar-job-id"),
        header("server-timing"),
    );
    Ok(Answer {
        status: response.status().as_u16(),
        retry_after,
        job,
        timing,
        text: response.body_mut().read_to_string()?,
    })
}

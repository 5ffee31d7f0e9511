//! Runs the real `mizar-gateway` for tests: starts, kills, posts, reads its ledger.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod oscar;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{self as unix, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The built program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_mizar-gateway");

/// A client to which every status is an answer.
pub(crate) fn agent(limit: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(limit))
        // Every kept connection to a killed gateway would cost a try.
        .max_idle_connections(0)
        .max_idle_connections_per_host(0)
        .build()
        .into()
}

/// Writes a file that its owner alone may read.
pub(crate) fn secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

/// A gateway with its folders; killed on drop.
pub(crate) struct Gateway {
    pub(crate) dir: PathBuf,
    pub(crate) address: SocketAddr,
    child: Option<Child>,
    agent: ureq::Agent,
    token: Option<String>,
    _claim: UnixListener,
}

impl Gateway {
    /// Writes a configuration under `dir`: `extra` goes into the file, `services` beside it.
    pub(crate) fn prepare(dir: &Path, extra: &str, services: &str) -> Self {
        let (address, claim) = free_address();
        fs::write(dir.join("services.toml"), services).unwrap();
        let head = if extra.contains("state_dir") {
            ""
        } else {
            "state_dir = \"state\"\n"
        };
        let config = format!(
            "listen = \"{address}\"\nwork_dir = \"work\"\nservices = [\"services.toml\"]\n{head}{extra}"
        );
        fs::write(dir.join("gateway.toml"), config).unwrap();
        Self {
            dir: dir.to_owned(),
            address,
            child: None,
            agent: agent(Duration::from_secs(30)),
            token: None,
            _claim: claim,
        }
    }

    pub(crate) fn start(&mut self) {
        // An answer, not a mere connection: for a moment the listening socket of a gateway that was
        // killed lives on in a child that it was starting.
        self.start_when(|gateway| gateway.agent.get(gateway.url("/health")).call().is_ok());
    }

    /// Starts it, and waits until it is ready in some way.
    pub(crate) fn start_when(&mut self, is_ready: impl Fn(&Self) -> bool) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("log"))
            .unwrap();
        let child = Command::new(PROGRAM)
            .args(["serve", "--config"])
            .arg(self.dir.join("gateway.toml"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let started = Instant::now();
        while !is_ready(self) {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the gateway ended: {}", self.log());
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "not ready: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn token(&mut self, token: &str) {
        self.token = Some(token.to_owned());
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, and the exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take()?;
        let pid = i32::try_from(child.id()).unwrap();
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGTERM,
        )
        .unwrap();
        child.wait().unwrap().code()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = self.child.as_ref().unwrap().id();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Posts a body; None if no answer came.
    pub(crate) fn try_post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<(u16, Value)> {
        let mut request = self.agent.post(self.url(path));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = request
            .send(body)
            .inspect_err(|error| println!("{path}: {error}"))
            .ok()?;
        let status = response.status().as_u16();
        Some((
            status,
            response.body_mut().read_json().unwrap_or(Value::Null),
        ))
    }

    pub(crate) fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, Value) {
        self.try_post(path, headers, body).expect("an answer")
    }

    /// Posts events with these ids as a batch.
    pub(crate) fn try_batch(&self, ids: &[String]) -> Option<(u16, Value)> {
        let events: Vec<_> = ids.iter().map(|id| event(id)).collect();
        let body = json!(events).to_string();
        self.try_post(
            "/events",
            &[("content-type", "application/cloudevents-batch+json")],
            body.as_bytes(),
        )
    }

    /// Sends a body by GET, as interLink's API server does, and returns the answer's text.
    pub(crate) fn ask(&self, path: &str, body: &Value) -> (u16, String) {
        let mut request = self.agent.get(self.url(path));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut response = request
            .force_send_body()
            .send(body.to_string().as_bytes())
            .unwrap();
        (
            response.status().as_u16(),
            response.body_mut().read_to_string().unwrap(),
        )
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let mut request = self.agent.get(self.url(path));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut response = request.call().unwrap();
        (
            response.status().as_u16(),
            response.body_mut().read_to_string().unwrap(),
        )
    }

    /// Puts a JSON body and returns the answer's text.
    pub(crate) fn put(&self, path: &str, body: &Value) -> (u16, String) {
        let request = self.agent.put(self.url(path));
        let mut response = request.send(body.to_string().as_bytes()).unwrap();
        (
            response.status().as_u16(),
            response.body_mut().read_to_string().unwrap(),
        )
    }

    /// Runs a command on the same configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        Command::new(PROGRAM)
            .args(arguments)
            .arg("--config")
            .arg(self.dir.join("gateway.toml"))
            .output()
            .unwrap()
    }

    /// All jobs of the ledger.
    pub(crate) fn jobs(&self) -> Vec<Value> {
        let output = self.command(&["jobs", "--json", "--limit", "1000000"]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
        listed["jobs"].as_array().unwrap().clone()
    }

    /// Sends events together until they are taken. The first try may go out on a kept connection to
    /// a gateway that was killed; the sender comes again with the same events, as senders do.
    pub(crate) fn send(&self, ids: &[String]) {
        let answer = self.try_batch(ids).or_else(|| self.try_batch(ids));
        assert!(
            matches!(answer, Some((202, _))),
            "{answer:?}: {}",
            self.log()
        );
    }

    /// Waits until `done` holds for all jobs.
    pub(crate) fn wait_jobs(&self, limit: Duration, done: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let started = Instant::now();
        loop {
            let jobs = self.jobs();
            if done(&jobs) {
                return jobs;
            }
            if started.elapsed() > limit {
                let mut states = std::collections::BTreeMap::new();
                for job in &jobs {
                    *states.entry(job["state"].to_string()).or_insert(0) += 1;
                }
                let log = self.log();
                let end: Vec<_> = log.lines().rev().take(40).collect();
                panic!(
                    "still {states:?} after {limit:?}; last in the log:\n{}",
                    end.join("\n")
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An address below the ports that the kernel hands out by itself, so that nobody's outgoing
/// connection takes it while the gateway is dead, not even one of ours to that very address. What
/// comes with it keeps other tests from it meanwhile.
pub(crate) fn free_address() -> (SocketAddr, UnixListener) {
    let first = std::process::id() % 12_000;
    (0..12_000)
        .map(|n| u16::try_from(20_000 + (first + n * 7) % 12_000).unwrap())
        .find_map(|port| {
            let name = unix::SocketAddr::from_abstract_name(format!("mizar-gateway-{port}"));
            let claim = UnixListener::bind_addr(&name.unwrap()).ok()?;
            let listener = TcpListener::bind(("127.0.0.1", port)).ok()?;
            Some((listener.local_addr().ok()?, claim))
        })
        .expect("a free port")
}

/// One CloudEvent.
pub(crate) fn event(id: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/test", "type": "test", "data": {"n": 1}})
}

/// Writes an executable.
pub(crate) fn program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A small generator, good enough for times of faults (xorshift64*).
pub(crate) struct Dice(u64);

impl Dice {
    /// From `MIZAR_FAULT_SEED`, or the clock; the seed is printed.
    pub(crate) fn throw() -> Self {
        let given = std::env::var("MIZAR_FAULT_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| mizar_core::clock::unix_ns().unsigned_abs()) | 1;
        println!("MIZAR_FAULT_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        low + self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % (high - low)
    }
}

//! A gateway with one service, pulled sources where a test needs them, and a double of Slurm.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;

use crate::double::Double;
use crate::harness::{Gateway, program, secret};

pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Site {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) double: Double,
    pub(crate) gateway: Gateway,
}

impl Site {
    /// `extra` is TOML that begins with `[limits]` or is empty; `sources` are `[[sources]]`.
    pub(crate) fn new(extra: &str, sources: &str) -> Self {
        Self::of(extra, sources, "")
    }

    /// The same, with more lines for its service.
    pub(crate) fn of(extra: &str, sources: &str, service: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let double = Double::new(folder.path());
        let script = folder.path().join("job.sh");
        program(&script, "#!/bin/sh\n");
        let services = format!(
            "[[service]]\nname = \"svc\"\nscript = \"{}\"\n{service}",
            script.display()
        );
        secret(&folder.path().join("login"), "ann:correct horse\n");
        let config = format!("{extra}{}{sources}", double.config());
        let gateway = Gateway::prepare(folder.path(), &config, &services);
        Self {
            folder,
            double,
            gateway,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What `status --json` says of a source.
    pub(crate) fn source(&self, name: &str) -> Value {
        let output = self.gateway.command(&["status", "--json"]);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let sources = told["sources"].as_array().unwrap();
        let found = sources.iter().find(|source| source["name"] == name);
        found.cloned().unwrap_or(Value::Null)
    }

    /// Waits until a source is as told.
    pub(crate) fn wait_source(&self, name: &str, done: impl Fn(&Value) -> bool) -> Value {
        let since = Instant::now();
        loop {
            let found = self.source(name);
            if done(&found) {
                return found;
            }
            let log = self.gateway.log();
            let end: Vec<_> = log.lines().rev().take(20).collect();
            assert!(
                since.elapsed() < LIMIT,
                "{found}\nlast in the log:\n{}",
                end.join("\n")
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for so many jobs, then makes sure that there are no more a little later.
    pub(crate) fn exactly(&self, count: usize) -> Vec<Value> {
        self.gateway.wait_jobs(LIMIT, |jobs| jobs.len() >= count);
        std::thread::sleep(Duration::from_millis(400));
        self.gateway.wait_jobs(LIMIT, |jobs| {
            jobs.len() == count && jobs.iter().all(|job| job["state"] == "completed")
        })
    }

    /// Messages that are no events.
    pub(crate) fn dead(&self) -> Vec<Value> {
        let output = self.gateway.command(&["dead-letters", "--json"]);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        told["messages"].as_array().unwrap().clone()
    }

    pub(crate) fn ledger(&self) -> Connection {
        Connection::open(self.path("state/ledger.sqlite")).unwrap()
    }

    /// The event of a job.
    pub(crate) fn event(&self, job: &Value) -> Value {
        let output = self
            .gateway
            .command(&["job", "--json", &job["id"].to_string()]);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        told["event"].clone()
    }
}

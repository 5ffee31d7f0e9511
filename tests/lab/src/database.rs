//! Accounting: a private MariaDB, reachable by a unix socket only, and slurmdbd.

use crate::plan::Plan;
use crate::process::{Daemon, forget_outer_job, run, wait_until};
use crate::{LabError, packages};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A cold MariaDB and slurmdbd's first schema on a busy machine.
const START: Duration = Duration::from_secs(60);

/// Both daemons; dropped, they are killed.
#[derive(Debug)]
pub(crate) struct Database {
    slurmdbd: Daemon,
    mariadbd: Daemon,
}

impl Database {
    pub(crate) fn start(plan: &Plan) -> Result<Self, LabError> {
        let dir = plan.dir();
        let home = dir.join("mysql");
        std::fs::create_dir_all(&home).map_err(LabError::file("create", &home))?;
        install(plan, &home)?;
        let socket = home.join("my.sock");
        let mut mariadbd = Daemon::start(
            "mariadbd",
            server(plan, &home),
            &dir.join("log/mariadbd.log"),
        )?;
        wait_until("MariaDB", START, || {
            mariadbd.check()?;
            Ok(std::os::unix::net::UnixStream::connect(&socket).is_ok())
        })?;
        let mut command = plan.daemon("slurmdbd");
        command.arg("-D").env("MYSQL_UNIX_PORT", &socket);
        let slurmdbd = Daemon::start("slurmdbd", command, &dir.join("log/slurmdbd.out"))?;
        let mut database = Self { slurmdbd, mariadbd };
        database.register(plan)?;
        Ok(database)
    }

    /// Makes the cluster, an account and the user known, as `sbatch` needs them.
    fn register(&mut self, plan: &Plan) -> Result<(), LabError> {
        let manager = |arguments: &[&str]| {
            let mut command = plan.daemon("sacctmgr");
            command.args(arguments);
            run(&mut command)
        };
        wait_until("slurmdbd", START, || {
            self.slurmdbd.check()?;
            Ok(manager(&["-n", "list", "cluster"]).is_ok())
        })?;
        manager(&["-i", "add", "cluster", "lab"])?;
        manager(&["-i", "add", "account", "project"])?;
        let user = &plan.user;
        manager(&[
            "-i",
            "add",
            "user",
            user,
            "account=project",
            "defaultaccount=project",
        ])
        .map(drop)
    }

    pub(crate) fn terminate(&mut self) {
        self.slurmdbd.terminate();
        self.mariadbd.terminate();
    }

    pub(crate) fn end_by(&mut self, deadline: Instant) {
        self.slurmdbd.end_by(deadline);
        self.mariadbd.end_by(deadline);
    }
}

fn install(plan: &Plan, home: &Path) -> Result<(), LabError> {
    let mut command = plan.daemon("mariadb-install-db");
    forget_outer_job(&mut command)
        .args([
            "--no-defaults",
            "--auth-root-authentication-method=socket",
            "--skip-test-db",
        ])
        .arg(format!("--user={}", plan.user))
        .arg(format!("--datadir={}", home.join("data").display()));
    run(&mut command).map(drop)
}

/// Durability is of no use to a lab, and small buffers start faster.
fn server(plan: &Plan, home: &Path) -> Command {
    let mut command = plan.daemon("mariadbd");
    command
        .args([
            "--no-defaults",
            "--skip-networking",
            "--innodb-flush-log-at-trx-commit=0",
        ])
        .args([
            "--innodb-buffer-pool-size=64M",
            "--innodb-log-file-size=32M",
        ])
        .args(["--innodb-lock-wait-timeout=900", "--performance-schema=OFF"])
        .arg(format!("--user={}", plan.user))
        .arg(format!("--datadir={}", home.join("data").display()))
        .arg(format!("--socket={}", home.join("my.sock").display()))
        .arg(format!("--pid-file={}", home.join("my.pid").display()));
    command
}

/// Returns true if everything that accounting needs is installed.
#[must_use]
pub fn accounting_available() -> bool {
    packages::require(true, false, &packages::default_search_path()).is_ok()
}

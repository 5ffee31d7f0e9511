//! slurmrestd, twice: its two ways to know who asks exclude each other.
//!
//! `rest_auth/local` on a unix socket takes the owner at his word and runs jobs as him;
//! `rest_auth/jwt` on a TCP port wants a token of `scontrol token` (`SLURM_JWT=daemon`, which
//! it needs, makes the other refuse). Both run as the lab's owner, which slurmrestd refuses to
//! root without `disable_user_check`.

use crate::LabError;
use crate::plan::{Plan, START};
use crate::process::{Daemon, wait_until};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Instant;

/// The APIs of Slurm 22.05 that work without slurmdbd.
const APIS: &str = "openapi/v0.0.36,openapi/v0.0.37,openapi/v0.0.38";

/// Both daemons; dropped, they are killed.
#[derive(Debug)]
pub(crate) struct Rest {
    local: Daemon,
    token: Daemon,
}

impl Rest {
    /// Starts both; slurmctld must answer by now, or the first requests fail.
    pub(crate) fn start(plan: &Plan) -> Result<Self, LabError> {
        let mut rest = Self {
            local: start_local(plan)?,
            token: start(plan, "jwt", &address(plan))?,
        };
        let socket = socket(plan);
        wait_until("slurmrestd", START, || {
            rest.local.check()?;
            rest.token.check()?;
            let port = (Ipv4Addr::LOCALHOST, plan.ports.rest());
            Ok(UnixStream::connect(&socket).is_ok() && TcpStream::connect(port).is_ok())
        })?;
        Ok(rest)
    }

    /// Kills the one on the unix socket.
    pub(crate) fn kill_local(&mut self) {
        self.local.kill();
    }

    /// Starts the one on the unix socket again.
    pub(crate) fn start_local(&mut self, plan: &Plan) -> Result<(), LabError> {
        self.local.kill();
        self.local = start_local(plan)?;
        let socket = socket(plan);
        wait_until("slurmrestd", START, || {
            self.local.check()?;
            Ok(UnixStream::connect(&socket).is_ok())
        })
    }

    pub(crate) fn terminate(&mut self) {
        self.local.terminate();
        self.token.terminate();
    }

    pub(crate) fn end_by(&mut self, deadline: Instant) {
        self.local.end_by(deadline);
        self.token.end_by(deadline);
    }
}

/// The socket of the one that takes its owner at his word.
pub(crate) fn socket(plan: &Plan) -> PathBuf {
    plan.dir().join("run/slurmrestd.sock")
}

/// The address of the one that wants tokens.
pub(crate) fn address(plan: &Plan) -> String {
    format!("127.0.0.1:{}", plan.ports.rest())
}

fn start_local(plan: &Plan) -> Result<Daemon, LabError> {
    let socket = socket(plan);
    match std::fs::remove_file(&socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(LabError::file("remove", &socket)(error));
        }
        _ => {}
    }
    start(plan, "local", &format!("unix:{}", socket.display()))
}

fn start(plan: &Plan, auth: &str, place: &str) -> Result<Daemon, LabError> {
    let mut command = plan.daemon("slurmrestd");
    command
        .args(["-a", &format!("rest_auth/{auth}"), "-s", APIS, place])
        .env("SLURMRESTD_SECURITY", "disable_user_check");
    if auth == "jwt" {
        command.env("SLURM_JWT", "daemon");
    }
    let log = plan.log(&format!("slurmrestd.{auth}.out"));
    Daemon::start("slurmrestd", command, &log)
}

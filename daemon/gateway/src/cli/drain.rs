//! `mizar-gateway drain` and its end: the wish goes into the ledger, where a serving gateway finds
//! it; what is left is read from there, until there is nothing.

use std::net::TcpStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::write;
use crate::config::Config;
use crate::ledger::{self, Left, Reader};

/// How often the ledger is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// How long a gateway may take to let us in.
const CONNECT: Duration = Duration::from_secs(2);

/// Exit code if not all is done in time.
const LATE: u8 = 5;

/// What the command waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Nothing.
    Told,
    /// All that is here was submitted.
    Submitted,
    /// The jobs have ended too.
    Ended,
}

/// Has no events taken, and waits.
pub(super) fn run(config: &Path, until: Until, limit: Option<Duration>) -> Result<ExitCode> {
    let started = Instant::now();
    let read = Config::load(config)?;
    write(config, |connection| {
        ledger::drain(connection, ledger::now_ms())
    })?;
    println!("no events are taken any more; `mizar-gateway resume` undoes it");
    if until == Until::Told {
        return Ok(ExitCode::SUCCESS);
    }
    let reader = Reader::open(&read.ledger_path())?;
    let mut last: Option<Left> = None;
    loop {
        let left = reader.read(ledger::left)?;
        if last != Some(left) {
            println!("{}", told(left));
        }
        if left.is_empty() && (until == Until::Submitted || left.in_slurm == 0) {
            println!("drained");
            return Ok(ExitCode::SUCCESS);
        }
        // Once: it may be started again meanwhile.
        if last.is_none() && TcpStream::connect_timeout(&read.listen, CONNECT).is_err() {
            anyhow::bail!(
                "no gateway answers at {}: what is left is submitted once one serves",
                read.listen
            );
        }
        last = Some(left);
        if limit.is_some_and(|limit| started.elapsed() >= limit) {
            eprintln!("mizar-gateway: not drained in time; it goes on");
            return Ok(ExitCode::from(LATE));
        }
        std::thread::sleep(LOOK);
    }
}

fn told(left: Left) -> String {
    let mut text = format!(
        "{} are in Slurm, {} are being submitted, {} wait for submission",
        left.in_slurm, left.submitting, left.waiting
    );
    if left.paused > 0 {
        text += &format!("; {} of them in paused services", left.paused);
    }
    if left.gathering > 0 {
        text += &format!("; {} events wait for others and stay", left.gathering);
    }
    text
}

/// Has events taken again.
pub(super) fn resume(config: &Path) -> Result<ExitCode> {
    let was = write(config, ledger::resume)?;
    println!(
        "{}",
        if was {
            "events are taken again"
        } else {
            "events were being taken"
        }
    );
    Ok(ExitCode::SUCCESS)
}

//! By which way jobs go to Slurm: what the configuration says of it, the client that follows,
//! and the note by which `mizar-gateway status` knows what a serving gateway uses.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mizar_slurm::jobfile;
use mizar_slurm::{
    CliSettings, Place, Proof, RestSettings, Scheduler, SlurmCli, SlurmRestd, SubmitAs, Way,
};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::config::Slurm;

/// Name of the note in the folder of the ledger.
const NOTE: &str = "way.json";

/// Which way is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// slurmrestd, where it is configured, answers, and no plugin of the site acts in sbatch;
    /// else sbatch.
    #[default]
    Auto,
    /// An sbatch for each job.
    Sbatch,
    /// slurmrestd, whatever plugins the site has; sbatch for what it cannot be told, and while
    /// it is away.
    Slurmrestd,
}

/// Where slurmrestd is, and how it knows us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slurmrestd {
    /// `unix:/PATH`, or an address and port of this machine.
    pub address: String,
    /// A token in a file that its owner alone may read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Have `scontrol token` make tokens; needed for jobs of other users.
    #[serde(default)]
    pub scontrol_tokens: bool,
    /// Accept an address of another machine: tokens and jobs cross the network in the clear.
    #[serde(default)]
    pub clear: bool,
}

impl Slurmrestd {
    /// Checks the table; the address as it is understood.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn check(&self) -> Result<Place, String> {
        let place: Place = self.address.parse()?;
        let is_local = |address: &SocketAddr| address.ip().is_loopback();
        if let Place::Tcp(address) = &place
            && !is_local(address)
            && !self.clear
        {
            return Err(format!(
                "`{address}` is another machine, and HTTP is in the clear: use a unix socket or \
                 a tunnel, or set clear = true"
            ));
        }
        match (&self.token_file, self.scontrol_tokens, &place) {
            (Some(_), true, _) => {
                Err("token_file and scontrol_tokens exclude each other".to_owned())
            }
            (None, false, Place::Tcp(_)) => {
                Err("over TCP slurmrestd wants token_file or scontrol_tokens = true".to_owned())
            }
            _ => Ok(place),
        }
    }

    fn proof(&self) -> Proof {
        match (&self.token_file, self.scontrol_tokens) {
            (Some(path), _) => Proof::File(path.clone()),
            (None, true) => Proof::Scontrol,
            (None, false) => Proof::Socket,
        }
    }
}

/// Checks what the configuration says of the way.
///
/// # Errors
/// The rule that is broken.
pub fn check(slurm: &Slurm) -> Result<(), String> {
    match (&slurm.slurmrestd, slurm.via) {
        (None, Via::Slurmrestd) => Err("via = \"slurmrestd\" needs its address".to_owned()),
        (None, _) => Ok(()),
        (Some(table), _) => table.check().map(drop),
    }
}

/// The client for the wanted way, for jobs of ours and of `users`. slurmrestd is asked once, so that
/// the log begins with what it says; if it cannot be used now, jobs go through sbatch until it can.
///
/// # Errors
/// The rule of the configuration that is broken.
pub fn choose(slurm: &Slurm, users: Vec<String>) -> Result<Box<dyn Scheduler>, String> {
    let cli = SlurmCli::new(CliSettings {
        users,
        ..slurm.cli()
    });
    let table = match (slurm.via, &slurm.slurmrestd) {
        (Via::Sbatch, _) => return Ok(Box::new(cli.because("as configured"))),
        (_, None) => {
            let why = "there is no [slurm.slurmrestd] in the configuration";
            return Ok(Box::new(cli.because(why)));
        }
        (_, Some(table)) => table,
    };
    let settings = RestSettings {
        place: table.check()?,
        proof: table.proof(),
        limit: Duration::from_millis(slurm.submit_ms),
        is_only: false,
        is_careful: slurm.via == Via::Auto,
    };
    let rest = SlurmRestd::new(cli, settings);
    // It logs what it finds, and keeps it for `way`.
    let _ = rest.probe();
    Ok(Box::new(rest))
}

/// Says what is wrong with the helper that jobs of other users need, if anything is.
pub fn check_helper(slurm: &Slurm, work_dir: &Path) {
    let Some(socket) = &slurm.submit_as else {
        return;
    };
    match SubmitAs::new(socket.clone()).work_dir() {
        Ok(theirs) if theirs == work_dir => info!(socket = %socket.display(), "mizar-submit-as"),
        Ok(theirs) => warn!(
            theirs = %theirs.display(),
            ours = %work_dir.display(),
            "mizar-submit-as has another work_dir: jobs of other users will not find their folders"
        ),
        Err(error) => warn!(
            error = mizar_core::chain(&error),
            "jobs of other users wait until mizar-submit-as answers"
        ),
    }
}

/// Keeps the note up to date.
#[derive(Debug)]
pub struct Note {
    path: PathBuf,
    written: Option<Way>,
}

impl Note {
    /// The note beside a ledger in `state_dir`.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self {
            path: state_dir.join(NOTE),
            written: None,
        }
    }

    /// Writes the note if the way has changed; a disk that refuses is told of and tried again.
    pub fn keep(&mut self, way: Way) {
        if self.written.as_ref() == Some(&way) {
            return;
        }
        info!(via = %way.via, why = %way.why, "the way of jobs to Slurm");
        let text = serde_json::to_vec(&way).unwrap_or_default();
        match jobfile::write(&self.path, &text, 0o644) {
            Ok(()) => self.written = Some(way),
            Err(error) => warn!(%error, path = %self.path.display(), "cannot note the way of jobs"),
        }
    }

    /// What a gateway noted last; none if none did.
    #[must_use]
    pub fn read(state_dir: &Path) -> Option<Way> {
        let text = std::fs::read(state_dir.join(NOTE)).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Slurmrestd {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn addresses_and_tokens_are_checked() {
        for (text, expected) in [
            ("address = 'unix:/run/s'", None),
            ("address = 'unix:/run/s'\nscontrol_tokens = true", None),
            ("address = '127.0.0.1:6820'\ntoken_file = 't'", None),
            (
                "address = '10.0.0.1:6820'\ntoken_file = 't'\nclear = true",
                None,
            ),
            (
                "address = '10.0.0.1:6820'\ntoken_file = 't'",
                Some("another machine"),
            ),
            ("address = '127.0.0.1:6820'", Some("token_file")),
            ("address = '/run/s'", Some("unix:/PATH")),
            (
                "address = 'unix:/s'\ntoken_file = 't'\nscontrol_tokens = true",
                Some("exclude"),
            ),
        ] {
            let found = table(text).check();
            match expected {
                None => assert!(found.is_ok(), "{text}: {found:?}"),
                Some(words) => assert!(found.unwrap_err().contains(words), "{text}"),
            }
        }
        let slurm = Slurm {
            via: Via::Slurmrestd,
            ..Slurm::default()
        };
        assert!(check(&slurm).is_err());
        assert_eq!(
            choose(&Slurm::default(), vec![]).unwrap().way().via,
            "sbatch"
        );
    }

    #[test]
    fn a_note_is_read_as_it_was_kept() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Note::read(folder.path()), None);
        let way = |via: &str| Way {
            via: via.to_owned(),
            why: "because".to_owned(),
        };
        let mut note = Note::new(folder.path());
        for via in ["sbatch", "slurmrestd", "slurmrestd"] {
            note.keep(way(via));
            assert_eq!(Note::read(folder.path()), Some(way(via)));
        }
    }
}

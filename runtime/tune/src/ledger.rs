//! What was begun and what came of it: lines of JSON in the study's folder, appended under a lock.
//!
//! A worker holds a lock on a file of its own run while its command runs; POSIX locks, which
//! Lustre, GPFS and NFS keep between nodes and the kernel drops with the process. So a run that
//! has no end and no lock was lost with its worker, and is given to another.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use serde::{Deserialize, Serialize};

use crate::space::Value;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// A worker began a rung of a trial.
    Began {
        /// The trial's number, from 0.
        trial: u32,
        /// The rung, from 0.
        rung: usize,
        /// The trial's values.
        values: BTreeMap<String, Value>,
        /// Host and process, and the array task if there is one.
        worker: String,
    },
    /// It ended.
    Ended {
        /// The trial.
        trial: u32,
        /// The rung.
        rung: usize,
        /// How.
        #[serde(flatten)]
        ending: Ending,
        /// How long the command ran.
        elapsed_s: f64,
        /// Hours of GPUs that it held.
        gpu_hours: f64,
        /// What it said that it used.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        energy_joules: Option<f64>,
    },
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "as", rename_all = "lowercase")]
pub enum Ending {
    /// With a metric.
    Measured {
        /// The last value that it printed.
        metric: f64,
    },
    /// Without.
    Failed {
        /// The exit code or signal, or what is missing from its output, with its last lines.
        reason: String,
    },
    /// Its worker is gone.
    Lost,
}

/// A rung of a trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// How it ended; `None` while it runs.
    pub ending: Option<Ending>,
    /// Who runs it.
    pub worker: String,
    /// How long it ran.
    pub elapsed_s: f64,
    /// Hours of GPUs.
    pub gpu_hours: f64,
    /// What it said that it used.
    pub energy_joules: Option<f64>,
}

/// A trial with its runs, by rung: of one rung the last counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Its values.
    pub values: BTreeMap<String, Value>,
    /// By rung.
    pub runs: BTreeMap<usize, Run>,
    /// How many of its runs were lost with their workers.
    pub lost_count: usize,
}

impl Trial {
    /// What a rung measured.
    #[must_use]
    pub fn metric(&self, rung: usize) -> Option<f64> {
        match self.runs.get(&rung)?.ending {
            Some(Ending::Measured { metric }) => Some(metric),
            _ => None,
        }
    }
}

/// A ledger that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file system refused.
    #[error("cannot {operation} {path}")]
    Io {
        /// `open`, `lock`, `read`, `append to`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line is none of ours.
    #[error("line {line} of {path} is not an event of a study")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
}

/// The ledger of a study, open and locked: one worker at a time has it.
#[derive(Debug)]
pub struct Ledger {
    folder: PathBuf,
    path: PathBuf,
    file: File,
    trials: Vec<Trial>,
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LedgerError {
    let path = path.to_owned();
    move |source| LedgerError::Io {
        operation,
        path,
        source,
    }
}

/// A write lock on a whole file; `false` if another process has it and this one does not wait.
fn lock(file: &File, wait: bool) -> io::Result<bool> {
    let whole = nix::libc::flock {
        l_type: nix::libc::F_WRLCK as i16,
        l_whence: nix::libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    loop {
        let argument = match wait {
            true => FcntlArg::F_SETLKW(&whole),
            false => FcntlArg::F_SETLK(&whole),
        };
        return match fcntl(file, argument) {
            Ok(_) => Ok(true),
            Err(Errno::EINTR) => continue,
            Err(Errno::EACCES | Errno::EAGAIN) if !wait => Ok(false),
            Err(error) => Err(error.into()),
        };
    }
}

impl Ledger {
    /// Opens the ledger of a study's folder, waits for its lock, and reads it. What a worker
    /// that died had not finished writing is cut off, what it had not finished running is told
    /// lost. `own` is the run that this process has the lock of: it could not tell.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn open(folder: &Path, own: Option<(u32, usize)>) -> Result<Self, LedgerError> {
        let path = folder.join("ledger.jsonl");
        let options = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .clone();
        let file = options.open(&path).map_err(failed("open", &path))?;
        lock(&file, true).map_err(failed("lock", &path))?;
        let text = std::fs::read_to_string(&path).map_err(failed("read", &path))?;
        // Without its end a line was never acknowledged.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            file.set_len(whole as u64)
                .map_err(failed("append to", &path))?;
        }
        let mut ledger = Self {
            folder: folder.to_owned(),
            path,
            file,
            trials: Vec::new(),
        };
        for (number, line) in text[..whole].lines().enumerate() {
            match serde_json::from_str(line) {
                Ok(event) => ledger.apply(event),
                Err(source) => {
                    let (path, line) = (ledger.path.clone(), number + 1);
                    return Err(LedgerError::Damaged { path, line, source });
                }
            }
        }
        ledger.find_lost(own)?;
        Ok(ledger)
    }

    /// The trials so far.
    #[must_use]
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// The folder of a trial.
    #[must_use]
    pub fn trial_folder(&self, trial: u32) -> PathBuf {
        self.folder.join(format!("trial-{trial:04}"))
    }

    /// Writes that a run begins; the lock that is returned says that it lives.
    ///
    /// # Errors
    /// [`LedgerError::Io`].
    pub fn begin(
        &mut self,
        trial: u32,
        rung: usize,
        values: BTreeMap<String, Value>,
        worker: String,
    ) -> Result<File, LedgerError> {
        let folder = self.trial_folder(trial);
        std::fs::create_dir_all(&folder).map_err(failed("create", &folder))?;
        let path = folder.join(format!("rung-{rung}.lock"));
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .clone();
        let file = file.open(&path).map_err(failed("open", &path))?;
        lock(&file, true).map_err(failed("lock", &path))?;
        self.append(Event::Began {
            trial,
            rung,
            values,
            worker,
        })?;
        Ok(file)
    }

    /// Writes an event, durably, and counts it.
    ///
    /// # Errors
    /// [`LedgerError::Io`].
    pub fn append(&mut self, event: Event) -> Result<(), LedgerError> {
        let mut line = serde_json::to_vec(&event).map_err(|error| LedgerError::Io {
            operation: "append to",
            path: self.path.clone(),
            source: error.into(),
        })?;
        line.push(b'\n');
        let mut file = &self.file;
        let written = file.write_all(&line).and_then(|()| file.sync_data());
        written.map_err(failed("append to", &self.path))?;
        self.apply(event);
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Began {
                trial,
                rung,
                values,
                worker,
            } => {
                let trial = trial as usize;
                if trial == self.trials.len() {
                    self.trials.push(Trial {
                        values,
                        runs: BTreeMap::new(),
                        lost_count: 0,
                    });
                }
                let Some(trial) = self.trials.get_mut(trial) else {
                    return;
                };
                let run = Run {
                    ending: None,
                    worker,
                    elapsed_s: 0.0,
                    gpu_hours: 0.0,
                    energy_joules: None,
                };
                trial.runs.insert(rung, run);
            }
            Event::Ended {
                trial,
                rung,
                ending,
                elapsed_s,
                gpu_hours,
                energy_joules,
            } => {
                let Some(trial) = self.trials.get_mut(trial as usize) else {
                    return;
                };
                trial.lost_count += usize::from(ending == Ending::Lost);
                if let Some(run) = trial.runs.get_mut(&rung) {
                    run.ending = Some(ending);
                    run.elapsed_s = elapsed_s;
                    run.gpu_hours = gpu_hours;
                    run.energy_joules = energy_joules;
                }
            }
        }
    }

    /// Runs without an end whose lock nobody holds.
    fn find_lost(&mut self, own: Option<(u32, usize)>) -> Result<(), LedgerError> {
        let mut lost = Vec::new();
        for (number, trial) in self.trials.iter().enumerate() {
            for (&rung, run) in &trial.runs {
                if run.ending.is_some() || own == Some((number as u32, rung)) {
                    continue;
                }
                let path = self
                    .trial_folder(number as u32)
                    .join(format!("rung-{rung}.lock"));
                let is_gone = match OpenOptions::new().write(true).open(&path) {
                    Ok(file) => lock(&file, false).map_err(failed("lock", &path))?,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => true,
                    Err(error) => return Err(failed("open", &path)(error)),
                };
                if is_gone {
                    lost.push((number as u32, rung));
                }
            }
        }
        for (trial, rung) in lost {
            self.append(Event::Ended {
                trial,
                rung,
                ending: Ending::Lost,
                elapsed_s: 0.0,
                gpu_hours: 0.0,
                energy_joules: None,
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> BTreeMap<String, Value> {
        BTreeMap::from([("rate".to_owned(), Value::Number(0.1))])
    }

    fn ended(metric: f64) -> Event {
        Event::Ended {
            trial: 0,
            rung: 0,
            ending: Ending::Measured { metric },
            elapsed_s: 2.0,
            gpu_hours: 0.5,
            energy_joules: None,
        }
    }

    #[test]
    fn what_was_appended_is_read_again_and_half_a_line_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path(), None).unwrap();
        let _lock = ledger.begin(0, 0, values(), "here".to_owned()).unwrap();
        ledger.append(ended(0.25)).unwrap();
        let before = ledger.trials().to_vec();
        drop(ledger);
        let path = folder.path().join("ledger.jsonl");
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{{\"event\":\"ended\",\"tri")).unwrap();
        let ledger = Ledger::open(folder.path(), None).unwrap();
        assert_eq!(ledger.trials(), before);
        assert_eq!(ledger.trials()[0].metric(0), Some(0.25));
        drop(ledger);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
    }

    #[test]
    fn a_damaged_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ledger.jsonl"), "{}\n").unwrap();
        let error = Ledger::open(folder.path(), None).unwrap_err();
        assert!(error.to_string().starts_with("line 1 of "), "{error}");
    }

    /// This process holds no lock that it could see itself, so its own run is told apart.
    #[test]
    fn a_run_without_end_and_lock_was_lost() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path(), None).unwrap();
        let lock = ledger.begin(0, 0, values(), "here".to_owned()).unwrap();
        drop(ledger);
        let own = Ledger::open(folder.path(), Some((0, 0))).unwrap();
        assert_eq!(own.trials()[0].runs[&0].ending, None);
        drop((own, lock));
        let ledger = Ledger::open(folder.path(), None).unwrap();
        assert_eq!(ledger.trials()[0].runs[&0].ending, Some(Ending::Lost));
        assert_eq!(ledger.trials()[0].lost_count, 1);
    }
}

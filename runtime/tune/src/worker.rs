//! A worker: takes runs from the ledger, one after another, until there is nothing left to do.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

pub use ffi::end_with_parent;

use crate::decide::{Next, next};
use crate::ledger::{Ending, Event, Ledger, LedgerError};
use crate::space::Value;
use crate::study::Study;

/// How often a worker looks whether there is something to do.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The end of a command's output that is searched for its metric.
const TAIL_BYTES_MAX: u64 = 4 << 20;

/// What of a failing command's last words is kept.
const WORDS_MAX: usize = 600;

/// What a worker did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Runs that it carried out.
    pub runs: usize,
    /// Why there was nothing left to do.
    pub reason: String,
}

/// A worker that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The ledger cannot be used.
    #[error("the ledger of the study cannot be used")]
    Ledger(#[from] LedgerError),
    /// A trial's command cannot be started: it never could.
    #[error("cannot start {command:?}")]
    Start {
        /// Its first word.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A trial's output cannot be written or read.
    #[error("cannot keep the output of a trial in {path}")]
    Output {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Works on the study in `folder` until nothing is left. `gpus` is how many GPUs this worker
/// holds, `name` who it is; `tell` hears of each run.
///
/// # Errors
/// [`WorkerError`]; a command that fails is none, but an ending in the ledger.
pub fn work(
    study: &Study,
    folder: &Path,
    name: &str,
    gpus: u32,
    tell: &mut dyn FnMut(&str),
) -> Result<Done, WorkerError> {
    let mut runs = 0;
    loop {
        let mut ledger = Ledger::open(folder, None)?;
        let (trial, rung, values) = match next(study, ledger.trials()) {
            Next::End { reason } => return Ok(Done { runs, reason }),
            Next::Wait => {
                drop(ledger);
                std::thread::sleep(LOOK_AGAIN);
                continue;
            }
            Next::Run {
                trial,
                rung,
                values,
            } => (trial, rung, values),
        };
        let lock = ledger.begin(trial, rung, values.clone(), name.to_owned())?;
        let own = ledger.trial_folder(trial);
        drop(ledger);
        let budget = study.rungs()[rung];
        tell(&format!(
            "trial {trial}, rung {rung} begins: {}",
            words_of(&values)
        ));
        let started = Instant::now();
        let ran = Attempt {
            study,
            folder: &own,
            trial,
            rung,
            budget,
            values: &values,
        }
        .run();
        let elapsed_s = started.elapsed().as_secs_f64();
        let gpu_hours = f64::from(gpus) * elapsed_s / 3600.0;
        // Every trial would fail the same way: the run is left to be begun again.
        let (ending, energy_joules) = ran?;
        tell(&match &ending {
            Ending::Measured { metric } => {
                format!("trial {trial}, rung {rung}: {} = {metric}", study.metric)
            }
            Ending::Failed { reason } => format!("trial {trial}, rung {rung} failed: {reason}"),
            Ending::Lost => format!("trial {trial}, rung {rung} is lost"),
        });
        let mut ledger = Ledger::open(folder, Some((trial, rung)))?;
        ledger.append(Event::Ended {
            trial,
            rung,
            ending,
            elapsed_s,
            gpu_hours,
            energy_joules,
        })?;
        drop((ledger, lock));
        runs += 1;
    }
}

fn words_of(values: &BTreeMap<String, Value>) -> String {
    let words = values.iter().map(|(name, value)| format!("{name}={value}"));
    words.collect::<Vec<_>>().join(" ")
}

/// One run of a command.
struct Attempt<'a> {
    study: &'a Study,
    folder: &'a Path,
    trial: u32,
    rung: usize,
    budget: u32,
    values: &'a BTreeMap<String, Value>,
}

impl Attempt<'_> {
    /// Runs it; how it ended, and the energy that it says it used.
    fn run(&self) -> Result<(Ending, Option<f64>), WorkerError> {
        let path = |kind: &str| self.folder.join(format!("rung-{}.{kind}", self.rung));
        let (out, err) = (path("out"), path("err"));
        let create = |path: &Path| {
            File::create(path).map_err(|source| WorkerError::Output {
                path: path.to_owned(),
                source,
            })
        };
        let words: Vec<String> = self
            .study
            .command
            .iter()
            .map(|word| self.filled(word))
            .collect();
        let Some((program, arguments)) = words.split_first() else {
            let reason = "the study has no command".to_owned();
            return Ok((Ending::Failed { reason }, None));
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("MIZAR_TUNE_TRIAL", self.trial.to_string())
            .env("MIZAR_TUNE_DIR", self.folder)
            .stdin(Stdio::null())
            .stdout(create(&out)?)
            .stderr(create(&err)?);
        end_with_parent(&mut command);
        let status = command.status().map_err(|source| WorkerError::Start {
            command: program.clone(),
            source,
        })?;
        let read = |path: &Path| {
            tail(path).map_err(|source| WorkerError::Output {
                path: path.to_owned(),
                source,
            })
        };
        let said = read(&out)?;
        let energy_joules = last_number(&said, "energy_joules");
        if !status.success() {
            let reason = format!("{}: {}", how_it_ended(status), last_words(&read(&err)?));
            return Ok((Ending::Failed { reason }, energy_joules));
        }
        let metric = &self.study.metric;
        let ending = match last_number(&said, metric) {
            Some(metric) => Ending::Measured { metric },
            None => Ending::Failed {
                reason: format!("it printed no line of JSON with a number {metric:?}"),
            },
        };
        Ok((ending, energy_joules))
    }

    /// A word of the command with its holes filled, each once: a value that looks like a hole
    /// stays as it is.
    fn filled(&self, word: &str) -> String {
        let mut filled = String::new();
        let mut rest = word;
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let hole = after.split_once('}');
            let value = hole.and_then(|(name, _)| self.value(name));
            match (hole, value) {
                (Some((_, after)), Some(value)) => {
                    filled.push_str(&value);
                    rest = after;
                }
                _ => {
                    filled.push('{');
                    rest = after;
                }
            }
        }
        filled + rest
    }

    fn value(&self, name: &str) -> Option<String> {
        match name {
            "budget" => Some(self.budget.to_string()),
            "trial" => Some(self.trial.to_string()),
            "dir" => Some(self.folder.to_string_lossy().into_owned()),
            _ => self.values.get(name).map(Value::to_string),
        }
    }
}

/// The end of a file, as text.
fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last number of this name in lines of JSON.
fn last_number(text: &str, name: &str) -> Option<f64> {
    text.lines().rev().find_map(|line| {
        let line = line.trim();
        if !line.starts_with('{') {
            return None;
        }
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        value
            .get(name)?
            .as_f64()
            .filter(|number| number.is_finite())
    })
}

fn how_it_ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

fn last_words(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = &lines[lines.len().saturating_sub(3)..];
    let words = last.join(" | ");
    let start = words.len().saturating_sub(WORDS_MAX);
    let start = (start..=words.len()).find(|&at| words.is_char_boundary(at));
    words[start.unwrap_or(0)..].to_owned()
}

mod ffi {
    #![allow(unsafe_code, reason = "what happens between fork and exec")]

    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    /// Has a command end with the process that starts it, however that ends: a run whose worker
    /// is gone is given to another, and two at once would write over each other.
    pub fn end_with_parent(command: &mut Command) {
        let parent = std::process::id();
        let ask = move || {
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
            // It may have ended before it was asked.
            if nix::unistd::getppid().as_raw() as u32 != parent {
                return Err(std::io::Error::other("the worker has ended"));
            }
            Ok(())
        };
        // SAFETY: the closure makes two system calls and allocates only on its way to failing.
        unsafe { command.pre_exec(ask) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::tests::{STUDY, study};

    fn study_of(script: &str) -> Study {
        let mut study = study(&STUDY.replacen("trials = 9", "trials = 3", 1)).unwrap();
        study.command = ["sh", "-c", script, "trial", "{rate}", "{budget}", "{dir}"]
            .map(str::to_owned)
            .to_vec();
        study
    }

    fn run(script: &str) -> (Vec<Ending>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let mut told = Vec::new();
        let mut tell = |line: &str| told.push(line.to_owned());
        let done = work(&study_of(script), folder.path(), "w", 2, &mut tell).unwrap();
        assert_eq!(done.runs, 3);
        let ledger = Ledger::open(folder.path(), None).unwrap();
        let endings = ledger.trials().iter().map(|trial| {
            assert!(trial.runs[&0].gpu_hours > 0.0);
            trial.runs[&0].ending.clone().unwrap()
        });
        (endings.collect(), told)
    }

    #[test]
    fn the_last_metric_counts_and_values_are_words_not_shell() {
        let (endings, told) = run(r#"echo '{"loss": 9}'; echo noise; echo "{\"loss\": $1}""#);
        for ending in endings {
            let Ending::Measured { metric } = ending else {
                panic!("{ending:?}")
            };
            assert!((1e-4..=1e-1).contains(&metric), "{metric}");
        }
        assert_eq!(told.len(), 6);
    }

    #[test]
    fn failures_say_why_and_the_search_goes_on() {
        let (endings, _) = run("echo out of memory >&2; exit 3");
        let reason = "exit code 3: out of memory".to_owned();
        assert_eq!(endings[0], Ending::Failed { reason });
        let (endings, _) = run(r#"echo '{"loss": null}'"#);
        assert!(matches!(&endings[2], Ending::Failed { reason } if reason.contains("\"loss\"")));
        let (endings, _) = run("kill -9 $$");
        assert!(matches!(&endings[1], Ending::Failed { reason } if reason.starts_with("signal 9")));
    }

    #[test]
    fn a_command_that_does_not_exist_is_said_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut study = study_of("");
        study.command[0] = "/no/such/program".to_owned();
        let error = work(&study, folder.path(), "w", 0, &mut |_| {}).unwrap_err();
        assert_eq!(error.to_string(), "cannot start \"/no/such/program\"");
    }

    #[test]
    fn holes_are_filled_once() {
        let study = study_of("");
        let values = BTreeMap::from([("rate".to_owned(), Value::Text("{trial}".to_owned()))]);
        let attempt = Attempt {
            study: &study,
            folder: Path::new("/t"),
            trial: 7,
            rung: 0,
            budget: 3,
            values: &values,
        };
        let filled = attempt.filled("{rate} {trial}/{budget}{dir} {other} {\"a\": 1} {");
        assert_eq!(filled, "{trial} 7/3/t {other} {\"a\": 1} {");
    }
}

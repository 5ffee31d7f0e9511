//! The file that says what is searched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::space::Parameter;

/// A study: a TOML file, parsed and checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Study {
    /// The command of a trial, a word each; `{name}` of a parameter, `{budget}` (what a rung may
    /// spend, as epochs), `{dir}` (the trial's folder) and `{trial}` are filled in.
    pub command: Vec<String>,
    /// The name under which the command prints its metric, in lines of JSON.
    pub metric: String,
    /// Whether less or more is better.
    #[serde(default)]
    pub goal: Goal,
    /// How values are chosen.
    #[serde(default)]
    pub method: Method,
    /// The seed of all that is drawn.
    #[serde(default)]
    pub seed: u64,
    /// How much may be spent.
    pub budget: Budget,
    /// What a rung gives a trial, and how many go on: only for ASHA.
    #[serde(default)]
    pub asha: Asha,
    /// What is varied.
    pub space: BTreeMap<String, Parameter>,
}

/// Whether less or more is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// Less, as of losses.
    #[default]
    Minimize,
    /// More, as of accuracies.
    Maximize,
}

/// How values are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Evenly over the space.
    #[default]
    Random,
    /// Evenly; trials begin small, and the best of each rung go on (arXiv 1810.05934).
    Asha,
    /// Where good trials were and bad ones were not (Bergstra and others, 2011).
    Tpe,
}

/// What may be spent: the first that is reached ends the search. Runs that were lost with their
/// workers count for nothing: nobody saw how long they ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Trials in all.
    pub trials: Option<u32>,
    /// Hours of GPUs: those that Slurm gave the worker, as long as commands ran.
    pub gpu_hours: Option<f64>,
    /// Watt hours, where commands print `energy_joules` beside their metric.
    pub energy_wh: Option<f64>,
}

/// The rungs of ASHA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Asha {
    /// What the first rung gives.
    pub min: u32,
    /// What the last gives.
    pub max: u32,
    /// One in so many goes on, with so many times more.
    pub factor: u32,
}

impl Default for Asha {
    fn default() -> Self {
        Self {
            min: 1,
            max: 27,
            factor: 3,
        }
    }
}

/// A study that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// It cannot be read.
    #[error("cannot read the study {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not TOML, or has unknown keys.
    #[error("{path} is not a study")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line, column and what is wrong.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A field says what cannot be.
    #[error("{path}: {problem}")]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Which, and why.
        problem: String,
    },
}

/// Names that are filled in and so cannot be those of parameters.
const RESERVED: [&str; 3] = ["budget", "dir", "trial"];

/// More rungs than this no study has; a limit for what follows from a file.
const RUNGS_MAX: usize = 32;

impl Study {
    /// Reads a study.
    ///
    /// # Errors
    /// [`StudyError`] says what is wrong with the file.
    pub fn read(path: &Path) -> Result<Self, StudyError> {
        let text = std::fs::read_to_string(path).map_err(|source| StudyError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let path = path.to_owned();
        let study: Self = match toml::from_str(&text) {
            Ok(study) => study,
            Err(source) => {
                let source = Box::new(source);
                return Err(StudyError::Malformed { path, source });
            }
        };
        match study.problem() {
            None => Ok(study),
            Some(problem) => Err(StudyError::Wrong { path, problem }),
        }
    }

    fn problem(&self) -> Option<String> {
        if self.command.first().is_none_or(String::is_empty) {
            return Some("command has no words".to_owned());
        }
        if self.space.is_empty() {
            return Some(
                "space has no parameters: add [space.NAME] with low and high, or values".to_owned(),
            );
        }
        for (name, parameter) in &self.space {
            if RESERVED.contains(&name.as_str()) {
                return Some(format!(
                    "{{{name}}} is filled in by mizar tune: call the parameter otherwise"
                ));
            }
            if let Some(problem) = parameter.problem() {
                return Some(format!("space.{name} {problem}"));
            }
            let hole = format!("{{{name}}}");
            if !self.command.iter().any(|word| word.contains(&hole)) {
                return Some(format!("command never uses {hole}"));
            }
        }
        let Asha { min, max, factor } = self.asha;
        if self.method == Method::Asha && (min == 0 || max < min || factor < 2) {
            return Some("asha needs 1 <= min <= max and factor >= 2".to_owned());
        }
        if self.method == Method::Asha && !self.command.iter().any(|word| word.contains("{budget}"))
        {
            return Some(
                "command never uses {budget}, by which asha begins trials small".to_owned(),
            );
        }
        let Budget {
            trials,
            gpu_hours,
            energy_wh,
        } = self.budget;
        if trials.is_none() && gpu_hours.is_none() && energy_wh.is_none() {
            return Some("budget has no limit: give trials, gpu_hours or energy_wh".to_owned());
        }
        let is_amount = |amount: Option<f64>| amount.is_none_or(|a| a.is_finite() && a > 0.0);
        if trials == Some(0) || !is_amount(gpu_hours) || !is_amount(energy_wh) {
            return Some("a limit of budget is not above 0".to_owned());
        }
        None
    }

    /// What each rung gives, the first first; for methods without rungs one of `max`.
    #[must_use]
    pub fn rungs(&self) -> Vec<u32> {
        let Asha { min, max, factor } = self.asha;
        if self.method != Method::Asha {
            return vec![max];
        }
        let next = |&rung: &u32| (rung < max).then(|| rung.saturating_mul(factor).min(max));
        std::iter::successors(Some(min), next)
            .take(RUNGS_MAX)
            .collect()
    }

    /// The better of two metrics first.
    #[must_use]
    pub fn compare(&self, left: f64, right: f64) -> std::cmp::Ordering {
        match self.goal {
            Goal::Minimize => left.total_cmp(&right),
            Goal::Maximize => right.total_cmp(&left),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const STUDY: &str = "command = ['train', '--rate={rate}', '--epochs={budget}']\n\
        metric = 'loss'\nseed = 3\n[budget]\ntrials = 9\n\
        [space.rate]\nlow = 1e-4\nhigh = 1e-1\nlog = true\n";

    pub(crate) fn study(text: &str) -> Result<Study, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("study.toml");
        std::fs::write(&path, text).unwrap();
        Study::read(&path).map_err(|error| {
            let source = std::error::Error::source(&error);
            format!(
                "{error} {}",
                source.map_or_else(String::new, ToString::to_string)
            )
        })
    }

    #[test]
    fn what_cannot_be_run_is_refused_with_its_reason() {
        assert!(study(STUDY).is_ok());
        for (from, to, expected) in [
            ("{rate}", "1", "command never uses {rate}"),
            ("trials = 9", "", "budget has no limit"),
            ("trials = 9", "gpu_hours = -1.0", "not above 0"),
            ("low = 1e-4", "low = 0.0", "not above 0"),
            ("high = 1e-1", "high = 1e-5", "low at or above high"),
            ("space.rate", "space.budget", "call the parameter otherwise"),
            ("metric", "metrics", "unknown field `metrics`"),
            (
                "seed = 3",
                "method = 'asha'\nasha = {min = 4, max = 2}",
                "asha needs",
            ),
            ("'train', ", "'', ", "command has no words"),
        ] {
            let said = study(&STUDY.replacen(from, to, 1)).unwrap_err();
            assert!(said.contains(expected), "{to}: {said}");
        }
    }

    #[test]
    fn rungs_grow_by_the_factor_and_end_with_the_greatest() {
        let rungs = |asha| study(&STUDY.replacen("seed = 3", asha, 1)).unwrap().rungs();
        assert_eq!(
            rungs("method = 'asha'\nasha = {min = 1, max = 27, factor = 3}"),
            [1, 3, 9, 27]
        );
        assert_eq!(
            rungs("method = 'asha'\nasha = {min = 2, max = 20, factor = 4}"),
            [2, 8, 20]
        );
        assert_eq!(rungs("asha = {min = 2, max = 20, factor = 4}"), [20]);
    }
}

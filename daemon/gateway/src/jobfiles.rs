//! What a job finds in its folder before it is submitted; [`mizar_slurm::jobfile`] writes it.

use std::path::Path;

use mizar_slurm::JobFile;

use crate::supervise::plan::{PLAN_FILE, Plan};

/// Name of the batch script of a planned job.
pub const BATCH_FILE: &str = "job.sh";

/// What a planned job's batch script runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verb {
    /// The supervisor: the plan, once.
    #[default]
    Supervise,
    /// A warm worker: the plan, for each call that the gateway gives it.
    Worker,
}

/// A job that the supervisor carries out.
#[derive(Clone, Debug, Default)]
pub struct Planned {
    /// Options of sbatch.
    pub options: Vec<(String, String)>,
    /// What its batch script runs.
    pub verb: Verb,
    /// What the supervisor does.
    pub plan: Plan,
    /// What it needs.
    pub files: Vec<JobFile>,
    /// Links from a path in the job's folder to a path of the node.
    pub links: Vec<(String, String)>,
}

/// The batch script of every planned job: it holds two words, both the site's.
#[must_use]
pub fn batch_script(supervisor: &Path, verb: Verb, folder: &Path) -> String {
    let verb = match verb {
        Verb::Supervise => "supervise",
        Verb::Worker => "worker",
    };
    format!(
        "#!/bin/sh\nexec {} {verb} {}\n",
        quoted(&supervisor.display().to_string()),
        quoted(&folder.display().to_string())
    )
}

/// One word for a shell, whatever is in it.
#[must_use]
pub fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// All files of a planned job that runs in `folder`: what it needs, its plan, its batch script.
#[must_use]
pub fn planned_files(planned: &Planned, folder: &Path, supervisor: &Path) -> Vec<JobFile> {
    let mut all = planned.files.clone();
    // Texts, numbers and lists of them: there is nothing that could not be written.
    let plan = serde_json::to_vec(&planned.plan).unwrap_or_default();
    all.push(JobFile::new(PLAN_FILE, plan));
    let script = batch_script(supervisor, planned.verb, folder);
    all.push(JobFile::program(BATCH_FILE, script));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]
        #[test]
        fn a_quoted_word_is_that_word_for_a_shell(word in "[^\0]{0,40}") {
            let output = std::process::Command::new("/bin/sh")
                .args(["-c", &format!("printf %s {}", quoted(&word))])
                .output()
                .unwrap();
            prop_assert_eq!(output.stdout, word.into_bytes());
        }
    }
}

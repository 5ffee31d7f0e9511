//! Jobs of other users by Slurm's commands: the helper submits and cancels them, and before the
//! first it is made sure that we shall see them. A look that cannot see a job takes it for lost,
//! and it would be submitted again.

use crate::answer::shorten;
use crate::cli::{read_submission, submit_arguments};
use crate::process::Finished;
use crate::{JobRef, QueryError, SlurmCli, SubmitAs, SubmitAsError, SubmitOutcome, SubmitRequest};

impl SlurmCli {
    /// Whether a job of `user` may be submitted at all.
    ///
    /// # Errors
    /// The outcome of a submission that is not to be.
    pub(crate) fn check_other(&self, user: &str) -> Result<(), SubmitOutcome> {
        if !self.settings().users.iter().any(|known| known == user) {
            return Err(SubmitOutcome::Refused(format!(
                "the job is of `{user}`, whose jobs the gateway does not follow"
            )));
        }
        if self.settings().is_operator || self.uid() == 0 {
            return Ok(());
        }
        let settings = self.site_settings();
        let settings = settings.map_err(|error| SubmitOutcome::Unavailable(error.to_string()))?;
        if hides_jobs(&settings) {
            return Err(SubmitOutcome::Refused(format!(
                "PrivateData of this site hides the jobs of `{user}` from us: make the gateway's \
                 user an operator in Slurm, and set slurm.is_operator = true"
            )));
        }
        Ok(())
    }

    /// Submits as another user.
    pub(crate) fn submit_as(&self, user: &str, request: &SubmitRequest) -> SubmitOutcome {
        let Some(helper) = &self.settings().submit_as else {
            // Rather no job than one with another's rights.
            return SubmitOutcome::Refused(format!(
                "the job is of `{user}`, and sbatch submits as `{}` alone: set slurm.submit_as, or \
                 slurmrestd with tokens of scontrol",
                self.user()
            ));
        };
        if let Err(outcome) = self.check_other(user) {
            return outcome;
        }
        let arguments = submit_arguments(request);
        match helper.submit(user, arguments, request.environment.clone()) {
            Ok(ran) => read_submission(&Finished {
                status: ran.code.map(status),
                complete: true,
                stdout: ran.stdout,
                stderr: ran.stderr,
            }),
            Err(error @ SubmitAsError::Lost(_)) => {
                SubmitOutcome::Unknown(mizar_core::chain(&error))
            }
            Err(SubmitAsError::Refused(why)) => SubmitOutcome::Refused(why),
            Err(error) => SubmitOutcome::Unavailable(mizar_core::chain(&error)),
        }
    }

    /// The owner of a job in the queue, unless that is us or nobody knows it.
    pub(crate) fn other_owner(&self, job: JobRef) -> Result<Option<String>, QueryError> {
        let arguments = [
            "--noheader".to_owned(),
            "--all".to_owned(),
            "--states=all".to_owned(),
            format!("--jobs={job}"),
            "--format=%u".to_owned(),
        ];
        let text = match self.ask("squeue", &arguments) {
            Ok(text) => text,
            Err(QueryError::Failed { message, .. }) if message.contains("Invalid job id") => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let owner = text.lines().next().unwrap_or_default().trim();
        let is_other = !owner.is_empty() && owner != self.user();
        Ok(is_other.then(|| owner.to_owned()))
    }
}

/// Cancels as another user.
pub(crate) fn cancel_as(helper: &SubmitAs, user: &str, job: JobRef) -> Result<(), QueryError> {
    let failed = |message: String| QueryError::Failed {
        program: "scancel".to_owned(),
        message,
    };
    let JobRef::Job(id) = job else {
        return Err(failed(format!(
            "{job} is a task of `{user}`, and only our own jobs are arrays"
        )));
    };
    match helper.cancel(user, id.0) {
        Ok(ran) if ran.code == Some(0) => Ok(()),
        Ok(ran) => Err(failed(shorten(&ran.stderr))),
        Err(error) => Err(failed(mizar_core::chain(&error))),
    }
}

/// An exit status of this code.
fn status(code: i32) -> std::process::ExitStatus {
    std::os::unix::process::ExitStatusExt::from_raw((code & 0xff) << 8)
}

/// Whether users without privileges see their own jobs only.
fn hides_jobs(settings: &str) -> bool {
    settings.lines().any(|line| {
        line.split_once('=').is_some_and(|(name, value)| {
            name.trim() == "PrivateData" && value.split(',').any(|one| one.trim() == "jobs")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_jobs_are_noticed() {
        assert!(hides_jobs("PrivateData             = accounts,jobs\n"));
        assert!(!hides_jobs(
            "PrivateData             = none\nPluginDir = jobs\n"
        ));
    }

    #[test]
    fn a_code_comes_back() {
        for code in [0, 1, 255] {
            assert_eq!(status(code).code(), Some(code));
        }
    }
}

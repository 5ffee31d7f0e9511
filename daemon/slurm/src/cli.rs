//! [`Scheduler`] through Slurm's own commands.
//!
//! Success of sbatch is its exit status together with a parsable id; what it writes to stderr
//! (a site's banner, say) is logged and decides nothing, except to tell the certain failures
//! from the uncertain ones.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::debug;

use crate::answer::{failure, shorten};
use crate::others::cancel_as;
use crate::process::{Finished, run};
use crate::table::Form;
use crate::{
    Capacity, JobId, JobRef, JobReport, Marker, QueryError, Scheduler, SubmitAs, SubmitOutcome,
    SubmitRequest, Way,
};
use crate::{array, capacity, table};

/// Most markers in one question to the accounting; their names travel in argv.
const ACCOUNT_CHUNK: usize = 400;

/// How far back the accounting is asked; sacct's own default is today's midnight.
const ACCOUNT_SINCE: &str = "now-60days";

/// Variables handed on to Slurm's commands, and through sbatch to the job. Everything else
/// stays here: the gateway's environment may hold secrets, and `SBATCH_*` would change jobs.
const KEPT_VARIABLES: [&str; 9] = [
    "HOME",
    "LANG",
    "LOGNAME",
    "PATH",
    "SHELL",
    "SLURM_CONF",
    "TZ",
    "USER",
    "LC_ALL",
];

/// Has squeue and sacct list the tasks of an array whole, and not their first 64 characters.
const WHOLE_TASK_LISTS: [&str; 2] = ["SLURM_BITSTR_LEN", "0"];

/// Whether the site keeps accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accounting {
    /// Ask sacct; it says so itself where there are none.
    #[default]
    Auto,
    /// Ask sacct, and take "no accounting" for a failure.
    On,
    /// Never ask.
    Off,
}

/// How Slurm's commands are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliSettings {
    /// Folder of the commands; none means PATH.
    pub bin_dir: Option<PathBuf>,
    /// `SLURM_CONF` for the commands; none means the gateway's own, or Slurm's default.
    pub conf: Option<PathBuf>,
    /// Limit of one sbatch.
    pub submit_limit: Duration,
    /// Limit of one squeue, sacct or scancel.
    pub query_limit: Duration,
    /// Whether to ask sacct.
    pub accounting: Accounting,
    /// Other users whose jobs with our marker are ours.
    pub users: Vec<String>,
    /// The helper that submits as them.
    pub submit_as: Option<SubmitAs>,
    /// The site shows us all users' jobs although `PrivateData` has `jobs`.
    pub is_operator: bool,
}

impl Default for CliSettings {
    fn default() -> Self {
        Self {
            bin_dir: None,
            conf: None,
            submit_limit: Duration::from_secs(40),
            query_limit: Duration::from_secs(40),
            accounting: Accounting::Auto,
            users: Vec::new(),
            submit_as: None,
            is_operator: false,
        }
    }
}

/// The name of this process's user; its number where it has none.
#[must_use]
pub fn own_user() -> String {
    let uid = nix::unistd::getuid();
    let user = nix::unistd::User::from_uid(uid).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

/// Slurm, through sbatch, squeue, sacct and scancel.
#[derive(Clone, Debug)]
pub struct SlurmCli {
    settings: CliSettings,
    environment: Vec<(String, String)>,
    uid: u32,
    user: String,
    why: String,
}

impl SlurmCli {
    /// A client for this process's user.
    #[must_use]
    pub fn new(settings: CliSettings) -> Self {
        let mut environment: Vec<_> = KEPT_VARIABLES
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
            .collect();
        if let Some(conf) = &settings.conf {
            environment.retain(|(name, _)| name != "SLURM_CONF");
            environment.push(("SLURM_CONF".to_owned(), conf.display().to_string()));
        }
        Self {
            settings,
            environment,
            uid: nix::unistd::getuid().as_raw(),
            why: String::new(),
            user: own_user(),
        }
    }

    /// Says why jobs go this way.
    #[must_use]
    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    pub(crate) fn settings(&self) -> &CliSettings {
        &self.settings
    }

    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }

    /// The name of this process's user; its number where it has none.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// What every command, and through sbatch every job, has in its environment.
    pub(crate) fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// Has slurmctld sign a token for `user`.
    pub(crate) fn token(&self, user: &str, lifespan: Duration) -> Result<String, QueryError> {
        let mut arguments = vec![
            "token".to_owned(),
            format!("lifespan={}", lifespan.as_secs()),
        ];
        if user != self.user {
            arguments.push(format!("username={user}"));
        }
        self.ask("scontrol", &arguments)
    }

    /// The settings of this cluster, as `scontrol show config` lists them.
    pub(crate) fn site_settings(&self) -> Result<String, QueryError> {
        self.ask("scontrol", &["show".to_owned(), "config".to_owned()])
    }

    /// Our number and the names of those whose jobs are ours, for squeue and sacct.
    fn users(&self) -> String {
        let mut all = self.uid.to_string();
        for user in &self.settings.users {
            all.push(',');
            all.push_str(user);
        }
        all
    }

    fn program(&self, name: &str) -> PathBuf {
        self.settings
            .bin_dir
            .as_deref()
            .map_or_else(|| PathBuf::from(name), |dir| dir.join(name))
    }

    /// Runs a question and returns stdout of a success.
    pub(crate) fn ask(&self, name: &str, arguments: &[String]) -> Result<String, QueryError> {
        let program = self.program(name);
        let limit = self.settings.query_limit;
        let mut environment = self.environment.clone();
        environment.push(WHOLE_TASK_LISTS.map(str::to_owned).into());
        let done = run(&program, arguments, &environment, None, limit)
            .map_err(|source| QueryError::Start { program, source })?;
        match done.status {
            Some(status) if status.success() && done.complete => Ok(done.stdout),
            Some(status) if status.success() => Err(QueryError::Failed {
                program: name.to_owned(),
                message: "its output was cut short".to_owned(),
            }),
            Some(_) => Err(QueryError::Failed {
                program: name.to_owned(),
                message: complaint(&done),
            }),
            None => Err(QueryError::TimedOut {
                program: name.to_owned(),
                limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
            }),
        }
    }

    fn read_table(name: &str, form: Form, text: &str) -> Result<Vec<JobReport>, QueryError> {
        table::jobs(form, text).map_err(|line| QueryError::Format {
            program: name.to_owned(),
            line: shorten(line),
        })
    }
}

impl Scheduler for SlurmCli {
    fn submit(&self, request: &SubmitRequest) -> SubmitOutcome {
        if let Some(user) = request.user.as_deref().filter(|user| *user != self.user) {
            return self.submit_as(user, request);
        }
        let mut environment = self.environment.clone();
        environment.extend(request.environment.iter().cloned());
        let program = self.program("sbatch");
        let limit = self.settings.submit_limit;
        let arguments = submit_arguments(request);
        match run(
            &program,
            &arguments,
            &environment,
            Some(&request.directory),
            limit,
        ) {
            Ok(done) => {
                let outcome = read_submission(&done);
                if !done.stderr.is_empty() {
                    debug!(marker = %request.marker, stderr = %shorten(&done.stderr), "sbatch wrote to stderr");
                }
                outcome
            }
            Err(error) => {
                SubmitOutcome::Unavailable(format!("cannot run {}: {error}", program.display()))
            }
        }
    }

    fn queue(&self) -> Result<Vec<JobReport>, QueryError> {
        // By uid, of all states and partitions: one question for all jobs of ours.
        let arguments = [
            "--noheader".to_owned(),
            "--all".to_owned(),
            "--states=all".to_owned(),
            format!("--user={}", self.users()),
            format!("--Format={}", table::QUEUE_FORMAT),
        ];
        Self::read_table("squeue", Form::Queue, &self.ask("squeue", &arguments)?)
    }

    fn accounted(&self, markers: &[Marker]) -> Result<Vec<JobReport>, QueryError> {
        let mut found = Vec::new();
        if self.settings.accounting == Accounting::Off {
            return Ok(found);
        }
        for chunk in markers.chunks(ACCOUNT_CHUNK) {
            let names: Vec<_> = chunk.iter().map(ToString::to_string).collect();
            let arguments = [
                "--noheader".to_owned(),
                "--parsable2".to_owned(),
                "--allocations".to_owned(),
                format!("--uid={}", self.users()),
                format!("--starttime={ACCOUNT_SINCE}"),
                format!("--format={}", table::ACCOUNT_FORMAT),
                format!("--name={}", names.join(",")),
            ];
            match self.ask("sacct", &arguments) {
                Ok(text) => found.extend(Self::read_table("sacct", Form::Account, &text)?),
                Err(QueryError::Failed { message, .. })
                    if self.settings.accounting == Accounting::Auto
                        && message.contains("accounting storage is disabled") =>
                {
                    return Ok(Vec::new());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn capacity(&self) -> Result<Capacity, QueryError> {
        let arguments = [
            "--noheader".to_owned(),
            "--all".to_owned(),
            "--Node".to_owned(),
            format!("--Format={}", capacity::NODE_FORMAT),
        ];
        let text = self.ask("sinfo", &arguments)?;
        capacity::capacity(&text).map_err(|line| QueryError::Format {
            program: "sinfo".to_owned(),
            line: shorten(line),
        })
    }

    fn way(&self) -> Way {
        Way {
            via: "sbatch".to_owned(),
            why: self.why.clone(),
        }
    }

    fn cancel(&self, job: JobRef) -> Result<(), QueryError> {
        if let Some(helper) = &self.settings.submit_as
            && let Some(user) = self.other_owner(job)?
        {
            return cancel_as(helper, &user, job);
        }
        self.ask("scancel", &["--quiet".to_owned(), job.to_string()])
            .map(drop)
    }
}

/// The argument vector of sbatch: options, then the script, which ends them, then its own.
pub(crate) fn submit_arguments(request: &SubmitRequest) -> Vec<String> {
    let marker = request.marker.to_string();
    let directory = request.directory.display();
    let mut arguments = vec![
        "--parsable".to_owned(),
        // The comment is what people see; the name is what every accounting keeps.
        format!("--comment={marker}"),
        format!("--job-name={marker}"),
        format!("--chdir={directory}"),
        // Its existence proves that the job started, even if Slurm forgets the job.
        format!("--output={}", output_pattern(request)),
    ];
    if !request.tasks.is_empty() {
        arguments.push(format!("--array={}", array::spec(&request.tasks)));
    }
    for (name, value) in &request.options {
        arguments.push(if value.is_empty() {
            format!("--{name}")
        } else {
            format!("--{name}={value}")
        });
    }
    arguments.push(request.script.display().to_string());
    arguments.extend(request.arguments.iter().cloned());
    arguments
}

const OUTPUT_PREFIX: &str = "slurm-";
const OUTPUT_SUFFIX: &str = ".out";

/// Where a job, or each task of one, writes, for Slurm to fill in.
pub(crate) fn output_pattern(request: &SubmitRequest) -> String {
    let directory = request.directory.display();
    let of_task = if request.tasks.is_empty() { "" } else { "%a/" };
    format!("{directory}/{of_task}{OUTPUT_PREFIX}%j{OUTPUT_SUFFIX}")
}

/// The name of a job's output file in its folder.
#[must_use]
pub fn output_name(job: JobId) -> String {
    format!("{OUTPUT_PREFIX}{job}{OUTPUT_SUFFIX}")
}

/// Jobs whose output file lies in `directory`: they started, whatever Slurm remembers.
///
/// # Errors
/// If the folder exists and cannot be read.
pub fn started_jobs(directory: &Path) -> std::io::Result<Vec<JobId>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number: Option<JobId> = name.to_str().and_then(|name| {
            name.strip_prefix(OUTPUT_PREFIX)?
                .strip_suffix(OUTPUT_SUFFIX)?
                .parse()
                .ok()
        });
        found.extend(number);
    }
    found.sort_unstable();
    Ok(found)
}

pub(crate) fn read_submission(done: &Finished) -> SubmitOutcome {
    match done.status {
        Some(status) if status.success() => match parsable_id(&done.stdout) {
            Some(id) => SubmitOutcome::Submitted(id),
            None => SubmitOutcome::Unknown(format!(
                "sbatch succeeded without a job id: `{}`",
                shorten(&done.stdout)
            )),
        },
        Some(_) => failure(&done.stderr, complaint(done)),
        None => SubmitOutcome::Unknown("sbatch did not end in time and was killed".to_owned()),
    }
}

/// Reads `id` or `id;cluster`, the last line of stdout: a site's wrapper may print before it.
fn parsable_id(stdout: &str) -> Option<JobId> {
    let line = stdout.lines().rev().find(|line| !line.trim().is_empty())?;
    line.trim().split(';').next()?.parse().ok()
}

/// The line of stderr that says most: the last one, or the exit status.
fn complaint(done: &Finished) -> String {
    let last = done
        .stderr
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty() && !line.starts_with("Try \""));
    match (last, done.status) {
        (Some(line), _) => shorten(line.trim()),
        (None, Some(status)) => status.to_string(),
        (None, None) => "killed at the time limit".to_owned(),
    }
}

#[cfg(test)]
#[path = "cli_tests.rs"]
mod tests;

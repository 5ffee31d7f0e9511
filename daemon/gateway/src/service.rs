//! Services: which events become which job, checked when the gateway starts.
//!
//! A service names a filter, a script and the typed values of an event that the script gets
//! as arguments. Nothing here is a template: a value is an argument, never part of a line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mizar_slurm::marker::is_label;
use serde::{Deserialize, Serialize};

use crate::condition::{AllOf, Batch};
use crate::event::Event;
use crate::ledger::{Member, Rule};
use crate::parameter::{Parameter, is_known, look_up};
use crate::sql::{Expression, Type};

/// Most services of one gateway.
pub const MAX_SERVICES: usize = 1000;

/// Most tasks of one array.
const MAX_TASKS: u32 = mizar_slurm::array::MAX_INDEX;

/// Options of sbatch that a service may set. Everything that runs code, writes files, changes
/// identity or hides the job from us is deliberately absent.
pub const ALLOWED_OPTIONS: [&str; 31] = [
    "account",
    "constraint",
    "contiguous",
    "core-spec",
    "cores-per-socket",
    "cpus-per-gpu",
    "cpus-per-task",
    "exclusive",
    "gpus",
    "gpus-per-node",
    "gpus-per-task",
    "gres",
    "hint",
    "licenses",
    "mem",
    "mem-per-cpu",
    "mem-per-gpu",
    "mizar",
    "nice",
    "no-requeue",
    "nodes",
    "ntasks",
    "ntasks-per-core",
    "ntasks-per-node",
    "overcommit",
    "partition",
    "qos",
    "requeue",
    "reservation",
    "time",
    "tmp",
];

/// One service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// A DNS label; part of the job's marker.
    pub name: String,
    /// The sources whose events it wants; without them, events from everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// Which events it wants.
    #[serde(default)]
    pub filter: Filter,
    /// The batch script: an absolute path, used as it is.
    pub script: PathBuf,
    /// The script's arguments, in order.
    #[serde(default)]
    pub args: Vec<Parameter>,
    /// One job for one event of each kind; the filters are in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_of: Option<AllOf>,
    /// One job for many events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
    /// So many events of a burst go to Slurm as the tasks of one job array; without it each is a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array: Option<u32>,
    /// Options of sbatch by their long names; `true` is a bare flag.
    #[serde(default)]
    pub sbatch: BTreeMap<String, OptionValue>,
}

/// The value of an sbatch option.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OptionValue {
    /// A bare flag if true, absent if false.
    Flag(bool),
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
}

/// Which events a service wants; every key that is set must hold. `source`, `type` and
/// `bucket` may end in `*`. Without a type, and without `type` in the SQL, removals of objects do
/// not match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// CloudEvents source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// CloudEvents type.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Bucket of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// Start of the object's key, or of the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// End of the object's key, or of the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix: Option<String>,
    /// CloudEvents SQL that must be true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<Expression>,
    /// Values in the event's data by their paths, as `payload.scope`; each may end in `*`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
}

/// A file of services.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceFile {
    #[serde(default)]
    service: Vec<Service>,
}

/// Why a file of services is refused.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// It cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It is not TOML of the right shape.
    #[error("{}: {message}", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the parser said, with the place.
        message: String,
    },
    /// A service contradicts a rule.
    #[error("service `{service}`: {problem}")]
    Invalid {
        /// The service.
        service: String,
        /// The rule.
        problem: String,
    },
}

/// Reads and checks files of services, YAML if the name says so, else TOML; then those of fragments.
///
/// # Errors
/// [`ServiceError`] for the first thing that is wrong.
pub fn load(paths: &[PathBuf], included: &[Service]) -> Result<Vec<Service>, ServiceError> {
    let mut found: Vec<Service> = Vec::new();
    for path in paths {
        found.extend(parse_file(path)?);
    }
    found.extend_from_slice(included);
    let mut services: Vec<Service> = Vec::new();
    for service in found {
        service.check()?;
        if services.iter().any(|other| other.name == service.name) {
            return Err(service.invalid("is defined twice"));
        }
        services.push(service);
    }
    match services.get(MAX_SERVICES) {
        Some(service) => Err(service.invalid(format!("is one more than {MAX_SERVICES}"))),
        None => Ok(services),
    }
}

fn parse_file(path: &Path) -> Result<Vec<Service>, ServiceError> {
    let text = std::fs::read_to_string(path).map_err(|source| ServiceError::Read {
        path: path.to_owned(),
        source,
    })?;
    let yaml = path
        .extension()
        .is_some_and(|end| end == "yaml" || end == "yml");
    let parsed: Result<ServiceFile, String> = if yaml {
        serde_saphyr::from_str(&text).map_err(|error| error.to_string())
    } else {
        toml::from_str(&text).map_err(|error| error.to_string())
    };
    parsed
        .map(|file| file.service)
        .map_err(|message| ServiceError::Parse {
            path: path.to_owned(),
            message,
        })
}

impl Service {
    fn invalid(&self, problem: impl Into<String>) -> ServiceError {
        ServiceError::Invalid {
            service: self.name.clone(),
            problem: problem.into(),
        }
    }

    /// Checks everything that can be known before an event comes.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`].
    pub fn check(&self) -> Result<(), ServiceError> {
        if !is_label(&self.name) {
            return Err(self.invalid("the name must be a DNS label: a-z, 0-9 and inner hyphens"));
        }
        let script = self.script.to_str().unwrap_or_default();
        if !script.starts_with('/') || script.chars().any(char::is_control) {
            return Err(self.invalid("`script` must be an absolute path"));
        }
        if !self.script.is_file() {
            return Err(self.invalid(format!("there is no script {script}")));
        }
        self.filter
            .check()
            .map_err(|problem| self.invalid(format!("filter: {problem}")))?;
        self.check_condition()?;
        if let Some(most) = self.array
            && !(2..=MAX_TASKS).contains(&most)
        {
            return Err(self.invalid(format!(
                "`array` must be 2 to {MAX_TASKS}, and at most Slurm's MaxArraySize less 1"
            )));
        }
        for parameter in &self.args {
            parameter.check().map_err(|problem| {
                self.invalid(format!("argument `{}`: {problem}", parameter.name))
            })?;
        }
        for (name, value) in &self.sbatch {
            if !ALLOWED_OPTIONS.contains(&name.as_str()) {
                let allowed = ALLOWED_OPTIONS.join(", ");
                return Err(self.invalid(format!(
                    "the sbatch option `{name}` is not allowed; allowed are {allowed}"
                )));
            }
            if let OptionValue::Text(text) = value
                && (text.is_empty() || text.chars().any(char::is_control))
            {
                return Err(self.invalid(format!(
                    "the value of the sbatch option `{name}` is empty or holds a control character"
                )));
            }
        }
        Ok(())
    }

    fn check_condition(&self) -> Result<(), ServiceError> {
        if self.all_of.is_some() && self.batch.is_some() {
            return Err(self.invalid("give `all_of` or `batch`, not both"));
        }
        if self.all_of.is_some() && self.filter != Filter::default() {
            return Err(self.invalid("with `all_of` the filters are in it: leave out `filter`"));
        }
        if let Some(all_of) = &self.all_of {
            all_of
                .check()
                .map_err(|problem| self.invalid(format!("all_of: {problem}")))?;
        }
        if let Some(batch) = &self.batch {
            batch
                .check()
                .map_err(|problem| self.invalid(format!("batch: {problem}")))?;
        }
        Ok(())
    }

    /// Whether it takes what a source fetched, or with None what came by HTTP.
    #[must_use]
    pub fn takes_from(&self, source: Option<&str>) -> bool {
        let is_named = |source| self.sources.iter().any(|one| one == source);
        self.sources.is_empty() || source.is_some_and(is_named)
    }

    /// Whether the service wants an event; if its job needs others too, what it is among them.
    #[must_use]
    pub fn wants(&self, event: &Event) -> Option<Option<Member>> {
        match (&self.all_of, &self.batch) {
            (Some(all_of), _) => all_of.member(event).map(Some),
            (None, _) if !self.filter.matches(event) => None,
            (None, Some(batch)) => batch.member(event).map(Some),
            (None, None) => Some(None),
        }
    }

    /// The rule by which its events make jobs together.
    #[must_use]
    pub fn rule(&self) -> Option<Rule> {
        let all_of = self.all_of.as_ref().map(AllOf::rule);
        all_of.or_else(|| self.batch.as_ref().map(Batch::rule))
    }

    /// The options as (name, value) for the scheduler.
    #[must_use]
    pub fn options(&self) -> Vec<(String, String)> {
        self.sbatch
            .iter()
            .filter_map(|(name, value)| {
                let value = match value {
                    OptionValue::Flag(false) => return None,
                    OptionValue::Flag(true) => String::new(),
                    OptionValue::Number(number) => number.to_string(),
                    OptionValue::Text(text) => text.clone(),
                };
                Some((name.clone(), value))
            })
            .collect()
    }
}

impl Filter {
    /// Whether the event is wanted.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        let object = event.object.as_ref();
        let holds = |pattern: &Option<String>, value: Option<&str>| {
            pattern
                .as_ref()
                .is_none_or(|pattern| value.is_some_and(|value| same(pattern, value)))
        };
        let path = object
            .map(|object| object.key.as_str())
            .or(event.subject.as_deref());
        let part = |wanted: &Option<String>, test: fn(&str, &str) -> bool| {
            wanted
                .as_ref()
                .is_none_or(|wanted| path.is_some_and(|path| test(path, wanted)))
        };
        // A service that did not ask for removals has no use for an object that is gone.
        let removal = object.is_some_and(crate::event::StoredObject::is_removal);
        let asked = |sql: &Expression| sql.mentions("type");
        (self.kind.is_some() || !removal || self.sql.as_ref().is_some_and(asked))
            && holds(&self.source, Some(&event.source))
            && holds(&self.kind, Some(&event.kind))
            && holds(&self.bucket, object.map(|object| object.bucket.as_str()))
            && part(&self.prefix, |path, wanted| path.starts_with(wanted))
            && part(&self.suffix, |path, wanted| path.ends_with(wanted))
            && self
                .sql
                .as_ref()
                .is_none_or(|sql| sql.passes(&event.document))
            && self.data.iter().all(|(path, wanted)| {
                look_up(event, &format!("data.{path}")).is_some_and(|found| same(wanted, &found))
            })
    }

    /// Checks what reading it does not.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        if let Some(path) = self
            .data
            .keys()
            .find(|path| !is_known(&format!("data.{path}")))
        {
            return Err(format!("`data` has the path `{path}`, which names nothing"));
        }
        match self.sql.as_ref().and_then(Expression::gives) {
            Some(kind) if kind != Type::Boolean => Err(format!(
                "the SQL gives {kind}, and a filter needs {}",
                Type::Boolean
            )),
            _ => Ok(()),
        }
    }
}

/// Equal, or equal up to a final `*`.
fn same(pattern: &str, value: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => value.starts_with(start),
        None => value == pattern,
    }
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;

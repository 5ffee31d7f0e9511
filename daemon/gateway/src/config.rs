//! The gateway's configuration: one TOML file, checked as a whole before anything starts.

mod limits;
mod slurm;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::audit::Audit;
use crate::auth::Tokens;
use crate::container_runtime::Containers;
use crate::fragment::{self, FirstFlow, Fragment};
use crate::identity::Identity;
use crate::interlink::Interlink;
use crate::oscar::{Oscar, Users};
use crate::service::{Service, ServiceError};
use crate::sources::Source;
use crate::tls::Tls;
use crate::webhook::Webhook;

pub use limits::Limits;
pub use slurm::Slurm;

/// The file, as it is written. Paths may be relative to its folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address to listen at.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Folder of the ledger, on a local disk.
    pub state_dir: PathBuf,
    /// Folder of the jobs' event files and outputs, shared with the compute nodes.
    pub work_dir: PathBuf,
    /// Files of services, TOML or YAML.
    #[serde(default)]
    pub services: Vec<PathBuf>,
    /// Fragments with sources and services, or folders of them; what they hold is shown as ours.
    #[serde(default, skip_serializing)]
    pub include: Vec<PathBuf>,
    /// File with the accepted bearer tokens, one per line, readable by its owner only. Without
    /// it everybody is let in, which is accepted on a loopback address only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Who may call, beside those with a token of the file, and as which Unix user.
    #[serde(default, skip_serializing_if = "Identity::is_empty")]
    pub identity: Identity,
    /// TLS at the address; without it plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Where it is written down who changed what, and who was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
    /// What bounds intake.
    #[serde(default)]
    pub limits: Limits,
    /// How Slurm is driven.
    #[serde(default)]
    pub slurm: Slurm,
    /// How containers of pods and of OSCAR's services are run.
    #[serde(default)]
    pub containers: Containers,
    /// The interLink API; without the table it is not served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interlink: Option<Interlink>,
    /// The OSCAR API; without the table it is not served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oscar: Option<Oscar>,
    /// Where events are fetched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Source>,
    /// Who is told what happens to jobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<Webhook>,
    /// What the fragments hold besides sources.
    #[serde(skip)]
    pub included: Included,
}

/// What fragments hold besides sources.
#[derive(Clone, Debug, Default)]
pub struct Included {
    /// Services, beside those of `services`.
    pub services: Vec<Service>,
    /// How fast services are until somebody says otherwise.
    pub flows: Vec<FirstFlow>,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8742))
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
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
    /// A value contradicts a rule.
    #[error("`{key}` {problem}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// The rule.
        problem: String,
    },
    /// A file of services is refused.
    #[error(transparent)]
    Services(#[from] ServiceError),
}

fn invalid(key: &'static str, problem: impl Into<String>) -> ConfigError {
    ConfigError::Invalid {
        key,
        problem: problem.into(),
    }
}

impl Config {
    /// Reads the file and resolves its paths; services and tokens are read by their own calls.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_without(path, None)
    }

    /// The same without one of its fragments, which is about to be replaced.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load_without(path: &Path, fragment: Option<&Path>) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut config: Self = toml::from_str(&text).map_err(|error| ConfigError::Parse {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
        let folder = std::path::absolute(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        config.resolve(folder.parent().unwrap_or(Path::new("/")));
        for path in fragment::files(&config.include, fragment)? {
            config.add(Fragment::read(&path)?);
        }
        config.check()?;
        Ok(config)
    }

    /// Takes what a fragment holds.
    pub fn add(&mut self, fragment: Fragment) {
        self.sources.extend(fragment.sources);
        self.included.services.extend(fragment.service);
        self.included.flows.extend(fragment.flow);
    }

    fn resolve(&mut self, folder: &Path) {
        let paths = [&mut self.state_dir, &mut self.work_dir].into_iter();
        let users = self.oscar.as_mut();
        let users = users.and_then(|oscar| oscar.user_file.as_mut());
        let supervisor = &mut self.containers.supervisor;
        let files = self.services.iter_mut().chain(&mut self.include);
        let more = paths.chain(files).chain(&mut self.token_file);
        let socket = self.interlink.as_mut();
        let socket = socket.and_then(|interlink| interlink.socket.as_mut());
        let rest = self.slurm.slurmrestd.as_mut();
        let slurm_token = rest.and_then(|rest| rest.token_file.as_mut());
        let more = more.chain(supervisor).chain(users).chain(socket);
        for path in more.chain(slurm_token) {
            *path = folder.join(&path);
        }
        self.identity.resolve(folder);
        if let Some(tls) = &mut self.tls {
            tls.resolve(folder);
        }
        if let Some(audit) = &mut self.audit {
            audit.file = folder.join(&audit.file);
        }
        for source in &mut self.sources {
            source.resolve(folder);
        }
        for webhook in &mut self.webhooks {
            webhook.resolve(folder);
        }
    }

    /// Checks what does not need the disk.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn check(&self) -> Result<(), ConfigError> {
        let work_dir = self.work_dir.to_str().unwrap_or_default();
        // Slurm expands `%` and `\` in the name of an output file.
        if work_dir.is_empty()
            || work_dir.contains(['%', '\\'])
            || work_dir.chars().any(char::is_control)
        {
            return Err(invalid(
                "work_dir",
                "must be plain text without `%` and `\\`",
            ));
        }
        self.identity
            .check()
            .map_err(|problem| invalid("identity", problem))?;
        let is_open = self.token_file.is_none()
            && self.identity.issuers.is_empty()
            && !self.has_certificates();
        if is_open && !self.listen.ip().is_loopback() {
            return Err(invalid(
                "token_file",
                "(or an issuer in [identity], or tls.client_ca) is needed to listen on other than a loopback address",
            ));
        }
        let positive = [
            ("limits.body_bytes", self.limits.body_bytes as u64),
            ("limits.batch_events", self.limits.batch_events as u64),
            ("limits.nesting", self.limits.nesting as u64),
            ("limits.queue_events", self.limits.queue_events),
            ("limits.connections", self.limits.connections as u64),
            ("limits.header_ms", self.limits.header_ms),
            ("limits.request_ms", self.limits.request_ms),
            ("limits.changes", u64::from(self.limits.changes)),
            ("limits.heartbeat_ms", self.limits.heartbeat_ms),
            ("limits.stall_ms", self.limits.stall_ms),
            ("slurm.submit_parallel", self.slurm.submit_parallel as u64),
            ("slurm.submit_ms", self.slurm.submit_ms),
            ("slurm.query_ms", self.slurm.query_ms),
            ("slurm.poll_ms", self.slurm.poll_ms),
            ("slurm.backoff_ms", self.slurm.backoff_ms),
            ("slurm.max_attempts", u64::from(self.slurm.max_attempts)),
        ];
        if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(invalid(key, "must be at least 1"));
        }
        // serde_json stops at 128 by itself.
        if self.limits.nesting > 120 {
            return Err(invalid("limits.nesting", "must be at most 120"));
        }
        let planned = self.interlink.is_some() || self.oscar.is_some();
        if planned && work_dir.contains([':', ',']) {
            return Err(invalid(
                "work_dir",
                "must be without `:` and `,`, which part mounts",
            ));
        }
        if let Some(interlink) = &self.interlink {
            interlink
                .check()
                .map_err(|problem| invalid("interlink", problem))?;
        }
        if let Some(oscar) = &self.oscar {
            oscar.check().map_err(|problem| invalid("oscar", problem))?;
            if oscar.user_file.is_none() && self.identity.users.is_empty() {
                return Err(invalid(
                    "oscar",
                    "needs a user_file, or users in [identity]",
                ));
            }
        }
        crate::way::check(&self.slurm).map_err(|problem| invalid("slurm.slurmrestd", problem))?;
        crate::sources::check(&self.sources).map_err(|problem| invalid("sources", problem))?;
        crate::webhook::check(&self.webhooks, &self.limits)
            .map_err(|problem| invalid("webhooks", problem))?;
        // Every listener has a connection; some must be left for events.
        if self.limits.listeners >= self.limits.connections {
            return Err(invalid(
                "limits.listeners",
                "must be less than limits.connections",
            ));
        }
        if self.slurm.submit_parallel > 64 {
            return Err(invalid("slurm.submit_parallel", "must be at most 64"));
        }
        Ok(())
    }

    /// Whether connections prove who is at their other end.
    #[must_use]
    pub fn has_certificates(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some())
    }

    /// Where the ledger lies.
    #[must_use]
    pub fn ledger_path(&self) -> PathBuf {
        self.state_dir.join("ledger.sqlite")
    }

    /// How long a request may take until its answer begins: those that wait for a job, longer.
    #[must_use]
    pub fn request_limit(&self, path: &str) -> Duration {
        let usual = Duration::from_millis(self.limits.request_ms);
        match &self.oscar {
            Some(oscar) if path.starts_with("/run/") => usual + Duration::from_millis(oscar.run_ms),
            _ => usual,
        }
    }

    /// The supervisor as the nodes see it.
    #[must_use]
    pub fn supervisor(&self) -> PathBuf {
        let own = || std::env::current_exe().unwrap_or_else(|_| PathBuf::from("mizar-gateway"));
        self.containers.supervisor.clone().unwrap_or_else(own)
    }

    /// Reads the users of the OSCAR API; None without it.
    ///
    /// # Errors
    /// [`ConfigError`] if others may read the file, or it holds no user.
    pub fn load_oscar_users(&self) -> Result<Option<Users>, ConfigError> {
        let users = self.oscar.as_ref();
        let Some(path) = users.and_then(|oscar| oscar.user_file.as_ref()) else {
            return Ok(None);
        };
        let text = read_secret("oscar.user_file", path)?;
        Users::parse(&text)
            .map(Some)
            .map_err(|problem| invalid("oscar.user_file", problem))
    }

    /// The Unix users that callers can be, each once.
    #[must_use]
    pub fn users(&self) -> Vec<String> {
        let named = self.identity.users.iter().map(|rule| rule.user.clone());
        named.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Reads the token for slurmrestd, which is read again when used.
    ///
    /// # Errors
    /// [`ConfigError`] if others may read the file.
    pub fn check_slurm_token(&self) -> Result<(), ConfigError> {
        let rest = self.slurm.slurmrestd.as_ref();
        match rest.and_then(|rest| rest.token_file.as_deref()) {
            Some(path) => read_secret("slurm.slurmrestd.token_file", path).map(drop),
            None => Ok(()),
        }
    }

    /// Reads the sources' files with what proves who asks; they are read again when used.
    ///
    /// # Errors
    /// [`ConfigError`] if others may read one, or it does not hold what it should.
    pub fn check_source_secrets(&self) -> Result<(), ConfigError> {
        self.sources.iter().try_for_each(|source| {
            source
                .check_secret()
                .map_err(|problem| invalid("sources", format!("`{}`: {problem}", source.name())))
        })
    }

    /// Reads the webhooks' files with their secrets; they are read again when used.
    ///
    /// # Errors
    /// [`ConfigError`] if others may read one, or it does not hold what it should.
    pub fn check_webhook_secrets(&self) -> Result<(), ConfigError> {
        self.webhooks.iter().try_for_each(|webhook| {
            webhook
                .secrets()
                .map(drop)
                .map_err(|problem| invalid("webhooks", format!("`{}`: {problem}", webhook.name)))
        })
    }

    /// Reads the services.
    ///
    /// # Errors
    /// [`ConfigError::Services`].
    pub fn load_services(&self) -> Result<Vec<Service>, ConfigError> {
        let found = crate::service::load(&self.services, &self.included.services)?;
        for service in &found {
            let is_known = |name: &String| self.sources.iter().any(|one| one.name() == name);
            if let Some(name) = service.sources.iter().find(|name| !is_known(name)) {
                let problem = format!("`{}`: there is no source `{name}`", service.name);
                return Err(invalid("services", problem));
            }
        }
        Ok(found)
    }

    /// Reads the tokens; None where everybody is let in.
    ///
    /// # Errors
    /// [`ConfigError`] if others may read the file, or it holds no usable token.
    pub fn load_tokens(&self) -> Result<Option<Tokens>, ConfigError> {
        let Some(path) = &self.token_file else {
            return Ok(None);
        };
        let text = read_secret("token_file", path)?;
        Tokens::parse(&text)
            .map(Some)
            .map_err(|problem| invalid("token_file", problem))
    }
}

/// Reads a file that its owner alone may read.
pub(crate) fn read_secret(key: &'static str, path: &Path) -> Result<String, ConfigError> {
    let read = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let mode = std::fs::metadata(path).map_err(read)?.permissions().mode();
    if mode & 0o077 != 0 {
        let problem = format!(
            "{} has mode {:o}; make it 600",
            path.display(),
            mode & 0o777
        );
        return Err(invalid(key, problem));
    }
    std::fs::read_to_string(path).map_err(read)
}

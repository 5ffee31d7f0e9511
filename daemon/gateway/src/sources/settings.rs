//! The tables `[[sources]]` of the configuration, and the files with what proves who asks.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use mizar_http::s3::Keys;
use mizar_slurm::marker::is_label;

use super::{amqp, cron, dcache, directory, kafka, mqtt, nats, s3_poll, sqs, stomp};
use crate::config::read_secret;

/// Most sources of one gateway.
pub const MAX_SOURCES: usize = 64;

/// The virtual host of brokers that have such.
pub(super) fn default_vhost() -> String {
    "/".to_owned()
}

/// Most messages that a broker has on their way without acknowledgement.
pub(super) fn default_prefetch() -> u16 {
    100
}

/// One source, by its kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Source {
    /// A folder.
    Directory(directory::Settings),
    /// The clock.
    Cron(cron::Settings),
    /// A bucket that is listed.
    S3Poll(s3_poll::Settings),
    /// Topics of an MQTT broker.
    Mqtt(mqtt::Settings),
    /// A consumer of JetStream, or a subject of NATS.
    Nats(nats::Settings),
    /// A queue of an AMQP 0.9.1 broker.
    Amqp(amqp::Settings),
    /// A destination of a STOMP 1.2 broker.
    Stomp(stomp::Settings),
    /// A queue of SQS.
    Sqs(sqs::Settings),
    /// A folder of dCache.
    Dcache(dcache::Settings),
    /// A topic of Kafka.
    Kafka(kafka::Settings),
}

impl Source {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Directory(one) => &one.name,
            Self::Cron(one) => &one.name,
            Self::S3Poll(one) => &one.name,
            Self::Mqtt(one) => &one.name,
            Self::Nats(one) => &one.name,
            Self::Amqp(one) => &one.name,
            Self::Stomp(one) => &one.name,
            Self::Sqs(one) => &one.name,
            Self::Dcache(one) => &one.name,
            Self::Kafka(one) => &one.name,
        }
    }

    /// The word of its kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Directory(_) => "directory",
            Self::Cron(_) => "cron",
            Self::S3Poll(_) => "s3-poll",
            Self::Mqtt(_) => "mqtt",
            Self::Nats(_) => "nats",
            Self::Amqp(_) => "amqp",
            Self::Stomp(_) => "stomp",
            Self::Sqs(_) => "sqs",
            Self::Dcache(_) => "dcache",
            Self::Kafka(_) => "kafka",
        }
    }

    /// Resolves its paths against the configuration's folder.
    pub fn resolve(&mut self, folder: &Path) {
        let (first, second): (Option<&mut PathBuf>, Option<&mut PathBuf>) = match self {
            Self::Directory(one) => (Some(&mut one.path), None),
            Self::Cron(_) => (None, None),
            Self::S3Poll(one) => (Some(&mut one.key_file), None),
            Self::Sqs(one) => (Some(&mut one.key_file), None),
            Self::Dcache(one) => (Some(&mut one.credentials_file), one.ca_file.as_mut()),
            Self::Mqtt(one) => (one.credentials_file.as_mut(), None),
            Self::Nats(one) => (one.credentials_file.as_mut(), one.ca_file.as_mut()),
            Self::Amqp(one) => (one.credentials_file.as_mut(), None),
            Self::Stomp(one) => (one.credentials_file.as_mut(), one.ca_file.as_mut()),
            Self::Kafka(one) => (one.credentials_file.as_mut(), one.ca_file.as_mut()),
        };
        for path in first.into_iter().chain(second) {
            *path = folder.join(&path);
        }
    }

    /// Reads its file with what proves who asks, if it has one, for `--check-config`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_secret(&self) -> Result<(), String> {
        match self {
            Self::Directory(_) | Self::Cron(_) => Ok(()),
            Self::S3Poll(one) => one.keys().map(drop),
            Self::Sqs(one) => one.keys().map(drop),
            Self::Dcache(one) => one.secret().map(drop),
            Self::Nats(one) => one
                .credentials_file
                .as_deref()
                .map_or(Ok(()), |path| secret(path).map(drop)),
            Self::Mqtt(mqtt::Settings {
                credentials_file, ..
            })
            | Self::Amqp(amqp::Settings {
                credentials_file, ..
            })
            | Self::Stomp(stomp::Settings {
                credentials_file, ..
            })
            | Self::Kafka(kafka::Settings {
                credentials_file, ..
            }) => credentials_file
                .as_deref()
                .map_or(Ok(()), |path| login(path).map(drop)),
        }
    }

    /// Checks what can be known before it starts.
    ///
    /// # Errors
    /// What is wrong, naming the source.
    pub fn check(&self) -> Result<(), String> {
        let name = self.name();
        if !is_label(name) {
            return Err(format!(
                "`{}`: the name must be a DNS label: a-z, 0-9 and inner hyphens",
                name.escape_debug()
            ));
        }
        let checked = match self {
            Self::Directory(one) => one.check(),
            Self::Cron(one) => one.check(),
            Self::S3Poll(one) => one.check(),
            Self::Mqtt(one) => one.check(),
            Self::Nats(one) => one.check(),
            Self::Amqp(one) => one.check(),
            Self::Stomp(one) => one.check(),
            Self::Sqs(one) => one.check(),
            Self::Dcache(one) => one.check(),
            Self::Kafka(one) => one.check(),
        };
        checked.map_err(|problem| format!("`{name}`: {problem}"))
    }
}

/// Checks all sources of a configuration.
pub(crate) fn check(sources: &[Source]) -> Result<(), String> {
    if sources.len() > MAX_SOURCES {
        return Err(format!("has more than {MAX_SOURCES} entries"));
    }
    for (index, source) in sources.iter().enumerate() {
        source.check()?;
        if sources[..index]
            .iter()
            .any(|other| other.name() == source.name())
        {
            return Err(format!("`{}` is defined twice", source.name()));
        }
    }
    Ok(())
}

/// User and password of a broker. Never shown.
pub(super) struct Login {
    /// The user.
    pub(super) user: String,
    /// The password.
    pub(super) password: String,
}

/// Reads `user:password`, one line, from a file that its owner alone may read.
pub(super) fn login(path: &Path) -> Result<Login, String> {
    let text = secret(path)?;
    match text.trim_end_matches(['\n', '\r']).split_once(':') {
        Some((user, password)) if !user.is_empty() && !password.contains('\n') => Ok(Login {
            user: user.to_owned(),
            password: password.to_owned(),
        }),
        _ => Err(format!(
            "{} is not one line `user:password`",
            path.display()
        )),
    }
}

/// Reads an access key and its secret, one a line, from a file that its owner alone may read.
pub(super) fn keys(path: &Path) -> Result<Keys, String> {
    let text = secret(path)?;
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    match lines[..] {
        [id, secret] if !id.is_empty() && !secret.is_empty() => Ok(Keys {
            id: id.to_owned(),
            secret: secret.to_owned(),
            token: None,
        }),
        _ => Err(format!("{} does not hold two lines", path.display())),
    }
}

/// Reads a file that its owner alone may read.
pub(super) fn secret(path: &Path) -> Result<String, String> {
    read_secret("credentials_file", path).map_err(|error| mizar_core::chain(&error))
}

/// Host and port of `host:port`, `[address]:port` or `host`.
pub(super) fn address(text: &str, usual: u16) -> Result<(String, u16), String> {
    let bad = || {
        format!(
            "`{}` is not host:port, as broker.site:{usual}",
            text.escape_debug()
        )
    };
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().map_err(|_| bad())?)
        }
        _ => (text, usual),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || port == 0 || !host.chars().all(is_plain) {
        return Err(bad());
    }
    Ok((host.to_owned(), port))
}

/// Refuses to send a password in the clear to another machine, unless told.
pub(super) fn check_clear(host: &str, has_login: bool, allowed: bool) -> Result<(), String> {
    let is_local = host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    if has_login && !is_local && !allowed {
        return Err(format!(
            "would send its password to {host} in the clear: put a TLS proxy of this machine in \
             between, or set clear_password = true on a network that you trust"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_refused() {
        for (text, expected) in [
            ("localhost:1", Some(("localhost", 1))),
            ("broker.site", Some(("broker.site", 9))),
            ("[::1]:5", Some(("::1", 5))),
            ("a:b", None),
            ("user@host:1", None),
            ("", None),
            ("h:0", None),
            ("h:99999", None),
        ] {
            let found = address(text, 9).ok();
            let expected = expected.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(found, expected, "{text}");
        }
        assert!(check_clear("10.0.0.1", true, false).is_err());
        assert!(check_clear("127.0.0.1", true, false).is_ok());
        assert!(check_clear("10.0.0.1", false, false).is_ok());
    }
}

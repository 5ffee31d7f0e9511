//! The table of a webhook, and the files that it names.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use ureq::http::Uri;

use crate::config::{Limits, read_secret};
use mizar_slurm::marker::is_label;

/// Most webhooks of one gateway: each has a thread.
const MAX_WEBHOOKS: usize = 16;

/// Most calls of one webhook at the same time: each has a thread meanwhile.
const MAX_PARALLEL: usize = 32;

/// Shortest key of the signature, and shortest token.
const MIN_SECRET_BYTES: usize = 16;

/// Secrets of the Standard Webhooks begin so; what follows is their key in base64.
const KEY_PREFIX: &str = "whsec_";

/// Who is told what happens to jobs, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Its name: the mark in the ledger bears it.
    pub name: String,
    /// Where the changes are posted.
    pub url: String,
    /// File with the key of the signature, readable by its owner only.
    pub secret_file: PathBuf,
    /// File with a bearer token for the receiver, readable by its owner only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Only jobs of these services; none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// CloudEvents source of what is sent.
    #[serde(default = "default_source")]
    pub source: String,
    /// Whether the receiver is asked first, by the handshake of CloudEvents.
    #[serde(default = "default_handshake")]
    pub handshake: bool,
    /// The name that the handshake gives for us.
    #[serde(default = "default_origin")]
    pub origin: String,
    /// Whether http:// may go to another machine.
    #[serde(default)]
    pub clear: bool,
    /// Calls at the same time; with more than one, order is kept for each job alone.
    #[serde(default = "default_parallel")]
    pub parallel: usize,
    /// Limit of one call.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// First wait after a failed call; it doubles with each.
    #[serde(default = "default_backoff_ms")]
    pub backoff_ms: u64,
    /// Longest such wait.
    #[serde(default = "default_backoff_max_ms")]
    pub backoff_max_ms: u64,
    /// Most changes that wait; of more, the oldest are passed over.
    #[serde(default = "default_queue_changes")]
    pub queue_changes: u32,
}

fn default_source() -> String {
    "/mizar/gateway".to_owned()
}

fn default_handshake() -> bool {
    true
}

fn default_origin() -> String {
    "mizar-gateway".to_owned()
}

fn default_parallel() -> usize {
    1
}

fn default_timeout_ms() -> u64 {
    10_000
}

fn default_backoff_ms() -> u64 {
    1_000
}

fn default_backoff_max_ms() -> u64 {
    300_000
}

fn default_queue_changes() -> u32 {
    100_000
}

/// What proves who sends. Never shown.
pub struct Secrets {
    /// The key of the signature.
    pub(super) key: Vec<u8>,
    /// The receiver's token.
    pub(super) token: Option<String>,
}

impl Webhook {
    /// Resolves its paths against the configuration's folder.
    pub fn resolve(&mut self, folder: &Path) {
        for path in self.token_file.iter_mut().chain([&mut self.secret_file]) {
            *path = folder.join(&path);
        }
    }

    /// Reads its files.
    ///
    /// # Errors
    /// What is wrong with them, without what they hold.
    pub fn secrets(&self) -> Result<Secrets, String> {
        let read = |key, path: &Path| {
            let text = read_secret(key, path).map_err(|error| mizar_core::chain(&error))?;
            let line = text.trim();
            if line.len() < MIN_SECRET_BYTES
                || line.chars().any(|c| c.is_whitespace() || c.is_control())
            {
                return Err(format!(
                    "{} must hold one word of at least {MIN_SECRET_BYTES} characters; make one \
                     with: openssl rand -hex 32",
                    path.display()
                ));
            }
            Ok(line.to_owned())
        };
        let secret = read("secret_file", &self.secret_file)?;
        let key = match secret.strip_prefix(KEY_PREFIX) {
            Some(rest) => STANDARD.decode(rest).map_err(|_| {
                format!(
                    "{}: what follows {KEY_PREFIX} is no base64",
                    self.secret_file.display()
                )
            })?,
            None => secret.into_bytes(),
        };
        let token = self.token_file.as_deref();
        let token = token.map(|path| read("token_file", path)).transpose()?;
        Ok(Secrets { key, token })
    }

    fn check(&self, limits: &Limits) -> Result<(), String> {
        if !is_label(&self.name) {
            return Err("the name must be a DNS label: a-z, 0-9 and inner hyphens".to_owned());
        }
        let uri: Option<Uri> = self.url.parse().ok();
        let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
        let scheme = uri.as_ref().and_then(Uri::scheme_str);
        let is_web = matches!(scheme, Some("http" | "https"));
        if !is_web || host.is_empty() || self.url.contains(['@', '#']) {
            return Err("`url` is not http:// or https:// with a host, without a login".to_owned());
        }
        if scheme == Some("http") && !is_local(host) && !self.clear {
            return Err(format!(
                "would tell {host} in the clear what jobs print last: use https://, or set clear = \
                 true on a network that you trust"
            ));
        }
        let is_word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        if !is_word(&self.source) || !is_word(&self.origin) {
            return Err("`source` and `origin` must be words of ASCII".to_owned());
        }
        let positive = [
            ("timeout_ms", self.timeout_ms),
            ("backoff_ms", self.backoff_ms),
            ("backoff_max_ms", self.backoff_max_ms),
            ("queue_changes", u64::from(self.queue_changes)),
        ];
        if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(format!("`{key}` must be at least 1"));
        }
        if !(1..=MAX_PARALLEL).contains(&self.parallel) {
            return Err(format!("`parallel` must be 1 to {MAX_PARALLEL}"));
        }
        if self.queue_changes > limits.changes {
            return Err("`queue_changes` must be at most limits.changes".to_owned());
        }
        Ok(())
    }
}

fn is_local(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address: Option<std::net::IpAddr> = bare.parse().ok();
    host == "localhost" || address.is_some_and(|address| address.is_loopback())
}

/// Checks all webhooks of a configuration.
pub(crate) fn check(webhooks: &[Webhook], limits: &Limits) -> Result<(), String> {
    if webhooks.len() > MAX_WEBHOOKS {
        return Err(format!("has more than {MAX_WEBHOOKS} entries"));
    }
    for (index, one) in webhooks.iter().enumerate() {
        let name = one.name.escape_debug();
        one.check(limits)
            .map_err(|problem| format!("`{name}`: {problem}"))?;
        if webhooks[..index].iter().any(|other| other.name == one.name) {
            return Err(format!("`{name}` is defined twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_checked() {
        let with = |lines: &str| {
            let text = format!("name = \"a\"\nsecret_file = \"s\"\n{lines}");
            let webhook: Webhook = toml::from_str(&text).map_err(|error| error.to_string())?;
            check(&[webhook], &Limits::default())
        };
        for url in [
            "https://site.org/x?y=1",
            "http://127.0.0.1:80/",
            "http://[::1]/",
            "http://localhost",
        ] {
            assert_eq!(with(&format!("url = \"{url}\"")), Ok(()), "{url}");
        }
        for (lines, problem) in [
            ("url = \"ftp://site.org\"", "is not http"),
            ("url = \"https://site.org\"\nparallel = 33", "1 to 32"),
            ("url = \"https://user:word@site.org\"", "login"),
            ("url = \"site.org\"", "is not http"),
            ("url = \"http://site.org\"", "in the clear"),
            ("url = \"http://127.0.0.1.site.org\"", "in the clear"),
            ("url = \"https://s\"\norigin = \"a\\nb\"", "ASCII"),
            ("url = \"https://s\"\nbackoff_ms = 0", "`backoff_ms`"),
            (
                "url = \"https://s\"\nqueue_changes = 9000000",
                "limits.changes",
            ),
            ("url = \"https://s\"\ncolour = 1", "colour"),
        ] {
            let told = with(lines).unwrap_err();
            assert!(told.contains(problem), "{lines}: {told}");
        }
        let one: Webhook =
            toml::from_str("name = \"a\"\nurl = \"https://s\"\nsecret_file = \"s\"").unwrap();
        let twice = check(&[one.clone(), one], &Limits::default());
        assert!(twice.unwrap_err().contains("twice"));
    }

    #[test]
    fn secrets_are_read_in_both_spellings_and_weak_ones_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let read = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let text = format!(
                "name = \"a\"\nurl = \"https://s\"\nsecret_file = \"{}\"",
                path.display()
            );
            let webhook: Webhook = toml::from_str(&text).unwrap();
            webhook.secrets().map(|secrets| secrets.key)
        };
        assert_eq!(
            read("0123456789abcdef\n", 0o600),
            Ok(b"0123456789abcdef".to_vec())
        );
        assert_eq!(
            read("whsec_MDEyMzQ1Njc4OWFiY2RlZg==", 0o600),
            Ok(b"0123456789abcdef".to_vec())
        );
        assert!(read("whsec_?", 0o600).is_err());
        assert!(read("short", 0o600).unwrap_err().contains("openssl rand"));
        assert!(
            read("0123456789abcdef\n", 0o644)
                .unwrap_err()
                .contains("600")
        );
    }
}

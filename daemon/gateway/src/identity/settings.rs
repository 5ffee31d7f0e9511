//! The table `[identity]`: whose tokens are taken, and which Unix user they mean.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use ureq::http::Uri;

use super::Claimed;
use super::keys::Keys;

/// The issuer of rules about users of OSCAR that prove themselves by a password.
pub const BASIC: &str = "basic";

/// The issuer of rules about client certificates.
pub const CERTIFICATE: &str = "certificate";

/// Most issuers, and most rules.
const MAX_ISSUERS: usize = 32;
const MAX_RULES: usize = 10_000;

/// The table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// How far the clocks of issuers and ours may be apart.
    pub leeway_s: u64,
    /// How long the keys of an issuer are used until they are asked for again.
    pub refresh_s: u64,
    /// Least time between two questions for the keys, however many unknown ones tokens name.
    pub refresh_min_s: u64,
    /// Whose tokens are taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<IssuerSettings>,
    /// Who is which Unix user; the first rule that fits counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<UserRule>,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            leeway_s: 60,
            refresh_s: 3600,
            refresh_min_s: 10,
            issuers: Vec::new(),
            users: Vec::new(),
        }
    }
}

/// An OIDC provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerSettings {
    /// Its URL, exactly as `iss` of its tokens has it.
    pub issuer: String,
    /// `aud` of tokens that are meant for this gateway must be, or hold, this.
    pub audience: String,
    /// File with its keys (a JWK set); without it they are asked for by discovery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_file: Option<PathBuf>,
}

/// Who is which Unix user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserRule {
    /// An issuer, `basic` or `certificate`.
    pub issuer: String,
    /// `sub` of a token; a name of OSCAR's users; subject or other name of a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// A group of a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The address of a token, if its issuer has verified it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The Unix user.
    pub user: String,
    /// Whether it may do all that a token of `token_file` may.
    #[serde(default)]
    pub operator: bool,
}

impl UserRule {
    /// Whether the rule is about somebody whom `issuer` knows.
    #[must_use]
    pub fn fits(&self, issuer: &str, claimed: &Claimed) -> bool {
        if self.issuer != issuer {
            return false;
        }
        match (&self.subject, &self.group, &self.email) {
            (Some(subject), None, None) => {
                *subject == claimed.subject || claimed.more.contains(subject)
            }
            (None, Some(group), None) => claimed.groups.contains(group),
            (None, None, Some(email)) => claimed.email.as_ref() == Some(email),
            _ => false,
        }
    }
}

impl Identity {
    /// Whether the table is not there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Resolves its paths against the configuration's folder.
    pub fn resolve(&mut self, folder: &Path) {
        for issuer in &mut self.issuers {
            if let Some(path) = &mut issuer.jwks_file {
                *path = folder.join(&path);
            }
        }
    }

    /// Checks what can be known before a token comes.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), String> {
        if self.issuers.len() > MAX_ISSUERS || self.users.len() > MAX_RULES {
            return Err(format!(
                "has more than {MAX_ISSUERS} issuers or {MAX_RULES} users"
            ));
        }
        if self.refresh_s == 0 || self.refresh_min_s == 0 || self.leeway_s > 600 {
            return Err(
                "needs refresh_s and refresh_min_s of at least 1 and leeway_s of at most 600"
                    .to_owned(),
            );
        }
        for (index, one) in self.issuers.iter().enumerate() {
            let at = |problem: String| format!("has the issuer `{}`, {problem}", one.issuer);
            one.check().map_err(at)?;
            let others = &self.issuers[..index];
            if others.iter().any(|other| other.issuer == one.issuer) {
                return Err(at("which is there twice".to_owned()));
            }
        }
        self.users.iter().try_for_each(|rule| self.check_rule(rule))
    }

    fn check_rule(&self, rule: &UserRule) -> Result<(), String> {
        let at = |problem: &str| Err(format!("has a rule for `{}` that {problem}", rule.user));
        let is_ours = [BASIC, CERTIFICATE].contains(&rule.issuer.as_str());
        if !is_ours && self.issuers.iter().all(|one| one.issuer != rule.issuer) {
            return at("names an issuer which is not among its issuers");
        }
        let given = [&rule.subject, &rule.group, &rule.email];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(word), None) if !word.is_empty() => {}
            _ => return at("must have one of subject, group and email"),
        }
        if is_ours && rule.subject.is_none() {
            return at("must go by subject");
        }
        check_user(&rule.user).or_else(|problem| at(&problem))
    }
}

/// Refuses what is no Unix user here, and root by whatever name.
fn check_user(name: &str) -> Result<(), String> {
    let is_first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let is_next = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let is_name =
        name.len() <= 32 && name.bytes().next().is_some_and(is_first) && name.bytes().all(is_next);
    if !is_name {
        return Err("names no Unix user".to_owned());
    }
    match nix::unistd::User::from_name(name) {
        Ok(Some(user)) if user.uid.is_root() => Err("makes somebody root".to_owned()),
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err("names a user whom this machine does not know".to_owned()),
        Err(error) => Err(format!("cannot be checked: {error}")),
    }
}

impl IssuerSettings {
    fn check(&self) -> Result<(), String> {
        check_url(&self.issuer)?;
        if self.audience.is_empty() {
            return Err("whose audience is empty".to_owned());
        }
        let Some(path) = &self.jwks_file else {
            return Ok(());
        };
        let bytes = std::fs::read(path)
            .map_err(|error| format!("whose keys {} cannot be read: {error}", path.display()))?;
        Keys::parse(&bytes)
            .map(drop)
            .map_err(|problem| format!("whose keys {}: {problem}", path.display()))
    }
}

/// Refuses what is no place for keys: in the clear, they come from this machine only.
pub(super) fn check_url(url: &str) -> Result<(), String> {
    let uri: Option<Uri> = url.parse().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address: Option<std::net::IpAddr> = bare.parse().ok();
    let is_local = host == "localhost" || address.is_some_and(|one| one.is_loopback());
    match uri.as_ref().and_then(Uri::scheme_str) {
        _ if host.is_empty() || url.contains(['@', '#', '?']) => {
            Err("which is no plain https:// URL".to_owned())
        }
        Some("https") => Ok(()),
        Some("http") if is_local => Ok(()),
        _ => Err("which is not https://".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_checked() {
        let own = nix::unistd::User::from_name("daemon").unwrap();
        assert!(own.is_some(), "every Unix has this user");
        let check = |text: &str| {
            let read: Result<Identity, _> = toml::from_str(text);
            read.map_err(|error| error.to_string())?.check()
        };
        let issuer = "[[issuers]]\nissuer = \"https://a\"\naudience = \"m\"\n";
        let rule = |lines: &str| {
            let user = if lines.contains("user =") {
                ""
            } else {
                "user = \"daemon\"\n"
            };
            format!("{issuer}[[users]]\n{user}{lines}")
        };
        assert_eq!(check(""), Ok(()));
        assert_eq!(check(issuer), Ok(()));
        for good in [
            "issuer = \"https://a\"\nsubject = \"s\"",
            "issuer = \"https://a\"\ngroup = \"g\"",
            "issuer = \"https://a\"\nemail = \"a@b\"",
            "issuer = \"basic\"\nsubject = \"ann\"",
            "issuer = \"certificate\"\nsubject = \"CN=a\"\noperator = true",
        ] {
            assert_eq!(check(&rule(good)), Ok(()), "{good}");
        }
        for (bad, problem) in [
            ("issuer = \"https://b\"\nsubject = \"s\"", "not among"),
            ("issuer = \"https://a\"", "one of"),
            ("issuer = \"https://a\"\nsubject = \"\"", "one of"),
            (
                "issuer = \"https://a\"\nsubject = \"s\"\ngroup = \"g\"",
                "one of",
            ),
            ("issuer = \"basic\"\ngroup = \"g\"", "by subject"),
            (
                "issuer = \"https://a\"\nsubject = \"s\"\nuser = \"root\"",
                "root",
            ),
            (
                "issuer = \"https://a\"\nsubject = \"s\"\nuser = \"0\"",
                "no Unix user",
            ),
            (
                "issuer = \"https://a\"\nsubject = \"s\"\nuser = \"-r\"",
                "no Unix user",
            ),
            (
                "issuer = \"https://a\"\nsubject = \"s\"\nuser = \"a b\"",
                "no Unix user",
            ),
            (
                "issuer = \"https://a\"\nsubject = \"s\"\nuser = \"no-such-one\"",
                "not know",
            ),
        ] {
            let told = check(&rule(bad)).unwrap_err();
            assert!(told.contains(problem), "{bad}: {told}");
        }
        for (text, problem) in [
            (
                "[[issuers]]\nissuer = \"http://a\"\naudience = \"m\"",
                "https",
            ),
            (
                "[[issuers]]\nissuer = \"https://a#x\"\naudience = \"m\"",
                "plain",
            ),
            (
                "[[issuers]]\nissuer = \"https://a\"\naudience = \"\"",
                "audience",
            ),
            (&format!("{issuer}{issuer}"), "twice"),
            ("leeway_s = 9000", "leeway_s"),
            (
                "[[issuers]]\nissuer = \"https://a\"\naudience = \"m\"\njwks_file = \"/no\"",
                "/no",
            ),
        ] {
            let told = check(text).unwrap_err();
            assert!(told.contains(problem), "{text}: {told}");
        }
    }
}

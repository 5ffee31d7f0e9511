//! Who calls, and as which Unix user their jobs run.
//!
//! A [`Caller`] is proved by a token of `token_file`, a token of an OIDC issuer ([`issuer`],
//! [`jwt`], [`claims`]), a password of OSCAR's users, or a client certificate; [`settings`] is the
//! table `[identity]` whose rules map the last three to Unix users. [`Gate`] puts them together and
//! is asked by the doors, which say what a known caller may do.
//!
//! Invariants:
//! - a bad token is answered 401, a good one that no rule knows 403, and one that cannot be
//!   checked now 503: never is anybody let in because something could not be asked;
//! - the algorithm of a signature is chosen by the issuer's key, never by the token;
//! - nobody is mapped to root, and no request names its own Unix user.
//!
//! Left out on purpose: sessions, refresh tokens, introspection of opaque tokens. A token is good
//! until it expires, so issuers should let it live minutes.

mod certificate;
mod claims;
mod issuer;
mod jwt;
mod keys;
mod settings;

pub use certificate::claimed as claimed_by;
pub use settings::{BASIC, CERTIFICATE, Identity, IssuerSettings, UserRule};

use std::sync::Arc;

use crate::auth::{Given, Tokens, given};
use crate::ledger::Sender;
use crate::oscar::Users;
use issuer::Issuer;

/// How a caller proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Not at all: there is nothing to prove at this site.
    Open,
    /// A token of `token_file`.
    Token,
    /// A password of OSCAR's users.
    Basic,
    /// The token of a service of OSCAR.
    Service,
    /// A token of an OIDC issuer.
    Oidc,
    /// A client certificate.
    Certificate,
}

impl How {
    /// The word in logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Token => "token",
            Self::Basic => "basic",
            Self::Service => "service",
            Self::Oidc => "oidc",
            Self::Certificate => "certificate",
        }
    }
}

/// Somebody who proved who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its name, different for each: `issuer#subject`, a user of OSCAR, `token:LINE`.
    pub name: String,
    /// Other names that mean it in lists of allowed users.
    pub aliases: Vec<String>,
    /// Its groups.
    pub groups: Vec<String>,
    /// The Unix user of its jobs; None means the gateway's own.
    pub user: Option<String>,
    /// How it proved that.
    pub how: How,
    /// Whether it may do everything, for everybody.
    pub is_operator: bool,
}

impl Caller {
    /// A caller of the site itself, whose jobs run as the gateway's own user.
    #[must_use]
    pub fn of_site(name: String, how: How) -> Self {
        Self {
            name,
            aliases: Vec::new(),
            groups: Vec::new(),
            user: None,
            how,
            is_operator: true,
        }
    }

    /// Who holds the token of a service: it may call that service and nothing else.
    #[must_use]
    pub fn of_service(name: &str) -> Self {
        Self {
            is_operator: false,
            ..Self::of_site(format!("service:{name}"), How::Service)
        }
    }

    /// Whether an entry of a list means this caller.
    #[must_use]
    pub fn is_named(&self, entry: &str) -> bool {
        entry == self.name || self.aliases.iter().any(|alias| alias == entry)
    }

    /// Whose its jobs are: what the site itself brings is nobody's.
    #[must_use]
    pub fn sender(&self) -> Sender {
        let is_person = matches!(self.how, How::Basic | How::Oidc | How::Certificate);
        Sender {
            owner: is_person.then(|| self.name.clone()),
            user: self.user.clone(),
        }
    }

    /// Whose jobs it may ask about: None means everybody's.
    #[must_use]
    pub fn sees_only(&self) -> Option<String> {
        (!self.is_operator).then(|| self.name.clone())
    }

    /// Whether a job is its to ask about and to end.
    #[must_use]
    pub fn may_touch(&self, owner: Option<&str>) -> bool {
        self.is_operator || owner == Some(self.name.as_str())
    }
}

/// The number of a Unix user; of the gateway's own without a name.
///
/// # Errors
/// If this machine does not know it.
pub fn uid_of(user: Option<&str>) -> Result<u32, String> {
    let Some(name) = user else {
        return Ok(nix::unistd::getuid().as_raw());
    };
    match nix::unistd::User::from_name(name) {
        Ok(Some(found)) => Ok(found.uid.as_raw()),
        Ok(None) => Err(format!("this machine knows no user `{name}`")),
        Err(error) => Err(format!("the user `{name}` cannot be looked up: {error}")),
    }
}

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing was given that could prove anything.
    #[error("a valid bearer token is needed")]
    Missing,
    /// What was given proves nothing.
    #[error("the token is not accepted: {0}")]
    Invalid(String),
    /// Known, and not mapped.
    #[error("{0} is known here and mapped to no Unix user: ask the site for a rule in [identity]")]
    Unmapped(String),
    /// It cannot be checked now.
    #[error("the token cannot be checked now: {0}")]
    Unavailable(String),
}

/// What a verified token or certificate says of who holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimed {
    /// Who it is, unique at its issuer.
    pub subject: String,
    /// More names that are as good: those of a certificate.
    pub more: Vec<String>,
    /// The address, if the issuer has verified it.
    pub email: Option<String>,
    /// The groups.
    pub groups: Vec<String>,
}

/// Everything that proves who calls.
pub struct Gate {
    tokens: Option<Tokens>,
    users: Option<Users>,
    issuers: Vec<Arc<Issuer>>,
    rules: Vec<UserRule>,
    has_certificates: bool,
}

impl Gate {
    /// Puts the parts together; `has_certificates` if connections prove who is at their other end.
    #[must_use]
    pub fn new(
        tokens: Option<Tokens>,
        users: Option<Users>,
        identity: &Identity,
        has_certificates: bool,
    ) -> Self {
        let issuers = identity.issuers.iter();
        let issuers = issuers.map(|one| Arc::new(Issuer::new(one.clone(), identity)));
        Self {
            tokens,
            users,
            issuers: issuers.collect(),
            rules: identity.users.clone(),
            has_certificates,
        }
    }

    /// Whether everybody is let in, because there is nothing to prove.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.tokens.is_none() && self.issuers.is_empty() && !self.has_certificates
    }

    /// The issuers whose tokens are taken.
    pub fn issuers(&self) -> impl Iterator<Item = &str> {
        self.issuers.iter().map(|one| one.url())
    }

    /// The groups that rules know.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().filter_map(|rule| rule.group.as_deref())
    }

    /// Who sends a request, by its token, its query's token, or its connection's certificate.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn identify(
        &self,
        authorization: Option<&str>,
        query: Option<&str>,
        certificate: Option<&Claimed>,
    ) -> Result<Caller, Refusal> {
        match given(authorization, query) {
            _ if self.is_open() => Ok(Caller::of_site("anybody".to_owned(), How::Open)),
            Given::Token(token) => match self.operator(&token) {
                Some(caller) => Ok(caller),
                None => self.bearer(&token).await,
            },
            Given::Other => Err(Refusal::Missing),
            Given::Nothing => match certificate {
                Some(claimed) => self.certified(claimed),
                None => Err(Refusal::Missing),
            },
        }
    }

    /// Who holds a token of `token_file`.
    #[must_use]
    pub fn operator(&self, token: &str) -> Option<Caller> {
        let line = self.tokens.as_ref()?.accept(token)?;
        Some(Caller::of_site(format!("token:{line}"), How::Token))
    }

    /// Who holds a token of an issuer.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn bearer(&self, token: &str) -> Result<Caller, Refusal> {
        let invalid = |problem: &str| Refusal::Invalid(problem.to_owned());
        let parsed = match jwt::Token::parse(token) {
            Ok(parsed) => parsed,
            Err(_) if self.issuers.is_empty() => return Err(invalid("it is none of this site")),
            Err(problem) => return Err(invalid(problem)),
        };
        let issuer = self.issuers.iter().find(|one| one.url() == parsed.issuer());
        let issuer = issuer.ok_or_else(|| invalid("its issuer is not one of this site"))?;
        let claimed = issuer.verify(&parsed).await?;
        let name = format!("{}#{}", issuer.url(), claimed.subject);
        // Of several issuers, two may know different people by one name.
        let aliases = match self.issuers.as_slice() {
            [_] => vec![claimed.subject.clone()],
            _ => Vec::new(),
        };
        let rule = self.rule(issuer.url(), &claimed);
        let rule = rule.ok_or_else(|| Refusal::Unmapped(name.clone()))?;
        Ok(Caller {
            name,
            aliases,
            groups: claimed.groups,
            user: Some(rule.user.clone()),
            how: How::Oidc,
            is_operator: rule.operator,
        })
    }

    /// A user of OSCAR, who may do everything there, as OSCAR has it.
    #[must_use]
    pub fn basic(&self, authorization: Option<&str>) -> Option<Caller> {
        let name = self.users.as_ref()?.accept(authorization)?.to_owned();
        let claimed = Claimed {
            subject: name.clone(),
            ..Claimed::default()
        };
        Some(Caller {
            user: self.rule(BASIC, &claimed).map(|rule| rule.user.clone()),
            ..Caller::of_site(name, How::Basic)
        })
    }

    /// Who is at the other end of a connection.
    ///
    /// # Errors
    /// [`Refusal::Unmapped`].
    pub fn certified(&self, claimed: &Claimed) -> Result<Caller, Refusal> {
        let name = format!("{CERTIFICATE}#{}", claimed.subject);
        let rule = self.rule(CERTIFICATE, claimed);
        let rule = rule.ok_or_else(|| Refusal::Unmapped(name.clone()))?;
        Ok(Caller {
            name,
            aliases: claimed.more.clone(),
            groups: Vec::new(),
            user: Some(rule.user.clone()),
            how: How::Certificate,
            is_operator: rule.operator,
        })
    }

    fn rule(&self, issuer: &str, claimed: &Claimed) -> Option<&UserRule> {
        self.rules.iter().find(|rule| rule.fits(issuer, claimed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(rules: &str) -> Gate {
        let identity: Identity = toml::from_str(rules).unwrap();
        Gate::new(None, None, &identity, true)
    }

    #[test]
    fn the_first_rule_that_fits_says_who_a_certificate_is() {
        let gate = gate(
            r#"
            users = [
              { issuer = "certificate", subject = "CN=ann,O=Site", user = "ann" },
              { issuer = "certificate", subject = "dns:edge.site.org", user = "edge", operator = true },
              { issuer = "https://other", subject = "CN=eve", user = "eve" },
            ]"#,
        );
        let claimed = |subject: &str, more: &[&str]| Claimed {
            subject: subject.to_owned(),
            more: more.iter().map(|&one| one.to_owned()).collect(),
            ..Claimed::default()
        };
        let ann = gate.certified(&claimed("CN=ann,O=Site", &[])).unwrap();
        assert_eq!((ann.user.as_deref(), ann.is_operator), (Some("ann"), false));
        let edge = gate.certified(&claimed("CN=x", &["dns:edge.site.org"]));
        let edge = edge.unwrap();
        assert!(edge.is_operator && edge.is_named("dns:edge.site.org"));
        for nobody in ["CN=ann", "CN=eve", "cn=ann,O=Site", "CN=ann,O=Site "] {
            let refused = gate.certified(&claimed(nobody, &[]));
            assert!(matches!(refused, Err(Refusal::Unmapped(_))), "{nobody}");
        }
    }
}

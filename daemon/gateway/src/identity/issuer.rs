//! One OIDC issuer: its keys, asked for when they are needed, and the tokens that they verify.
//!
//! Keys come by discovery or from a file. They are asked for again when they are old, and when a
//! token names one that is not known, at most so often; while an issuer does not answer, the keys
//! that it gave last are used for a day.

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::claims::{self, Wanted};
use super::jwt::Token;
use super::keys::Keys;
use super::settings::{Identity, IssuerSettings, check_url};
use super::{Claimed, Refusal};

/// Limit of one question.
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// Longest answer.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// How long keys are used of an issuer that does not answer.
const STALE_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// What is known of an issuer's keys.
#[derive(Default)]
struct Known {
    keys: Option<(Arc<Keys>, Instant)>,
    asked: Option<Instant>,
    problem: String,
}

/// An issuer.
pub(super) struct Issuer {
    settings: IssuerSettings,
    leeway: Duration,
    refresh: Duration,
    refresh_min: Duration,
    known: Mutex<Known>,
    /// One question at a time.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    jwks_uri: String,
}

impl Issuer {
    pub(super) fn new(settings: IssuerSettings, all: &Identity) -> Self {
        Self {
            settings,
            leeway: Duration::from_secs(all.leeway_s),
            refresh: Duration::from_secs(all.refresh_s),
            refresh_min: Duration::from_secs(all.refresh_min_s),
            known: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// Its name.
    pub(super) fn url(&self) -> &str {
        &self.settings.issuer
    }

    /// Whom a token is about, if it is one of this issuer, for us, and good now.
    pub(super) async fn verify(self: &Arc<Self>, token: &Token<'_>) -> Result<Claimed, Refusal> {
        let keys = self.keys_for(token).await?;
        let key = token.key.as_deref();
        if !keys.knows(&token.algorithm, key) {
            return Err(Refusal::Invalid("its issuer has no such key".to_owned()));
        }
        if !keys.verify(&token.algorithm, key, token.message, &token.signature) {
            return Err(Refusal::Invalid("its signature is wrong".to_owned()));
        }
        let now_s = mizar_core::clock::unix_ns() as f64 / 1e9;
        let wanted = Wanted {
            now_s,
            leeway_s: self.leeway.as_secs_f64(),
            audience: &self.settings.audience,
        };
        claims::read(&token.claims, wanted).map_err(|problem| Refusal::Invalid(problem.to_owned()))
    }

    /// The keys, asked for again if they are old or do not have the one that a token names.
    async fn keys_for(self: &Arc<Self>, token: &Token<'_>) -> Result<Arc<Keys>, Refusal> {
        let fits = |keys: &Keys| keys.knows(&token.algorithm, token.key.as_deref());
        let found = self.usable();
        if let Some((keys, is_fresh)) = &found
            && fits(keys)
        {
            if *is_fresh || !self.may_ask() {
                return Ok(Arc::clone(keys));
            }
            // One of those who come asks; the others go on with what is known.
            let Ok(_one) = self.asking.try_lock() else {
                return Ok(Arc::clone(keys));
            };
            self.ask().await;
            return self.answered();
        }
        let _one = self.asking.lock().await;
        // Somebody else may have asked meanwhile.
        let is_known = self.usable().is_some_and(|(keys, _)| fits(&keys));
        if !is_known && self.may_ask() {
            self.ask().await;
        }
        self.answered()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys that may be used, and whether they are fresh.
    fn usable(&self) -> Option<(Arc<Keys>, bool)> {
        let known = self.known();
        let (keys, since) = known.keys.as_ref()?;
        let age = since.elapsed();
        (age < STALE_LIMIT.max(self.refresh)).then(|| (Arc::clone(keys), age < self.refresh))
    }

    fn answered(&self) -> Result<Arc<Keys>, Refusal> {
        match self.usable() {
            Some((keys, _)) => Ok(keys),
            None => Err(Refusal::Unavailable(self.known().problem.clone())),
        }
    }

    fn may_ask(&self) -> bool {
        let asked = self.known().asked;
        asked.is_none_or(|at| at.elapsed() >= self.refresh_min)
    }

    /// Asks for the keys, and remembers what came of it.
    async fn ask(self: &Arc<Self>) {
        let issuer = Arc::clone(self);
        let asked = tokio::task::spawn_blocking(move || fetch(&issuer.settings)).await;
        let found = asked.unwrap_or_else(|_| Err("the question ended by a panic".to_owned()));
        let mut known = self.known();
        known.asked = Some(Instant::now());
        match found {
            Ok(keys) => known.keys = Some((Arc::new(keys), Instant::now())),
            Err(problem) => {
                let issuer = self.settings.issuer.as_str();
                tracing::warn!(%issuer, %problem, "cannot get the keys of an issuer");
                known.problem = format!("the keys of {issuer} are not to be had");
            }
        }
    }
}

/// Gets the keys from where the settings say.
fn fetch(settings: &IssuerSettings) -> Result<Keys, String> {
    if let Some(path) = &settings.jwks_file {
        let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        return Keys::parse(&bytes).map_err(|problem| format!("{} {problem}", path.display()));
    }
    let agent: ureq::Agent = mizar_http::agent()
        .timeout_global(Some(ASK_LIMIT))
        // Keys come from where they are said to be, or not at all.
        .max_redirects(0)
        .build()
        .into();
    let issuer = settings.issuer.trim_end_matches('/');
    let place = format!("{issuer}/.well-known/openid-configuration");
    let found: Discovered = serde_json::from_slice(&get(&agent, &place)?)
        .map_err(|error| format!("{place} answered otherwise than expected: {error}"))?;
    if found.issuer != settings.issuer {
        return Err(format!(
            "{place} calls itself `{}`: write it so in the configuration if it is meant",
            found.issuer.escape_debug()
        ));
    }
    check_url_of_keys(&found.jwks_uri)?;
    Keys::parse(&get(&agent, &found.jwks_uri)?)
        .map_err(|problem| format!("{} {problem}", found.jwks_uri))
}

fn check_url_of_keys(url: &str) -> Result<(), String> {
    let without_query = url.split('?').next().unwrap_or_default();
    check_url(without_query)
        .map_err(|problem| format!("the keys are at `{}`, {problem}", url.escape_debug()))
}

fn get(agent: &ureq::Agent, url: &str) -> Result<Vec<u8>, String> {
    let answer = agent
        .get(url)
        .call()
        .map_err(|error| format!("{url}: {error}"))?;
    if answer.status() != 200 {
        return Err(format!("{url} answered {}", answer.status()));
    }
    let mut bytes = Vec::new();
    let body = answer.into_body().into_reader();
    body.take(MAX_ANSWER_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("{url}: {error}"))?;
    Ok(bytes)
}

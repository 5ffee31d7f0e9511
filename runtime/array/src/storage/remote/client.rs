//! Requests to a server, each answered whole: with limits, retries and signatures.
//!
//! A server that fails or goes away is asked again, a few times and later each time; one that
//! says no is not.

use std::io::Read as _;
use std::time::Duration;

use mizar_http::s3::{self, Unsigned};
use ureq::Body;
use ureq::http::Response;

use super::account::Account;
use super::address::Address;
use super::answer::{self, Answer, Part, Version, header};
use super::{RemoteError, agent, listing};

/// How often a server is asked that fails.
pub(super) const ATTEMPTS: usize = 4;

/// The wait before the second attempt; each later one waits twice as long.
const WAIT_FIRST: Duration = Duration::from_millis(200);

/// No longer than this is waited, whatever the server wishes.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Redirections that are followed.
const REDIRECTS_MAX: u32 = 5;

/// What is read of an error's text, for its code.
const ERROR_BYTES_MAX: u64 = 64 << 10;

/// Asks servers of one kind.
#[derive(Debug)]
pub(crate) struct Client {
    /// Of an S3 service.
    account: Option<Account>,
}

/// Why one attempt gave no answer.
pub(super) enum Attempt {
    /// It may go better later: what happened, how long to wait, and the error if it is the last.
    Later(Option<Duration>, RemoteError),
    Never(RemoteError),
}

impl From<RemoteError> for Attempt {
    fn from(error: RemoteError) -> Self {
        Self::Never(error)
    }
}

impl Client {
    /// A client for an address, with the user's account if it needs one.
    pub(crate) fn of(address: &Address) -> Result<Self, RemoteError> {
        let account = match address {
            Address::Web { .. } => None,
            Address::Bucket { .. } => Some(Account::of_process()?),
        };
        Ok(Self { account })
    }

    /// Reads an object or a part of it, of at most `limit` bytes; with `version`, only if it is
    /// still that one.
    pub(crate) fn get(
        &self,
        address: &Address,
        part: Part,
        limit: usize,
        version: Option<&Version>,
    ) -> Result<Answer, RemoteError> {
        let mut headers = Vec::new();
        match part {
            Part::Whole => {}
            Part::Range { start, length } => {
                let last = start.saturating_add(length as u64).saturating_sub(1);
                headers.push(("range", format!("bytes={start}-{last}")));
            }
            Part::Last { length } => headers.push(("range", format!("bytes=-{length}"))),
        }
        // A weak tag matches nothing: the answer's own is compared, as all are.
        let etag = version.and_then(|version| version.etag.as_deref());
        if let Some(etag) = etag.filter(|etag| etag.starts_with('"')) {
            headers.push(("if-match", etag.to_owned()));
        }
        let answer = self.retried(|| self.attempt(address, &[], &headers, part, limit))?;
        match version {
            Some(version) if !version.is_same(&answer.version) => Err(RemoteError::Changed),
            _ => Ok(answer),
        }
    }

    /// One page of what lies in a bucket.
    pub(super) fn list(
        &self,
        bucket: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<u8>, RemoteError> {
        let address = Address::Bucket {
            bucket: bucket.to_owned(),
            key: String::new(),
        };
        let limit = listing::PAGE_BYTES_MAX;
        let page = self.retried(|| self.attempt(&address, query, &[], Part::Whole, limit))?;
        Ok(page.bytes)
    }

    fn retried(
        &self,
        mut attempt: impl FnMut() -> Result<Answer, Attempt>,
    ) -> Result<Answer, RemoteError> {
        let mut wait = WAIT_FIRST;
        for number in 1.. {
            match attempt() {
                Ok(answer) => return Ok(answer),
                Err(Attempt::Never(error)) => return Err(error),
                Err(Attempt::Later(_, error)) if number == ATTEMPTS => return Err(error),
                Err(Attempt::Later(wished, _)) => {
                    std::thread::sleep(wished.unwrap_or(wait).min(WAIT_MAX));
                    wait *= 2;
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    fn attempt(
        &self,
        address: &Address,
        query: &[(&str, &str)],
        headers: &[(&'static str, String)],
        part: Part,
        limit: usize,
    ) -> Result<Answer, Attempt> {
        let (url, headers) = self.request(address, query, headers);
        let _slot = agent::Slot::take();
        let mut request = agent::agent()
            .get(&url)
            .header("accept-encoding", "identity");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let is_service = self.account.is_some();
        let redirects = if is_service { 0 } else { REDIRECTS_MAX };
        let request = request.config().max_redirects(redirects).build();
        let mut response = request.call().map_err(agent::failed)?;
        match response.status().as_u16() {
            200 => answer::whole(&mut response, part, limit),
            206 => answer::partial(&mut response, part, limit),
            416 => answer::beyond(&response, part),
            status => Err(self.refused(status, &mut response)),
        }
    }

    /// The URL and the headers, signed where there are keys.
    fn request(
        &self,
        address: &Address,
        query: &[(&str, &str)],
        headers: &[(&'static str, String)],
    ) -> (String, Vec<(&'static str, String)>) {
        let (bucket, key, account) = match (address, &self.account) {
            (Address::Web { url }, _) => return (url.clone(), headers.to_vec()),
            (Address::Bucket { bucket, key }, Some(account)) => (bucket, key, account),
            // Not reached: a client of a bucket has an account.
            (Address::Bucket { .. }, None) => return (String::new(), Vec::new()),
        };
        let (server, base) = account.server(bucket);
        let path = format!("{base}/{key}");
        let mut url = format!("{server}{}", s3::path(&path));
        if !query.is_empty() {
            url = format!("{url}?{}", s3::query(query));
        }
        let Some(keys) = &account.keys else {
            return (url, headers.to_vec());
        };
        let unsigned = Unsigned {
            method: "GET",
            host: server.split("//").last().unwrap_or_default(),
            path: &path,
            query,
            region: &account.region,
            time: &s3::time_now(),
            body: None,
        };
        (url, s3::headers(unsigned, headers, keys))
    }

    /// What a status other than success means.
    fn refused(&self, status: u16, response: &mut Response<Body>) -> Attempt {
        let wait = response.headers().get("retry-after");
        let wait = wait.and_then(|wait| wait.to_str().ok()?.parse().ok());
        let region = header(response.headers(), "x-amz-bucket-region");
        let code = self.account.as_ref().and_then(|_| {
            let mut text = Vec::new();
            let reader = response.body_mut().as_reader();
            reader.take(ERROR_BYTES_MAX).read_to_end(&mut text).ok()?;
            listing::error_code(&text)
        });
        let answer = match code {
            Some(code) => format!("HTTP {status}, {code}"),
            None => format!("HTTP {status}"),
        };
        let here = self.account.as_ref().map(|account| &account.region);
        match status {
            401 | 403 => RemoteError::Denied {
                answer,
                remedy: match &self.account {
                    Some(account) => account.remedy().to_owned(),
                    None => {
                        "a signed link may be too old; tokens and passwords are not sent".to_owned()
                    }
                },
            }
            .into(),
            404 | 410 => RemoteError::Absent { answer }.into(),
            412 => RemoteError::Changed.into(),
            300..=499 if region.is_some() && region.as_ref() != here => RemoteError::Settings {
                problem: format!(
                    "the bucket is in another region: set AWS_REGION={}",
                    region.unwrap_or_default()
                ),
            }
            .into(),
            408 | 429 | 500..=599 => Attempt::Later(
                wait.map(Duration::from_secs),
                RemoteError::Failed {
                    attempts: ATTEMPTS,
                    answer,
                },
            ),
            _ => RemoteError::Answer {
                expected: "the object".to_owned(),
                found: answer,
            }
            .into(),
        }
    }
}

//! One object from an object store, or to it: S3 with signature version 4, by path.
//!
//! Used in the job only. An object appears whole or not at all, because a PUT does; a fetched
//! file is written aside and renamed. Secrets are in the signature's key and nowhere else.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use mizar_core::durable::PendingFile;
use mizar_http::s3;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use ureq::Agent;

/// Tries of one request; what failed at a distance often succeeds a little later.
const ATTEMPTS: u32 = 4;

/// Wait after the first failure; it doubles.
const PAUSE: Duration = Duration::from_millis(500);

/// Before an answer begins, and between two pieces of it.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// Longest text of a server's answer in a message.
const MESSAGE_BYTES: u64 = 300;

/// Where objects are, and what proves who asks.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct S3 {
    /// `http://` or `https://`, host and port.
    pub endpoint: String,
    /// Region.
    pub region: String,
    /// Access key.
    pub access_key: String,
    /// Secret key.
    pub secret_key: String,
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "S3({}, keys hidden)", self.endpoint)
    }
}

/// Why an object was not fetched or stored.
#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    /// No answer.
    #[error("{endpoint} does not answer for {bucket}/{key}")]
    Request {
        /// The server.
        endpoint: String,
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// What happened.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The server said no.
    #[error("{endpoint} answered {status} for {bucket}/{key}: {message}")]
    Refused {
        /// The server.
        endpoint: String,
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// HTTP status.
        status: u16,
        /// The beginning of its answer.
        message: String,
    },
    /// Fewer or more bytes than said.
    #[error("{key} has {found} bytes where the event says {expected}")]
    Size {
        /// The key.
        key: String,
        /// As the event says.
        expected: u64,
        /// As fetched.
        found: u64,
    },
    /// The file on this side.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl S3 {
    /// Fetches an object into `to`, which appears whole or not at all.
    ///
    /// # Errors
    /// [`S3Error`].
    pub fn fetch(
        &self,
        bucket: &str,
        key: &str,
        to: &Path,
        size: Option<u64>,
    ) -> Result<(), S3Error> {
        let file_error = |source| S3Error::File {
            path: to.display().to_string(),
            source,
        };
        self.retry(|| {
            let mut request = agent().get(self.url(bucket, key));
            for (name, value) in self.sign("GET", bucket, key, None) {
                request = request.header(name, value);
            }
            let mut response = self.check(request.call(), bucket, key)?;
            let mut file = PendingFile::create(to).map_err(file_error)?;
            let found =
                io::copy(&mut response.body_mut().as_reader(), &mut file).map_err(file_error)?;
            match size {
                Some(expected) if expected != found => Err(S3Error::Size {
                    key: key.to_owned(),
                    expected,
                    found,
                }),
                _ => file.commit().map_err(file_error),
            }
        })
    }

    /// Stores a file as an object.
    ///
    /// # Errors
    /// [`S3Error`].
    pub fn store(&self, bucket: &str, key: &str, from: &Path) -> Result<(), S3Error> {
        let file_error = |source| S3Error::File {
            path: from.display().to_string(),
            source,
        };
        self.retry(|| {
            let hash = digest(File::open(from).map_err(file_error)?).map_err(file_error)?;
            let file = File::open(from).map_err(file_error)?;
            let size = file.metadata().map_err(file_error)?.len();
            let mut request = agent()
                .put(self.url(bucket, key))
                .header("content-length", size.to_string());
            for (name, value) in self.sign("PUT", bucket, key, Some(&hash)) {
                request = request.header(name, value);
            }
            let body = ureq::SendBody::from_owned_reader(file.take(size));
            self.check(request.send(body), bucket, key).map(drop)
        })
    }

    fn retry(&self, mut work: impl FnMut() -> Result<(), S3Error>) -> Result<(), S3Error> {
        let mut pause = PAUSE;
        for _ in 1..ATTEMPTS {
            match work() {
                // What the server refuses for good it refuses again.
                Err(S3Error::Refused { status, .. }) if status < 500 && status != 429 => break,
                Err(_) => std::thread::sleep(pause),
                Ok(()) => return Ok(()),
            }
            pause *= 2;
        }
        work()
    }

    fn check(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
        bucket: &str,
        key: &str,
    ) -> Result<ureq::http::Response<ureq::Body>, S3Error> {
        let (endpoint, bucket, key) = (self.endpoint.clone(), bucket.to_owned(), key.to_owned());
        let mut response = answer.map_err(|error| S3Error::Request {
            endpoint: endpoint.clone(),
            bucket: bucket.clone(),
            key: key.clone(),
            source: Box::new(error),
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let mut message = Vec::new();
        let _ = response
            .body_mut()
            .as_reader()
            .take(MESSAGE_BYTES)
            .read_to_end(&mut message);
        let message = String::from_utf8_lossy(&message)
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let status = response.status().as_u16();
        Err(S3Error::Refused {
            endpoint,
            bucket,
            key,
            status,
            message,
        })
    }

    fn url(&self, bucket: &str, key: &str) -> String {
        format!(
            "{}{}",
            self.endpoint.trim_end_matches('/'),
            s3::path(&path(bucket, key))
        )
    }

    /// The headers of a signed request.
    fn sign(
        &self,
        method: &str,
        bucket: &str,
        key: &str,
        body: Option<&str>,
    ) -> Vec<(&'static str, String)> {
        let host = self.endpoint.split("://").nth(1).unwrap_or_default();
        let keys = s3::Keys {
            id: self.access_key.clone(),
            secret: self.secret_key.clone(),
            token: None,
        };
        let unsigned = s3::Unsigned {
            method,
            host: host.trim_end_matches('/'),
            path: &path(bucket, key),
            query: &[],
            region: &self.region,
            time: &s3::time_now(),
            body,
        };
        s3::headers(unsigned, &[], &keys)
    }
}

fn path(bucket: &str, key: &str) -> String {
    format!("/{bucket}/{key}")
}

fn digest(mut source: impl Read) -> io::Result<String> {
    let mut context = Context::new(&SHA256);
    let mut chunk = vec![0; 64 << 10];
    loop {
        match source.read(&mut chunk)? {
            0 => return Ok(mizar_core::hex(context.finish())),
            count => context.update(&chunk[..count]),
        }
    }
}

/// The agent of the process: a supervisor moves many objects.
fn agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(|| {
        mizar_http::agent()
            .max_redirects(0)
            .timeout_recv_response(Some(SILENCE_LIMIT))
            .timeout_connect(Some(SILENCE_LIMIT))
            .build()
            .new_agent()
    })
}

/// Copies a file so that `to` appears whole or not at all.
///
/// # Errors
/// [`S3Error::File`].
pub fn copy(from: &Path, to: &Path) -> Result<u64, S3Error> {
    let file_error = |path: &Path| {
        let path = path.display().to_string();
        move |source| S3Error::File { path, source }
    };
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent).map_err(file_error(parent))?;
    }
    let mut source = File::open(from).map_err(file_error(from))?;
    let mut target = PendingFile::create(to).map_err(file_error(to))?;
    let count = io::copy(&mut source, &mut target).map_err(file_error(to))?;
    target.commit().map_err(file_error(to))?;
    Ok(count)
}

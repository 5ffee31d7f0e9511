//! Requests of sources over HTTP, as tasks that end with their source.
//!
//! The agent that the rest of Mizar asks with blocks its thread: a stopping gateway would wait for
//! the end of a long poll, and a stream of events would hold a thread for ever. This one is
//! hyper's client with the same trust. Left out: redirects, proxies, retries (a source that fails
//! is started again).

use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use mizar_core::chain;

/// Longest connecting.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// After so long without a byte the kernel asks whether the peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Connections that nothing uses are closed.
const IDLE_LIMIT: Duration = Duration::from_secs(20);

/// A client with its connections.
pub(super) struct Web(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// A request: its method, URL, headers and body.
#[derive(Clone, Debug, Default)]
pub(super) struct Ask {
    /// `GET`, `POST`.
    pub(super) method: &'static str,
    /// The whole of it, escaped.
    pub(super) url: String,
    /// Names and values.
    pub(super) headers: Vec<(&'static str, String)>,
    /// The body, or nothing.
    pub(super) body: Vec<u8>,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// 200, 404.
    pub(super) status: u16,
    /// Its headers.
    pub(super) headers: HeaderMap,
    /// Its body.
    pub(super) body: Bytes,
}

impl Answer {
    /// What an answer that refuses says, shortened.
    pub(super) fn refusal(&self) -> String {
        let start = &self.body[..self.body.len().min(300)];
        let text = String::from_utf8_lossy(start);
        format!("answered {}: {}", self.status, text.trim())
    }
}

impl Web {
    /// A client that trusts the system's authorities, and those of `ca_file`.
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, String> {
        let trust = mizar_http::trust(ca_file).map_err(|error| chain(&error))?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_LIMIT));
        http.set_keepalive(Some(KEEPALIVE));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trust)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_LIMIT)
            .build(connector);
        Ok(Self(client))
    }

    /// Asks, and returns the whole answer, of at most `max_bytes`, within `limit`.
    pub(super) async fn ask(
        &self,
        ask: Ask,
        limit: Duration,
        max_bytes: usize,
    ) -> Result<Answer, String> {
        let asked = async {
            let (parts, body) = self.send(ask).await?.into_parts();
            let body = Limited::new(body, max_bytes).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            Ok(Answer {
                status: parts.status.as_u16(),
                headers: parts.headers,
                body,
            })
        };
        within(limit, asked).await
    }

    /// Asks, and returns the answer once its head is there, however long that takes.
    pub(super) async fn open(&self, ask: Ask) -> Result<Response<Incoming>, String> {
        self.send(ask).await
    }

    async fn send(&self, ask: Ask) -> Result<Response<Incoming>, String> {
        let mut request = Request::builder().method(ask.method).uri(&ask.url);
        for (name, value) in ask.headers {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(Bytes::from(ask.body)))
            .map_err(|error| error.to_string())?;
        self.0.request(request).await.map_err(|error| chain(&error))
    }
}

async fn within<T>(
    limit: Duration,
    asked: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    match tokio::time::timeout(limit, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("does not answer within {} s", limit.as_secs())),
    }
}

/// Refuses what is no URL of a server: `http://` or `https://`, a host, and no login.
pub(super) fn check_url(key: &str, url: &str) -> Result<(), String> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split('/').next().unwrap_or_default());
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '@' | '?' | '#' | '\\');
    match host {
        Some(host) if !host.is_empty() && url.chars().all(is_plain) => Ok(()),
        _ => Err(format!(
            "`{key}` is not http:// or https:// with a host, and no login in it"
        )),
    }
}

/// Scheme and host of a URL, with its port; then the host with its port alone.
pub(super) fn server(url: &str) -> (&str, &str) {
    let from = url.find("://").map_or(0, |at| at + 3);
    let until = url[from..].find('/').map_or(url.len(), |at| from + at);
    (&url[..until], &url[from..until])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked_and_split() {
        for (url, expected) in [
            ("https://sqs.eu-west-1.amazonaws.com/1/q", true),
            ("http://[::1]:5000", true),
            ("ftp://host/", false),
            ("https:///path", false),
            ("https://ann:secret@host/", false),
            ("https://host/a b", false),
            ("https://host/?token=x", false),
            ("", false),
        ] {
            assert_eq!(check_url("u", url).is_ok(), expected, "{url}");
        }
        assert_eq!(server("https://h:1/a/b"), ("https://h:1", "h:1"));
        assert_eq!(server("http://h"), ("http://h", "h"));
    }
}

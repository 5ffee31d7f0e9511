//! A bucket that is listed: every new key, etag and size becomes an event.
//!
//! For stores that send no notifications. The event is a notification of an object store, so that
//! services filter and read it as any other; its sequencer is the version that was listed. A page
//! of the listing and what the ledger knows between its ends are all that is held. Left out:
//! removals, and stores that list in another order than that of bytes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use mizar_http::s3::{self, Keys};
use roxmltree::{Document, Node};
use serde::{Deserialize, Serialize};
use serde_json::json;
use ureq::Agent;

use super::message::{Message, digest};
use super::{Hub, MAX_BATCH, SourceError, known};
use crate::cloudevents::percent_decode;

/// Longest page: a thousand keys, each of at most a kilobyte, have fewer.
const PAGE_BYTES: u64 = 16 << 20;

/// Longest wait for a page.
const PAGE_LIMIT: Duration = Duration::from_secs(30);

/// The table of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The source's name.
    pub name: String,
    /// `http://` or `https://`, host and port.
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// Start of the keys.
    #[serde(default)]
    pub prefix: String,
    /// End of the keys.
    #[serde(default)]
    pub suffix: String,
    /// Region.
    #[serde(default = "default_region")]
    pub region: String,
    /// File of two lines, access key and secret key, readable by its owner only.
    pub key_file: PathBuf,
    /// Pause between two listings.
    #[serde(default = "default_poll_s")]
    pub poll_s: u64,
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

fn default_poll_s() -> u64 {
    60
}

impl Settings {
    pub(super) fn check(&self) -> Result<(), String> {
        let host = self.endpoint.split_once("://").map(|(scheme, host)| {
            matches!(scheme, "http" | "https") && !host.trim_end_matches('/').is_empty()
        });
        if host != Some(true) || self.endpoint.contains('@') {
            return Err("`endpoint` is not http:// or https:// with a host".to_owned());
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if self.bucket.is_empty() || !self.bucket.chars().all(is_plain) {
            return Err("`bucket` is no name of a bucket".to_owned());
        }
        if self.poll_s == 0 {
            return Err("`poll_s` must be at least 1".to_owned());
        }
        Ok(())
    }

    pub(super) fn keys(&self) -> Result<Keys, String> {
        super::settings::keys(&self.key_file)
    }
}

/// An object as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    key: String,
    etag: String,
    size: u64,
    modified: String,
}

impl Listed {
    fn version(&self) -> String {
        digest([self.etag.as_bytes(), self.size.to_string().as_bytes()])
    }
}

/// Lists for ever.
pub(super) async fn run(settings: &Settings, hub: &Hub) -> Result<Infallible, SourceError> {
    loop {
        let keys = settings
            .keys()
            .map_err(|problem| SourceError::Secret { problem })?;
        let (mut after, mut token) = (String::new(), None);
        loop {
            let page = {
                let (settings, keys) = (settings.clone(), keys.clone());
                let asked = tokio::task::spawn_blocking(move || list(&settings, &keys, token));
                asked.await.map_err(|_| SourceError::Panic)?
            };
            let (objects, next) =
                page.map_err(|problem| SourceError::server(&settings.endpoint, problem))?;
            hub.connected();
            let until = objects.last().map(|last| last.key.clone());
            let until = until.filter(|_| next.is_some());
            if next.is_some() && until.is_none() {
                return Err(settings.wrong("a page of the listing is empty, and there are more"));
            }
            take(settings, hub, &after, until.as_deref(), objects).await?;
            match (next, until) {
                (Some(next), Some(until)) => (token, after) = (Some(next), until),
                _ => break,
            }
        }
        tokio::time::sleep(Duration::from_secs(settings.poll_s)).await;
    }
}

/// Takes what is new of a page.
async fn take(
    settings: &Settings,
    hub: &Hub,
    after: &str,
    until: Option<&str>,
    objects: Vec<Listed>,
) -> Result<(), SourceError> {
    let begins_late = objects.first().is_none_or(|first| *first.key > *after);
    if !begins_late || !objects.is_sorted_by(|one, next| one.key < next.key) {
        return Err(settings.wrong("the listing is not in the order of bytes"));
    }
    let mut objects: BTreeMap<String, Listed> = objects
        .into_iter()
        .filter(|object| object.key.ends_with(&settings.suffix))
        .map(|object| (object.key.clone(), object))
        .collect();
    let page = objects
        .iter()
        .map(|(key, object)| (key.clone(), object.version()))
        .collect();
    let fresh = known::compare(hub, after, until, &page).await?;
    for batch in fresh.chunks(MAX_BATCH) {
        let messages = batch.iter().filter_map(|key| {
            let object = objects.remove(key)?;
            let mark = (object.key.clone(), Some(object.version()));
            Some((message(settings, object), vec![mark]))
        });
        hub.take(messages.collect()).await?;
    }
    Ok(())
}

fn message(settings: &Settings, object: Listed) -> Message {
    let version = object.version();
    let record = json!({
        "eventVersion": "2.1", "eventSource": "mizar:s3", "awsRegion": settings.region,
        "eventTime": object.modified, "eventName": "ObjectCreated:Listed",
        "responseElements": {"x-amz-request-id": version, "x-amz-id-2": settings.name},
        "s3": {"bucket": {"name": settings.bucket},
               "object": {"key": s3::path(&object.key), "size": object.size, "eTag": object.etag,
                          "sequencer": version}},
    });
    Message {
        identity: vec![settings.bucket.clone(), object.key.clone(), version],
        kind: "mizar.s3.object".to_owned(),
        subject: Some(object.key),
        body: json!({"Records": [record]}).to_string().into_bytes(),
        ..Message::default()
    }
}

impl Settings {
    fn wrong(&self, problem: &str) -> SourceError {
        SourceError::server(&self.endpoint, problem)
    }
}

/// A page of the listing, and what asks for the next.
type Page = (Vec<Listed>, Option<String>);

/// Fetches one page. Blocks.
fn list(settings: &Settings, keys: &Keys, token: Option<String>) -> Result<Page, String> {
    let mut query = vec![
        ("list-type", "2"),
        ("encoding-type", "url"),
        ("prefix", settings.prefix.as_str()),
    ];
    if let Some(token) = &token {
        query.push(("continuation-token", token));
    }
    let endpoint = settings.endpoint.trim_end_matches('/');
    let path = format!("/{}", settings.bucket);
    let headers = s3::headers(
        s3::Unsigned {
            method: "GET",
            host: endpoint.split("://").nth(1).unwrap_or_default(),
            path: &path,
            query: &query,
            region: &settings.region,
            time: &s3::time_now(),
            body: None,
        },
        &[],
        keys,
    );
    let url = format!("{endpoint}{}?{}", s3::path(&path), s3::query(&query));
    let mut request = agent().get(&url);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let mut response = request.call().map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    let text = response
        .body_mut()
        .with_config()
        .limit(PAGE_BYTES)
        .read_to_string()
        .map_err(|error| error.to_string())?;
    if status != 200 {
        let shown: String = text.chars().take(300).collect();
        return Err(format!(
            "answered {status} for {}: {shown}",
            settings.bucket
        ));
    }
    let page = parse(&text).ok_or("answered no list of the bucket")?;
    if page.1.is_some() && page.1 == token {
        return Err("gives the same page again and again".to_owned());
    }
    Ok(page)
}

/// Reads a page; None if it is none.
fn parse(text: &str) -> Option<Page> {
    let document = Document::parse(text).ok()?;
    let root = document.root_element();
    if root.tag_name().name() != "ListBucketResult" {
        return None;
    }
    let is_escaped = child(root, "EncodingType") == Some("url");
    let objects = root
        .children()
        .filter(|node| node.tag_name().name() == "Contents")
        .map(|node| {
            let key = child(node, "Key")?;
            let key = match is_escaped {
                true => percent_decode(key.as_bytes(), true)?,
                false => key.to_owned(),
            };
            Some(Listed {
                key,
                etag: child(node, "ETag")
                    .unwrap_or_default()
                    .trim_matches('"')
                    .to_owned(),
                size: child(node, "Size")?.parse().ok()?,
                modified: child(node, "LastModified")?.to_owned(),
            })
        });
    let objects = objects.collect::<Option<Vec<_>>>()?;
    let more = child(root, "IsTruncated") == Some("true");
    let token = child(root, "NextContinuationToken").map(str::to_owned);
    if more && token.is_none() {
        return None;
    }
    Some((objects, token.filter(|_| more)))
}

fn child<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    let mut children = node.children();
    children
        .find(|child| child.tag_name().name() == name)?
        .text()
}

fn agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(|| {
        mizar_http::agent()
            .max_redirects(0)
            .timeout_global(Some(PAGE_LIMIT))
            .build()
            .new_agent()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_or_refused_as_a_whole() {
        let page = |objects: &str, more: &str| {
            format!(
                "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                 <EncodingType>url</EncodingType>{more}{objects}</ListBucketResult>"
            )
        };
        let object = "<Contents><Key>in%2Fa+b%0A.nc</Key><LastModified>2026-01-02T10:00:00.000Z</LastModified>\
                      <ETag>&quot;e&quot;</ETag><Size>3</Size></Contents>";
        let more =
            "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>";
        let (objects, next) = parse(&page(object, more)).unwrap();
        assert_eq!(
            (objects[0].key.as_str(), objects[0].etag.as_str()),
            ("in/a b\n.nc", "e")
        );
        assert_eq!(next.as_deref(), Some("t"));
        assert_eq!(parse(&page("", "")), Some((Vec::new(), None)));
        for bad in [
            "<Error><Code>AccessDenied</Code></Error>".to_owned(),
            page("<Contents><Key>a</Key></Contents>", ""),
            page("", "<IsTruncated>true</IsTruncated>"),
            "no xml".to_owned(),
        ] {
            assert_eq!(parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn an_object_is_an_event_by_key_and_version() {
        let settings = Settings {
            name: "b".to_owned(),
            endpoint: "http://x".to_owned(),
            bucket: "bucket".to_owned(),
            prefix: String::new(),
            suffix: String::new(),
            region: default_region(),
            key_file: "k".into(),
            poll_s: 1,
        };
        let object = |etag: &str, key: &str| Listed {
            key: key.to_owned(),
            etag: etag.to_owned(),
            size: 3,
            modified: "2026-01-02T10:00:00.000Z".to_owned(),
        };
        let limits = crate::config::Limits::default();
        let event = |etag: &str| {
            let found = message(&settings, object(etag, "in/a +%ü.nc")).events("b", &limits);
            found.unwrap().remove(0)
        };
        let first = event("e");
        assert_eq!(first.object.as_ref().unwrap().key, "in/a +%ü.nc");
        assert_eq!(first.key, event("e").key);
        assert_ne!(first.key, event("f").key);
        assert_eq!(
            message(&settings, object("e", "in/")).events("b", &limits),
            Ok(Vec::new())
        );
        assert!(
            message(&settings, object("e", "a\nb"))
                .events("b", &limits)
                .is_err()
        );
    }
}

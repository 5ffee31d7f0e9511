//! What lies in a bucket, page by page, and the codes of S3's errors: the XML that it answers.

use percent_encoding::percent_decode_str;
use roxmltree::{Document, Node};

use super::client::Client;
use super::{Address, RemoteError};

/// A page of a thousand keys, each of at most a kilobyte, has fewer.
pub(super) const PAGE_BYTES_MAX: usize = 16 << 20;

/// More names than this are not listed.
const NAME_COUNT_MAX: usize = 1 << 20;

/// What lies directly under a prefix.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// The keys of objects.
    pub(super) keys: Vec<String>,
    /// What keys further down begin with, up to and with a slash.
    pub(super) prefixes: Vec<String>,
}

/// Lists what lies under a prefix up to the next slash.
pub(super) fn list(client: &Client, bucket: &str, prefix: &str) -> Result<Listing, RemoteError> {
    let mut listing = Listing::default();
    let mut token: Option<String> = None;
    loop {
        let mut query = vec![
            ("list-type", "2"),
            ("delimiter", "/"),
            ("encoding-type", "url"),
            ("prefix", prefix),
        ];
        if let Some(token) = &token {
            query.push(("continuation-token", token));
        }
        let page = client.list(bucket, &query)?;
        let next = listing.add(&page).ok_or_else(|| RemoteError::Answer {
            expected: "a list of the bucket".to_owned(),
            found: "something else".to_owned(),
        })?;
        if listing.keys.len() + listing.prefixes.len() > NAME_COUNT_MAX {
            return Err(RemoteError::Answer {
                expected: format!("at most {NAME_COUNT_MAX} names"),
                found: "more".to_owned(),
            });
        }
        // A server that gives the same token again would be asked for ever.
        if next.is_none() || next == token {
            return Ok(listing);
        }
        token = next;
    }
}

impl Listing {
    /// Adds a page; gives what asks for the next.
    fn add(&mut self, page: &[u8]) -> Option<Option<String>> {
        let document = Document::parse(std::str::from_utf8(page).ok()?).ok()?;
        let root = document.root_element();
        if root.tag_name().name() != "ListBucketResult" {
            return None;
        }
        let is_escaped = child(root, "EncodingType") == Some("url");
        let plain = |text: &str| match is_escaped {
            // Some services write a space as a form does.
            true => percent_decode_str(&text.replace('+', "%20"))
                .decode_utf8()
                .map(|text| text.into_owned())
                .ok(),
            false => Some(text.to_owned()),
        };
        for node in root.children() {
            match node.tag_name().name() {
                "Contents" => self.keys.extend(child(node, "Key").and_then(plain)),
                "CommonPrefixes" => self.prefixes.extend(child(node, "Prefix").and_then(plain)),
                _ => {}
            }
        }
        let more = child(root, "IsTruncated") == Some("true");
        let token = child(root, "NextContinuationToken").map(str::to_owned);
        Some(token.filter(|_| more))
    }
}

/// The code of an error, such as `NoSuchKey`.
pub(super) fn error_code(text: &[u8]) -> Option<String> {
    let document = Document::parse(std::str::from_utf8(text).ok()?).ok()?;
    let code = child(document.root_element(), "Code")?;
    let is_word = code.len() < 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_word.then(|| code.to_owned())
}

fn child<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    let mut children = node.children();
    children
        .find(|child| child.tag_name().name() == name)?
        .text()
}

/// The objects that `s3://bucket/folder/pattern` stands for, sorted; `is_match` compares one
/// name with the last part.
pub(super) fn matching(
    client: &Client,
    address: &Address,
    is_match: &dyn Fn(&str, &str) -> bool,
) -> Result<Vec<String>, RemoteError> {
    let Address::Bucket { bucket, key } = address else {
        return Ok(Vec::new());
    };
    let mut folders = vec![String::new()];
    let mut parts = key.split('/').peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        if !part.contains(['*', '?']) {
            let end = if is_last { "" } else { "/" };
            for folder in &mut folders {
                folder.push_str(part);
                folder.push_str(end);
            }
            continue;
        }
        let mut found = Vec::new();
        for folder in &folders {
            let listing = list(client, bucket, folder)?;
            // A store is a prefix, and stands at the end as a file does.
            let stores = listing.prefixes.iter().map(|prefix| match is_last {
                true => prefix.trim_end_matches('/').to_owned(),
                false => prefix.clone(),
            });
            let stores = stores.filter(|name| !is_last || name.ends_with(".zarr"));
            let files = listing.keys.iter().filter(|_| is_last).cloned();
            found.extend(files.chain(stores).filter(|name| {
                let name = name[folder.len()..].trim_end_matches('/');
                is_match(part, name)
            }));
        }
        folders = found;
    }
    folders.sort();
    let addresses = folders.iter().map(|key| format!("s3://{bucket}/{key}"));
    Ok(addresses.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_read() {
        let page = b"<?xml version='1.0'?><ListBucketResult xmlns='http://s3/'>\
            <EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
            <NextContinuationToken>a/b=</NextContinuationToken>\
            <Contents><Key>x/a+b%26.nc</Key><Size>1</Size></Contents>\
            <CommonPrefixes><Prefix>x/y/</Prefix></CommonPrefixes></ListBucketResult>";
        let mut listing = Listing::default();
        assert_eq!(listing.add(page).unwrap().as_deref(), Some("a/b="));
        assert_eq!(listing.keys, ["x/a b&.nc"]);
        assert_eq!(listing.prefixes, ["x/y/"]);
        for wrong in [&b"<Error/>"[..], b"", b"<a", b"\xff"] {
            assert!(Listing::default().add(wrong).is_none());
        }
    }

    #[test]
    fn codes_are_words() {
        let code = |text: &str| error_code(text.as_bytes());
        let found = code("<Error><Code>NoSuchKey</Code><Key>k</Key></Error>");
        assert_eq!(found.as_deref(), Some("NoSuchKey"));
        assert_eq!(code("<Error><Code>a b</Code></Error>"), None);
        assert_eq!(code("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"), None);
    }
}

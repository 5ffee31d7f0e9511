//! The signature of a request to S3, version 4: pure, of requests without a body.
//!
//! Source: AWS Signature Version 4 for API requests.

use ring::digest::{SHA256, digest};
use ring::hmac;

use super::address::{escaped, is_unreserved, is_unreserved_or_slash};

/// What proves who asks.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) id: String,
    pub(crate) secret: String,
    /// Of credentials that end after a while.
    pub(crate) token: Option<String>,
}

/// Never shown: an error or log with a `Debug` of it must not tell it.
impl std::fmt::Debug for Keys {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Keys")
    }
}

/// A request that has no body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unsigned<'a> {
    pub(crate) host: &'a str,
    /// Not escaped.
    pub(crate) path: &'a str,
    /// Not escaped.
    pub(crate) query: &'a [(&'a str, &'a str)],
    pub(crate) region: &'a str,
    /// `YYYYMMDDTHHMMSSZ`.
    pub(crate) time: &'a str,
}

/// The path as it is sent and signed.
pub(crate) fn path(path: &str) -> String {
    escaped(path, is_unreserved_or_slash)
}

/// The query as it is sent and signed.
pub(crate) fn query(pairs: &[(&str, &str)]) -> String {
    let mut parts: Vec<String> = pairs
        .iter()
        .map(|(name, value)| {
            let escape = |text| escaped(text, is_unreserved);
            format!("{}={}", escape(name), escape(value))
        })
        .collect();
    parts.sort();
    parts.join("&")
}

/// The headers that make it a signed one; `extra` are others that are to be signed, in lower
/// case.
pub(crate) fn headers(
    request: Unsigned<'_>,
    extra: &[(&'static str, String)],
    keys: &Keys,
) -> Vec<(&'static str, String)> {
    let body = hex(digest(&SHA256, b"").as_ref());
    let mut signed = vec![
        ("host", request.host.to_owned()),
        ("x-amz-content-sha256", body.clone()),
        ("x-amz-date", request.time.to_owned()),
    ];
    signed.extend(
        keys.token
            .iter()
            .map(|token| ("x-amz-security-token", token.clone())),
    );
    signed.extend(extra.iter().cloned());
    signed.sort();
    let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let lines: String = signed
        .iter()
        .map(|(name, value)| format!("{name}:{}\n", value.trim()))
        .collect();
    let canonical = format!(
        "GET\n{}\n{}\n{lines}\n{names}\n{body}",
        path(request.path),
        query(request.query)
    );
    let day = request.time.get(..8).unwrap_or_default();
    let scope = format!("{day}/{}/s3/aws4_request", request.region);
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
        request.time,
        hex(digest(&SHA256, canonical.as_bytes()).as_ref())
    );
    let mut key = format!("AWS4{}", keys.secret).into_bytes();
    for part in [day, request.region, "s3", "aws4_request"] {
        key = mac(&key, part);
    }
    let signature = hex(&mac(&key, &to_sign));
    let id = &keys.id;
    signed.retain(|(name, _)| *name != "host");
    signed.push((
        "authorization",
        format!(
            "AWS4-HMAC-SHA256 Credential={id}/{scope},SignedHeaders={names},Signature={signature}"
        ),
    ));
    signed
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(path: &str, query: &[(&str, &str)], extra: &[(&'static str, String)]) -> String {
        let keys = Keys {
            id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            token: None,
        };
        let request = Unsigned {
            host: "examplebucket.s3.amazonaws.com",
            path,
            query,
            region: "us-east-1",
            time: "20130524T000000Z",
        };
        let headers = headers(request, extra, &keys);
        let (_, value) = headers
            .iter()
            .find(|(name, _)| *name == "authorization")
            .unwrap();
        value.rsplit("Signature=").next().unwrap().to_owned()
    }

    /// The examples of Amazon S3's API reference, "Signature calculations for the authorization
    /// header: transferring payload in a single chunk".
    #[test]
    fn signatures_are_those_of_the_reference() {
        let range = [("range", "bytes=0-9".to_owned())];
        assert_eq!(
            signature("/test.txt", &[], &range),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        assert_eq!(
            signature("/", &[("max-keys", "2"), ("prefix", "J")], &[]),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }

    #[test]
    fn keys_are_never_shown() {
        let keys = Keys {
            id: "id".to_owned(),
            secret: "hidden".to_owned(),
            token: Some("hidden".to_owned()),
        };
        assert_eq!(format!("{keys:?}"), "Keys");
    }

    #[test]
    fn paths_and_queries_are_escaped() {
        assert_eq!(path("/a b/ä+=.nc"), "/a%20b/%C3%A4%2B%3D.nc");
        assert_eq!(query(&[("b", "x/y"), ("a", "")]), "a=&b=x%2Fy");
    }
}

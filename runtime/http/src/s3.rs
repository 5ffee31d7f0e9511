//! The signature of a request to S3 and to its like, version 4. Pure.
//!
//! Source: AWS Signature Version 4 for API requests.

use mizar_core::hex;
use ring::digest::{SHA256, digest};
use ring::hmac;

use crate::{escaped, is_unreserved, is_unreserved_or_slash};

/// What proves who asks.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// Which key.
    pub id: String,
    /// The key.
    pub secret: String,
    /// Of credentials that end after a while.
    pub token: Option<String>,
}

/// Never shown: an error or log with a `Debug` of it must not tell it.
impl std::fmt::Debug for Keys {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Keys")
    }
}

/// A request that is to be signed.
#[derive(Clone, Copy, Debug)]
pub struct Unsigned<'a> {
    /// `GET`, `PUT`.
    pub method: &'a str,
    /// With its port, if it has one.
    pub host: &'a str,
    /// Not escaped.
    pub path: &'a str,
    /// Not escaped.
    pub query: &'a [(&'a str, &'a str)],
    /// The region of the bucket.
    pub region: &'a str,
    /// `YYYYMMDDTHHMMSSZ`.
    pub time: &'a str,
    /// SHA-256 of the body in hexadecimal digits; `None` without one.
    pub body: Option<&'a str>,
}

/// The path as it is sent and signed.
#[must_use]
pub fn path(path: &str) -> String {
    escaped(path, is_unreserved_or_slash)
}

/// The query as it is sent and signed.
#[must_use]
pub fn query(pairs: &[(&str, &str)]) -> String {
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
#[must_use]
pub fn headers(
    request: Unsigned<'_>,
    extra: &[(&'static str, String)],
    keys: &Keys,
) -> Vec<(&'static str, String)> {
    headers_for("s3", request, extra, keys)
}

/// [`headers`] of a request to another service, as `sqs`, whose path is `/`: others escape paths
/// in another way.
#[must_use]
pub fn headers_for(
    service: &str,
    request: Unsigned<'_>,
    extra: &[(&'static str, String)],
    keys: &Keys,
) -> Vec<(&'static str, String)> {
    let body = request
        .body
        .map_or_else(|| hex(digest(&SHA256, b"")), str::to_owned);
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
        "{}\n{}\n{}\n{lines}\n{names}\n{body}",
        request.method,
        path(request.path),
        query(request.query)
    );
    let day = request.time.get(..8).unwrap_or_default();
    let scope = format!("{day}/{}/{service}/aws4_request", request.region);
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
        request.time,
        hex(digest(&SHA256, canonical.as_bytes()))
    );
    let mut key = format!("AWS4{}", keys.secret).into_bytes();
    for part in [day, request.region, service, "aws4_request"] {
        key = mac(&key, part);
    }
    let signature = hex(mac(&key, &to_sign));
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

/// Now, as requests tell it: `YYYYMMDDTHHMMSSZ`.
#[must_use]
pub fn time_now() -> String {
    let now = time::OffsetDateTime::now_utc();
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        now.year(),
        u8::from(now.month()),
        now.day(),
        now.hour(),
        now.minute(),
        now.second()
    )
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(
        (method, path, body): (&str, &str, Option<&str>),
        query: &[(&str, &str)],
        extra: &[(&'static str, String)],
    ) -> String {
        let keys = Keys {
            id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            token: None,
        };
        let request = Unsigned {
            method,
            host: "examplebucket.s3.amazonaws.com",
            path,
            query,
            region: "us-east-1",
            time: "20130524T000000Z",
            body,
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
            signature(("GET", "/test.txt", None), &[], &range),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        assert_eq!(
            signature(
                ("GET", "/", None),
                &[("max-keys", "2"), ("prefix", "J")],
                &[]
            ),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
        let body = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
        let extra = [
            ("date", "Fri, 24 May 2013 00:00:00 GMT".to_owned()),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY".to_owned()),
        ];
        assert_eq!(
            signature(("PUT", "/test$file.text", Some(body)), &[], &extra),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
    }

    /// The same request signed by botocore 1.44's `SigV4Auth`.
    #[test]
    fn another_service_signs_with_its_own_name() {
        let keys = Keys {
            id: "ann".to_owned(),
            secret: "hush-hush".to_owned(),
            token: None,
        };
        let body = hex(digest(&SHA256, b"{}"));
        let request = Unsigned {
            method: "POST",
            host: "sqs.eu-west-1.amazonaws.com",
            path: "/",
            query: &[],
            region: "eu-west-1",
            time: "20130524T000000Z",
            body: Some(&body),
        };
        let extra = [
            ("content-type", "application/x-amz-json-1.0".to_owned()),
            ("x-amz-target", "AmazonSQS.ReceiveMessage".to_owned()),
        ];
        let headers = headers_for("sqs", request, &extra, &keys);
        let (_, value) = headers
            .iter()
            .find(|(name, _)| *name == "authorization")
            .unwrap();
        assert_eq!(
            value.rsplit("Signature=").next().unwrap(),
            "58ffe09679ecf5b9b660f8baa174e8f7c06f39627fcb09ad89cd23a05224d90b"
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

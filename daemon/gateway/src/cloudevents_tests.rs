//! Tables for the three content modes.

use super::*;
use proptest::prelude::*;
use serde_json::json;

const BOUNDS: Bounds = Bounds {
    nesting: 64,
    batch_events: 10,
};

fn headers(pairs: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
        .collect()
}

fn binary(pairs: &[(&str, &str)], body: &[u8]) -> Result<Event, FormatError> {
    let mut all = headers(&[
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
    ]);
    for (name, value) in headers(pairs) {
        all.retain(|(existing, _)| *existing != name);
        all.push((name, value));
    }
    Ok(read(Mode::Binary, &all, body, BOUNDS)?.remove(0))
}

#[test]
fn modes_are_told_by_prefix_batch_first() {
    for (value, expected) in [
        ("application/cloudevents+json", Some(Mode::Structured)),
        (
            "Application/CloudEvents+JSON; charset=utf-8",
            Some(Mode::Structured),
        ),
        ("application/cloudevents-batch+json", Some(Mode::Batch)),
        ("application/CLOUDEVENTS-batch+json;x=y", Some(Mode::Batch)),
        ("application/json", None),
    ] {
        assert_eq!(
            mode(&headers(&[("content-type", value)])).unwrap(),
            expected,
            "{value}"
        );
    }
    assert!(
        mode(&headers(&[(
            "content-type",
            "application/cloudevents+avro"
        )]))
        .is_err()
    );
    assert_eq!(
        mode(&headers(&[("ce-specversion", "1.0")])).unwrap(),
        Some(Mode::Binary)
    );
}

#[test]
fn binary_headers_are_unquoted_and_decoded_once() {
    for (value, expected) in [
        ("a%20b", "a b"),
        ("\"a b\"", "a b"),
        ("\"a\\\"b\"", "a\"b"),
        ("%25%32%30", "%20"),
        ("Euro%20%E2%82%AC", "Euro €"),
    ] {
        let event = binary(&[("ce-subject", value)], b"").unwrap();
        assert_eq!(event.subject.as_deref(), Some(expected), "{value}");
    }
    for value in ["%FF", "%2", "%zz", "%00", "%0A"] {
        assert!(binary(&[("ce-subject", value)], b"").is_err(), "{value}");
    }
    for name in ["ce-datacontenttype", "ce-data", "ce-data_base64"] {
        assert!(binary(&[(name, "x")], b"").is_err(), "{name}");
    }
}

#[test]
fn binary_data_keeps_its_kind() {
    for (kind, body, expected) in [
        (
            "application/json",
            &b"{\"k\":1}"[..],
            json!({"data": {"k": 1}}),
        ),
        ("application/ld+json; x=y", b"[1]", json!({"data": [1]})),
        ("text/plain", b"hi", json!({"data": "hi"})),
        (
            "application/octet-stream",
            b"\x00\x01",
            json!({"data_base64": "AAE="}),
        ),
        ("text/plain", b"\xff", json!({"data_base64": "/w=="})),
    ] {
        let event = binary(&[("content-type", kind)], body).unwrap();
        for field in ["data", "data_base64"] {
            assert_eq!(event.document.get(field), expected.get(field), "{kind}");
        }
    }
}

#[test]
fn structured_events_are_checked() {
    let good = json!({"specversion":"1.0","id":"1","source":"/s","type":"t"});
    assert_eq!(structured(good.clone()).unwrap().key, ["ce", "/s", "1"]);
    for (name, value) in [
        ("specversion", json!("0.3")),
        ("specversion", json!(null)),
        ("id", json!("")),
        ("id", json!(7)),
        ("id", json!("a\nb")),
        ("source", json!(null)),
        ("type", json!("x".repeat(5000))),
        ("time", json!("yesterday")),
        ("Upper", json!("x")),
        ("with-dash", json!("x")),
        ("ext", json!({"a": 1})),
        ("data_base64", json!("A")),
        ("data_base64", json!("!!!!")),
    ] {
        let mut event = good.clone();
        event[name] = value.clone();
        assert!(structured(event).is_err(), "{name}={value}");
    }
    let mut both = good.clone();
    both["data"] = json!(1);
    both["data_base64"] = json!("AAE=");
    assert!(structured(both).is_err());
    let mut absent = good;
    absent["subject"] = json!(null);
    assert_eq!(structured(absent).unwrap().subject, None);
}

#[test]
fn batches_are_all_or_nothing() {
    let batch = |body: &str| read(Mode::Batch, &[], body.as_bytes(), BOUNDS);
    assert_eq!(batch("[]").unwrap().len(), 0);
    let one = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#;
    assert_eq!(batch(&format!("[{one},{one}]")).unwrap().len(), 2);
    let error = batch(&format!(r#"[{one},{{"id":"2"}}]"#)).unwrap_err();
    assert!(matches!(error, FormatError::InBatch { index: 1, .. }));
    assert!(matches!(batch(one), Err(FormatError::Shape { .. })));
    let long = format!("[{}]", [one; 11].join(","));
    assert!(matches!(
        batch(&long),
        Err(FormatError::BatchTooLong {
            limit: 10,
            found: 11
        })
    ));
}

#[test]
fn a_document_reads_back_as_the_same_event() {
    let event = binary(
        &[
            ("ce-subject", "x%20y"),
            ("content-type", "application/json"),
        ],
        b"{}",
    );
    let event = event.unwrap();
    assert_eq!(Event::from_document(event.document.clone()).unwrap(), event);
}

proptest! {
    #[test]
    fn header_decoding_inverts_encoding(text in "[^\\p{Cc}]{1,40}") {
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        prop_assert_eq!(decode_header(encoded.as_bytes()), Some(text));
    }

    #[test]
    fn no_input_panics(body in proptest::collection::vec(any::<u8>(), 0..200), value in "\\PC{0,40}") {
        for mode in [Mode::Binary, Mode::Structured, Mode::Batch] {
            let all = headers(&[("ce-id", value.as_str()), ("content-type", value.as_str())]);
            let _ = read(mode, &all, &body, BOUNDS);
        }
    }

    #[test]
    fn base64_is_valid_base64(bytes in proptest::collection::vec(any::<u8>(), 0..50)) {
        prop_assert!(is_base64(&base64(&bytes)));
    }
}

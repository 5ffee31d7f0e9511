//! Notifications of object stores: MinIO, AWS S3 and what speaks like them.
//!
//! Source: AWS "Event message structure" 2.1 and MinIO `internal/event`. Every entry of
//! `Records` becomes one event, named as the CloudEvents S3 adapter names it.

use serde_json::Value;

use crate::cloudevents::{FormatError, percent_decode};
use crate::event::{Event, MAX_ATTRIBUTE_BYTES, StoredObject, object_document};

/// Start of the CloudEvents type.
const TYPE_PREFIX: &str = "com.amazonaws.s3.";

/// What one notification holds.
#[derive(Debug, PartialEq)]
pub struct Notification {
    /// The events, in order.
    pub events: Vec<Event>,
    /// Entries that are acknowledged and mean no job: test events, folder markers.
    pub skipped: usize,
}

/// Whether a JSON body looks like a notification of an object store.
#[must_use]
pub fn is_notification(body: &Value) -> bool {
    body.get("Records").is_some_and(Value::is_array) || is_test_event(body)
}

/// What AWS sends when a notification is configured.
fn is_test_event(body: &Value) -> bool {
    body.get("Event").and_then(Value::as_str) == Some("s3:TestEvent")
}

/// Reads one notification; all of its records or none.
///
/// # Errors
/// [`FormatError`].
pub fn read(body: &Value, batch_events: usize) -> Result<Notification, FormatError> {
    if is_test_event(body) {
        return Ok(Notification {
            events: Vec::new(),
            skipped: 1,
        });
    }
    let records = body
        .get("Records")
        .and_then(Value::as_array)
        .ok_or(FormatError::Shape {
            expected: "a notification of an object store, with `Records`",
        })?;
    if records.len() > batch_events {
        return Err(FormatError::BatchTooLong {
            limit: batch_events,
            found: records.len(),
        });
    }
    let mut notification = Notification {
        events: Vec::new(),
        skipped: 0,
    };
    for (index, record) in records.iter().enumerate() {
        let event = event(record).map_err(|error| FormatError::InBatch {
            index,
            source: Box::new(error),
        })?;
        // A folder marker is an empty object that a console made; there is nothing to work on.
        match &event.object {
            Some(object) if object.key.ends_with('/') => notification.skipped += 1,
            _ => notification.events.push(event),
        }
    }
    Ok(notification)
}

fn event(record: &Value) -> Result<Event, FormatError> {
    let field = |pointer: &str| record.pointer(pointer).and_then(Value::as_str);
    let origin = field("/eventSource").unwrap_or_default();
    if !origin.ends_with(":s3") {
        return Err(bad(
            "eventSource",
            "is not `minio:s3`, `aws:s3` or the like",
        ));
    }
    let name = field("/eventName").ok_or_else(|| bad("eventName", "is missing"))?;
    let kind = format!("{TYPE_PREFIX}{}", normalised(name));
    let object = stored_object(record, &kind)
        .ok_or_else(|| bad("s3", "lacks a bucket name or a decodable object key"))?;
    for (name, text) in [
        ("s3.object.key", &object.key),
        ("s3.bucket.name", &object.bucket),
    ] {
        if text.is_empty() || text.len() > MAX_ATTRIBUTE_BYTES || text.chars().any(char::is_control)
        {
            return Err(bad(name, "is empty, too long or holds a control character"));
        }
    }
    let part = |pointer| field(pointer).unwrap_or_default();
    let id = format!(
        "{}.{}",
        part("/responseElements/x-amz-request-id"),
        part("/responseElements/x-amz-id-2")
    );
    let source = format!("{origin}.{}.{}", part("/awsRegion"), object.bucket);
    let document = object_document(
        &id,
        &source,
        &kind,
        &object.key,
        field("/eventTime"),
        record.clone(),
    );
    // The same checks as for any CloudEvent.
    crate::cloudevents::structured(document)
}

/// Reads the object that an S3 record is about; None if `data` is no such record.
pub(crate) fn stored_object(data: &Value, kind: &str) -> Option<StoredObject> {
    let event_name = normalised(kind.strip_prefix(TYPE_PREFIX)?).to_owned();
    let object = data.pointer("/s3/object")?;
    let text = |name| object.get(name).and_then(Value::as_str).map(str::to_owned);
    Some(StoredObject {
        bucket: data.pointer("/s3/bucket/name")?.as_str()?.to_owned(),
        key: percent_decode(object.get("key")?.as_str()?.as_bytes(), true)?,
        version_id: text("versionId").filter(|version| !version.is_empty()),
        etag: text("eTag"),
        size_bytes: object.get("size").and_then(Value::as_u64),
        event_name,
    })
}

/// The key of redelivery: bucket, key, version, sequencer, name of the event.
pub(crate) fn key(object: &StoredObject, data: &Value) -> Vec<String> {
    // Without a sequencer the request tells two writes of one key apart, or when it was: a
    // notification that comes again is the same in all of them.
    let told = [
        "/s3/object/sequencer",
        "/responseElements/x-amz-request-id",
        "/eventTime",
    ];
    let moment = told
        .into_iter()
        .filter_map(|pointer| data.pointer(pointer)?.as_str())
        .find(|text| !text.is_empty())
        .unwrap_or_default();
    vec![
        "s3".to_owned(),
        object.bucket.clone(),
        object.key.clone(),
        object.version_id.clone().unwrap_or_default(),
        moment.to_owned(),
        object.event_name.clone(),
    ]
}

fn normalised(event_name: &str) -> &str {
    event_name.strip_prefix("s3:").unwrap_or(event_name)
}

fn bad(name: &str, problem: &'static str) -> FormatError {
    FormatError::Attribute {
        name: name.to_owned(),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn record(source: &str, name: &str, key: &str) -> Value {
        json!({"eventVersion":"2.0","eventSource":source,"awsRegion":"","eventTime":"2026-01-02T10:00:00.000Z",
            "eventName":name,"responseElements":{"x-amz-id-2":"n","x-amz-request-id":"17A"},
            "s3":{"bucket":{"name":"b"},"object":{"key":key,"size":3,"eTag":"e","versionId":"v","sequencer":"17A0C1"}}})
    }

    fn one(record: Value) -> Result<Event, FormatError> {
        read(&json!({"Records": [record]}), 10).map(|mut found| found.events.remove(0))
    }

    #[test]
    fn minio_and_aws_records_give_one_event_each() {
        let minio = one(record(
            "minio:s3",
            "s3:ObjectCreated:Put",
            "in%2Fa+b%2B%C3%BC.txt",
        ))
        .unwrap();
        assert_eq!(minio.id, "17A.n");
        assert_eq!(minio.source, "minio:s3..b");
        assert_eq!(minio.kind, "com.amazonaws.s3.ObjectCreated:Put");
        assert_eq!(minio.subject.as_deref(), Some("in/a b+ü.txt"));
        assert_eq!(
            minio.key,
            [
                "s3",
                "b",
                "in/a b+ü.txt",
                "v",
                "17A0C1",
                "ObjectCreated:Put"
            ]
        );
        let aws = one(record("aws:s3", "ObjectCreated:Put", "in/a+b%2B%C3%BC.txt")).unwrap();
        assert_eq!(aws.key, minio.key, "one object, one key, whoever spells it");
    }

    #[test]
    fn test_events_and_folder_markers_mean_no_job() {
        let test = json!({"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b"});
        assert!(is_notification(&test));
        assert_eq!(read(&test, 10).unwrap().skipped, 1);
        let folder = json!({"Records":[record("minio:s3", "s3:ObjectCreated:Put", "in%2F")]});
        let found = read(&folder, 10).unwrap();
        assert_eq!((found.events.len(), found.skipped), (0, 1));
    }

    #[test]
    fn two_writes_are_two_events_whatever_a_store_leaves_out() {
        let written = |second: u32, left_out: &[&str]| {
            let mut one = record("aws:s3", "ObjectCreated:Put", "a");
            one["eventTime"] = json!(format!("2026-01-02T10:00:0{second}.000Z"));
            one["responseElements"]["x-amz-request-id"] = json!(format!("R{second}"));
            one["s3"]["object"]["sequencer"] = json!(format!("5{second}"));
            for pointer in left_out {
                *one.pointer_mut(pointer).unwrap() = json!("");
            }
            super::tests::one(one).unwrap().key
        };
        let (sequencer, request) = ("/s3/object/sequencer", "/responseElements/x-amz-request-id");
        for left_out in [&[][..], &[sequencer], &[sequencer, request]] {
            assert_eq!(written(1, left_out), written(1, left_out));
            assert_ne!(written(1, left_out), written(2, left_out), "{left_out:?}");
        }
    }

    #[test]
    fn removals_are_recognised() {
        let event = one(record("minio:s3", "s3:ObjectRemoved:Delete", "a")).unwrap();
        assert!(event.object.unwrap().is_removal());
    }

    #[test]
    fn bad_records_refuse_the_whole_notification() {
        for bad in [
            json!({}),
            record("other", "s3:ObjectCreated:Put", "a"),
            record("minio:s3", "s3:ObjectCreated:Put", ""),
            record("minio:s3", "s3:ObjectCreated:Put", "a%0Ab"),
            record("minio:s3", "s3:ObjectCreated:Put", "%FF"),
            record("minio:s3", "s3:ObjectCreated:Put", "%2"),
        ] {
            let good = record("minio:s3", "s3:ObjectCreated:Put", "a");
            assert!(read(&json!({"Records": [good, bad]}), 10).is_err());
        }
    }

    proptest! {
        #[test]
        fn keys_survive_the_encoding(key in "[^\\p{Cc}]{1,30}") {
            let encoded: String = key.bytes().map(|byte| match byte {
                b' ' => "+".to_owned(),
                byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
                byte => format!("%{byte:02X}"),
            }).collect();
            let object = stored_object(
                &record("minio:s3", "x", &encoded), "com.amazonaws.s3.ObjectCreated:Put").unwrap();
            prop_assert_eq!(object.key, key);
        }
    }
}

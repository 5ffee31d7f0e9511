//! Exactly the lines and bytes that were asked for.

use std::io::Write;

use serde_json::json;

use super::*;
use crate::supervise::plan::CONTAINERS;

fn log(lines: &[(i64, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join(CONTAINERS)).unwrap();
    let path = crate::supervise::progress::log_path(folder.path(), "c");
    let mut file = File::create(path).unwrap();
    for (second, text) in lines {
        let stamp = OffsetDateTime::from_unix_timestamp(*second)
            .unwrap()
            .format(STAMP)
            .unwrap();
        match text.strip_suffix('\n') {
            Some(text) => writeln!(file, "{stamp} F {text}").unwrap(),
            None => writeln!(file, "{stamp} P {text}").unwrap(),
        }
    }
    folder
}

fn read(folder: &tempfile::TempDir, options: serde_json::Value) -> String {
    let options: LogOptions = serde_json::from_value(options).unwrap();
    let selection = options.select(105 * 1_000_000_000).unwrap();
    let mut out = Vec::new();
    let mut give = |piece: Vec<u8>| {
        out.extend(piece);
        true
    };
    walk(folder.path(), "c", &selection, &mut give, &mut || true).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn what_is_asked_for_and_nothing_else() {
    let folder = log(&[
        (100, "one\n"),
        (101, "tw"),
        (101, "o\n"),
        (102, "three\n"),
        (103, "four"),
    ]);
    for (options, expected) in [
        (json!({}), "one\ntwo\nthree\nfour"),
        (json!({"Tail": 1}), "four"),
        (json!({"Tail": 3}), "two\nthree\nfour"),
        (json!({"Tail": 99}), "one\ntwo\nthree\nfour"),
        (json!({"Bytes": 5}), "one\nt"),
        (json!({"LimitBytes": 5}), "one\nt"),
        (json!({"limit_bytes": 4}), "one\n"),
        (json!({"SinceSeconds": 4}), "two\nthree\nfour"),
        (json!({"SinceTime": "1970-01-01T00:01:42Z"}), "three\nfour"),
        (
            json!({"SinceTime": "1970-01-01T00:01:42Z", "Tail": 1}),
            "four",
        ),
        (
            json!({"SinceTime": "0001-01-01T00:00:00Z", "Follow": true}),
            "one\ntwo\nthree\nfour",
        ),
        (json!({"Previous": true}), ""),
        (
            json!({"Tail": 2, "Timestamps": true}),
            "1970-01-01T00:01:42.000000000Z three\n1970-01-01T00:01:43.000000000Z four",
        ),
    ] {
        assert_eq!(read(&folder, options.clone()), expected, "{options}");
    }
}

#[test]
fn contradictions_are_refused() {
    for odd in [
        json!({"Tail": 1, "Bytes": 1}),
        json!({"SinceSeconds": 1, "SinceTime": "2026-01-01T00:00:00Z"}),
        json!({"SinceTime": "yesterday"}),
    ] {
        let options: LogOptions = serde_json::from_value(odd.clone()).unwrap();
        assert!(options.select(0).is_err(), "{odd}");
    }
}

#[test]
fn a_log_is_followed_to_its_end() {
    let folder = log(&[(100, "one\n")]);
    let path = crate::supervise::progress::log_path(folder.path(), "c");
    let selection = Selection {
        follow: true,
        ..Selection::default()
    };
    let mut looks = 0;
    let mut has_ended = || {
        looks += 1;
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap();
        // A record whose end comes later, then one more.
        match looks {
            1 => write!(file, "1970-01-01T00:01:41.000000000Z F tw").unwrap(),
            2 => writeln!(file, "o").unwrap(),
            3 => writeln!(file, "1970-01-01T00:01:42.000000000Z F three").unwrap(),
            _ => return true,
        }
        false
    };
    let mut out = Vec::new();
    let mut give = |piece: Vec<u8>| {
        out.extend(piece);
        true
    };
    walk(folder.path(), "c", &selection, &mut give, &mut has_ended).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "one\ntwo\nthree\n");
}

#[test]
fn every_spelling_of_a_request() {
    for body in [
        json!({"Namespace": "n", "PodUID": "u", "PodName": "p", "ContainerName": "c", "Opts": {"Tail": 3}}),
        json!({"namespace": "n", "pod_uid": "u", "pod_name": "p", "container_name": "c", "opts": {"tail": 3}}),
    ] {
        let read: LogRequest = serde_json::from_value(body).unwrap();
        assert_eq!(
            (
                read.pod_uid.as_str(),
                read.container_name.as_str(),
                read.opts.tail
            ),
            ("u", "c", 3)
        );
    }
}

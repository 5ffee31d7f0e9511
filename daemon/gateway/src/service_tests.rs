//! Filters, refused definitions, and that YAML and TOML say the same.

use super::*;
use serde_json::json;

fn event(kind: &str, key: &str) -> Event {
    Event::from_document(json!({"specversion":"1.0","id":"1","source":"minio:s3..b",
        "type":format!("com.amazonaws.s3.{kind}"),"subject":key,
        "data":{"s3":{"bucket":{"name":"b"},"object":{"key":key}}}}))
    .unwrap()
}

#[test]
fn every_key_of_a_filter_must_hold() {
    let created = event("ObjectCreated:Put", "in/a.nc");
    for (filter, expected) in [
        ("", true),
        ("bucket='b'\nprefix='in/'\nsuffix='.nc'", true),
        ("bucket='c'", false),
        ("bucket='*'", true),
        ("prefix='out/'", false),
        ("suffix='.txt'", false),
        ("source='minio:s3*'", true),
        ("source='minio:s3'", false),
        ("type='com.amazonaws.s3.ObjectCreated:*'", true),
        ("type='com.amazonaws.s3.ObjectRemoved:*'", false),
    ] {
        let filter: Filter = toml::from_str(filter).unwrap();
        assert_eq!(filter.matches(&created), expected, "{filter:?}");
    }
}

#[test]
fn removals_match_only_where_asked_for() {
    let removed = event("ObjectRemoved:Delete", "a");
    assert!(!Filter::default().matches(&removed));
    let asked = Filter {
        kind: Some("com.amazonaws.s3.*".into()),
        ..Filter::default()
    };
    assert!(asked.matches(&removed));
    for (sql, expected) in [
        ("type LIKE '%Removed:%'", true),
        ("type LIKE '%Created:%'", false),
        ("subject = 'a'", false),
        ("subject = 'a' AND EXISTS type", true),
    ] {
        let filter: Filter = serde_json::from_value(json!({ "sql": sql })).unwrap();
        assert_eq!(filter.matches(&removed), expected, "{sql}");
    }
}

#[test]
fn dangerous_options_and_unknown_keys_are_refused() {
    let service = |rest: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("services.toml");
        std::fs::write(
            &path,
            format!("[[service]]\nname='a'\nscript='/bin/sh'\n{rest}"),
        )
        .unwrap();
        load(&[path], &[])
    };
    assert!(service("[service.sbatch]\nnodes=2\ntime='10'\nmizar=true").is_ok());
    for option in [
        "wrap",
        "uid",
        "gid",
        "output",
        "export",
        "chdir",
        "array",
        "comment",
        "job-name",
        "get-user-env",
        "input",
        "error",
        "export-file",
        "prefer=x --wrap",
    ] {
        let error = service(&format!("[service.sbatch]\n'{option}'='x'")).unwrap_err();
        assert!(
            error.to_string().contains("not allowed"),
            "{option}: {error}"
        );
    }
    assert!(service("[service.sbatch]\ntime=\"1\\n2\"").is_err());
    assert!(service("colour='red'").is_err());
    assert!(
        service("[[service]]\nname='a'\nscript='/bin/sh'").is_err(),
        "twice"
    );
}

#[test]
fn yaml_and_toml_say_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (toml, yaml) = (folder.path().join("s.toml"), folder.path().join("s.yaml"));
    std::fs::write(&toml, "[[service]]\nname='a'\nscript='/bin/sh'\n[service.filter]\nbucket='b'\n[[service.args]]\nname='x'\ntype='path'\nfrom='s3.key'\n[service.sbatch]\nnodes=2\n").unwrap();
    std::fs::write(&yaml, "service:\n- name: a\n  script: /bin/sh\n  filter: {bucket: b}\n  args:\n  - {name: x, type: path, from: s3.key}\n  sbatch: {nodes: 2}\n").unwrap();
    assert_eq!(load(&[toml], &[]).unwrap(), load(&[yaml], &[]).unwrap());
}

//! Workflows of every kind of group, and what each becomes.

use super::*;
use crate::sources::Source;
use serde_json::json;

/// Maps a workflow of a folder that has the scripts `plants.sh` and `merge.sh`, and `kafka.pem`.
fn mapped(text: &str) -> Result<Mapping, WorkflowError> {
    let folder = tempfile::tempdir().unwrap();
    for name in ["plants.sh", "merge.sh", "kafka.pem"] {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    let surroundings = Surroundings {
        stem: "flow",
        folder: folder.path(),
        output: folder.path(),
        scripts: &BTreeMap::new(),
        script_folder: folder.path(),
        aws_keys: None,
    };
    let found = map(text, &surroundings);
    // Services are checked while their scripts are there.
    drop(folder);
    found
}

fn of(sources: &str) -> Mapping {
    mapped(&format!(
        "nifi:\n  endpoint: https://nifi\n  user: u\n  password: p\n  Source:\n{sources}\n  \
         Destination:\n    OSCAR: [{{name: out, endpoint: e, service: plants, token: t}}]\n  \
         connection: [{{from: in, to: out}}]\n"
    ))
    .unwrap()
}

fn whats(remarks: &[Remark]) -> String {
    let each = remarks
        .iter()
        .map(|one| format!("{}: {}", one.at, one.what));
    each.collect::<Vec<_>>().join("\n")
}

/// The only source, as JSON, with what its secret file holds.
fn source(mapping: &Mapping) -> (serde_json::Value, Option<&str>) {
    assert_eq!(
        mapping.fragment.sources.len(),
        1,
        "{}",
        whats(&mapping.left)
    );
    let secret = mapping.secrets.first().map(|secret| secret.text.as_str());
    (json!(mapping.fragment.sources[0]), secret)
}

#[test]
fn dcache_becomes_a_watched_folder() {
    let made = of(
        "    dCache: [{name: in, endpoint: 'https://d:3880/api/v1/', user: ann, password: 'pass:word', \
         folder: /in/, statefile: s, components: [{name: GetFile, seconds: 2, node: ALL}]}]",
    );
    let (source, secret) = source(&made);
    assert_eq!(source["kind"], "dcache");
    assert_eq!(
        (&source["endpoint"], &source["path"]),
        (&json!("https://d:3880"), &json!("/in"))
    );
    assert_eq!(source["credentials_file"], "flow.in.secret");
    assert_eq!(secret, Some("ann:pass:word\n"));
    assert!(made.left.is_empty(), "{}", whats(&made.left));
    let notes = whats(&made.notes);
    assert!(
        notes.contains("GetFile") && notes.contains("statefile"),
        "{notes}"
    );
    assert!(!format!("{made:?}").contains("pass:word"));
    let service = &made.fragment.service[0];
    assert_eq!(
        (service.name.as_str(), &service.sources[..]),
        ("out", &["in".to_owned()][..])
    );
    assert_eq!(service.batch, None);
}

#[test]
fn kafka_becomes_a_topic_and_its_merge_a_batch() {
    let made = of(
        "    Kafka: [{name: in, bootstrap_servers: 'h:9093, i:9093', topic: t, group_id: '1', \
         sasl_username: u, sasl_password: p, separate_by_key: 'false', message_demarcator: ';', \
         ssl_context: {Truststore_Filename: kafka.p12, Truststore_Password: p}, \
         alterations: [{action: Merge, maxMessages: 10, windowSeconds: 7}]}]",
    );
    let (source, secret) = source(&made);
    assert_eq!(source["brokers"], json!(["h:9093", "i:9093"]));
    assert_eq!(
        (&source["tls"], &source["sasl"]),
        (&json!(true), &json!("plain"))
    );
    assert!(source["ca_file"].as_str().unwrap().ends_with("/kafka.pem"));
    assert_eq!(secret, Some("u:p\n"));
    assert!(made.left.is_empty(), "{}", whats(&made.left));
    let batch = made.fragment.service[0].batch.as_ref().unwrap();
    assert_eq!((batch.events, batch.after_s), (10, 7));
}

#[test]
fn what_kafka_and_alterations_cannot_have_is_told() {
    for (rest, part) in [
        ("separate_by_key: 'true'", "separate_by_key"),
        (
            "ssl_context: {Truststore_Filename: other.p12}",
            "openssl pkcs12",
        ),
        ("ssl_context: {Keystore_Filename: k}", "Keystore_Filename"),
        (
            "alterations: [{action: Encode, Encoding: base32}]",
            "base32",
        ),
        (
            "alterations: [{action: Decode, Encoding: hex}]",
            "`Decode` with hex",
        ),
        ("alterations: [{action: Split}]", "`Split`"),
    ] {
        let made = of(&format!(
            "    Kafka: [{{name: in, bootstrap_servers: h, topic: t, sasl_username: u, sasl_password: p, {rest}}}]"
        ));
        assert!(
            whats(&made.left).contains(part),
            "{rest}: {}",
            whats(&made.left)
        );
        assert_eq!(made.fragment.sources.len(), 1, "{rest}");
    }
    for (rest, part) in [
        ("topic: 'a,b'", "several"),
        ("topic: t, sasl_mechanism: GSSAPI", "GSSAPI"),
        ("topic: t, security_protocol: QUIC", "QUIC"),
        ("topic: t, colour: red", "`colour`"),
        ("topic: t, sasl_password: null", "sasl_password"),
        ("bootstrap_servers: h", "`topic` is missing"),
        (
            "topic: t, alterations: [{action: Merge, maxMessages: many, windowSeconds: 1}]",
            "maxMessages",
        ),
    ] {
        let login = if rest.contains("null") {
            ""
        } else {
            "sasl_password: p, "
        };
        let server = if rest.contains("bootstrap") {
            ""
        } else {
            "bootstrap_servers: h, "
        };
        let made = of(&format!(
            "    Kafka: [{{name: in, sasl_username: u, {login}{server}{rest}}}]"
        ));
        let left = whats(&made.left);
        assert!(left.contains(part), "{rest}: {left}");
        assert!(
            made.fragment.sources.is_empty() && made.secrets.is_empty(),
            "{rest}"
        );
        assert!(left.contains("no source that was mapped"), "{left}");
        assert!(left.contains("connection `in` to `out`"), "{left}");
    }
}

#[test]
fn queues_of_sqs_and_buckets() {
    let keys = "AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: hush";
    let made = of(&format!(
        "    GetSQS: [{{name: in, AWS_DEFAULT_REGION: eu-west-1, queue_name: n, {keys}}}]"
    ));
    let (found, secret) = source(&made);
    assert_eq!(
        (&found["kind"], &found["queue_name"], &found["region"]),
        (&json!("sqs"), &json!("n"), &json!("eu-west-1"))
    );
    assert_eq!(secret, Some("id\nhush\n"));
    let made = of(&format!(
        "    GetS3: [{{name: in, AWS_DEFAULT_REGION: r, AWS_S3_BUCKET: b, {keys}}}]"
    ));
    assert_eq!(source(&made).0["queue_name"], "b_events");
    assert!(whats(&made.notes).contains("`b_events`"));
    let made = of("    GetSQS: [{name: in, AWS_DEFAULT_REGION: r, queue_name: n}]");
    assert!(
        whats(&made.left).contains("names no keys"),
        "{}",
        whats(&made.left)
    );
}

#[test]
fn rucio_s_service_filter_is_kept() {
    let made = of(
        "    RUCIO: [{name: in, host: h, port: 5671, queue_name: q, virtual_host: u, password: p, \
         ssl_client_auth: x, service_filter: plants}]",
    );
    let (source, secret) = source(&made);
    assert_eq!(
        (&source["queue"], &source["vhost"]),
        (&json!("q"), &json!("rucio"))
    );
    assert_eq!(secret, Some("u:p\n"));
    assert!(whats(&made.left).contains("localhost:5672 to h:5671"));
    let wanted = |service: &str| {
        let event = crate::event::Event::from_document(json!({"specversion": "1.0", "id": "1",
            "source": "/sources/in", "type": "mizar.rucio.close",
            "data": {"payload": {"custom_metadata": {"oscar-service": service}}}}));
        made.fragment.service[0].wants(&event.unwrap()).is_some()
    };
    assert!(wanted("plants") && !wanted("other"));
}

#[test]
fn seconds_of_a_destination_are_a_rate_and_merged_sources_have_services_of_their_own() {
    let source = |name: &str, more: &str| {
        format!("{{name: {name}, endpoint: d, user: u, password: p, folder: /{name}{more}}}")
    };
    let merge = ", alterations: [{action: Merge, maxMessages: 5, windowSeconds: 1}]";
    let text = format!(
        "nifi:\n  Source:\n    dCache: [{}, {}, {}]\n  Destination:\n    OSCAR:\n    - {{name: Out_1, \
         service: plants, user: a, password: b, components: [{{name: InvokeOSCAR, seconds: 2}}]}}\n  \
         connection: [{{from: a, to: Out_1}}, {{from: b, to: Out_1}}, {{from: c, to: Out_1}}]\n",
        source("a", ""),
        source("b", ""),
        source("c", merge)
    );
    let made = mapped(&text).unwrap();
    assert!(made.left.is_empty(), "{}", whats(&made.left));
    let names: Vec<_> = made
        .fragment
        .service
        .iter()
        .map(|one| (one.name.as_str(), one.sources.len()))
        .collect();
    assert_eq!(names, [("out-1", 2), ("out-1-c", 1)]);
    for flow in &made.fragment.flow {
        assert_eq!(flow.rate, "1800/h");
        assert_eq!(flow.setting(), Ok(crate::ledger::Setting::Rate(Some(0.5))));
    }
    assert_eq!(made.fragment.flow.len(), 2);
    assert!(whats(&made.notes).contains("is called `out-1` here"));
}

#[test]
fn what_has_no_counterpart_is_named_and_older_files_are_read() {
    let made = mapped(
        "nifi:\n  dcache: [{name: in, endpoint: d, user: u, password: p, folder: /in}]\n  oscar:\n  \
         - {name: out, service: nowhere}\n  generic: [{name: g, file: f.json, variables: {k: v}}]\n  \
         Destination: {PutS3: [{name: w, AWS_S3_BUCKET: b, MinIO_Endpoint: m}]}\n  colour: red\n  \
         connection: [{from: in, to: out}, {from: in, to: w}]\n",
    )
    .unwrap();
    assert!(matches!(made.fragment.sources[0], Source::Dcache(_)));
    let left = whats(&made.left);
    for part in [
        "generic `g`: it is a group of NiFi's own",
        "PutS3 `w`",
        "colour: no such part",
        "--script nowhere=PATH",
        "connection `in` to `w`",
    ] {
        assert!(left.contains(part), "{part}: {left}");
    }
}

#[test]
fn what_is_no_workflow_is_refused() {
    for text in [
        "",
        "nifi: [1]",
        "other: {}",
        "nifi: {Source: 7}",
        "nifi: {connection: [{from: a}]}",
        "nifi: {Source: {dCache: [{endpoint: e}]}}",
        "nifi: {Source: {dCache: [{name: a}], Kafka: [{name: a}]}}",
        "nifi: {Source: {dCache: {name: a}}}",
        "a: &a [*a]",
        "\t- :",
        "{",
    ] {
        assert!(mapped(text).is_err(), "{text}");
    }
}

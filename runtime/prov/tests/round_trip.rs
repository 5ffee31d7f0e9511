//! PROV-JSON read back: any document that we write, and what other tools write.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use mizar_prov::{Activity, Attributes, Document, Relation, RelationKind, Timestamp, Value};
use mizar_prov::{ParseError, QualifiedName};
use proptest::prelude::*;

fn name() -> impl Strategy<Value = QualifiedName> {
    ("[ab]", "\\PC{1,12}").prop_map(|(prefix, local)| QualifiedName::new(&prefix, &local))
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        "\\PC{0,12}".prop_map(Value::Text),
        any::<i64>().prop_map(Value::Integer),
        (-1e300..1e300_f64).prop_map(Value::Double),
        Just(Value::Double(f64::INFINITY)),
        any::<bool>().prop_map(Value::Boolean),
        name().prop_map(Value::Name),
        "\\PC{0,12}".prop_map(|text| Value::Typed {
            text,
            datatype: "xsd:anyURI".parse().unwrap()
        }),
        "\\PC{0,12}".prop_map(|text| Value::Tagged {
            text,
            language: "fr".to_owned()
        }),
    ]
}

fn attributes() -> impl Strategy<Value = Attributes> {
    prop::collection::btree_map(name(), prop::collection::vec(value(), 1..3), 0..4)
}

fn activity() -> impl Strategy<Value = Activity> {
    let time = || prop::option::of(any::<i64>().prop_map(Timestamp));
    (time(), time(), attributes()).prop_map(|(start, end, attributes)| Activity {
        start,
        end,
        attributes,
    })
}

fn relation(kind: RelationKind) -> impl Strategy<Value = Relation> {
    let roles = kind.roles();
    let elements = prop::collection::vec(name(), 1..=roles.len());
    (
        elements,
        prop::option::of(any::<i64>().prop_map(Timestamp)),
        attributes(),
    )
        .prop_map(move |(names, time, attributes)| Relation {
            id: None,
            elements: roles.iter().copied().zip(names).collect(),
            time: time.filter(|_| kind.has_time()),
            attributes,
        })
}

fn document() -> impl Strategy<Value = Document> {
    let element = || prop::collection::btree_map(name(), attributes(), 0..3);
    let relations: Vec<_> = RelationKind::ALL
        .into_iter()
        .map(|kind| prop::collection::vec(relation(kind), 0..3))
        .collect();
    (
        element(),
        element(),
        prop::collection::btree_map(name(), activity(), 0..3),
        relations,
    )
        .prop_map(|(entities, agents, activities, relations)| Document {
            prefixes: [("a", "urn:a:"), ("b", "urn:b:")]
                .map(|(prefix, uri)| (prefix.to_owned(), uri.to_owned()))
                .into(),
            default_namespace: None,
            entities,
            agents,
            activities,
            relations: RelationKind::ALL
                .into_iter()
                .zip(relations)
                .filter(|(_, relations)| !relations.is_empty())
                .collect(),
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_document_is_read_back_equal(document in document()) {
        let text = document.to_json_text();
        let back = Document::from_json_text(&text).unwrap();
        prop_assert_eq!(&back, &document);
        prop_assert_eq!(back.to_json_text(), text);
    }
}

#[test]
fn what_other_tools_write_is_understood() {
    let text = r#"{
      "prefix": {"default": "urn:d:", "ex": "http://example.org/"},
      "entity": {"ex:e": [{"prov:type": {"$": "ex:T", "type": "xsd:QName"}}, {"ex:n": [1, 2.5]}],
                 "plain": {"prov:label": {"$": "bonjour", "lang": "fr"}}},
      "activity": {"ex:a": {"prov:startTime": {"$": "2026-11-23T16:05:00", "type": "xsd:dateTime"}}},
      "used": {"ex:u1": {"prov:activity": "ex:a", "prov:entity": "ex:e", "prov:role": "input"}}
    }"#;
    let document = Document::from_json_text(text).unwrap();
    assert_eq!(document.entities.len(), 2);
    let entity = &document.entities[&"ex:e".parse().unwrap()];
    let number: QualifiedName = "ex:n".parse().unwrap();
    assert_eq!(entity[&number], [Value::Integer(1), Value::Double(2.5)]);
    let start = document.activities[&"ex:a".parse().unwrap()].start.unwrap();
    assert_eq!(start.to_string(), "2026-11-23T16:05:00Z");
    let used = &document.relations_of(RelationKind::Used)[0];
    assert_eq!(used.id, Some("ex:u1".parse().unwrap()));
    let elements: BTreeMap<_, _> = [
        ("activity", "ex:a".parse().unwrap()),
        ("entity", "ex:e".parse().unwrap()),
    ]
    .into();
    assert_eq!(used.elements, elements);
    assert_eq!(
        Document::from_json_text(&document.to_json_text()).unwrap(),
        document
    );
}

#[test]
fn wrong_documents_are_refused_with_the_place() {
    for (text, message) in [
        ("{", "the document is not JSON"),
        ("[]", "the document: expected an object"),
        (
            r#"{"entities": {"a": {}}}"#,
            "`entities` is no kind of record known here",
        ),
        (
            r#"{"entity": {"ex:e": {}}}"#,
            "the prefix `ex` is not declared",
        ),
        (
            r#"{"activity": {"prov:a": {"prov:startTime": "noon"}}}"#,
            "activity prov:a: a time is wrong",
        ),
        (
            r#"{"used": {"_:u": {}}}"#,
            "used _:u: expected the element that the relation is about",
        ),
        (
            r#"{"entity": {"prov:e": {"prov:x": null}}}"#,
            "entity prov:e: expected an attribute's value",
        ),
    ] {
        let error: ParseError = Document::from_json_text(text).unwrap_err();
        assert_eq!(error.to_string(), message, "{text}");
    }
}

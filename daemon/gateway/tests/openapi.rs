//! The description of the API is served, is whole, and is true: every route of the sources is in
//! it, every route in it is answered as it says, and nothing refers to what is not there.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "harness/double.rs"]
mod double;
mod harness;

use std::collections::BTreeSet;
use std::time::Duration;

use double::Double;
use harness::{Gateway, agent, oscar, secret};
use mizar_gateway::http::OPENAPI;
use serde_json::Value;

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "options"];

fn described() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

#[test]
fn every_route_of_the_sources_is_described() {
    let sources = [
        include_str!("../src/http/mod.rs"),
        include_str!("../src/interlink/http.rs"),
        include_str!("../src/oscar/http.rs"),
    ];
    let described = described();
    let paths: BTreeSet<&str> = described["paths"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let verbs = ["stop", "start", "restart", "auth"]
        .map(|verb| format!("/system/services/{{name}}/{verb}"));
    let mut found: BTreeSet<String> = verbs.into();
    for source in sources {
        for text in source.split('"').skip(1).step_by(2) {
            let path = text
                .replace("{{", "{")
                .replace("}}", "}")
                .replace("{end}", "");
            let is_path = path.starts_with('/') && (path == "/" || !path.ends_with('/'));
            // Places in a request's body.
            let is_pointer = ["/metadata/", "/pod/", "/UID"]
                .iter()
                .any(|start| path.starts_with(start));
            if !is_path || is_pointer || path.contains("{verb}") {
                continue;
            }
            found.insert(path);
        }
    }
    assert_eq!(
        found.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        paths
    );
}

#[test]
fn every_reference_leads_somewhere() {
    fn check(whole: &Value, value: &Value) {
        match value {
            Value::Object(map) => {
                if let Some(place) = map.get("$ref").and_then(Value::as_str) {
                    assert!(whole.pointer(&place[1..]).is_some(), "{place}");
                }
                map.values().for_each(|one| check(whole, one));
            }
            Value::Array(list) => list.iter().for_each(|one| check(whole, one)),
            _ => {}
        }
    }
    let described = described();
    check(&described, &described);
    for (path, item) in described["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if !METHODS.contains(&method.as_str()) {
                continue;
            }
            assert!(
                operation["summary"].is_string() && operation["security"].is_array(),
                "{method} {path}"
            );
            let own = operation["parameters"].as_array().into_iter().flatten();
            let named: BTreeSet<_> = own
                .chain(item["parameters"].as_array().into_iter().flatten())
                .filter(|one| one["in"] == "path")
                .map(|one| one["name"].as_str().unwrap())
                .collect();
            let needed: BTreeSet<_> = path
                .split('/')
                .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
                .collect();
            assert_eq!(named, needed, "{method} {path}");
        }
    }
}

#[test]
fn every_route_is_answered_as_described() {
    let folder = tempfile::tempdir().unwrap();
    let double = Double::new(folder.path());
    secret(&folder.path().join("users"), oscar::LOGIN);
    secret(&folder.path().join("token"), "a-token-of-16-bytes\n");
    let extra = format!(
        "token_file = \"token\"\n{}[interlink]\n[oscar]\nuser_file = \"users\"\nrun_ms = 1\n",
        double.config()
    );
    let mut gateway = Gateway::prepare(folder.path(), &extra, "");
    gateway.start();
    let agent = agent(Duration::from_secs(30));
    let described = described();
    for (path, item) in described["paths"].as_object().unwrap() {
        let filled = path
            .replace("{id}", "1")
            .replace("{name}", "nothing")
            .replace("{job}", "none");
        for method in METHODS
            .into_iter()
            .filter(|method| item.get(*method).is_some())
        {
            let operation = &item[method];
            let ask = |authorization: Option<&str>| {
                let mut request = ureq::http::Request::builder()
                    .method(method.to_uppercase().as_str())
                    .uri(gateway.url(&filled));
                // A refused request's body is not read, and its connection ends.
                request = request.header("connection", "close");
                if let Some(authorization) = authorization {
                    request = request.header("authorization", authorization);
                }
                let answer = agent.run(request.body("[]").unwrap()).unwrap();
                answer.status().as_u16()
            };
            let scheme = operation.pointer("/security/0").and_then(Value::as_object);
            let scheme = scheme
                .and_then(|scheme| scheme.keys().next())
                .map(String::as_str);
            let authorization = match scheme {
                None => None,
                Some("basic") => Some("Basic YW5uOmNvcnJlY3QgaG9yc2U="),
                Some(_) => Some("Bearer a-token-of-16-bytes"),
            };
            let status = ask(authorization);
            let known = operation["responses"].get(status.to_string()).is_some();
            // The gateway's own tokens call a service that is not there.
            let is_call = scheme == Some("serviceToken") && status == 404;
            assert!(known || is_call, "{method} {path} answered {status}");
            if scheme.is_some() {
                assert_eq!(ask(None), 401, "{method} {path} without a token");
                assert_eq!(
                    ask(Some("Bearer wrong")),
                    401,
                    "{method} {path} with a wrong one"
                );
            }
        }
    }
    let (status, text) = {
        gateway.token("a-token-of-16-bytes");
        gateway.get("/openapi.json")
    };
    assert_eq!((status, text.as_str()), (200, OPENAPI));
}

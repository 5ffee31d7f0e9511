//! Whose services, jobs and pods are: what users of an OIDC issuer see of each other, and as whom their
//! jobs run.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "harness/callers.rs"]
mod callers;
#[path = "harness/double.rs"]
mod double;
mod harness;
#[path = "harness/issuer.rs"]
mod issuer;
#[path = "harness/pods.rs"]
mod pods;

use std::time::Duration;

use callers::{OPERATOR, Site, rule, site, site_with};
use harness::event;
use issuer::{Issuer, Signer};
use serde_json::{Value, json};
#[test]
fn users_of_oscar_see_what_is_theirs_public_or_open_to_them() {
    let signer = Signer::ed25519("e");
    let issuer = Issuer::start(&[&signer]);
    let rules = [
        rule(&issuer, "subject = \"bob\"\nuser = \"bin\""),
        rule(&issuer, "group = \"vo\"\nuser = \"daemon\""),
    ];
    let site = site(&issuer, &rules.concat());
    let token = |subject: &str| {
        let mut claims = issuer.claims(subject);
        claims["groups"] = json!(["vo"]);
        signer.token(&claims)
    };
    let (ann, bob) = (token("ann"), token("bob"));
    let service = |visibility: &str| {
        json!({"name": "plants", "image": "busybox", "script": "true", "memory": "64Mi", "cpu": "1",
            "visibility": visibility, "allowed_users": ["bob"], "input": [], "output": []})
    };
    let none = Value::Null;
    let (status, text) = site.bearer("POST", "/system/services", &ann, &service("private"));
    assert_eq!(status, 201, "{text}");
    let own = site.bearer("GET", "/system/services/plants", &ann, &none);
    let own: Value = serde_json::from_str(&own.1).unwrap();
    assert_eq!(own["owner"], format!("{}#ann", issuer.url));
    let services_token = own["token"].as_str().unwrap().to_owned();
    assert_eq!(services_token.len(), 64);
    assert_eq!(site.bearer("POST", "/job/plants", &ann, &none).0, 201);
    assert_eq!(
        site.bearer("POST", "/job/plants", &services_token, &none).0,
        201
    );
    // Its token calls it, and that is all.
    for (method, path) in [
        ("GET", "/system/services"),
        ("POST", "/events"),
        ("POST", "/job/other"),
    ] {
        assert_eq!(
            site.bearer(method, path, &services_token, &none).0,
            401,
            "{path}"
        );
    }
    let changes = [
        ("PUT", "/system/services"),
        ("DELETE", "/system/services/plants"),
    ];
    let denied = |visibility: &str| {
        for (method, path) in changes {
            let (status, text) = site.bearer(method, path, &bob, &service("public"));
            assert_eq!(status, 403, "{visibility} {method} {path}: {text}");
        }
        let (status, _) = site.bearer(
            "PUT",
            "/system/config",
            &bob,
            &json!({"allowed_image_repositories": []}),
        );
        assert_eq!(status, 403);
    };
    let seen = || {
        let list = site.bearer("GET", "/system/services", &bob, &none).1;
        let list: Vec<Value> = serde_json::from_str(&list).unwrap();
        let call = site.bearer("POST", "/job/plants", &bob, &none).0;
        (
            list,
            site.bearer("GET", "/system/services/plants", &bob, &none).0,
            call,
        )
    };
    assert_eq!(seen(), (Vec::new(), 403, 404));
    denied("private");
    for visibility in ["restricted", "public"] {
        let (status, text) = site.bearer("PUT", "/system/services", &ann, &service(visibility));
        assert_eq!(status, 204, "{text}");
        let (list, one, call) = seen();
        assert_eq!((list.len(), one, call), (1, 200, 201), "{visibility}");
        assert_eq!(list[0]["token"], "", "a service's token is its owner's");
        denied(visibility);
    }
    // Of a service that both see, each has their own jobs; those of its token are its owner's.
    let listed = |token: &str| {
        let text = site.bearer("GET", "/system/logs/plants", token, &none).1;
        let list: Value = serde_json::from_str(&text).unwrap();
        let jobs = list["jobs"].as_object().unwrap();
        jobs.keys().cloned().collect::<Vec<_>>()
    };
    let (anns, bobs) = (listed(&ann), listed(&bob));
    assert_eq!((anns.len(), bobs.len()), (2, 2));
    for method in ["GET", "DELETE"] {
        let path = format!("/system/logs/plants/{}", anns[0]);
        assert_eq!(site.bearer(method, &path, &bob, &none).0, 404);
    }
    assert_eq!(
        site.bearer("DELETE", "/system/logs/plants?all=true", &bob, &none)
            .0,
        204
    );
    assert_eq!((listed(&ann), listed(&bob)), (anns, Vec::new()));
    // The jobs run as the user whose script it is, whoever calls.
    let users = rows(&site, |job| job["user"].clone());
    assert_eq!(users, vec![json!("daemon"); 4]);
    let mut shut = service("restricted");
    shut["allowed_users"] = json!(["bo", "bobby", "https://other#bob"]);
    assert_eq!(site.bearer("PUT", "/system/services", &ann, &shut).0, 204);
    assert_eq!(seen(), (Vec::new(), 403, 404));
    // An administrator sees everything.
    let basic = Some("Basic YWRtaW46Y29ycmVjdCBob3JzZQ==");
    let (status, text) = site.ask("GET", "/system/services/plants", basic, &none);
    assert!(status == 200 && text.contains(&services_token), "{text}");
    assert_eq!(
        site.ask("DELETE", "/system/services/plants", basic, &none)
            .0,
        204
    );
}

/// Jobs of the ledger by what `of` says of them.
fn rows(site: &Site, of: impl Fn(&Value) -> Value) -> Vec<Value> {
    let mut rows: Vec<Value> = site.gateway.jobs().iter().map(of).collect();
    rows.sort_by_key(Value::to_string);
    rows
}

#[test]
fn jobs_are_of_the_user_whom_their_sender_is_mapped_to() {
    let signer = Signer::p256("p");
    let issuer = Issuer::start(&[&signer]);
    let rules = [
        rule(&issuer, "subject = \"ann\"\nuser = \"daemon\""),
        rule(&issuer, "subject = \"amy\"\nuser = \"daemon\""),
        rule(&issuer, "subject = \"bob\"\nuser = \"bin\""),
    ];
    let site = site_with(
        &issuer,
        &rules.concat(),
        "[[service]]\nname = \"one\"\nscript = \"/bin/true\"\n\
         [[service]]\nname = \"two\"\nscript = \"/bin/true\"\nbatch = { events = 2, after_s = 3600 }\n",
    );
    let token = |subject: &str| signer.token(&issuer.claims(subject));
    let (ann, amy, bob) = (token("ann"), token("amy"), token("bob"));
    let me = |subject: &str| format!("{}#{subject}", issuer.url);
    // One event for each user and the site, however often and by whomever of it.
    for (sender, fresh) in [
        (&ann, true),
        (&ann, false),
        (&amy, false),
        (&bob, true),
        (&OPERATOR.to_owned(), true),
    ] {
        let (status, text) = site.bearer("POST", "/events", sender, &event("same"));
        let told: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(status, 202);
        assert_eq!(
            told["events"][0]["matched"][0]["duplicate"], !fresh,
            "{text}"
        );
    }
    let single = rows(&site, |job| {
        json!([job["service"], job["owner"], job["user"]])
    });
    let of = |service: &str, subject: Option<&str>, user: Option<&str>| {
        json!([service, subject.map(me), user])
    };
    let mut expected = vec![
        of("one", Some("ann"), Some("daemon")),
        of("one", Some("bob"), Some("bin")),
        of("one", None, None),
        // Nobody's event is in another's batch.
        of("two", Some("ann"), Some("daemon")),
        of("two", Some("bob"), Some("bin")),
        of("two", None, None),
    ];
    expected.sort_by_key(Value::to_string);
    assert_eq!(single, expected);
    // The second event of a user makes the batch, which is that user's.
    assert_eq!(site.bearer("POST", "/events", &amy, &event("other")).0, 202);
    let batches = site.gateway.jobs();
    let batches: Vec<_> = batches
        .iter()
        .filter(|job| job["type"] == "mizar.events.joined")
        .map(|job| (job["owner"].clone(), job["user"].clone()))
        .collect();
    assert_eq!(batches, [(json!(me("ann")), json!("daemon"))]);
    // sbatch alone cannot make a job another's: then there is none.
    let limit = Duration::from_secs(20);
    let jobs = site.gateway.wait_jobs(limit, |jobs| {
        let own = |job: &&Value| job["service"] == "one";
        let done = |job: &Value| job["state"] == "dead" || job["user"].is_null();
        jobs.iter().filter(own).all(done)
    });
    let dead: Vec<_> = jobs.iter().filter(|job| job["state"] == "dead").collect();
    assert!(dead.len() >= 2, "{jobs:?}");
    for job in dead {
        assert!(
            job["reason"].as_str().unwrap().contains("submit_as"),
            "{job}"
        );
    }
    // Everybody reads their own, operators all.
    let list = |token: &str| {
        let text = site.bearer("GET", "/v1/jobs", token, &Value::Null).1;
        let list: Value = serde_json::from_str(&text).unwrap();
        list["jobs"].as_array().unwrap().clone()
    };
    let bobs = list(&bob);
    assert!(bobs.len() == 2 && bobs.iter().all(|job| job["owner"] == me("bob")));
    assert_eq!(list(OPERATOR).len(), site.gateway.jobs().len());
    for path in ["", "/log"] {
        let path = format!("/v1/jobs/{}{path}", bobs[0]["id"]);
        assert_eq!(
            site.bearer("GET", &path, &ann, &Value::Null).0,
            404,
            "{path}"
        );
        assert_eq!(
            site.bearer("GET", &path, &amy, &Value::Null).0,
            404,
            "{path}"
        );
    }
    let path = format!("/v1/jobs/{}", bobs[0]["id"]);
    assert_eq!(site.bearer("GET", &path, &bob, &Value::Null).0, 200);
    assert_eq!(
        site.bearer("POST", &format!("{path}/retry"), &bob, &Value::Null)
            .0,
        403
    );
}

#[test]
fn pods_are_their_senders() {
    let signer = Signer::p256("p");
    let issuer = Issuer::start(&[&signer]);
    let rules = [
        rule(&issuer, "subject = \"ann\"\nuser = \"daemon\""),
        rule(&issuer, "subject = \"bob\"\nuser = \"bin\""),
    ];
    let site = site(&issuer, &rules.concat());
    let token = |subject: &str| signer.token(&issuer.claims(subject));
    let (ann, bob) = (token("ann"), token("bob"));
    let uid_of = |name: &str| {
        nix::unistd::User::from_name(name)
            .unwrap()
            .unwrap()
            .uid
            .as_raw()
    };
    // A pod runs as the user that its sender is mapped to, if it says as whom at all.
    let mut pod = pods::create(1, &["true"]);
    for (name, expected) in [("bin", 400), ("root", 400), ("daemon", 200)] {
        pod["pod"]["spec"]["securityContext"] = json!({"runAsUser": uid_of(name)});
        let (status, text) = site.bearer("POST", "/create", &ann, &pod);
        // The double's sbatch is ours alone: the pod is kept, and its job refused.
        let fits = status == expected || (expected == 200 && text.contains("submit_as"));
        assert!(fits, "{name}: {status} {text}");
    }
    assert_eq!(
        rows(&site, |job| json!([job["owner"], job["user"]])),
        [json!([format!("{}#ann", issuer.url), "daemon"])]
    );
    let question = json!([pod["pod"]]);
    let log = json!({"PodUID": pods::uid(1), "ContainerName": "main", "Opts": {}});
    let (status, text) = site.bearer("GET", "/status", &bob, &question);
    assert_eq!((status, text.as_str()), (200, "[]"));
    assert_eq!(site.bearer("GET", "/getLogs", &bob, &log).0, 404);
    assert_eq!(site.bearer("POST", "/create", &bob, &pod).0, 400);
    pod["pod"]["spec"]["securityContext"] = Value::Null;
    assert_eq!(site.bearer("POST", "/create", &bob, &pod).0, 409);
    assert_eq!(site.bearer("POST", "/delete", &bob, &pod["pod"]).0, 200);
    assert!(rows(&site, |job| job["deleted_ms"].clone())[0].is_null());
    assert_eq!(site.bearer("POST", "/delete", &ann, &pod["pod"]).0, 200);
    assert!(rows(&site, |job| job["deleted_ms"].clone())[0].is_number());
}

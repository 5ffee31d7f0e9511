//! Tokens of an OIDC issuer at every door: who is let in as whom, every way in which a token can be
//! bad, keys that change, and what users of OSCAR see of each other.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "harness/double.rs"]
mod double;
mod harness;
#[path = "harness/issuer.rs"]
mod issuer;
#[path = "harness/pods.rs"]
mod pods;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use double::Double;
use harness::{Gateway, event};
use issuer::{Issuer, Signer, now, signed};
use ring::hmac;
use serde_json::{Value, json};

/// Every door: method, path, and the status of somebody who is let in.
const DOORS: [(&str, &str, u16); 8] = [
    ("POST", "/events", 202),
    ("POST", "/create", 400),
    ("POST", "/delete", 400),
    ("GET", "/status", 400),
    ("GET", "/v1/services", 200),
    ("GET", "/system/services", 200),
    ("POST", "/job/plants", 404),
    ("POST", "/run/plants", 404),
];

const OPERATOR: &str = "an-operators-token";

struct Site {
    _folder: tempfile::TempDir,
    gateway: Gateway,
    agent: ureq::Agent,
}

fn site(issuer: &Issuer, rules: &str) -> Site {
    site_with(issuer, rules, "")
}

fn site_with(issuer: &Issuer, rules: &str, services: &str) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let double = Double::new(folder.path());
    for (name, text) in [("users", "admin:correct horse\n"), ("token", OPERATOR)] {
        fs::write(folder.path().join(name), text).unwrap();
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let extra = format!(
        "token_file = \"token\"\n{}[interlink]\n[oscar]\nuser_file = \"users\"\nrun_ms = 1\n\
         [identity]\nrefresh_min_s = 1\nleeway_s = 30\n\
         [[identity.issuers]]\nissuer = \"{}\"\naudience = \"mizar\"\n{rules}",
        double.config(),
        issuer.url
    );
    let mut gateway = Gateway::prepare(folder.path(), &extra, services);
    gateway.start();
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_idle_connections(0)
        .build()
        .into();
    Site {
        _folder: folder,
        gateway,
        agent,
    }
}

fn rule(issuer: &Issuer, lines: &str) -> String {
    format!("[[identity.users]]\nissuer = \"{}\"\n{lines}\n", issuer.url)
}

impl Site {
    fn ask(
        &self,
        method: &str,
        path: &str,
        authorization: Option<&str>,
        body: &Value,
    ) -> (u16, String) {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(self.gateway.url(path))
            .header("content-type", "application/cloudevents+json")
            .header("connection", "close");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let request = request.body(body.to_string()).unwrap();
        let mut answer = self.agent.run(request).unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        (answer.status().as_u16(), text)
    }

    fn bearer(&self, method: &str, path: &str, token: &str, body: &Value) -> (u16, String) {
        self.ask(method, path, Some(&format!("Bearer {token}")), body)
    }

    /// What every door answers.
    fn doors(&self, token: &str) -> Vec<u16> {
        let doors = DOORS.iter();
        doors
            .map(|(method, path, _)| self.bearer(method, path, token, &event("e")).0)
            .collect()
    }
}

fn welcome() -> Vec<u16> {
    DOORS.iter().map(|(_, _, status)| *status).collect()
}

#[test]
fn those_whom_a_rule_knows_are_let_in_at_every_door() {
    let signers = [Signer::rsa("r"), Signer::p256("p"), Signer::ed25519("e")];
    let issuer = Issuer::start(&signers.each_ref());
    let rules = [
        rule(
            &issuer,
            "subject = \"boss\"\nuser = \"daemon\"\noperator = true",
        ),
        rule(&issuer, "group = \"vo.x.eu\"\nuser = \"daemon\""),
        rule(&issuer, "group = \"/twins/admins\"\nuser = \"bin\""),
        rule(&issuer, "email = \"ann@x.eu\"\nuser = \"bin\""),
    ];
    let site = site(&issuer, &rules.concat());
    for signer in &signers {
        let mut claims = issuer.claims("somebody");
        claims["eduperson_entitlement"] =
            json!(["urn:mace:egi.eu:group:vo.x.eu:role=member#aai.egi.eu"]);
        assert_eq!(
            site.doors(&signer.token(&claims)),
            welcome(),
            "{}",
            signer.id
        );
    }
    for (claim, value) in [
        ("realm_access", json!({"roles": ["a", "vo.x.eu"]})),
        ("group_membership", json!(["/twins/admins"])),
        ("groups", json!(["vo.x.eu"])),
        ("email", json!("ann@x.eu")),
    ] {
        let mut claims = issuer.claims("somebody");
        claims[claim] = value;
        claims["email_verified"] = json!(true);
        let token = signers[0].token(&claims);
        assert_eq!(site.doors(&token), welcome(), "{claim}");
        let (status, text) = site.bearer("GET", "/v1/drain", &token, &Value::Null);
        assert_eq!(status, 403, "only operators: {text}");
    }
    // Known, good, and nobody's.
    let mut stranger = issuer.claims("stranger");
    stranger["email"] = json!("ann@x.eu");
    stranger["email_verified"] = json!(false);
    stranger["groups"] = json!(["VO.x.eu", "vo.x.eu.evil"]);
    let token = signers[1].token(&stranger);
    assert_eq!(site.doors(&token), [403; DOORS.len()]);
    let (_, text) = site.bearer("POST", "/events", &token, &event("e"));
    assert!(
        text.contains("stranger") && text.contains("no Unix user"),
        "{text}"
    );
    let boss = signers[2].token(&issuer.claims("boss"));
    assert_eq!(site.bearer("GET", "/v1/drain", &boss, &Value::Null).0, 200);
    // In a query, as the webhook specification has it.
    let path = format!("/events?access_token={boss}");
    assert_eq!(site.ask("POST", &path, None, &event("q")).0, 202);
    // The issuer was asked once, and nothing of a token is in the log.
    assert_eq!(issuer.asked(), 1);
    let log = site.gateway.log();
    for part in token.split('.').chain(boss.split('.')) {
        assert!(!log.contains(part), "a part of a token is in the log");
    }
    site.gateway.jobs();
}

#[test]
fn every_bad_token_is_401_at_every_door() {
    let (rsa, p256, other) = (Signer::rsa("r"), Signer::p256("p"), Signer::rsa("r"));
    let issuer = Issuer::start(&[&rsa, &p256]);
    let site = site(
        &issuer,
        &rule(&issuer, "subject = \"ann\"\nuser = \"daemon\""),
    );
    let claims = issuer.claims("ann");
    let good = rsa.token(&claims);
    assert_eq!(site.doors(&good), welcome());
    let with = |claim: &str, value: Value| {
        let mut claims = issuer.claims("ann");
        claims[claim] = value;
        rsa.token(&claims)
    };
    // The public key as everybody can read it, taken for a shared secret.
    let public = rsa.public().to_string();
    let shared = hmac::Key::new(hmac::HMAC_SHA256, public.as_bytes());
    let mac = |message: &[u8]| hmac::sign(&shared, message).as_ref().to_vec();
    let header = |algorithm: &str, key: &str| json!({"alg": algorithm, "kid": key});
    let (head, rest) = good.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    let forged = with("sub", json!("boss"));
    let forged = forged.split('.').nth(1).unwrap();
    let bad = [
        ("expired", with("exp", json!(now() - 31))),
        ("expires never", with("exp", Value::Null)),
        ("not yet", with("nbf", json!(now() + 90))),
        ("wrong audience", with("aud", json!("account"))),
        ("no audience", with("aud", Value::Null)),
        ("wrong issuer", with("iss", json!("https://evil.example"))),
        (
            "nearly the issuer",
            with("iss", json!(format!("{}/", issuer.url))),
        ),
        ("no issuer", with("iss", Value::Null)),
        (
            "alg none",
            signed(&header("none", "r"), &claims, |_| Vec::new()),
        ),
        (
            "alg none, signed",
            signed(&header("none", "r"), &claims, |m| rsa.sign(m)),
        ),
        ("alg HS256", signed(&header("HS256", "r"), &claims, mac)),
        ("HMAC as RS256", signed(&header("RS256", "r"), &claims, mac)),
        (
            "no signature",
            signed(&header("RS256", "r"), &claims, |_| Vec::new()),
        ),
        ("another's key", other.token(&claims)),
        (
            "a key of another kind",
            signed(&header("ES256", "r"), &claims, |m| p256.sign(m)),
        ),
        (
            "another of its keys",
            signed(&header("RS256", "r"), &claims, |m| p256.sign(m)),
        ),
        (
            "unknown kid",
            signed(&header("RS256", "x"), &claims, |m| rsa.sign(m)),
        ),
        ("changed claims", format!("{head}.{forged}.{signature}")),
        (
            "changed signature",
            format!("{head}.{payload}.{}", signature.replace(['a', 'b'], "c")),
        ),
        ("cut", good[..good.len() - 2].to_owned()),
        ("no token", "a.b.c".to_owned()),
        ("two parts", format!("{head}.{payload}")),
        ("another site's token", "another-sites-token-123".to_owned()),
        ("nothing", String::new()),
    ];
    for (what, token) in &bad {
        assert_eq!(site.doors(token), [401; DOORS.len()], "{what}");
    }
    for authorization in [None, Some(good.as_str()), Some("Basic YTpi")] {
        for (method, path, _) in DOORS {
            let (status, _) = site.ask(method, path, authorization, &event("e"));
            assert_eq!(status, 401, "{method} {path} {authorization:?}");
        }
    }
    // Clocks may be apart by the leeway.
    assert_eq!(site.doors(&with("exp", json!(now() - 5))), welcome());
    assert_eq!(site.doors(&with("nbf", json!(now() + 20))), welcome());
    // No key named: any of the issuer's that fits the algorithm.
    let unnamed = signed(&json!({"alg": "ES256"}), &claims, |m| p256.sign(m));
    assert_eq!(site.doors(&unnamed), welcome());
}

#[test]
fn keys_change_and_are_not_asked_for_too_often() {
    let (old, new) = (Signer::rsa("old"), Signer::ed25519("new"));
    let issuer = Issuer::start(&[&old]);
    issuer.fail();
    let site = site(
        &issuer,
        &rule(&issuer, "subject = \"ann\"\nuser = \"daemon\""),
    );
    let claims = issuer.claims("ann");
    let post = |token: &str| site.bearer("POST", "/events", token, &event("e"));
    let pause = || std::thread::sleep(Duration::from_millis(1100));
    // What cannot be checked is not let in, and others are not kept out by it.
    let (status, text) = post(&old.token(&claims));
    assert!(
        status == 503 && !text.contains("127.0.0.1/"),
        "{status} {text}"
    );
    assert_eq!(post(OPERATOR).0, 202);
    issuer.serve(&[&old]);
    pause();
    assert_eq!(post(&old.token(&claims)).0, 202);
    // A key that is new.
    issuer.serve(&[&new]);
    pause();
    assert_eq!(post(&new.token(&claims)).0, 202);
    assert_eq!(post(&old.token(&claims)).0, 401, "the old one is gone");
    // However many unknown keys are named, the issuer is asked once in a while.
    let before = issuer.asked();
    let started = std::time::Instant::now();
    for _ in 0..100 {
        let header = json!({"alg": "EdDSA", "kid": "nobody's"});
        assert_eq!(post(&signed(&header, &claims, |m| new.sign(m))).0, 401);
    }
    let most = usize::try_from(started.elapsed().as_secs()).unwrap() + 1;
    assert!(
        issuer.asked() - before <= most,
        "{} questions",
        issuer.asked() - before
    );
    // An issuer that is away is of no matter to what is known.
    issuer.fail();
    assert_eq!(post(&new.token(&claims)).0, 202);
}

#[test]
fn keys_may_lie_in_a_file() {
    let signer = Signer::p256("p");
    let issuer = Issuer::start(&[]);
    issuer.fail();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    fs::write(&file, json!({"keys": [signer.public()]}).to_string()).unwrap();
    let rules = format!(
        "jwks_file = \"{}\"\n{}",
        file.display(),
        rule(&issuer, "subject = \"ann\"\nuser = \"daemon\"")
    );
    let site = site(&issuer, &rules);
    assert_eq!(site.doors(&signer.token(&issuer.claims("ann"))), welcome());
}

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

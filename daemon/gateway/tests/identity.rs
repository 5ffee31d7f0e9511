//! Tokens of an OIDC issuer at every door: who is let in as whom, every way in which a token can be
//! bad, and keys that change.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "harness/callers.rs"]
mod callers;
#[path = "harness/double.rs"]
mod double;
mod harness;
#[path = "harness/issuer.rs"]
mod issuer;

use std::fs;
use std::time::Duration;

use callers::{DOORS, OPERATOR, rule, site, welcome};
use harness::event;
use issuer::{Issuer, Signer, now, signed};
use ring::hmac;
use serde_json::{Value, json};
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

//! The audit log and the bounds of calls: what is written down, what never is, rotation, a kill right
//! after an answer, and who has to wait when somebody calls too often.

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
use std::path::PathBuf;
use std::time::Duration;

use double::Double;
use harness::{Gateway, agent, event, secret};
use issuer::{Issuer, Signer};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const OPERATOR: &str = "an-operators-token";
const BASIC: &str = "Basic YWRtaW46Y29ycmVjdCBob3JzZQ==";

struct Site {
    folder: tempfile::TempDir,
    gateway: Gateway,
    issuer: Issuer,
    signer: Signer,
    agent: ureq::Agent,
}

fn site(limits: &str) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let double = Double::new(folder.path());
    for (name, text) in [("users", "admin:correct horse\n"), ("token", OPERATOR)] {
        secret(&folder.path().join(name), text);
    }
    let signer = Signer::ed25519("e");
    let issuer = Issuer::start(&[&signer]);
    let url = &issuer.url;
    let extra = format!(
        "token_file = \"token\"\n{}[interlink]\ncreate_wait_ms = 0\n[oscar]\nuser_file = \"users\"\nrun_ms = 1\n\
         [audit]\nfile = \"audit\"\n[limits]\n{limits}\n\
         [[identity.issuers]]\nissuer = \"{url}\"\naudience = \"mizar\"\n\
         [[identity.users]]\nissuer = \"{url}\"\ngroup = \"vo\"\nuser = \"daemon\"\n",
        double.config()
    );
    let services = "[[service]]\nname = \"one\"\nscript = \"/bin/true\"\n";
    let mut gateway = Gateway::prepare(folder.path(), &extra, services);
    gateway.start();
    let agent = agent(Duration::from_secs(30));
    Site {
        folder,
        gateway,
        issuer,
        signer,
        agent,
    }
}

struct Answer {
    status: u16,
    id: String,
    wait: Option<u64>,
}

impl Site {
    fn ask(&self, method: &str, path: &str, authorization: &str, body: &Value) -> Answer {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(self.gateway.url(path))
            .header("content-type", "application/cloudevents+json")
            .header("authorization", authorization)
            .header("connection", "close");
        let request = request.body(body.to_string()).unwrap();
        let answer = self.agent.run(request).unwrap();
        let header = |name: &str| {
            answer
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap())
        };
        Answer {
            status: answer.status().as_u16(),
            id: header("x-request-id").unwrap().to_owned(),
            wait: header("retry-after").map(|value| value.parse().unwrap()),
        }
    }

    fn token(&self, subject: &str) -> String {
        let mut claims = self.issuer.claims(subject);
        claims["groups"] = json!(["vo"]);
        format!("Bearer {}", self.signer.token(&claims))
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("audit")
    }

    fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path()).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

#[test]
fn what_changes_and_what_is_refused_is_written_down_without_secrets() {
    let mut site = site("");
    let operator = format!("Bearer {OPERATOR}");
    let ann = site.token("ann");
    let service = json!({"name": "plants", "image": "busybox", "script": "echo s3cret-script",
        "memory": "64Mi", "cpu": "1", "environment": {"secrets": {"A": "s3cret-value"}}});
    let mut pod = pods::create(1, &["s3cret-command"]);
    pod["pod"]["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "s3cret-env"}]);
    let event = event("s3cret-event");
    let none = Value::Null;
    let stranger = format!("Bearer {}", site.signer.token(&site.issuer.claims("eve")));
    let eve = format!("{}#eve", site.issuer.url);
    // Method, path, proof, body; status, caller, how, door, touched. What only asks is not there.
    let me = format!("{}#ann", site.issuer.url);
    let uid = pods::uid(1);
    let calls = [
        (
            "POST",
            "/events",
            &operator,
            &event,
            202,
            Some("token:1"),
            "events",
            "one/1",
        ),
        (
            "POST",
            "/events",
            &ann,
            &event,
            202,
            Some(me.as_str()),
            "events",
            "one/2",
        ),
        (
            "POST",
            "/events?access_token=s3cret-token",
            &"Basic YTpi".to_owned(),
            &event,
            401,
            None,
            "events",
            "",
        ),
        (
            "POST",
            "/events",
            &"Bearer s3cret-wrong-token".to_owned(),
            &event,
            401,
            None,
            "events",
            "",
        ),
        ("GET", "/v1/drain", &ann, &none, 403, Some(&me), "api", ""),
        (
            "POST",
            "/system/services",
            &BASIC.to_owned(),
            &service,
            201,
            Some("admin"),
            "oscar",
            "plants",
        ),
        (
            "POST",
            "/job/plants",
            &operator,
            &none,
            201,
            Some("token:1"),
            "oscar",
            "plants-",
        ),
        (
            "POST",
            "/create",
            &operator,
            &pod,
            200,
            Some("token:1"),
            "interlink",
            &uid,
        ),
        (
            "GET",
            "/delete",
            &operator,
            &pod["pod"],
            200,
            Some("token:1"),
            "interlink",
            &uid,
        ),
        (
            "GET",
            "/v1/services",
            &stranger,
            &none,
            403,
            Some(&eve),
            "api",
            "",
        ),
        (
            "POST",
            "/v1/jobs/999/retry",
            &operator,
            &none,
            404,
            Some("token:1"),
            "api",
            "",
        ),
        (
            "DELETE",
            "/system/services/plants",
            &BASIC.to_owned(),
            &none,
            204,
            Some("admin"),
            "oscar",
            "",
        ),
    ];
    for silent in ["/v1/jobs", "/v1/services", "/openapi.json", "/health"] {
        assert_eq!(site.ask("GET", silent, &operator, &none).status, 200);
    }
    let mut ids = Vec::new();
    for (method, path, proof, body, status, ..) in &calls {
        let answer = site.ask(method, path, proof, body);
        assert_eq!(answer.status, *status, "{method} {path}");
        ids.push(answer.id);
    }
    // Whatever happens after an answer.
    site.gateway.kill();
    let lines = site.lines();
    assert_eq!(lines.len(), calls.len(), "{lines:#?}");
    for (((method, path, _, _, status, caller, door, touched), id), line) in
        calls.iter().zip(&ids).zip(&lines)
    {
        let plain = path.split('?').next().unwrap();
        let told = json!([
            line["id"],
            line["method"],
            line["path"],
            line["status"],
            line["caller"],
            line["door"]
        ]);
        assert_eq!(
            told,
            json!([id, method, plain, status, caller, door]),
            "{line}"
        );
        let first = line["touched"][0].as_str().unwrap_or_default();
        assert!(
            first.starts_with(touched) && first.is_empty() == touched.is_empty(),
            "{line}"
        );
        assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
        let outcome = if *status < 400 { "done" } else { "refused" };
        assert_eq!(line["outcome"], outcome);
    }
    assert_eq!(
        (&lines[1]["user"], &lines[1]["how"]),
        (&json!("daemon"), &json!("oidc"))
    );
    let unique: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len());
    let text = fs::read_to_string(site.path()).unwrap();
    for secret in ["s3cret", OPERATOR, "correct horse", &BASIC[6..], &ann[7..]] {
        assert!(!text.contains(secret), "{secret} is in the audit log");
    }
    let mode = fs::metadata(site.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_rotated_log_is_opened_anew_and_an_open_one_refused() {
    let mut site = site("");
    let operator = format!("Bearer {OPERATOR}");
    let post = |id: &str| site.ask("POST", "/events", &operator, &event(id)).status;
    assert_eq!(post("1"), 202);
    let old = site.folder.path().join("audit.1");
    fs::rename(site.path(), &old).unwrap();
    site.gateway.signal(Signal::SIGHUP);
    let started = std::time::Instant::now();
    while !site.path().exists() {
        assert!(started.elapsed().as_secs() < 10);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(post("2"), 202);
    assert_eq!(fs::read_to_string(&old).unwrap().lines().count(), 1);
    assert_eq!(site.lines().len(), 1);
    assert_eq!(site.gateway.stop(), Some(0));
    fs::set_permissions(site.path(), fs::Permissions::from_mode(0o644)).unwrap();
    let output = site.gateway.command(&["serve"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && told.contains("make it 600"),
        "{told}"
    );
}

#[test]
fn who_calls_too_often_waits_and_nobody_else_does() {
    let site = site("caller_per_s = 2\nrefused_per_s = 3\ntoken_per_s = 5");
    let (ann, bob) = (site.token("ann"), site.token("bob"));
    let operator = format!("Bearer {OPERATOR}");
    let ask = |proof: &str| site.ask("GET", "/v1/services", proof, &Value::Null);
    let flood = |proof: &str, most: usize, passed: u16| {
        let answers: Vec<_> = (0..most + 30).map(|_| ask(proof)).collect();
        let count = answers.iter().filter(|one| one.status == passed).count();
        // Some are let in again while we ask.
        assert!(count >= most && count < most + 20, "{count} of {most}");
        let last = answers.iter().rev().find(|one| one.status == 429).unwrap();
        assert!(last.wait.is_some_and(|wait| (1..=2).contains(&wait)));
        assert!(
            answers
                .iter()
                .all(|one| one.status == passed || one.status == 429)
        );
    };
    flood(&ann, 20, 200);
    assert_eq!(ask(&bob).status, 200);
    flood("Bearer a.wrong.token", 30, 401);
    assert_eq!(
        ask(&bob).status,
        200,
        "another's wrong tokens are not its own"
    );
    flood(&operator, 50, 200);
    assert_eq!(ask(&bob).status, 200);
    // One line says that somebody called too often, not one for each.
    let lines = site.lines();
    let limited: Vec<_> = lines.iter().filter(|line| line["status"] == 429).collect();
    assert!((3..30).contains(&limited.len()), "{}", limited.len());
    let of = |caller: &Value| limited.iter().any(|line| line["caller"] == *caller);
    assert!(of(&Value::Null) && of(&json!("token:1")));
    assert!(of(&json!(format!("{}#ann", site.issuer.url))));
}

//! The page in a real browser, with the real gateway: what it shows, what it does by keyboard
//! alone, and that nothing of what others wrote becomes markup or script.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "harness/double.rs"]
mod double;
mod harness;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use double::Double;
use harness::{Gateway, program};
use mizar_lab::browser::Session;
use rusqlite::Connection;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);
const TOKEN: &str = "a-token-of-the-page-test";
const EVIL: &str = "<script>window.pwned = 1</script><img src=x onerror=\"window.pwned = 1\">";

fn gateway(folder: &Path) -> (Gateway, Double) {
    let double = Double::new(folder);
    let script = folder.join("job.sh");
    program(&script, "#!/bin/sh\n");
    fs::write(folder.join("token"), TOKEN).unwrap();
    fs::set_permissions(folder.join("token"), fs::Permissions::from_mode(0o600)).unwrap();
    let services = format!(
        "[[service]]\nname = \"mean\"\nscript = \"{}\"\n[[service]]\nname = \"sum\"\nscript = \"{}\"\n\
         filter = {{ type = \"never\" }}\n",
        script.display(),
        script.display()
    );
    fs::create_dir(folder.join("in")).unwrap();
    let source =
        "[[sources]]\nkind = \"directory\"\nname = \"in\"\npath = \"in\"\nsuffix = \".nc\"\n";
    let config = format!("token_file = \"token\"\n{}{source}", double.config());
    let mut gateway = Gateway::prepare(folder, &config, &services);
    gateway.token(TOKEN);
    (gateway, double)
}

fn ledger(gateway: &Gateway) -> Connection {
    let ledger = Connection::open(gateway.dir.join("state/ledger.sqlite")).unwrap();
    ledger.busy_timeout(LIMIT).unwrap();
    ledger
}

/// A message of a source that is no event, and would be one now.
fn bury(gateway: &Gateway, identity: &str) {
    let envelope = json!({"identity": [identity], "kind": "mizar.test", "subject": identity,
        "time": null, "content_type": "text/plain", "headers": []});
    ledger(gateway)
        .execute(
            "INSERT INTO dead_messages (source, identity, subject, reason, head, size_bytes,
                                        envelope, body, received_ms)
             VALUES ('in', ?1, ?1, ?2, cast(?2 AS BLOB), 3, ?3, x'616263', 1700000000000)",
            (identity, EVIL, envelope.to_string()),
        )
        .unwrap();
}

/// The folder of the last submitted job.
fn last_folder(double: &Double) -> PathBuf {
    let calls = double.calls();
    let output = calls
        .last()
        .unwrap()
        .split(' ')
        .find_map(|word| word.strip_prefix("--output="));
    Path::new(output.unwrap()).parent().unwrap().to_owned()
}

fn flow(gateway: &Gateway, service: &str) -> Value {
    let text = gateway.get(&format!("/v1/services/{service}/flow")).1;
    serde_json::from_str(&text).unwrap()
}

fn wait(mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < LIMIT, "not in time");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_page_is_used_by_keyboard_and_believes_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (mut gateway, double) = gateway(folder.path());
    gateway.start();
    let home = tempfile::tempdir().unwrap();
    let Some(mut page) = Session::open(&gateway.url("/"), home.path()) else {
        return;
    };
    // Without a token nothing is shown; a wrong one is refused; the focus is where it is needed.
    page.wait("document.activeElement.id === 'token' && document.getElementById('main').hidden");
    page.write("wrong");
    page.press("Enter", 0);
    page.wait("document.getElementById('failed').textContent.includes('does not know this token')");
    page.wait("document.activeElement.id === 'token'");
    page.write(TOKEN);
    page.press("Enter", 0);
    page.wait("!document.getElementById('main').hidden");
    page.wait("document.getElementById('stream').textContent.startsWith('Follows')");
    // A job comes, by the stream, and goes through its states.
    let subject = format!("{EVIL}.nc");
    let event = json!({"specversion": "1.0", "id": "1", "source": "/test", "type": "test",
        "subject": subject});
    let head = [("content-type", "application/cloudevents+json")];
    double.set_state("RUNNING");
    assert_eq!(
        gateway
            .post("/events", &head, event.to_string().as_bytes())
            .0,
        202
    );
    let row = "document.querySelector('#jobs tr')";
    page.wait(&format!(
        "{row} !== null && {row}.children[2].textContent === 'running'"
    ));
    assert_eq!(
        page.evaluate(&format!("{row}.children[3].textContent")),
        json!(subject)
    );
    let running = "document.querySelector('#services tr').children[3].textContent";
    page.wait(&format!("{running} === '1'"));
    fs::write(
        last_folder(&double).join("slurm-1.out"),
        format!("line one\n{EVIL}\n"),
    )
    .unwrap();
    double.set_state("FAILED");
    page.wait(&format!("{row}.children[2].textContent === 'failed'"));
    // A rate, by keyboard.
    page.evaluate("document.getElementById('services-title').focus()");
    page.tab_to(
        "focused.name === 'rate' && focused.closest('tr').dataset.key === 'mean'",
        5,
    );
    page.write("5/min");
    page.press("Enter", 0);
    page.wait("document.getElementById('said').textContent.includes('mean: rate 5/min')");
    assert!((flow(&gateway, "mean")["rate"].as_f64().unwrap() - 5.0 / 60.0).abs() < 1e-9);
    let focus = "document.activeElement.name === 'rate'";
    assert_eq!(
        page.evaluate(focus),
        json!(true),
        "the focus stays where it was"
    );
    // What another program sets is seen, and a rate that is none is said.
    gateway.command(&["set", "mean", "rate=7/s"]);
    page.wait("document.activeElement.value === '7/s'");
    page.write("x");
    page.press("Enter", 0);
    page.wait(
        "document.getElementById('failed').textContent.includes('expected none, or a number')",
    );
    assert_eq!(flow(&gateway, "mean")["rate"], 7.0);
    page.press("Backspace", 0);
    page.press("Enter", 0);
    page.wait("document.getElementById('said').textContent.includes('mean: rate 7/s')");
    // Paused and resumed.
    let paused = |gateway: &Gateway| flow(gateway, "mean")["paused"] == json!(true);
    page.tab_to("focused.textContent === 'Pause'", 4);
    page.press("Enter", 0);
    wait(|| paused(&gateway));
    page.wait("document.activeElement.textContent === 'Resume'");
    page.press("Enter", 0);
    wait(|| !paused(&gateway));
    // One event's way and its log.
    page.evaluate("document.getElementById('jobs-title').focus()");
    page.tab_to("focused.hash === '#job=1'", 5);
    page.press("Enter", 0);
    page.wait("document.activeElement.id === 'job-title'");
    page.wait("document.getElementById('job-log').textContent.startsWith('line one')");
    let way =
        "[...document.querySelectorAll('#job-way .state')].map((one) => one.textContent).join()";
    assert_eq!(
        page.evaluate(way),
        json!("received,submitting,submitted,running,failed")
    );
    assert_eq!(
        page.evaluate("document.querySelectorAll('#job-way time').length"),
        json!(5)
    );
    let log = page.evaluate("document.getElementById('job-log').textContent");
    assert_eq!(log, json!(format!("line one\n{EVIL}\n")));
    // Dead letters: one is replayed, one discarded after a second press.
    bury(&gateway, "first");
    bury(&gateway, "second");
    page.wait("document.querySelectorAll('#dead tr').length === 2");
    page.evaluate("document.getElementById('dead-title').focus()");
    page.tab_to(
        "focused.textContent === 'Replay' && focused.closest('tr').dataset.key === 'Message 1'",
        9,
    );
    double.set_state("COMPLETED");
    page.press("Enter", 0);
    page.wait("document.getElementById('said').textContent.includes('Message 1: 1 new jobs')");
    page.wait("document.activeElement.closest('tr')?.dataset.key === 'Message 2'");
    gateway.wait_jobs(LIMIT, |jobs| {
        jobs.len() == 2 && jobs[0]["state"] == "completed"
    });
    page.tab_to("focused.textContent === 'Discard'", 2);
    page.press("Enter", 0);
    page.wait("document.activeElement.textContent === 'Really discard?'");
    assert_eq!(
        page.evaluate("document.querySelectorAll('#dead tr').length"),
        json!(1)
    );
    page.press("Enter", 0);
    page.wait("document.querySelectorAll('#dead tr').length === 0");
    page.wait("document.activeElement.id === 'dead-title'");
    // A job that Slurm refuses is a dead letter too.
    double.faults(&["refuse"]);
    gateway.post(
        "/events",
        &head,
        event.to_string().replace("\"1\"", "\"3\"").as_bytes(),
    );
    page.wait("document.querySelector('#dead tr')?.dataset.key === 'Job 3'");
    page.tab_to("focused.textContent === 'Replay'", 2);
    page.press("Enter", 0);
    gateway.wait_jobs(LIMIT, |jobs| {
        jobs.iter()
            .any(|job| job["id"] == 3 && job["state"] == "completed")
    });
    page.wait("document.querySelectorAll('#dead tr').length === 0");
    // Names that no configuration allows, and every text of others, stay text.
    ledger(&gateway)
        .execute(
            "INSERT INTO flow VALUES (?1, NULL, NULL, 0, 0, 1, 0)",
            [EVIL],
        )
        .unwrap();
    ledger(&gateway)
        .execute("UPDATE jobs SET reason = ?1, slurm_state = ?1", [EVIL])
        .unwrap();
    page.wait("document.querySelectorAll('#services tr').length === 3");
    page.wait("document.querySelector('#jobs tr').children[6].textContent.startsWith('<script>')");
    assert_eq!(page.evaluate("window.pwned === undefined"), json!(true));
    let alien = "document.querySelectorAll('main script, main img, main iframe').length";
    assert_eq!(page.evaluate(alien), json!(0));
    assert!(page.complaints().is_empty(), "{:?}", page.complaints());
    // Even if something of it did: the policy lets nothing run that is not ours.
    let inject = "new Promise((done) => {
        document.addEventListener('securitypolicyviolation', (event) => done(event.violatedDirective));
        const alien = document.createElement('script');
        try { alien.text = 'window.pwned = 1'; } catch { return; }
        document.body.append(alien);
    })";
    let violated = page.evaluate(inject);
    assert_eq!(violated, json!("require-trusted-types-for"));
    assert_eq!(page.evaluate("window.pwned === undefined"), json!(true));
}

#[test]
fn everything_has_a_name_and_both_schemes_are_readable() {
    let folder = tempfile::tempdir().unwrap();
    let (mut gateway, double) = gateway(folder.path());
    gateway.start();
    let home = tempfile::tempdir().unwrap();
    let Some(mut page) = Session::open(&gateway.url("/"), home.path()) else {
        return;
    };
    double.set_state("RUNNING");
    let ids: Vec<String> = (0..3).map(|n| n.to_string()).collect();
    gateway.try_batch(&ids).unwrap();
    bury(&gateway, "first");
    page.wait("document.activeElement.id === 'token'");
    page.write(TOKEN);
    page.press("Enter", 0);
    page.wait("document.querySelectorAll('#jobs tr').length === 3 && document.querySelectorAll('#dead tr').length === 1");
    page.evaluate("location.hash = '#job=2'");
    page.wait("document.querySelector('#job-title').textContent.endsWith('running')");
    page.wait("document.querySelectorAll('#job-way li').length >= 4");
    // Every control has a name, every column a header, and one heading leads each section.
    let nameless = "[...document.querySelectorAll('main button, main input, main select, main a')]
        .filter((one) => !(one.getAttribute('aria-label') || one.textContent.trim() || one.labels?.length))
        .map((one) => one.outerHTML).join()";
    assert_eq!(page.evaluate(nameless), json!(""));
    let uneven =
        "[...document.querySelectorAll('table')].filter((table) => [...table.tBodies[0].rows]
        .some((row) => row.cells.length !== table.tHead.rows[0].cells.length)).length";
    assert_eq!(page.evaluate(uneven), json!(0));
    assert_eq!(
        page.evaluate("document.querySelectorAll('main section:not([aria-labelledby])').length"),
        json!(0)
    );
    // All that shows text has a contrast of at least 4.5 to the paper, in both schemes.
    let contrast = "(() => {
        const light = (colour) => {
          const parts = colour.match(/\\d+(\\.\\d+)?/g).slice(0, 3).map((part) => part / 255)
            .map((part) => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
          return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
        };
        const paper = light(getComputedStyle(document.body).backgroundColor);
        const all = [...document.querySelectorAll('main *, header *')].filter((one) => one.textContent.trim())
          .map((one) => light(getComputedStyle(one).color))
          .map((ink) => (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05));
        return Math.min(...all);
    })()";
    for scheme in ["light", "dark"] {
        page.call(
            "Emulation.setEmulatedMedia",
            json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
        );
        let least = page.evaluate(contrast).as_f64().unwrap();
        assert!(least >= 4.5, "{scheme}: {least}");
    }
    assert!(page.complaints().is_empty(), "{:?}", page.complaints());
    // The README's picture is made so.
    if let Some(path) = std::env::var_os("MIZAR_PAGE_PICTURE") {
        use base64::Engine;
        let light = json!({"features": [{"name": "prefers-color-scheme", "value": "light"}]});
        page.call("Emulation.setEmulatedMedia", light);
        let size = json!({"width": 1150, "height": 640, "deviceScaleFactor": 1, "mobile": false});
        page.call("Emulation.setDeviceMetricsOverride", size);
        page.evaluate("scrollTo(0, 0)");
        let png = base64::engine::general_purpose::STANDARD
            .decode(page.picture())
            .unwrap();
        fs::write(path, png).unwrap();
    }
}

#[test]
fn the_page_is_open_and_strict_and_another_sites_page_may_do_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mut gateway, _double) = gateway(folder.path());
    gateway.start();
    let answer = ureq::get(gateway.url("/")).call().unwrap();
    let policy = answer.headers()["content-security-policy"]
        .to_str()
        .unwrap();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'sha256-"),
        "{policy}"
    );
    assert!(
        !policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"),
        "{policy}"
    );
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(answer.headers()[name], value);
    }
    // Without tokens a browser of this machine is believed, but not for another site.
    gateway.stop();
    let path = gateway.dir.join("gateway.toml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.replace("token_file = \"token\"\n", "")).unwrap();
    gateway.start();
    let post = |site| {
        gateway
            .post("/v1/jobs/1/retry", &[("sec-fetch-site", site)], b"")
            .0
    };
    assert_eq!(
        ["cross-site", "same-site", "same-origin", "none"].map(post),
        [403, 403, 404, 404]
    );
    assert_eq!(gateway.post("/v1/jobs/1/retry", &[], b"").0, 404);
}

#[test]
fn logs_dead_jobs_and_the_overview_over_http() {
    let folder = tempfile::tempdir().unwrap();
    let (mut gateway, double) = gateway(folder.path());
    gateway.start();
    double.faults(&["refuse"]);
    gateway.try_batch(&["1".to_owned()]).unwrap();
    gateway.wait_jobs(LIMIT, |jobs| jobs.iter().all(|job| job["state"] == "dead"));
    gateway.try_batch(&["2".to_owned()]).unwrap();
    gateway.wait_jobs(LIMIT, |jobs| {
        jobs.len() == 2 && jobs[0]["state"] == "completed"
    });
    let post = |path: &str| gateway.post(path, &[], b"").0;
    assert_eq!(
        [
            post("/v1/jobs/9/discard"),
            post("/v1/jobs/2/discard"),
            post("/v1/jobs/1/discard")
        ],
        [404, 409, 204]
    );
    assert_eq!(
        [post("/v1/jobs/1/discard"), post("/v1/jobs/1/retry")],
        [404, 409]
    );
    let dead = gateway.get("/v1/jobs?state=dead&present=true").1;
    assert_eq!(dead, "{\"jobs\":[],\"next_before\":null}");
    // The event is still known: it does not come again.
    gateway.try_batch(&["1".to_owned()]).unwrap();
    assert_eq!(gateway.jobs().len(), 2);
    let overview: Value = serde_json::from_str(&gateway.get("/v1/overview").1).unwrap();
    let mean = &overview["services"][0];
    assert_eq!(
        (&mean["name"], &mean["waiting"], &mean["dead"]),
        (&json!("mean"), &json!(0), &json!(0))
    );
    assert_eq!(
        mean["last_minute"],
        json!({"accepted": 2, "submitted": 1, "completed": 1, "failed": 1})
    );
    // Logs: none, some, the end of a long one, and none that leads out of the folder.
    assert_eq!(gateway.get("/v1/jobs/2/log").0, 404);
    let output = last_folder(&double).join("slurm-1.out");
    let text: String = (0..2000).map(|n| format!("line {n}\n")).collect();
    fs::write(&output, &text).unwrap();
    assert_eq!(gateway.get("/v1/jobs/2/log"), (200, text));
    assert_eq!(
        gateway.get("/v1/jobs/2/log?bytes=30"),
        (200, "line 1998\nline 1999\n".to_owned())
    );
    assert_eq!(gateway.get("/v1/jobs/2/log?container=..%2Fx").0, 400);
    fs::remove_file(&output).unwrap();
    std::os::unix::fs::symlink(folder.path().join("token"), &output).unwrap();
    let (status, text) = gateway.get("/v1/jobs/2/log");
    assert!(status == 409 && !text.contains(TOKEN), "{status} {text}");
}

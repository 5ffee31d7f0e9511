//! The supervisor by itself, without Slurm: order, codes, words, probes, the wish to end.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use mizar_gateway::supervise::event::{
    INPUT, OUTPUT, Output, PAYLOAD_FILE, REPLY_FILE, SCRIPT, Stage, Store, last_words,
};
use mizar_gateway::supervise::log;
use mizar_gateway::supervise::plan::{Check, Container, PLAN_FILE, Plan, Probe};
use mizar_gateway::supervise::progress::{self, Progress};

const LIMIT: Duration = Duration::from_secs(30);

fn shell(name: &str, text: &str) -> Container {
    let argv = ["/bin/sh", "-c", text].map(str::to_owned).to_vec();
    Container {
        name: name.to_owned(),
        argv,
        ..Container::default()
    }
}

fn start(folder: &Path, plan: &Plan) -> Child {
    fs::write(folder.join(PLAN_FILE), serde_json::to_vec(plan).unwrap()).unwrap();
    Command::new(env!("CARGO_BIN_EXE_mizar-gateway"))
        .arg("supervise")
        .arg(folder)
        .env("SLURM_JOB_ID", "42")
        .spawn()
        .unwrap()
}

fn code(folder: &Path, plan: &Plan) -> i32 {
    let code = start(folder, plan).wait().unwrap().code().unwrap();
    if let Some(words) = last_words(folder, 1000) {
        println!("{code}: {words}");
    }
    code
}

fn output(folder: &Path, container: &str) -> Vec<u8> {
    let text = fs::read(progress::log_path(folder, container)).unwrap_or_default();
    let (mut reader, mut found) = (&text[..], Vec::new());
    while let Some(record) = log::next(&mut reader).unwrap() {
        found.extend(record.text);
    }
    found
}

fn until(folder: &Path, container: &str, done: impl Fn(&Progress) -> bool) -> Progress {
    let started = Instant::now();
    loop {
        match progress::read(folder, container) {
            Some(found) if done(&found) => return found,
            found => assert!(started.elapsed() < LIMIT, "{container} is {found:?}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn words_and_variables_arrive_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let odd = [
        "", " ", "a b", "$(id)", "`id`", "'\"\\", "-n", "*", "\n", "ü\u{1}", "${HOME}", "#", "!x",
    ];
    let mut one = shell("c", "printf '%s\\0' \"$@\" \"$ODD\" \"$SECONDS\"");
    one.argv.push("sh".to_owned());
    one.argv.extend(odd.map(str::to_owned));
    one.env = vec![
        ("ODD".to_owned(), odd.concat()),
        ("SECONDS".to_owned(), "x y".to_owned()),
    ];
    let plan = Plan {
        apps: vec![one],
        ..Plan::default()
    };
    assert_eq!(code(folder.path(), &plan), 0);
    let mut expected: Vec<String> = odd.map(str::to_owned).to_vec();
    expected.extend([odd.concat(), "x y".to_owned()]);
    let found = String::from_utf8(output(folder.path(), "c")).unwrap();
    assert_eq!(
        found.trim_end_matches('\0').split('\0').collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn the_first_failure_before_the_apps_ends_the_job() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan {
        init: vec![
            shell("one", "true"),
            shell("two", "exit 5"),
            shell("three", "true"),
        ],
        apps: vec![shell("app", "true")],
        ..Plan::default()
    };
    assert_eq!(code(folder.path(), &plan), 5);
    let of = |name| progress::read(folder.path(), name).and_then(|one| one.exit_code);
    assert_eq!(
        (of("one"), of("two"), of("three"), of("app")),
        (Some(0), Some(5), None, None)
    );
}

#[test]
fn the_highest_code_is_the_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan {
        apps: vec![
            shell("a", "exit 3"),
            shell("b", "kill -9 $$"),
            Container {
                argv: vec!["/no/such/program".to_owned()],
                ..shell("c", "")
            },
        ],
        ..Plan::default()
    };
    assert_eq!(code(folder.path(), &plan), 137);
    let of = |name| progress::read(folder.path(), name).unwrap();
    assert_eq!(
        (of("a").exit_code, of("b").exit_code, of("c").exit_code),
        (Some(3), Some(137), Some(127))
    );
    assert!(of("c").message.contains("/no/such/program") && of("a").start == "42.0");
}

fn probe(text: &str, failures: u32) -> Probe {
    Probe {
        check: Check::Run(["/bin/sh", "-c", text].map(str::to_owned).to_vec()),
        delay_ms: 0,
        period_ms: 30,
        timeout_ms: 10_000,
        failures,
        successes: 1,
    }
}

#[test]
fn probes_decide_about_ready_and_about_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let sign = |name: &str| folder.path().join(name).display().to_string();
    let mut one = shell("c", "exec sleep 600");
    one.startup = Some(probe(&format!("test -e {}", sign("up")), 1000));
    one.readiness = Some(probe(&format!("test -e {}", sign("ready")), 1));
    one.liveness = Some(probe(&format!("! test -e {}", sign("dead")), 1));
    let plan = Plan {
        apps: vec![one],
        grace_ms: 5000,
        ..Plan::default()
    };
    let mut child = start(folder.path(), &plan);
    assert!(!until(folder.path(), "c", |one| one.started_ms.is_some()).ready);
    fs::write(sign("ready"), "").unwrap();
    fs::write(sign("up"), "").unwrap();
    until(folder.path(), "c", |one| one.ready);
    fs::remove_file(sign("ready")).unwrap();
    until(folder.path(), "c", |one| !one.ready);
    fs::write(sign("dead"), "").unwrap();
    let ended = until(folder.path(), "c", |one| one.exit_code.is_some());
    assert_eq!(
        (ended.exit_code, ended.message.as_str()),
        (Some(143), "its liveness probe failed")
    );
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn who_is_told_to_end_does_its_last_work_or_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut polite = shell(
        "polite",
        "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done",
    );
    let note = folder.path().join("pre-stop");
    polite.pre_stop = Some(Check::Run(
        ["/bin/touch".to_owned(), note.display().to_string()].to_vec(),
    ));
    let deaf = shell(
        "deaf",
        "trap '' TERM; echo up; while :; do sleep 0.05; done",
    );
    let plan = Plan {
        apps: vec![polite, deaf],
        grace_ms: 1500,
        ..Plan::default()
    };
    let mut child = start(folder.path(), &plan);
    let started = Instant::now();
    while output(folder.path(), "polite") != b"up\n" || output(folder.path(), "deaf") != b"up\n" {
        assert!(started.elapsed() < LIMIT);
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let of = |name| progress::read(folder.path(), name).unwrap().exit_code;
    // The deaf one was killed; a clean end that was asked for is still none of its own.
    assert_eq!((of("polite"), of("deaf")), (Some(143), Some(137)));
    // The shell may tell that its sleep was terminated.
    assert!(output(folder.path(), "polite").ends_with(b"bye\n"));
    assert!(note.exists());
}

/// A stage with a store that is a folder.
fn stage(root: &Path, outputs: Vec<Output>) -> Stage {
    Stage {
        outputs,
        stores: [("minio.default".to_owned(), Store::Folder(root.to_owned()))].into(),
        prefixes: vec![String::new()],
        ..Stage::default()
    }
}

fn event(folder: &Path, root: &Path, payload: &[u8], text: &str) -> i32 {
    fs::write(folder.join(PAYLOAD_FILE), payload).unwrap();
    let rule = Output {
        store: "minio.default".to_owned(),
        path: "bucket/out".to_owned(),
        prefix: vec!["a".to_owned(), "deep/".to_owned()],
        suffix: vec![".txt".to_owned()],
    };
    let plan = Plan {
        apps: vec![shell(SCRIPT, text)],
        event: Some(stage(root, vec![rule])),
        ..Plan::default()
    };
    code(folder, &plan)
}

#[test]
fn an_object_comes_and_its_results_go_by_the_rules() {
    let (folder, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir_all(root.path().join("bucket/in")).unwrap();
    fs::write(root.path().join("bucket/in/a b.nc"), "data").unwrap();
    let notification = r#"{"Records":[{"eventSource":"minio:s3","eventName":"s3:ObjectCreated:Put","eventTime":"2026-01-02T10:00:00Z",
        "s3":{"bucket":{"name":"bucket"},"object":{"key":"in%2Fa+b.nc","size":4,"sequencer":"1"}}}]}"#;
    let text = "cat \"$INPUT_FILE_PATH\"; echo \"|$STORAGE_OBJECT_KEY|$EVENT_TIME|$TMP_INPUT_DIR\"; cd \"$TMP_OUTPUT_DIR\"
        mkdir deep; echo 1 > a.txt; echo 2 > deep/x.txt; echo 3 > a.log; echo 4 > b.txt; ln -s /etc/passwd a-link.txt";
    assert_eq!(
        event(folder.path(), root.path(), notification.as_bytes(), text),
        0
    );
    let reply = fs::read_to_string(folder.path().join(REPLY_FILE)).unwrap();
    let input = folder.path().join(INPUT);
    assert_eq!(
        reply,
        format!("data|in/a b.nc|2026-01-02T10:00:00Z|{}\n", input.display())
    );
    let mut stored: Vec<_> = walk(&root.path().join("bucket/out"), "");
    stored.sort();
    assert_eq!(stored, ["/a.txt", "/deep/x.txt"]);
    // The same, delegated by another cluster.
    let delegated =
        serde_json::json!({"storage_provider": "minio.default", "event": notification}).to_string();
    assert_eq!(
        event(
            folder.path(),
            root.path(),
            delegated.as_bytes(),
            "cat \"$INPUT_FILE_PATH\""
        ),
        0
    );
    assert_eq!(
        fs::read_to_string(folder.path().join(REPLY_FILE)).unwrap(),
        "data"
    );
}

fn walk(folder: &Path, name: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .flat_map(|entry| {
            let name = format!("{name}/{}", entry.file_name().to_string_lossy());
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), &name)
            } else {
                vec![name]
            }
        })
        .collect()
}

#[test]
fn a_failure_stores_nothing_and_says_why() {
    let (folder, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let text = "echo 1 > \"$TMP_OUTPUT_DIR/a.txt\"; echo it went wrong >&2; exit 9";
    assert_eq!(event(folder.path(), root.path(), b"eA==", text), 9);
    assert!(
        !root.path().join("bucket").exists(),
        "nothing of a failed job is stored"
    );
    assert_eq!(
        last_words(folder.path(), 100).as_deref(),
        Some("it went wrong")
    );
    let gone = r#"{"Records":[{"eventSource":"minio:s3","eventName":"s3:ObjectCreated:Put",
        "s3":{"bucket":{"name":"bucket"},"object":{"key":"../../etc/passwd","sequencer":"1"}}}]}"#;
    assert_ne!(
        event(folder.path(), root.path(), gone.as_bytes(), "true"),
        0
    );
    assert!(
        last_words(folder.path(), 200)
            .unwrap()
            .contains("leads out of its store")
    );
}

#[test]
fn plain_input_and_output_are_base64() {
    let (folder, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let text = "tr a-z A-Z < \"$INPUT_FILE_PATH\" > \"$TMP_OUTPUT_DIR/one\"";
    assert_eq!(event(folder.path(), root.path(), b"aGVsbG8=", text), 0);
    assert_eq!(
        fs::read(folder.path().join(REPLY_FILE)).unwrap(),
        b"SEVMTE8="
    );
    // JSON that is no event is taken as it is, and so are bytes that are not base64.
    for raw in [&br#"{"a": 1}"#[..], b"\xff\x00 not base64"] {
        assert_eq!(
            event(folder.path(), root.path(), raw, "cat \"$INPUT_FILE_PATH\""),
            0
        );
        assert_eq!(fs::read(folder.path().join(REPLY_FILE)).unwrap(), raw);
    }
    assert_eq!(
        event(
            folder.path(),
            root.path(),
            b"",
            "test -z \"$INPUT_FILE_PATH\""
        ),
        0
    );
    assert!(folder.path().join(OUTPUT).is_dir());
}

#[test]
fn several_files_come_back_as_an_archive_that_others_read() {
    let (folder, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let text = "cd \"$TMP_OUTPUT_DIR\"; mkdir d; printf one > 1; printf 'zwei' > d/ü";
    assert_eq!(event(folder.path(), root.path(), b"eA==", text), 0);
    let read = "import base64, io, sys, zipfile
z = zipfile.ZipFile(io.BytesIO(base64.b64decode(open(sys.argv[1]).read())))
assert z.testzip() is None
print(sorted((n, z.read(n).decode()) for n in z.namelist()))";
    let reader = Command::new("python3")
        .args(["-c", read])
        .arg(folder.path().join(REPLY_FILE))
        .env("PYTHONIOENCODING", "utf-8")
        .output();
    let Ok(reader) = reader else {
        println!("SKIP: no python3 to read the archive with");
        return;
    };
    assert_eq!(
        String::from_utf8_lossy(&reader.stdout).trim(),
        "[('1', 'one'), ('d/ü', 'zwei')]",
        "{reader:?}"
    );
}

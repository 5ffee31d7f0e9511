//! Pods on a real Slurm: their whole life, with the gateway killed in between, and deletion at
//! every moment.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod harness;
#[path = "harness/pods.rs"]
mod pods;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use harness::{Dice, Gateway};
use mizar_lab::Lab;
use pods::{create, uid};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(90);

fn lab() -> Option<Lab> {
    Lab::builder()
        .nodes(1)
        .cpus(16)
        .memory_mib(16_000)
        .slurm_conf_extra("SchedulerParameters=batch_sched_delay=0,sched_interval=1\nKillWait=5\n")
        .start_or_skip()
}

fn gateway(lab: &Lab) -> Gateway {
    let dir = lab.dir().join("gateway");
    fs::create_dir(&dir).unwrap();
    let extra = format!(
        "[interlink]\ncreate_wait_ms = 500\n[slurm]\nconf = \"{}\"\npoll_ms = 300\ngrace_ms = 2000\nbackoff_ms = 200\n",
        lab.slurm_conf().display()
    );
    Gateway::prepare(&dir, &extra, "")
}

fn post(gateway: &Gateway, path: &str, body: &Value) -> u16 {
    gateway.post(path, &[], body.to_string().as_bytes()).0
}

/// Asks for a pod's status until `done` holds for it.
fn wait(gateway: &Gateway, n: u32, done: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let asked = json!([create(n, &[])["pod"]]);
        let (code, text) = gateway.ask("/status", &asked);
        assert_eq!(code, 200, "{text}");
        let found: Value = serde_json::from_str(&text).unwrap();
        if done(&found[0]) {
            return found[0].clone();
        }
        assert!(
            started.elapsed() < LIMIT,
            "still {found}\n{}",
            gateway.log()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn has_ended(pod: &Value) -> bool {
    let all = pod["containers"].as_array();
    all.is_some_and(|all| all.iter().all(|one| one["state"]["terminated"].is_object()))
}

fn logs(gateway: &Gateway, n: u32, container: &str, options: Value) -> String {
    let asked = json!({"Namespace": "ns", "PodUID": uid(n), "PodName": "p", "ContainerName": container, "Opts": options});
    let (code, text) = gateway.ask("/getLogs", &asked);
    assert_eq!(code, 200, "{text}");
    text
}

/// Names of Slurm's jobs in any state.
fn jobs_in_slurm(lab: &Lab, states: &str) -> Vec<String> {
    let mut queue = lab.command("squeue");
    queue.args([
        "--noheader",
        "--all",
        &format!("--states={states}"),
        "--Format=Name:|",
    ]);
    let output = lab.run_output(queue).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| line.trim_end_matches('|').to_owned())
        .collect()
}

#[test]
fn a_pod_lives_through_a_killed_gateway() {
    let Some(lab) = lab() else { return };
    let mut gateway = gateway(&lab);
    gateway.start();
    let order = lab.dir().join("order");
    let odd = "a b; $(touch /tmp/x) `id` \"'\\ \n*";
    let note = |text: &str| format!("echo {text} >> {}", order.display());
    let init =
        |name: &str| json!({"name": name, "image": "i", "command": ["sh", "-c", note(name)]});
    let mut pod = create(1, &[]);
    pod["pod"]["metadata"]["annotations"] = json!({"slurm-job.vk.io/flags": "--time=5"});
    pod["pod"]["spec"] = json!({
        "initContainers": [init("first"), init("second")],
        "containers": [
            {"name": "main", "image": "i",
             "command": ["sh", "-c", "echo out; echo err >&2; printf '%s|' \"$@\"; cat $MIZAR_ROOT/etc/v/k $MIZAR_ROOT/etc/s/pw; printf '%s' \"$PW$ODD\"; while ! [ -e \"$GO\" ]; do sleep 0.1; done; exit 3", "sh", odd, "$(ODD)"],
             "env": [{"name": "ODD", "value": odd}, {"name": "GO", "value": lab.dir().join("go")},
                     {"name": "PW", "valueFrom": {"secretKeyRef": {"name": "s", "key": "pw"}}}],
             "readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1},
             "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}},
             "volumeMounts": [{"name": "v", "mountPath": "/etc/v"}, {"name": "s", "mountPath": "/etc/s"}]},
            {"name": "side", "image": "i", "command": ["sh", "-c", "exit 0"], "resources": {"limits": {"cpu": "1"}}},
        ],
        "volumes": [{"name": "v", "configMap": {"name": "cm"}}, {"name": "s", "secret": {"secretName": "s"}}],
    });
    pod["container"] = json!([
        {"name": "main", "configMaps": [{"metadata": {"name": "cm"}, "data": {"k": "from map\n"}}],
         "secrets": [{"metadata": {"name": "s"}, "data": {"pw": "aHVzaC1odXNo"}}]},
    ]);
    // The same pod from many senders at once, and again after a kill.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(post(&gateway, "/create", &pod), 200));
        }
    });
    gateway.kill();
    gateway.start();
    let (code, answer) = gateway.post("/create", &[], pod.to_string().as_bytes());
    assert_eq!(
        (code, answer["PodUID"].as_str()),
        (200, Some(uid(1).as_str()))
    );
    let ready = |found: &Value| found["containers"][0]["ready"] == true;
    let running = wait(&gateway, 1, ready);
    assert_eq!(running["initContainers"].as_array().unwrap().len(), 2);
    assert_eq!(
        running["initContainers"][1]["state"]["terminated"]["exitCode"],
        0
    );
    assert_eq!(
        fs::read_to_string(&order).unwrap(),
        "first\nsecond\n",
        "one after the other, once each"
    );
    let mut queue = lab.command("squeue");
    queue.args(["--noheader", "--Format=NumCPUs:|,MinMemory:|,TimeLimit:|"]);
    let asked = String::from_utf8(lab.run_output(queue).unwrap().stdout).unwrap();
    assert_eq!(
        asked.trim(),
        "3|64M|5:00|",
        "limits are summed over the containers"
    );
    gateway.kill();
    fs::write(lab.dir().join("go"), "").unwrap();
    gateway.start();
    let ended = wait(&gateway, 1, has_ended);
    let of = |index: usize| &ended["containers"][index]["state"]["terminated"];
    assert_eq!(
        (&of(0)["exitCode"], &of(1)["exitCode"]),
        (&json!(3), &json!(0)),
        "{ended}"
    );
    assert!(
        of(0)["message"].as_str().unwrap().contains("FAILED"),
        "{ended}"
    );
    let expected = format!("out\nerr\n{odd}|{odd}|from map\nhush-hushhush-hush{odd}");
    assert_eq!(logs(&gateway, 1, "main", json!({})), expected);
    assert_eq!(logs(&gateway, 1, "main", json!({"Bytes": 5})), "out\ne");
    assert_eq!(jobs_in_slurm(&lab, "all").len(), 1, "one job for ever");
    assert!(!gateway.log().contains("hush-hush") && !gateway.log().contains("aHVzaC1odXNo"));
    let shown = gateway.get("/v1/jobs/1").1;
    assert!(
        !shown.contains("aHVzaC1odXNo") && shown.contains("ns/pod-1"),
        "{shown}"
    );
    assert_eq!(post(&gateway, "/delete", &pod["pod"]), 200);
    let folder = gateway.dir.join("work/interlink");
    wait_gone(&folder, &gateway);
    assert_eq!(
        post(&gateway, "/create", &pod),
        409,
        "its UID is never used again"
    );
}

/// Waits until no file is left below a folder.
fn wait_gone(folder: &Path, gateway: &Gateway) {
    let started = Instant::now();
    loop {
        let left = files(folder);
        if left == 0 {
            return;
        }
        assert!(
            started.elapsed() < LIMIT,
            "{left} files are left\n{}",
            gateway.log()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn files(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let entries = entries.filter_map(Result::ok);
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => files(&entry.path()),
            false => 1,
        })
        .sum()
}

#[test]
fn a_pod_deleted_at_any_moment_leaves_nothing() {
    let Some(lab) = lab() else { return };
    let mut gateway = gateway(&lab);
    gateway.start();
    let mut dice = Dice::throw();
    let all: Vec<u32> = (0..12).collect();
    for &n in &all {
        let pod = create(n, &["sleep", "600"]);
        let pause = Duration::from_millis(dice.between(0, 900));
        let body = pod.to_string();
        std::thread::scope(|scope| {
            let created = scope.spawn(|| gateway.try_post("/create", &[], body.as_bytes()));
            std::thread::sleep(pause);
            let deleted = gateway.try_post("/delete", &[], pod["pod"].to_string().as_bytes());
            assert_eq!(deleted.map(|answer| answer.0), Some(200), "after {pause:?}");
            let created = created.join().unwrap().map(|answer| answer.0);
            assert!(matches!(created, Some(200 | 409)), "{created:?}");
        });
        if n % 4 == 3 {
            gateway.kill();
            gateway.start();
        }
    }
    // One that was deleted before it came.
    let late = create(99, &["sleep", "600"]);
    assert_eq!(post(&gateway, "/delete", &late["pod"]), 200);
    assert_eq!(post(&gateway, "/create", &late), 409);
    let started = Instant::now();
    while !jobs_in_slurm(&lab, "pending,running,completing").is_empty() {
        assert!(
            started.elapsed() < LIMIT,
            "{:?}\n{}",
            jobs_in_slurm(&lab, "all"),
            gateway.log()
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    wait_gone(&gateway.dir.join("work"), &gateway);
    let (code, text) = gateway.ask(
        "/status",
        &json!(
            all.iter()
                .map(|&n| create(n, &[])["pod"].clone())
                .collect::<Vec<_>>()
        ),
    );
    assert_eq!((code, text.as_str()), (200, "[]"));
    let jobs = gateway.jobs();
    assert_eq!(jobs.len(), 13);
    assert!(
        jobs.iter().all(|job| job["state"] == "cancelled"),
        "{jobs:?}"
    );
}

#[test]
fn the_ping_tells_what_slurm_has_and_logs_are_followed() {
    let Some(lab) = lab() else { return };
    let mut gateway = gateway(&lab);
    gateway.start();
    let started = Instant::now();
    let seen = loop {
        let (_, text) = gateway.ask("/status", &json!([]));
        let seen: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(seen["status"], "ok");
        if seen["resources"].is_object() {
            break seen;
        }
        assert!(started.elapsed() < LIMIT, "{}", gateway.log());
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(
        (&seen["resources"]["cpu"], &seen["resources"]["memory"]),
        (&json!("16"), &json!("16000Mi"))
    );
    assert_eq!(
        seen["resources"]["accelerators"][0],
        json!({"resourceType": "nvidia.com/gpu", "available": "0"})
    );
    let words = "for i in 1 2 3 4 5; do echo line $i; sleep 0.2; done";
    assert_eq!(
        post(&gateway, "/create", &create(1, &["sh", "-c", words])),
        200
    );
    // Asked before it runs, answered when it has ended.
    let text = logs(&gateway, 1, "main", json!({"Follow": true}));
    assert_eq!(text, "line 1\nline 2\nline 3\nline 4\nline 5\n");
    let refused = create(2, &["true"]);
    let mut refused = refused;
    refused["pod"]["metadata"]["annotations"] = json!({"slurm-job.vk.io/flags": "-p nowhere"});
    let code = post(&gateway, "/create", &refused);
    let failed = wait(&gateway, 2, has_ended);
    assert!(code == 400 || code == 200);
    assert_eq!(
        failed["containers"][0]["state"]["terminated"]["exitCode"],
        1
    );
    assert!(failed.to_string().contains("Invalid partition"), "{failed}");
}

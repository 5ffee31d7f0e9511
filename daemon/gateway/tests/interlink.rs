//! The plugin API at its wire: both shapes of a request, what is refused and how, and one job per
//! pod, against a double of Slurm.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "harness/double.rs"]
mod double;
mod harness;
#[path = "harness/pods.rs"]
mod pods;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use double::Double;
use harness::Gateway;
use pods::{create, uid};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);

struct Site {
    _folder: tempfile::TempDir,
    double: Double,
    gateway: Gateway,
}

fn site(interlink: &str) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let double = Double::new(folder.path());
    let extra = format!("{}[interlink]\n{interlink}\n", double.config());
    let mut gateway = Gateway::prepare(folder.path(), &extra, "");
    gateway.start();
    Site {
        _folder: folder,
        double,
        gateway,
    }
}

fn send(site: &Site, path: &str, body: &Value) -> (u16, String) {
    site.gateway.ask(path, body)
}

#[test]
fn both_shapes_are_one_pod_and_one_job() {
    let site = site("");
    let plugin = create(1, &["true"]);
    let mut server = json!({
        "pod": plugin["pod"], "configmaps": [{"metadata": {"name": "cm"}, "data": {"k": "v"}}],
        "secrets": [], "projectedvolumesmaps": null, "jobscriptURL": "",
    });
    // Fields that nobody knows yet.
    server["pod"]["spec"]["hologram"] = json!({"a": [1]});
    server["pod"]["metadata"]["managedFields"] = json!([{"x": null}]);
    let mut found = Vec::new();
    for body in [&plugin, &server, &plugin] {
        let (code, text) = send(&site, "/create", body);
        assert_eq!(code, 200, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            answer.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["PodJID", "PodUID"]
        );
        assert_eq!(answer["PodUID"], uid(1).as_str());
        found.push(answer["PodJID"].clone());
    }
    assert_eq!(
        (&found[0], &found[1], &found[2]),
        (&json!("1"), &json!("1"), &json!("1"))
    );
    assert_eq!(site.double.calls().len(), 1);
    let jobs = site
        .gateway
        .wait_jobs(LIMIT, |jobs| jobs[0]["state"] == "completed");
    assert_eq!(jobs[0]["door"], "pod");
    let (code, text) = send(
        &site,
        "/status",
        &json!([plugin["pod"], create(7, &[])["pod"], {"metadata": 5}]),
    );
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (code, found.as_array().unwrap().len()),
        (200, 1),
        "unknown and broken pods are left out"
    );
    let expected = json!({"exitCode": 0, "reason": "Completed", "message": "Slurm COMPLETED"});
    let ended = &found[0]["containers"][0]["state"]["terminated"];
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&ended[key], value, "{found}");
    }
    assert_eq!(
        (&found[0]["JID"], &found[0]["initContainers"]),
        (&json!("1"), &json!([]))
    );
    let retry = site.gateway.post("/v1/jobs/1/retry", &[], b"");
    assert_eq!(retry.0, 409, "a pod has one job for ever");
}

#[test]
fn what_a_job_gets_is_for_its_owner_alone() {
    let site = site("");
    let mut pod = create(1, &["true"]);
    pod["pod"]["spec"]["volumes"] = json!([
        {"name": "s", "secret": {"secretName": "s", "items": [{"key": "a", "path": "deep/er/a"}], "defaultMode": 0o755}},
        {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
        {"name": "e", "emptyDir": {}}, {"name": "e2"},
    ]);
    pod["container"] = json!([{"name": "main",
        "secrets": [{"metadata": {"name": "s"}, "data": {"a": "aHVzaA==", "b": "aHVzaA=="}}],
        "projectedvolumemaps": [{"metadata": {"name": "token"}, "data": {"token": "jwt"}}]}]);
    pod["pod"]["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "s", "mountPath": "/etc/s", "subPath": "deep"}]);
    assert_eq!(send(&site, "/create", &pod).0, 200);
    let jobs = site.gateway.jobs();
    let hash = jobs[0]["marker"]
        .as_str()
        .unwrap()
        .rsplit(':')
        .next()
        .unwrap();
    let folder = site
        .gateway
        .dir
        .join("work/interlink")
        .join(&hash[..2])
        .join(hash);
    let mode = |path: &str| {
        std::fs::metadata(folder.join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(""), 0o700);
    assert_eq!(
        (
            mode("volumes/s/deep/er/a"),
            mode("volumes/token/token"),
            mode("plan.json")
        ),
        (0o700, 0o600, 0o600)
    );
    assert!(!folder.join("volumes/s/b").exists());
    assert!(folder.join("volumes/e").is_dir() && folder.join("volumes/e2").is_dir());
    assert_eq!(
        std::fs::read(folder.join("volumes/s/deep/er/a")).unwrap(),
        b"hush"
    );
    let root = folder.join("roots/main/etc/s");
    assert_eq!(
        std::fs::read_link(root).unwrap(),
        folder.join("volumes/s/deep")
    );
    let call = site.double.calls().join("\n");
    assert!(!call.contains("hush") && !call.contains("aHVzaA"), "{call}");
}

#[test]
fn flags_flavors_and_limits_become_options() {
    let site = site(
        "default_flavor = \"cpu\"\n[interlink.flavors.cpu]\nflags = [\"-p\", \"batch\", \"--time=60\"]\n",
    );
    let mut pod = create(1, &["true"]);
    pod["pod"]["metadata"]["annotations"] =
        json!({"slurm-job.vk.io/flags": "--mem-per-cpu=1 -c 64 --partition=big"});
    pod["pod"]["spec"]["containers"][0]["resources"] =
        json!({"limits": {"cpu": "2", "memory": "1Gi", "nvidia.com/gpu": "2"}});
    pod["pod"]["spec"]["activeDeadlineSeconds"] = json!(90);
    assert_eq!(send(&site, "/create", &pod).0, 200);
    let call = site.double.calls().remove(0);
    for option in [
        "--cpus-per-task=2",
        "--gres=gpu:2",
        "--mem=1024M",
        "--partition=big",
        "--time=2",
    ] {
        assert!(call.contains(option), "{option} is not in {call}");
    }
    assert!(!call.contains("mem-per-cpu"), "{call}");
}

#[test]
fn what_cannot_be_done_or_must_not_is_refused_by_name() {
    let site = site("body_bytes = 20000");
    let set = |pointer: &str, value: Value| {
        let mut pod = create(1, &["true"]);
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        pod.pointer_mut(parent).unwrap()[key] = value;
        pod
    };
    let annotation =
        |name: &str, value: &str| set("/pod/metadata/annotations", json!({name: value}));
    let volume = |value: Value| set("/pod/spec/volumes", json!([value]));
    let main = "/pod/spec/containers/0";
    let cases = [
        (set("/pod/metadata/uid", json!("../../etc")), "metadata.uid"),
        (
            set(
                "/pod/metadata/uid",
                json!("6B0C1F8E-1D2A-4C3B-9E4F-5A6B7C8D9E0F"),
            ),
            "metadata.uid",
        ),
        (
            set("/pod/metadata/namespace", json!("a/../b")),
            "metadata.namespace",
        ),
        (set("/pod/metadata/name", json!("a\nb")), "metadata.name"),
        (set(&format!("{main}/name"), json!("$(id)")), "DNS label"),
        (
            set(&format!("{main}/name"), json!("a\n#SBATCH --uid=0")),
            "DNS label",
        ),
        (set(&format!("{main}/env"), json!([{"name": "A B"}])), "A B"),
        (
            set(
                &format!("{main}/env"),
                json!([{"name": "A", "value": "\u{0}"}]),
            ),
            "zero byte",
        ),
        (
            set(
                &format!("{main}/env"),
                json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
            ),
            "did not come",
        ),
        (set(&format!("{main}/args"), json!(["\u{0}"])), "zero byte"),
        (
            set(&format!("{main}/command"), json!([])),
            "needs a command",
        ),
        (set(&format!("{main}/workingDir"), json!("x")), "workingDir"),
        (
            set(&format!("{main}/securityContext"), json!({"runAsUser": 0})),
            "user 0",
        ),
        (
            set(
                &format!("{main}/securityContext"),
                json!({"privileged": true}),
            ),
            "privileged",
        ),
        (
            set("/pod/spec/securityContext", json!({"runAsUser": 4242})),
            "4242",
        ),
        (
            set(
                &format!("{main}/resources"),
                json!({"limits": {"cpu": "1;id"}}),
            ),
            "no quantity",
        ),
        (
            set(
                &format!("{main}/resources"),
                json!({"limits": {"x.com/fpga": 1}}),
            ),
            "x.com/fpga",
        ),
        (
            set(
                &format!("{main}/volumeMounts"),
                json!([{"name": "no", "mountPath": "/x"}]),
            ),
            "no volume",
        ),
        (
            set(
                &format!("{main}/livenessProbe"),
                json!({"grpc": {"port": 1}}),
            ),
            "livenessProbe",
        ),
        (
            set(
                &format!("{main}/livenessProbe"),
                json!({"httpGet": {"port": 1, "path": "/\r\nX: y"}}),
            ),
            "livenessProbe",
        ),
        (
            volume(json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}})),
            "persistentVolumeClaim",
        ),
        (
            volume(json!({"name": "v", "hostPath": {"path": "/etc"}})),
            "/etc",
        ),
        (volume(json!({"name": "../v", "emptyDir": {}})), "DNS label"),
        (
            volume(json!({"name": "v", "configMap": {"name": "cm"}})),
            "did not come",
        ),
        (annotation("slurm-job.vk.io/flags", "--uid=0"), "--uid=0"),
        (
            annotation("slurm-job.vk.io/flags", "-p a\n--wrap=id"),
            "control",
        ),
        (annotation("slurm-job.vk.io/flags", "'"), "quote"),
        (annotation("slurm-job.vk.io/flavor", "$(id)"), "flavor"),
        (
            annotation("slurm-job.vk.io/pre-exec", "id"),
            "host_commands",
        ),
        (
            annotation("slurm-job.vk.io/mpi-flags", "-np 2"),
            "host_commands",
        ),
        (
            annotation("slurm-job.vk.io/singularity-options", "--bind /:/x"),
            "host_commands",
        ),
        (annotation("slurm-job.vk.io/wat", "x"), "not known"),
        (set("/jobScript", json!("#!/bin/sh\nid")), "host_commands"),
        (
            set("/jobscriptURL", json!("http://169.254.169.254/")),
            "not fetched",
        ),
        (json!({"pod": 5}), "shape"),
        (json!([]), "metadata.uid"),
        (json!({}), "metadata.uid"),
    ];
    for (body, said) in cases {
        let (code, text) = send(&site, "/create", &body);
        assert_eq!(code, 400, "{body}: {text}");
        assert!(text.contains(said), "{said} is not in {text}");
    }
    let mount = |path: &str| json!({"name": "v", "mountPath": path});
    for (first, second) in [
        ("/a", "/a/"),
        ("/a", "/a/b"),
        ("/a/b", "/a"),
        ("/", "/x"),
        ("/a/..", "/x"),
    ] {
        let mut pod = volume(json!({"name": "v", "emptyDir": {}}));
        pod["pod"]["spec"]["containers"][0]["volumeMounts"] = json!([mount(first), mount(second)]);
        let (code, text) = send(&site, "/create", &pod);
        assert!(
            code == 400 && text.contains("mount"),
            "{first} {second}: {text}"
        );
    }
    for path in ["../x", "/x", "a/../../x", "a//b", "", "a\nb", "."] {
        let mut pod = volume(
            json!({"name": "v", "configMap": {"name": "cm", "items": [{"key": "k", "path": path}]}}),
        );
        pod["container"][0]["configMaps"] =
            json!([{"metadata": {"name": "cm"}, "data": {"k": "v"}}]);
        assert_eq!(send(&site, "/create", &pod).0, 400, "{path:?}");
        pod["pod"]["spec"]["volumes"][0]["configMap"]["items"] = Value::Null;
        pod["container"][0]["configMaps"][0]["data"] = json!({path: "v"});
        assert_eq!(send(&site, "/create", &pod).0, 400, "{path:?}");
    }
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let (code, _) = site.gateway.post("/create", &[], deep.as_bytes());
    assert_eq!(code, 400);
    let (code, _) = site.gateway.post("/create", &[], &vec![b' '; 20_001]);
    assert_eq!(code, 413);
    for body in ["{", "", "nul", "\"x\"", "[[[["] {
        for path in ["/create", "/delete", "/status", "/getLogs"] {
            assert_eq!(
                site.gateway.post(path, &[], body.as_bytes()).0,
                400,
                "{path} {body}"
            );
        }
    }
    assert_eq!(
        send(&site, "/delete", &json!({"metadata": {"uid": "../x"}})).0,
        400
    );
    assert_eq!(
        send(&site, "/delete", &json!({"metadata": {"uid": uid(5)}})).0,
        200,
        "unknown pods too"
    );
    assert_eq!(
        send(
            &site,
            "/getLogs",
            &json!({"PodUID": uid(6), "ContainerName": "c"})
        )
        .0,
        404
    );
    assert_eq!(
        send(
            &site,
            "/getLogs",
            &json!({"PodUID": uid(6), "ContainerName": "../c"})
        )
        .0,
        400
    );
    assert_eq!(site.double.calls().len(), 0, "nothing of it reached Slurm");
    assert_eq!(site.gateway.get("/health").0, 200, "and it serves on");
}

#[test]
fn slurm_that_is_away_keeps_pods_and_their_states() {
    let site = site(
        "create_wait_ms = 200\ntaints = [{ key = \"k\", value = \"v\", effect = \"NoSchedule\" }]",
    );
    site.double.set_state("RUNNING");
    let pod = create(1, &["true"]);
    assert_eq!(send(&site, "/create", &pod).0, 200);
    site.gateway
        .wait_jobs(LIMIT, |jobs| jobs[0]["state"] == "running");
    site.double.set_away(true);
    let late = create(2, &["true"]);
    // It is on disk: the pod waits here instead of failing there.
    site.double.faults(&["away"]);
    let (code, text) = send(&site, "/create", &late);
    assert!(code == 200 && text.contains("mizar-"), "{text}");
    let (_, text) = send(&site, "/status", &json!([pod["pod"], late["pod"]]));
    let found: Value = serde_json::from_str(&text).unwrap();
    assert!(found[0].to_string().contains("RUNNING"), "{found}");
    assert!(
        found[1]["containers"][0]["state"]["waiting"].is_object(),
        "{found}"
    );
    let (_, text) = send(&site, "/status", &json!([]));
    let ping: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&ping["status"], &ping["taints"][0]["effect"]),
        (&json!("ok"), &json!("NoSchedule"))
    );
    site.double.set_away(false);
    site.double.set_state("COMPLETED");
    site.gateway.wait_jobs(LIMIT, |jobs| {
        jobs.iter().all(|job| job["state"] == "completed")
    });
    assert_eq!(site.double.markers().len(), 2);
}

#[test]
fn many_pods_cost_one_question_at_a_time() {
    let site = site("create_wait_ms = 0");
    site.double.set_state("RUNNING");
    for n in 0..100 {
        assert_eq!(send(&site, "/create", &create(n, &["true"])).0, 200);
    }
    let all: Vec<Value> = (0..100).map(|n| create(n, &[])["pod"].clone()).collect();
    for _ in 0..10 {
        let (code, text) = send(&site, "/status", &json!(all));
        let found: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((code, found.as_array().unwrap().len()), (200, 100));
    }
    let (most, asked) = site.double.questions();
    assert_eq!(most, 1, "squeue commands at a time, of {asked}");
}

//! Hostile values in each field of every door. Whatever is taken becomes a job whose sbatch and
//! container get it as a value or not at all: no command of it runs, no option of it is one, no file
//! lies outside of the job's folder. The double of sbatch runs each job's script, and that of the
//! container runtime writes down its words.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod harness;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use harness::{Gateway, program};
use mizar_gateway::service::ALLOWED_OPTIONS;
use serde_json::{Value, json};

/// Options that the gateway itself gives to sbatch.
const OWN_OPTIONS: [&str; 6] = [
    "parsable", "comment", "job-name", "chdir", "output", "export",
];

/// The file that any command among the values would make.
const CANARY: &str = "CANARY";

/// What somebody may write into a field. `@` is the canary's path.
const HOSTILE: [&str; 26] = [
    "$(touch @)",
    "`touch @`",
    "; touch @;",
    "| touch @",
    "&& touch @ &",
    "> @",
    "\ntouch @\n",
    "x\r\ntouch @\r\n",
    "#!/bin/sh\n#SBATCH --uid=0\ntouch @",
    "' ; touch @ ; '",
    "\" ; touch @ ; \"",
    "$IFS$(touch$IFS@)",
    "--wrap=touch @",
    "--uid=0",
    "-D/",
    "--output=@",
    "--export=ALL,LD_PRELOAD=@",
    "../../../../../..@",
    "@",
    "..",
    ".",
    "a\0touch @",
    "%j%x%u\\",
    "\u{1b}]0;x\u{7}\u{202e}",
    "' OR 1=1; DROP TABLE jobs; --",
    "{{ @ }}<script>",
];

struct Site {
    folder: tempfile::TempDir,
    gateway: Gateway,
    agent: ureq::Agent,
}

const SBATCH: &str = r#"#!/bin/sh
D=@D
exec 9>>$D/lock; flock 9
id=$(($(wc -l < $D/jobs) + 1))
while [ $# -gt 0 ]; do
  case $1 in
    --comment=*) m=${1#--comment=};;
    --chdir=*) dir=${1#--chdir=};;
    --*) ;;
    *) break;;
  esac
  printf '%s\0' "$1" >> $D/options
  shift
done
echo "$id|$m" >> $D/jobs
exec 9>&-
(cd "$dir" && exec "$@" > "$dir/slurm-$id.out" 2>&1 < /dev/null) 
echo $id
"#;

const SQUEUE: &str = r#"#!/bin/sh
while IFS='|' read -r id m; do echo "$id|gateway|COMPLETED|0|None|$m|$m|"; done < @D/jobs
"#;

/// Writes down the words that it is called with, and the variable A that the container would get.
const CONTAINER: &str = r#"#!/bin/sh
printf '%s\0' "$@" > "$(mktemp @D/words/XXXXXXXX)"
printf '%s\0' "$APPTAINERENV_A" >> @D/values
"#;

/// Takes its event's subject as an argument, and writes down what it got.
const SCRIPT: &str = "#!/bin/sh\nfor word in \"$@\"; do printf '%s\\0' \"$word\" >> @D/got; done\n";

fn site() -> Site {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let double = path.join("double");
    fs::create_dir(&double).unwrap();
    fs::create_dir_all(double.join("store/b")).unwrap();
    fs::create_dir(double.join("words")).unwrap();
    fs::write(double.join("jobs"), "").unwrap();
    let filled = |text: &str| text.replace("@D", &double.display().to_string());
    for (name, text) in [
        ("sbatch", SBATCH),
        ("squeue", SQUEUE),
        ("sacct", "#!/bin/sh\nexit 1\n"),
        ("scancel", "#!/bin/sh\nexit 0\n"),
        ("sinfo", "#!/bin/sh\necho 'n1|idle|4|8000||'\n"),
        ("container", CONTAINER),
        ("script", SCRIPT),
    ] {
        program(&double.join(name), &filled(text));
    }
    fs::write(path.join("users"), "admin:correct horse\n").unwrap();
    fs::set_permissions(path.join("users"), fs::Permissions::from_mode(0o600)).unwrap();
    let (d, own) = (double.display(), harness::PROGRAM);
    let extra = format!(
        "[slurm]\nbin_dir = \"{d}\"\npoll_ms = 500\ngrace_ms = 300\nsubmit_parallel = 8\n\
         [containers]\nruntime = \"apptainer\"\nprogram = \"{d}/container\"\nsupervisor = \"{own}\"\nhost_paths = [\"/data\"]\n\
         [interlink]\ncreate_wait_ms = 0\n[oscar]\nuser_file = \"users\"\nrun_ms = 1\nstores = {{ \"minio.default\" = {{ folder = \"{d}/store\" }} }}\n\
         [limits]\nbody_bytes = 65536\n"
    );
    let services = format!(
        "[[service]]\nname = \"one\"\nscript = \"{d}/script\"\n\
         [[service.args]]\nname = \"subject\"\nfrom = \"subject\"\ndefault = \"none\"\n\
         [[service.args]]\nname = \"key\"\nfrom = \"s3.key\"\ndefault = \"none\"\ntype = \"path\"\nunder = \"/data\"\n"
    );
    let mut gateway = Gateway::prepare(path, &extra, &services);
    gateway.start();
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    Site {
        folder,
        gateway,
        agent,
    }
}

impl Site {
    fn canary(&self) -> PathBuf {
        self.folder.path().join(CANARY)
    }

    fn hostile(&self) -> Vec<String> {
        let canary = self.canary().display().to_string();
        HOSTILE
            .iter()
            .map(|text| text.replace('@', &canary))
            .collect()
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> u16 {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(self.gateway.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self
            .agent
            .run(request.body(body.to_owned()).unwrap())
            .unwrap();
        answer.status().as_u16()
    }

    fn list(&self, name: &str) -> Vec<String> {
        let path = self.folder.path().join("double").join(name);
        let text = fs::read(path).unwrap_or_default();
        let all = text.split(|byte| *byte == 0);
        let mut all: Vec<_> = all
            .map(|one| String::from_utf8(one.to_vec()).unwrap())
            .collect();
        all.pop();
        all
    }

    /// Waits until all that was taken has been a job, and looks at what came of it.
    fn check(&self) -> Vec<Value> {
        let jobs = self.gateway.wait_jobs(Duration::from_secs(120), |jobs| {
            let ended = |job: &Value| {
                matches!(
                    job["state"].as_str(),
                    Some("completed" | "dead" | "cancelled")
                )
            };
            jobs.iter().all(ended)
        });
        assert!(!self.canary().exists(), "a value was run");
        let folder = self.folder.path();
        let listed: BTreeSet<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let expected = [
            "double",
            "gateway.toml",
            "log",
            "services.toml",
            "state",
            "users",
            "work",
        ];
        assert_eq!(listed, expected.map(str::to_owned).into());
        for option in self.list("options") {
            let name = option.trim_start_matches("--").split('=').next().unwrap();
            let known = OWN_OPTIONS.contains(&name) || ALLOWED_OPTIONS.contains(&name);
            assert!(
                known && !option.contains(['\n', '\r']),
                "sbatch got {option:?}"
            );
        }
        let shown = self.gateway.log();
        assert!(
            shown
                .lines()
                .all(|line| serde_json::from_str::<Value>(line).is_ok()),
            "a value ends a line of the log"
        );
        jobs
    }
}

/// Puts a value into a place of a document; the last word `*` is a key that is the value itself.
fn put(document: &Value, pointer: &str, value: &str) -> Value {
    let mut changed = document.clone();
    let (place, last) = pointer.rsplit_once('/').unwrap();
    match (changed.pointer_mut(place), last) {
        (Some(Value::Object(map)), "*") => map.insert(value.to_owned(), json!("v")),
        (Some(Value::Object(map)), last) => map.insert(last.replace("~1", "/"), json!(value)),
        (Some(Value::Array(list)), last) => Some(std::mem::replace(
            &mut list[last.parse::<usize>().unwrap()],
            json!(value),
        )),
        _ => panic!("there is no {pointer}"),
    };
    changed
}

#[test]
fn events() {
    let site = site();
    let event = json!({"specversion": "1.0", "id": "i", "source": "/s", "type": "t", "subject": "u",
        "time": "2026-01-02T10:00:00Z", "datacontenttype": "application/json", "dataschema": "/x",
        "extension": "e", "data": {"key": "v"}});
    let record = json!({"eventVersion": "2.0", "eventSource": "minio:s3", "awsRegion": "",
        "eventTime": "2026-01-02T10:00:00.000Z", "eventName": "s3:ObjectCreated:Put",
        "userIdentity": {"principalId": "u"}, "requestParameters": {"principalId": "u"},
        "responseElements": {"x-amz-request-id": "1"},
        "s3": {"bucket": {"name": "b", "arn": "a"}, "object": {"key": "k", "eTag": "e", "versionId": "v", "sequencer": "1"}}});
    let notification =
        json!({"EventName": "s3:ObjectCreated:Put", "Key": "b/k", "Records": [record]});
    let (mut number, mut taken) = (0, 0);
    let mut send = |path: &str, headers: &[(&str, &str)], body: &str| {
        let status = site.ask("POST", path, headers, body);
        assert!(status < 500, "{path} {status}: {body}");
        taken += u32::from(status == 202);
    };
    let mut subjects = Vec::new();
    for value in site.hostile() {
        for field in [
            "id",
            "source",
            "type",
            "subject",
            "time",
            "datacontenttype",
            "dataschema",
            "extension",
            "data/key",
            "data/*",
            "*",
        ] {
            number += 1;
            let mut changed = event.clone();
            changed["id"] = json!(number.to_string());
            let pointer = if field == "*" {
                "/*".to_owned()
            } else {
                format!("/{field}")
            };
            let changed = put(&changed, &pointer, &value);
            send(
                "/events",
                &[("content-type", "application/cloudevents+json")],
                &changed.to_string(),
            );
            if field == "subject" {
                subjects.push(value.clone());
            }
        }
        for field in [
            "EventName",
            "Key",
            "Records/0/awsRegion",
            "Records/0/eventSource",
            "Records/0/eventTime",
            "Records/0/eventName",
            "Records/0/userIdentity/principalId",
            "Records/0/requestParameters/principalId",
            "Records/0/responseElements/x-amz-request-id",
            "Records/0/s3/bucket/name",
            "Records/0/s3/bucket/arn",
            "Records/0/s3/object/key",
            "Records/0/s3/object/eTag",
            "Records/0/s3/object/versionId",
            "Records/0/s3/object/sequencer",
        ] {
            number += 1;
            let mut changed = notification.clone();
            changed["Records"][0]["s3"]["object"]["sequencer"] = json!(format!("{number:x}"));
            send(
                "/events/s3",
                &[],
                &put(&changed, &format!("/{field}"), &value).to_string(),
            );
        }
        // In a header only what is a header's.
        if value.bytes().all(|byte| (32..127).contains(&byte)) {
            for name in [
                "ce-id",
                "ce-source",
                "ce-type",
                "ce-subject",
                "ce-time",
                "ce-extension",
                "content-type",
            ] {
                number += 1;
                let id = number.to_string();
                let mut headers = vec![
                    ("ce-specversion", "1.0"),
                    ("ce-id", &id),
                    ("ce-source", "/s"),
                    ("ce-type", "t"),
                ];
                headers.retain(|(known, _)| *known != name);
                headers.push((name, &value));
                send("/events", &headers, "{}");
            }
        }
    }
    assert!(taken > 200, "{taken} of {number} were taken");
    let jobs = site.check();
    assert!(jobs.len() > 200, "{}", jobs.len());
    // A value that became an argument is what was sent, and one argument.
    let got: BTreeSet<String> = site.list("got").into_iter().collect();
    let allowed: BTreeSet<String> = site
        .hostile()
        .into_iter()
        .chain(["u", "k", "none"].map(str::to_owned))
        .collect();
    // A subject in a header may be in quotation marks, which are not of it.
    let unquoted: BTreeSet<String> = allowed.iter().map(|one| one.replace('"', "")).collect();
    for word in &got {
        let under = word.strip_prefix("/data/");
        let is_key = under.is_some_and(|key| !key.split('/').any(|part| part == ".."));
        assert!(
            allowed.contains(word) || unquoted.contains(word) || is_key,
            "the script got {word:?}"
        );
    }
    for subject in subjects
        .iter()
        // Refused are those that would end a line, or be an option of the script.
        .filter(|one| !one.chars().any(char::is_control) && !one.starts_with('-'))
    {
        assert!(got.contains(subject), "{subject:?} was lost");
    }
}

/// Fields of a service that reach its job's options, words, variables or files; a call for each of
/// the others would only take time.
const IN_JOB: [&str; 9] = [
    "image",
    "memory",
    "cpu",
    "annotations/slurm-job",
    "environment",
    "input/0/path",
    "output/0/path",
    "output/0/suffix",
    "storage_providers/minio/own",
];

#[test]
fn services_and_calls_of_oscar() {
    let site = site();
    let definition = json!({"name": "svc", "image": "busybox", "script": "true", "memory": "64Mi", "cpu": "1",
        "log_level": "INFO", "visibility": "private", "isolation_level": "SERVICE", "vo": "v", "cluster_id": "c",
        "total_memory": "", "total_cpu": "", "ephemeral_storage_request": "", "interlink_node_name": "",
        "allowed_users": ["u"], "image_pull_secrets": ["p"],
        "annotations": {"slurm-job.vk.io/flags": "--nodes=1", "k": "v"}, "labels": {"k": "v"},
        "environment": {"variables": {"A": "v"}, "secrets": {"B": "v"}},
        "input": [{"storage_provider": "minio.default", "path": "b/in", "suffix": ["s"], "prefix": ["p"]}],
        "output": [{"storage_provider": "minio.default", "path": "b/out", "suffix": ["s"], "prefix": ["p"]}],
        "storage_providers": {"minio": {"own": {"endpoint": "https://x", "region": "r", "access_key": "a", "secret_key": "s"}}},
        "clusters": {"c": {"endpoint": "https://x", "auth_user": "u", "auth_password": "p"}}});
    let fields = [
        "name",
        "image",
        "memory",
        "cpu",
        "log_level",
        "visibility",
        "isolation_level",
        "vo",
        "cluster_id",
        "total_memory",
        "total_cpu",
        "ephemeral_storage_request",
        "interlink_node_name",
        "allowed_users/0",
        "image_pull_secrets/0",
        "annotations/slurm-job.vk.io~1flags",
        "annotations/k",
        "annotations/*",
        "labels/k",
        "labels/*",
        "environment/variables/A",
        "environment/variables/*",
        "environment/secrets/B",
        "environment/secrets/*",
        "input/0/storage_provider",
        "input/0/path",
        "input/0/suffix/0",
        "input/0/prefix/0",
        "output/0/storage_provider",
        "output/0/path",
        "output/0/suffix/0",
        "output/0/prefix/0",
        "storage_providers/*",
        "storage_providers/minio/*",
        "storage_providers/minio/own/endpoint",
        "storage_providers/minio/own/region",
        "storage_providers/minio/own/access_key",
        "storage_providers/minio/own/secret_key",
        "clusters/c/endpoint",
        "clusters/*",
    ];
    let admin = ("authorization", "Basic YWRtaW46Y29ycmVjdCBob3JzZQ==");
    let (mut made, mut values, mut number) = (0, Vec::new(), 0);
    let call = |name: &str, headers: &[(&str, &str)], body: &str| {
        let shown = site
            .agent
            .get(site.gateway.url(&format!("/system/services/{name}")))
            .header(admin.0, admin.1)
            .call();
        let shown: Value = shown.unwrap().body_mut().read_json().unwrap();
        let token = format!("Bearer {}", shown["token"].as_str().unwrap());
        let headers = [headers, &[("authorization", &token)]].concat();
        let status = site.ask("POST", &format!("/job/{name}"), &headers, body);
        assert!(status < 500, "{headers:?} {status}");
        status
    };
    for value in site.hostile() {
        for field in fields {
            number += 1;
            let name = format!("svc-{number}");
            let mut changed = definition.clone();
            changed["name"] = json!(name);
            let changed = put(&changed, &format!("/{field}"), &value);
            let status = site.ask("POST", "/system/services", &[admin], &changed.to_string());
            assert!(status < 500 || status == 501, "{field} {value:?}: {status}");
            if status == 201 {
                made += 1;
                assert_eq!(changed["name"], name, "a name {value:?} was taken");
                if IN_JOB.iter().any(|start| field.starts_with(start)) {
                    assert_eq!(call(&name, &[], "body"), 201);
                }
                if field == "environment/variables/A" {
                    values.push(value.clone());
                }
            }
        }
    }
    assert!(made > 100, "{made} of {number}");
    let plain = put(&definition, "/name", "plain");
    assert_eq!(
        site.ask("POST", "/system/services", &[admin], &plain.to_string()),
        201
    );
    for value in site.hostile() {
        let event = json!({"Records": [{"eventSource": "minio:s3", "eventName": "s3:ObjectCreated:Put", "eventTime": &value,
            "requestParameters": {"principalId": &value}, "userIdentity": {"principalId": &value},
            "s3": {"bucket": {"name": &value}, "object": {"key": &value, "sequencer": "1"}}}]});
        let delegated = json!({"storage_provider": &value, "event": event.to_string()});
        for body in [value.clone(), event.to_string(), delegated.to_string()] {
            call("plain", &[], &body);
        }
        if value.bytes().all(|byte| (32..127).contains(&byte)) {
            for name in [
                "x-delegated-job-id",
                "idempotency-key",
                "x-delegated-from",
                "user-agent",
            ] {
                call("plain", &[(name, &value)], "body");
            }
        }
        let escaped: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for path in [
            "/job/",
            "/run/",
            "/system/services/",
            "/system/logs/",
            "/system/logs/plain/",
        ] {
            for method in ["GET", "POST", "DELETE"] {
                let status = site.ask(method, &format!("{path}{escaped}"), &[admin], "");
                assert!(
                    (400..500).contains(&status),
                    "{method} {path}{value:?}: {status}"
                );
            }
        }
    }
    let jobs = site.check();
    assert!(jobs.len() > 200, "{}", jobs.len());
    let got: BTreeSet<String> = site.list("values").into_iter().collect();
    let allowed: BTreeSet<String> = values.iter().cloned().chain(["v".to_owned()]).collect();
    assert_eq!(got, allowed, "variables are what was sent");
    words_are_harmless(&site);
}

/// What stands before a container's image are the gateway's own words.
fn words_are_harmless(site: &Site) {
    let work = site.folder.path().join("work").display().to_string();
    let calls: Vec<_> = fs::read_dir(site.folder.path().join("double/words"))
        .unwrap()
        .map(|entry| format!("words/{}", entry.unwrap().file_name().display()))
        .map(|name| site.list(&name))
        .collect();
    assert!(calls.len() > 100, "{}", calls.len());
    for call in calls {
        let mut words = call.iter().map(String::as_str);
        assert!(matches!(words.next(), Some("exec" | "run")), "{call:?}");
        while let Some(word) = words.next().filter(|word| word.starts_with('-')) {
            match word {
                "--no-eval" | "--cleanenv" => {}
                "--pwd" => drop(words.next()),
                "--bind" => {
                    let from = words.next().unwrap().split(':').next().unwrap();
                    let is_ours = from.starts_with(&work) || from.starts_with("/data");
                    assert!(
                        is_ours && !from.split('/').any(|part| part == ".."),
                        "{call:?}"
                    );
                }
                _ => panic!("the runtime got the option {word:?}: {call:?}"),
            }
        }
    }
}

#[test]
fn pods() {
    let site = site();
    let uid = |n: u32| format!("6b0c1f8e-1d2a-4c3b-9e4f-{n:012x}");
    let create = json!({"pod": {
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"k": "v"}, "annotations": {"slurm-job.vk.io/flags": "--nodes=1", "k": "v"}},
        "spec": {"containers": [{"name": "c", "image": "busybox", "command": ["x"], "args": ["y"], "workingDir": "/w",
                "env": [{"name": "A", "value": "v"}, {"name": "F", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}}],
                "envFrom": [{"prefix": "P_", "configMapRef": {"name": "cm"}}],
                "resources": {"limits": {"cpu": "1", "memory": "64Mi"}},
                "volumeMounts": [{"name": "v", "mountPath": "/etc/v", "subPath": ""}, {"name": "h", "mountPath": "/data/h"}],
                "readinessProbe": {"httpGet": {"path": "/x", "port": 80, "host": "h", "scheme": "HTTP"}},
                "lifecycle": {"preStop": {"exec": {"command": ["z"]}}}}],
            "volumes": [{"name": "v", "configMap": {"name": "cm", "items": [{"key": "k", "path": "f"}]}},
                {"name": "h", "hostPath": {"path": "/data/h", "type": ""}}]}},
        "container": [{"name": "c", "configMaps": [{"metadata": {"name": "cm"}, "data": {"k": "x"}}],
            "secrets": [{"metadata": {"name": "s"}, "data": {"k": "eA=="}}], "projectedvolumemaps": null}],
        "jobConfig": {}, "jobScript": "", "jobscriptURL": ""});
    let pod = "pod/spec/containers/0";
    let mut fields: Vec<String> = [
        "metadata/name",
        "metadata/namespace",
        "metadata/uid",
        "metadata/labels/k",
        "metadata/labels/*",
        "metadata/annotations/*",
    ]
    .map(|field| format!("pod/{field}"))
    .into();
    for name in [
        "flags",
        "flavor",
        "pre-exec",
        "mpi-flags",
        "image-root",
        "singularity-mounts",
        "singularity-options",
        "singularity-commands",
        "enroot-mounts",
        "enroot-options",
    ] {
        fields.push(format!("pod/metadata/annotations/slurm-job.vk.io~1{name}"));
    }
    for field in [
        "name",
        "image",
        "workingDir",
        "args/0",
        "env/0/name",
        "env/0/value",
        "env/1/valueFrom/configMapKeyRef/key",
        "envFrom/0/prefix",
        "resources/limits/cpu",
        "resources/limits/memory",
        "resources/limits/*",
        "volumeMounts/0/name",
        "volumeMounts/0/mountPath",
        "volumeMounts/0/subPath",
        "readinessProbe/httpGet/path",
        "readinessProbe/httpGet/host",
        "readinessProbe/httpGet/scheme",
    ] {
        fields.push(format!("{pod}/{field}"));
    }
    for field in [
        "pod/spec/volumes/0/name",
        "pod/spec/volumes/0/configMap/name",
        "pod/spec/volumes/0/configMap/items/0/key",
        "pod/spec/volumes/0/configMap/items/0/path",
        "pod/spec/volumes/1/hostPath/path",
        "pod/spec/volumes/1/hostPath/type",
        "container/0/name",
        "container/0/configMaps/0/metadata/name",
        "container/0/configMaps/0/data/*",
        "container/0/configMaps/0/data/k",
        "container/0/secrets/0/metadata/name",
        "container/0/secrets/0/data/k",
        "jobScript",
        "jobscriptURL",
    ] {
        fields.push(field.to_owned());
    }
    let (mut number, mut taken) = (0, 0);
    let plain = put(&create, "/pod/metadata/uid", &uid(0));
    let (status, text) = site.gateway.ask("/create", &plain);
    assert_eq!(status, 200, "{text}");
    for value in site.hostile() {
        for field in &fields {
            number += 1;
            let changed = put(&create, "/pod/metadata/uid", &uid(number));
            let changed = put(&changed, &format!("/{field}"), &value);
            let status = site.ask("POST", "/create", &[], &changed.to_string());
            assert!(matches!(status, 200 | 400), "{field} {value:?}: {status}");
            taken += u32::from(status == 200);
        }
        for (path, body) in [
            (
                "/delete",
                json!({"metadata": {"uid": &value, "name": &value, "namespace": &value}}),
            ),
            (
                "/delete",
                json!({"metadata": {"uid": uid(900_000 + number), "name": &value, "namespace": &value}}),
            ),
            (
                "/getLogs",
                json!({"PodUID": &value, "ContainerName": "c", "Opts": {}}),
            ),
            (
                "/getLogs",
                json!({"PodUID": uid(1), "ContainerName": &value, "Opts": {"SinceTime": &value}}),
            ),
            (
                "/status",
                json!([{"metadata": {"uid": &value, "name": &value}}]),
            ),
        ] {
            let status = site.ask(
                "POST",
                path,
                &[("interlink-http-session", "s")],
                &body.to_string(),
            );
            assert!(
                matches!(status, 200 | 400 | 404),
                "{path} {value:?}: {status}"
            );
        }
    }
    assert!(taken > 100, "{taken} of {number}");
    site.check();
    words_are_harmless(&site);
    folders_hold_plain_files(&site.folder.path().join("work"));
}

/// Nothing in the jobs' folders leads out of them but the folders that the site lets pods mount.
fn folders_hold_plain_files(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            folders_hold_plain_files(&entry.path());
        } else {
            assert!(kind.is_file(), "{}", entry.path().display());
        }
    }
}

#[test]
fn bodies_headers_and_nesting_are_bounded_at_every_door() {
    let site = site();
    let admin = ("authorization", "Basic YWRtaW46Y29ycmVjdCBob3JzZQ==");
    let structured = ("content-type", "application/cloudevents+json");
    let doors = [
        ("POST", "/events", structured),
        ("POST", "/events/s3", admin),
        ("POST", "/system/services", admin),
        ("PUT", "/system/services", admin),
        ("POST", "/create", admin),
        ("POST", "/delete", admin),
        ("POST", "/status", admin),
        ("POST", "/getLogs", admin),
        ("PUT", "/v1/services/one/flow", admin),
    ];
    for (method, path, header) in doors {
        let ask = |body: &str| site.ask(method, path, &[header], body);
        for depth in [65, 20_000] {
            let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(ask(&deep), 400, "{path}, {depth} levels");
            let deep = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
            assert!(matches!(ask(&deep), 400 | 413), "{path}, {depth} levels");
        }
        // Pods may be larger than the others.
        let is_pod = ["/create", "/delete", "/status", "/getLogs"].contains(&path);
        let limit = if is_pod { 16 << 20 } else { 65_536 };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\n{}: {}\r\n",
            header.0, header.1
        );
        let answer = site.raw(&format!("{head}content-length: {}\r\n\r\n", limit + 1), &[]);
        assert!(answer.starts_with("HTTP/1.1 413"), "{path}: {answer}");
        if !is_pod {
            let piece = vec![b' '; limit + 1];
            let answer = site.raw(
                &format!(
                    "{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n",
                    piece.len()
                ),
                &piece,
            );
            assert!(answer.starts_with("HTTP/1.1 413"), "{path}: {answer}");
        }
    }
    let many: String = (0..101).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(140 << 10));
    for headers in [many, long] {
        let answer = site.raw(
            &format!("POST /events HTTP/1.1\r\nhost: x\r\n{headers}\r\n"),
            &[],
        );
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    for odd in [
        "POST /events HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/drain HTTP/1.1\r\n\r\n",
        "POST /events HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcde",
        "POST /events HTTP/1.1\r\nhost: x\r\nx\0y: z\r\n\r\n",
        "POST /events HTTP/1.1\r\nhost: x\r\n x: folded\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        let answer = site.raw(odd, &[]);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{odd:?}: {answer}"
        );
        assert!(
            answer.matches("HTTP/1.1").count() < 2,
            "{odd:?}: two answers"
        );
    }
    assert_eq!(site.gateway.get("/health").0, 200);
}

impl Site {
    /// What is answered to bytes as they are.
    fn raw(&self, head: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.gateway.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        // It may have hung up before all is sent.
        let _ = stream.write_all(body);
        let started = Instant::now();
        let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
        while let Ok(count) = stream.read(&mut piece) {
            answer.extend(&piece[..count]);
            let is_whole = answer.windows(4).any(|end| end == b"\r\n\r\n");
            if count == 0 || is_whole || started.elapsed() > Duration::from_secs(5) {
                break;
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    }
}

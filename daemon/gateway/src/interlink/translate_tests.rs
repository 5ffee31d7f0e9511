//! Any pod: no panic, and no word that is not the pod's own.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::interlink::variables::expand;
use crate::supervise::plan::Check;

fn site(runtime: Runtime) -> (Containers, Interlink) {
    let containers = Containers {
        runtime,
        host_paths: vec!["/data".into()],
        ..Containers::default()
    };
    let interlink = Interlink {
        host_commands: true,
        ..Interlink::default()
    };
    (containers, interlink)
}

fn translated(value: &Value, runtime: Runtime) -> Result<Planned, PodError> {
    let (containers, interlink) = site(runtime);
    let create: Create = serde_json::from_value(value.clone())
        .map_err(|error| PodError::new("body", error.to_string()))?;
    translate(
        &create,
        Site {
            containers: &containers,
            interlink: &interlink,
            folder: "/work/interlink/ab/abcd",
            uid: nix::unistd::getuid().as_raw(),
        },
    )
}

fn pod() -> Value {
    json!({
        "pod": {
            "metadata": {"name": "p", "namespace": "ns", "uid": "6b0c1f8e-1d2a-4c3b-9e4f-5a6b7c8d9e0f",
                "annotations": {"slurm-job.vk.io/flags": "-p cpu", "slurm-job.vk.io/pre-exec": "true",
                    "slurm-job.vk.io/mpi-flags": "-np 2", "slurm-job.vk.io/image-root": "/i/"}},
            "spec": {
                "containers": [{"name": "c", "image": "/i/a.sif", "command": ["sh", "-c"], "args": ["echo"],
                    "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
                    "envFrom": [{"configMapRef": {"name": "cm"}}],
                    "resources": {"limits": {"cpu": "2", "memory": "1Gi", "nvidia.com/gpu": 1}},
                    "volumeMounts": [{"name": "v", "mountPath": "/etc/v", "subPath": "k"}],
                    "livenessProbe": {"httpGet": {"path": "/x", "port": "web"}}, "ports": [{"name": "web", "containerPort": 80}],
                    "readinessProbe": {"exec": {"command": ["true"]}}, "lifecycle": {"preStop": {"tcpSocket": {"port": 1}}}}],
                "initContainers": [{"name": "i", "image": "/i/b.sif", "command": ["true"]}],
                "volumes": [{"name": "v", "configMap": {"name": "cm", "items": [{"key": "k", "path": "k"}]}},
                    {"name": "w", "hostPath": {"path": "/data/x"}},
                    {"name": "u", "projected": {"sources": [{"secret": {"name": "s"}}]}}],
                "activeDeadlineSeconds": 60,
            },
        },
        "container": [{"name": "c", "configMaps": [{"metadata": {"name": "cm"}, "data": {"k": "v"}}],
            "secrets": [{"metadata": {"name": "s"}, "data": {"k": "dg=="}}]}],
    })
}

/// Every place in a value, as a pointer.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => {
            for (key, one) in map {
                let key = key.replace('~', "~0").replace('/', "~1");
                places(one, &format!("{at}/{key}"), found);
            }
        }
        Value::Array(list) => {
            for (index, one) in list.iter().enumerate() {
                places(one, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        r#"[-/.;$()`'"\\= \n\r\ta-z0-9:,*#!]{0,16}"#.prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-zA-Z.$/ ]{0,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

const RUNTIMES: [Runtime; 5] = [
    Runtime::Apptainer,
    Runtime::Singularity,
    Runtime::Podman,
    Runtime::Enroot,
    Runtime::None,
];

#[test]
fn the_whole_pod_is_translated() {
    for runtime in RUNTIMES {
        let planned = translated(&pod(), runtime).unwrap();
        assert_eq!(
            planned.plan.apps[0]
                .env
                .iter()
                .filter(|(_, value)| value == "v")
                .count(),
            2,
            "{runtime:?}"
        );
        let start = ["mpirun", "-np", "2"].map(str::to_owned);
        assert_eq!(planned.plan.apps[0].argv[..3], start);
        assert_eq!(
            planned.plan.apps[0].liveness.as_ref().unwrap().check,
            Check::Get {
                host: "127.0.0.1".to_owned(),
                port: 80,
                path: "/x".to_owned(),
                headers: vec![],
            }
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever stands in the place of any part of a pod.
    #[test]
    fn an_arbitrary_pod_never_panics(place in any::<prop::sample::Index>(), odd in any_json(), which in 0..5_usize) {
        let mut value = pod();
        let mut all = Vec::new();
        places(&value, "", &mut all);
        *value.pointer_mut(place.get::<String>(&all).as_str()).unwrap() = odd;
        if let Ok(planned) = translated(&value, RUNTIMES[which]) {
            for file in &planned.files {
                prop_assert!(!file.path.split('/').any(|part| part == ".." || part.is_empty()), "{}", file.path);
            }
            for (from, _) in &planned.links {
                prop_assert!(!from.starts_with('/') && !from.contains(".."), "{from}");
            }
            for (name, option) in &planned.options {
                prop_assert!(crate::service::ALLOWED_OPTIONS.contains(&name.as_str()));
                prop_assert!(!option.chars().any(char::is_control));
            }
            let container = &planned.plan.apps[0];
            prop_assert!(!container.argv.is_empty());
        }
    }

    /// The words at the end of the argument vector are the pod's, one for one.
    #[test]
    fn words_are_the_pods_own(words in proptest::collection::vec("[^\0]{0,30}", 0..8), value in "[^\0]{0,60}", which in 0..5_usize) {
        let mut pod = pod();
        let container = pod.pointer_mut("/pod/spec/containers/0").unwrap();
        container["args"] = json!(words);
        container["env"] = json!([{"name": "A", "value": "x"}, {"name": "W", "value": value}]);
        container.as_object_mut().unwrap().remove("envFrom");
        let planned = translated(&pod, RUNTIMES[which]).unwrap();
        let known = [("A".to_owned(), "x".to_owned()), ("W".to_owned(), expand(&value, &[("A".to_owned(), "x".to_owned())]))];
        let expected: Vec<String> = words.iter().map(|word| expand(word, &known)).collect();
        for (word, meant) in words.iter().zip(&expected) {
            prop_assert!(word.contains('$') || word == meant);
        }
        let text = serde_json::to_string(&planned.plan).unwrap();
        let read: Plan = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&read, &planned.plan);
        let argv = &read.apps[0].argv;
        prop_assert_eq!(&argv[argv.len() - words.len()..], &expected[..]);
        let found = read.apps[0].env.iter().rev().find(|(name, _)| name.ends_with('W'));
        prop_assert_eq!(found.map(|(_, value)| value), Some(&known[1].1));
        let script = crate::jobfiles::batch_script(
            "/opt/mizar-gateway".as_ref(),
            crate::jobfiles::Verb::Supervise,
            "/work/x".as_ref(),
        );
        prop_assert_eq!(script, "#!/bin/sh\nexec '/opt/mizar-gateway' supervise '/work/x'\n");
    }
}

//! The files for Kubernetes: what the chart renders, linted by helm itself, is confined, and its
//! configuration is one that the gateway takes.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

fn chart() -> PathBuf {
    deploy().join("helm/mizar-gateway")
}

/// Helm from PATH or the cache, told that its home is `home`; None where there is none.
fn helm(home: &Path) -> Option<Command> {
    let cached = mizar_lab::venv::cache().map(|cache| cache.join("tools/bin/helm"));
    let found = cached.filter(|path| path.is_file());
    let program = found.unwrap_or_else(|| PathBuf::from("helm"));
    let mut command = Command::new(&program);
    command.env("HOME", home).current_dir(home);
    let asked = Command::new(&program)
        .arg("version")
        .env("HOME", home)
        .output();
    if !asked.is_ok_and(|output| output.status.success()) {
        println!("SKIP: helm is needed (make helm)");
        return None;
    }
    Some(command)
}

/// Renders the chart with values.
fn template(values: &str) -> Option<Output> {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("values.yaml"), values).unwrap();
    let mut helm = helm(home.path())?;
    helm.args(["template", "mizar-gateway"]).arg(chart()).args([
        "--namespace",
        "mizar",
        "--values",
        "values.yaml",
    ]);
    Some(helm.output().unwrap())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The rendered objects, or what helm said against it.
fn objects(values: &str) -> Option<Result<Vec<Value>, String>> {
    let output = template(values)?;
    if !output.status.success() {
        return Some(Err(text(&output.stderr)));
    }
    Some(Ok(documents(&text(&output.stdout))))
}

fn documents(text: &str) -> Vec<Value> {
    let parts = text
        .split("\n---")
        .map(|part| part.trim_start_matches("---"));
    let read = parts.map(|part| serde_saphyr::from_str::<Value>(part).unwrap());
    read.filter(|value| !value.is_null()).collect()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Option<&'a Value> {
    objects.iter().find(|object| object["kind"] == kind)
}

#[test]
fn the_chart_lints_and_the_plain_manifests_are_what_it_renders() {
    let home = tempfile::tempdir().unwrap();
    let Some(mut helm) = helm(home.path()) else {
        return;
    };
    let output = helm
        .args(["lint", "--strict"])
        .arg(chart())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stdout));
    let rendered = text(&template("").unwrap().stdout);
    let plain = fs::read_to_string(deploy().join("kubernetes/mizar-gateway.yaml")).unwrap();
    let (_, plain) = plain.split_once("\n---\n").unwrap();
    assert_eq!(
        rendered.trim_start_matches("---\n"),
        plain,
        "run: helm template mizar-gateway daemon/gateway/deploy/helm/mizar-gateway --namespace mizar"
    );
    let version = env!("CARGO_PKG_VERSION");
    let about = fs::read_to_string(chart().join("Chart.yaml")).unwrap();
    assert!(
        about.contains(&format!("appVersion: \"{version}\"")),
        "{about}"
    );
}

#[test]
fn containers_are_confined_and_there_is_one_gateway() {
    let Some(found) = objects("") else {
        return;
    };
    let found = found.unwrap();
    let deployment = of_kind(&found, "Deployment").unwrap();
    assert_eq!(deployment["spec"]["replicas"], 1);
    assert_eq!(deployment["spec"]["strategy"]["type"], "Recreate");
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["automountServiceAccountToken"], false);
    let all = ["containers", "initContainers"];
    let containers: Vec<&Value> = all
        .iter()
        .flat_map(|key| pod[*key].as_array().unwrap())
        .collect();
    assert_eq!(containers.len(), 2);
    for container in containers {
        let confined = &container["securityContext"];
        assert_eq!(confined["readOnlyRootFilesystem"], true, "{container}");
        assert_eq!(confined["allowPrivilegeEscalation"], false, "{container}");
        assert_eq!(confined["capabilities"]["drop"][0], "ALL", "{container}");
        assert!(container["resources"]["limits"]["memory"].is_string());
    }
    let gateway = &pod["containers"][0];
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert_eq!(gateway[probe]["httpGet"]["path"], "/health", "{probe}");
    }
    // Every mount is of a volume that is there.
    let volumes: Vec<&str> = pod["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    for mount in gateway["volumeMounts"].as_array().unwrap() {
        assert!(
            volumes.contains(&mount["name"].as_str().unwrap()),
            "{mount}"
        );
    }
    assert!(!text(&template("").unwrap().stdout).contains("kind: Secret\n"));
    let service = of_kind(&found, "Service").unwrap();
    assert_eq!(
        service["spec"]["selector"],
        deployment["spec"]["selector"]["matchLabels"]
    );
}

#[test]
fn the_gateway_takes_the_rendered_configuration() {
    let values = "config: |\n  include = [\"workflows\"]\n  [slurm]\n  poll_ms = 1000\n  [interlink]\n  \
                  pods = 7\nservices: |\n  [[service]]\n  name = \"a\"\n  script = \"/bin/sh\"\n";
    let Some(found) = objects(values) else {
        return;
    };
    let found = found.unwrap();
    let files = &of_kind(&found, "ConfigMap").unwrap()["data"];
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "a-token-of-the-site-0123456789\n").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    for name in ["gateway.toml", "services.toml"] {
        let text = files[name].as_str().unwrap();
        let text = text.replace("/run/mizar/secrets/token", token.to_str().unwrap());
        fs::write(folder.path().join(name), text).unwrap();
    }
    let output = Command::new(env!("CARGO_BIN_EXE_mizar-gateway"))
        .args(["--check-config", "--config"])
        .arg(folder.path().join("gateway.toml"))
        .output()
        .unwrap();
    let told = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{told}");
    for part in [
        "pods = 7",
        "poll_ms = 1000",
        "service a: /bin/sh",
        "0.0.0.0:8742",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn values_are_checked_and_do_what_they_say() {
    let Some(found) = objects("persistence: {enabled: false}\nnetworkPolicy: {enabled: true}\n")
    else {
        return;
    };
    let found = found.unwrap();
    assert!(of_kind(&found, "PersistentVolumeClaim").is_none());
    assert!(of_kind(&found, "NetworkPolicy").is_some());
    let found = objects("persistence: {enabled: true, existingClaim: mine}\n")
        .unwrap()
        .unwrap();
    assert!(of_kind(&found, "PersistentVolumeClaim").is_none());
    let deployment = of_kind(&found, "Deployment").unwrap().to_string();
    assert!(
        deployment.contains("\"claimName\":\"mine\""),
        "{deployment}"
    );
    let found = objects(
        "podLabels: {team: ocean}\nworkDir: {path: /a/b, volume: {nfs: {server: s, path: /x}}}\n",
    );
    let deployment = of_kind(&found.unwrap().unwrap(), "Deployment")
        .unwrap()
        .to_string();
    assert!(deployment.contains("\"team\":\"ocean\"") && deployment.contains("\"server\":\"s\""));
    for (bad, part) in [
        ("colour: red", "colour"),
        ("user: {uid: 0, gid: 1}", "uid"),
        ("service: {port: 99999}", "port"),
        ("workDir: {path: relative, volume: {emptyDir: {}}}", "path"),
        ("persistence: {enabled: true, size: lots}", "size"),
        ("config: \"listen = 'x'\"", "config"),
        ("secretName: \"A b\"", "secretName"),
        ("image: {repository: \"\"}", "repository"),
    ] {
        let error = objects(bad).unwrap().unwrap_err();
        assert!(
            error.contains(part) && error.contains("schema"),
            "{bad}: {error}"
        );
    }
}

#[test]
fn other_shipped_files_are_yaml_and_name_what_is_there() {
    let values = fs::read_to_string(deploy().join("kubernetes/interlink-values.yaml")).unwrap();
    let values: Value = serde_saphyr::from_str(&values).unwrap();
    let gateway = &values["extraContainers"][0];
    assert_eq!(gateway["securityContext"]["readOnlyRootFilesystem"], true);
    let volumes: Vec<&Value> = values["extraVolumes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["name"])
        .collect();
    for mount in gateway["volumeMounts"].as_array().unwrap() {
        assert!(volumes.contains(&&mount["name"]), "{mount}");
    }
    let plugin = values["plugin"]["socket"].as_str().unwrap();
    let folder = values["interlink"]["extraVolumeMounts"][0]["mountPath"]
        .as_str()
        .unwrap();
    assert!(plugin.starts_with(&format!("unix://{folder}/")), "{plugin}");
    let image = fs::read_to_string(deploy().join("Containerfile")).unwrap();
    assert!(
        image.contains("USER ${UID}:${GID}") && image.contains("--locked"),
        "{image}"
    );
    let chart = fs::read_to_string(chart().join("values.yaml")).unwrap();
    assert!(image.contains("UID=10001") && chart.contains("uid: 10001"));
}

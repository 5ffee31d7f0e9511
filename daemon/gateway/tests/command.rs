//! The command line and the shipped files.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mizar-gateway"))
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn shipped_examples_are_accepted() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let folder = tempfile::tempdir().unwrap();
    for name in ["gateway.toml", "services.toml"] {
        let text = std::fs::read_to_string(deploy.join(name)).unwrap();
        // The example script and token are a site's to write.
        let text = text
            .replace("/opt/twins/monthly-mean.sh", "/bin/sh")
            .replace("token_file", "#token_file")
            .replace("user = \"twin\"", "user = \"daemon\"")
            // What needs another file is there to be taken over.
            .replace("\n#! ", "\n");
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args([
            "-subj",
            "/CN=gateway",
            "-keyout",
            "gateway.key",
            "-out",
            "gateway.pem",
        ])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(made.status.success());
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(folder.path().join("gateway.key"), mode).unwrap();
    let authorities = folder.path().join("client-authorities.pem");
    std::fs::copy(folder.path().join("gateway.pem"), authorities).unwrap();
    for (name, text) in [
        ("oscar-users", "ann:correct horse\n"),
        ("archive-keys", "id\nsecret\n"),
        ("mqtt-login", "ann:correct horse\n"),
        ("amqp-login", "ann:correct horse\n"),
        ("stomp-login", "ann:correct horse\n"),
        ("dcache-token", "a-token\n"),
        ("kafka-login", "ann:correct horse\n"),
        ("nats.creds", "a-token\n"),
        ("results-key", "a-key-of-the-test\n"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }
    let config = folder.path().join("gateway.toml");
    let output = run(&["--check-config", "--config", config.to_str().unwrap()]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let keys = folder.path().join("archive-keys");
    std::fs::set_permissions(&keys, PermissionsExt::from_mode(0o640)).unwrap();
    let output = run(&["--check-config", "--config", config.to_str().unwrap()]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        told.contains("archive") && told.contains("make it 600"),
        "{told}"
    );
    let unit = std::fs::read_to_string(deploy.join("mizar-gateway.service")).unwrap();
    assert!(
        unit.contains("ExecStart=/usr/bin/mizar-gateway serve --config /etc/mizar/gateway.toml")
    );
}

#[test]
fn unknown_keys_and_missing_files_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("g.toml");
    for (text, expected) in [
        (
            "state_dir='s'\nwork_dir='w'\nservices=[]\ncolour='red'\n",
            "colour",
        ),
        ("work_dir='w'\nservices=[]\n", "state_dir"),
        ("state_dir='s'\nwork_dir='w%j'\nservices=[]\n", "work_dir"),
        (
            "state_dir='s'\nwork_dir='w'\nservices=['no.toml']\n",
            "no.toml",
        ),
        (
            "listen='0.0.0.0:1'\nstate_dir='s'\nwork_dir='w'\nservices=[]\n",
            "token_file",
        ),
        (
            "state_dir='s'\nwork_dir='w'\nservices=[]\n[limits]\nnesting=0\n",
            "limits.nesting",
        ),
    ] {
        std::fs::write(&config, text).unwrap();
        let output = run(&["--check-config", "--config", config.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(3), "{text}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains(expected), "{told}");
    }
    assert_eq!(
        run(&["status", "--config", "/nosuch"]).status.code(),
        Some(3)
    );
    assert_eq!(run(&["jobs", "--state", "happy"]).status.code(), Some(2));
    assert_eq!(run(&[]).status.code(), Some(2));
}

#[test]
fn help_completions_and_manual_are_there() {
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    for part in ["Examples:", "Exit codes:", "dead-letters", "--check-config"] {
        assert!(help.contains(part), "{help}");
    }
    for what in ["man", "bash", "zsh", "fish"] {
        let output = run(&["generate", what]);
        assert!(
            output.status.success() && output.stdout.len() > 500,
            "{what}"
        );
    }
    assert_eq!(run(&["generate", "tcsh-of-sorts"]).status.code(), Some(1));
}

//! Every configuration that is shipped is accepted by the program that it is for, and a wrong
//! key in it is not.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use mizar_lab::binary;
use mizar_suite::repository;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The shipped files for a program: their names begin alike.
fn shipped(prefix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![repository()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !path.is_symlink() {
                if !name.starts_with('.') && name != "target" {
                    folders.push(path);
                }
            } else if name.starts_with(prefix) && name.ends_with(".toml") {
                found.push(path);
            }
        }
    }
    found
}

fn check(program: &str, config: &Path) -> Output {
    let program = binary(program);
    assert!(program.exists(), "build it first: {}", program.display());
    let output = Command::new(program)
        .arg("--check-config")
        .arg("--config")
        .arg(config)
        .output();
    output.unwrap()
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

#[test]
fn the_daemon_accepts_its_example() {
    let shipped = shipped("mizard.");
    assert!(!shipped.is_empty(), "no example for mizard");
    for config in shipped {
        let output = check("mizard", &config);
        assert!(
            output.status.success(),
            "{}: {}",
            config.display(),
            text(&output)
        );
    }
}

/// The example as a site has it: with a token, and with the scripts that its services name.
#[test]
fn the_gateway_accepts_its_example() {
    let shipped = shipped("gateway.");
    assert!(!shipped.is_empty(), "no example for mizar-gateway");
    for config in shipped {
        let site = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(config.parent().unwrap()).unwrap() {
            let from = entry.unwrap().path();
            if from.is_file() {
                let text = std::fs::read_to_string(&from).unwrap();
                let text = with_scripts_in(site.path(), &text);
                std::fs::write(site.path().join(from.file_name().unwrap()), text).unwrap();
            }
        }
        let token = site.path().join("token");
        std::fs::write(&token, "0123456789abcdef0123456789abcdef0123456789abcdef\n").unwrap();
        std::fs::set_permissions(&token, Permissions::from_mode(0o600)).unwrap();
        let output = check(
            "mizar-gateway",
            &site.path().join(config.file_name().unwrap()),
        );
        assert!(
            output.status.success(),
            "{}: {}",
            config.display(),
            text(&output)
        );
        assert!(
            text(&output).contains("# service "),
            "no service in {}",
            config.display()
        );
    }
}

/// Moves the scripts that a services file names into `folder`, and makes them there.
fn with_scripts_in(folder: &Path, services: &str) -> String {
    let mut moved = String::new();
    for line in services.lines() {
        let named = line
            .strip_prefix("script = \"")
            .and_then(|rest| rest.split('"').next());
        if let Some(name) = named.and_then(|path| Path::new(path).file_name()) {
            let script = folder.join(name);
            std::fs::write(&script, "#!/bin/sh\n").unwrap();
            moved.push_str(&format!("script = {script:?}\n"));
        } else {
            moved.push_str(line);
            moved.push('\n');
        }
    }
    moved
}

#[test]
fn a_wrong_key_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for (program, rest) in [
        ("mizard", ""),
        (
            "mizar-gateway",
            "state_dir = \"s\"\nwork_dir = \"w\"\nservices = []\n",
        ),
    ] {
        let config = folder.path().join(format!("{program}.toml"));
        std::fs::write(&config, format!("sampel_ms = 10\n{rest}")).unwrap();
        let output = check(program, &config);
        assert!(
            !output.status.success(),
            "{program} accepts {}",
            text(&output)
        );
        assert!(
            text(&output).contains("sampel_ms"),
            "{program}: {}",
            text(&output)
        );
    }
}

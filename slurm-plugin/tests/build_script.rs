//! The build script by itself: which Slurm release it finds, and what it says if none.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The compiled build script, in a folder that goes with it.
struct Script {
    folder: tempfile::TempDir,
    program: PathBuf,
}

impl Script {
    fn compile() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("build");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let status = Command::new(rustc)
            .args(["--edition=2024", "-o"])
            .arg(&program)
            .arg(source)
            .status();
        assert!(status.unwrap().success());
        Self { folder, program }
    }

    /// What the script tells cargo, and the version that it found.
    fn run(&self, variables: &[(&str, &str)]) -> (String, Option<String>) {
        let found = self.folder.path().join("slurm_version");
        let _ = std::fs::remove_file(&found);
        let mut command = Command::new(&self.program);
        command
            .env_remove("MIZAR_SLURM_VERSION")
            .env_remove("SLURM_INCLUDE_DIR");
        command
            .env("OUT_DIR", self.folder.path())
            .envs(variables.iter().copied());
        let output = command.output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        (text, std::fs::read_to_string(found).ok())
    }
}

#[test]
fn the_release_comes_from_the_variable_or_the_header_or_the_build_says_what_to_install() {
    let script = Script::compile();
    for (given, found) in [
        ("22.05.8", "0x160508"),
        ("23.11", "0x170b00"),
        ("0x180500", "0x180500"),
    ] {
        let (text, version) = script.run(&[("MIZAR_SLURM_VERSION", given)]);
        assert_eq!(version.as_deref(), Some(found), "{text}");
    }
    for wrong in ["", "22", "22.05.8.1", "22.999.1", "v22.05", "0xzz"] {
        let (text, version) = script.run(&[("MIZAR_SLURM_VERSION", wrong)]);
        assert!(
            version.is_none() && text.contains("cargo::error="),
            "{wrong}: {text}"
        );
    }

    let headers = tempfile::tempdir().unwrap();
    let include = headers.path().to_str().unwrap();
    let (text, version) = script.run(&[("SLURM_INCLUDE_DIR", include)]);
    let problem = text
        .lines()
        .find(|line| line.starts_with("cargo::error="))
        .unwrap();
    assert!(version.is_none());
    for part in [
        include,
        "slurm/slurm_version.h",
        "libslurm-dev",
        "MIZAR_SLURM_VERSION",
    ] {
        assert!(problem.contains(part), "{problem}");
    }

    std::fs::create_dir(headers.path().join("slurm")).unwrap();
    let header = headers.path().join("slurm/slurm_version.h");
    std::fs::write(&header, "#define SLURM_VERSION_NUMBER 0x170b05\n").unwrap();
    let (_, version) = script.run(&[("SLURM_INCLUDE_DIR", include)]);
    assert_eq!(version.as_deref(), Some("0x170b05"));

    std::fs::write(&header, "#define SOMETHING_ELSE 1\n").unwrap();
    let (text, _) = script.run(&[("SLURM_INCLUDE_DIR", include)]);
    assert!(
        text.contains("does not define SLURM_VERSION_NUMBER"),
        "{text}"
    );
}

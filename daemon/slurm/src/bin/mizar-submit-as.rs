//! `mizar-submit-as`: submits, and cancels, jobs as the users whom its configuration allows, for a
//! gateway that runs without privileges. Started by root, as a service; it is not setuid.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the configuration is refused.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mizar_slurm::submit_as::{Config, prepare_from_stdin, serve};

const DEFAULT_CONFIG: &str = "/etc/mizar/submit-as.toml";

const USAGE: &str = "\
Usage: mizar-submit-as [--check-config] [--config FILE]

Takes orders of the gateway at a unix socket, and runs sbatch and scancel as the user that an
order names, if FILE (/etc/mizar/submit-as.toml) allows it. Runs as root, in the foreground; see
daemon/gateway/deploy/submit-as.toml and mizar-submit-as.service.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 configuration refused.";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["prepare", folder] => prepare(Path::new(folder)),
        ["--help" | "-h"] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        ["--version" | "-V"] => {
            println!("mizar-submit-as {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        [] => run(Path::new(DEFAULT_CONFIG), false),
        ["--config", file] => run(Path::new(file), false),
        ["--check-config"] => run(Path::new(DEFAULT_CONFIG), true),
        ["--check-config", "--config", file] | ["--config", file, "--check-config"] => {
            run(Path::new(file), true)
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn run(file: &Path, is_check: bool) -> ExitCode {
    let config = match Config::load(file) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("mizar-submit-as: {}", mizar_core::chain(&error));
            return ExitCode::from(3);
        }
    };
    if is_check {
        println!("{config:#?}");
        return ExitCode::SUCCESS;
    }
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    // Not by its path: what lies there may be replaced while it serves.
    match serve(config, PathBuf::from("/proc/self/exe")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mizar-submit-as: {}", mizar_core::chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// The child that makes a job's folder, as the user already.
fn prepare(folder: &Path) -> ExitCode {
    match prepare_from_stdin(folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot make a folder below {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

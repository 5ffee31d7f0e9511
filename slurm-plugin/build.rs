//! Finds out for which Slurm release the plugin is built: Slurm loads a plugin only if its
//! version word has Slurm's own major and minor number.
//!
//! `MIZAR_SLURM_VERSION` (`22.05.8` or `0x160508`) decides; else `SLURM_VERSION_NUMBER` in
//! `slurm/slurm_version.h`, looked for in `SLURM_INCLUDE_DIR` or where distributions put it.

use std::path::{Path, PathBuf};
use std::{env, fs};

const VERSION_VARIABLE: &str = "MIZAR_SLURM_VERSION";
const INCLUDE_VARIABLE: &str = "SLURM_INCLUDE_DIR";
const HEADER: &str = "slurm/slurm_version.h";
const USUAL_DIRS: [&str; 4] = [
    "/usr/include",
    "/usr/local/include",
    "/opt/slurm/include",
    "/usr/include/slurm-wlm",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for variable in [VERSION_VARIABLE, INCLUDE_VARIABLE] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    match slurm_version() {
        Ok(number) => {
            let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
            fs::write(out.join("slurm_version"), format!("{number:#x}"))
                .expect("cargo's OUT_DIR is writable");
        }
        Err(problem) => println!("cargo::error={problem}"),
    }
}

fn slurm_version() -> Result<u32, String> {
    if let Ok(given) = env::var(VERSION_VARIABLE) {
        return parse_release(&given).ok_or_else(|| {
            format!("{VERSION_VARIABLE}={given} is no Slurm release; write 22.05.8 or 0x160508")
        });
    }
    let header = find_header()?;
    println!("cargo::rerun-if-changed={}", header.display());
    let text = fs::read_to_string(&header)
        .map_err(|error| format!("cannot read {}: {error}", header.display()))?;
    text.lines()
        .find_map(|line| line.strip_prefix("#define SLURM_VERSION_NUMBER"))
        .and_then(|number| parse_hexadecimal(number.trim()))
        .ok_or_else(|| format!("{} does not define SLURM_VERSION_NUMBER", header.display()))
}

fn find_header() -> Result<PathBuf, String> {
    let given = env::var(INCLUDE_VARIABLE).ok();
    let dirs = given
        .as_deref()
        .map_or_else(|| USUAL_DIRS.to_vec(), |dir| vec![dir]);
    dirs.iter()
        .map(|dir| Path::new(dir).join(HEADER))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            format!(
                "no {HEADER} in {}: the SPANK plugin is built for one Slurm release. Install \
                 Slurm's headers (Debian: libslurm-dev; RPM: slurm-devel), or name their folder \
                 in {INCLUDE_VARIABLE}, or the release in {VERSION_VARIABLE} (22.05.8)",
                dirs.join(", ")
            )
        })
}

fn parse_hexadecimal(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// `22.05.8` is 0x160508: one byte each, written in decimal.
fn parse_release(text: &str) -> Option<u32> {
    if text.starts_with("0x") {
        return parse_hexadecimal(text);
    }
    let parts: Vec<u8> = text
        .split('.')
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    match parts[..] {
        [major, minor] => Some(u32::from_be_bytes([0, major, minor, 0])),
        [major, minor, micro] => Some(u32::from_be_bytes([0, major, minor, micro])),
        _ => None,
    }
}

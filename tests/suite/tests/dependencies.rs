//! Holds every dependency to the licences, bans and sources of `deny.toml`, with no network.
//!
//! cargo-deny reads the same file and knows more (advisories, licence texts), but takes longer
//! to compile than Mizar itself; these are the checks that must never wait for it.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

#[derive(Deserialize)]
struct Deny {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    name: String,
    reason: String,
}

#[derive(Deserialize)]
struct Sources {
    #[serde(rename = "allow-registry")]
    allow_registry: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn deny() -> Deny {
    toml::from_str(&std::fs::read_to_string(root().join("deny.toml")).unwrap()).unwrap()
}

/// What cargo prints, from the lock file alone.
fn cargo(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(root())
        .args(arguments)
        .args(["--locked", "--offline", "--all-features"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Every package of the build on this kind of machine, as the lock file has it. The lock file
/// also has what a dependency's weak feature (`cubecl?/std`) would bring if something else asked
/// for it; what is never built is no dependency.
fn packages() -> Vec<Package> {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = [
        "metadata",
        "--format-version=1",
        "--filter-platform",
        &platform,
    ];
    let packages = serde_json::from_slice::<Metadata>(&cargo(&metadata)).unwrap();
    let tree = [
        "tree",
        "--workspace",
        "--prefix=none",
        "--format={p}",
        "--target",
        &platform,
    ];
    let tree = String::from_utf8(cargo(&tree)).unwrap();
    let built: BTreeSet<(&str, &str)> = tree
        .lines()
        .filter_map(|line| line.split_once(" v"))
        .map(|(name, rest)| (name, rest.split(' ').next().unwrap_or(rest)))
        .collect();
    let mut packages = packages.packages;
    packages.retain(|package| built.contains(&(package.name.as_str(), package.version.as_str())));
    assert!(packages.len() > 100, "cargo tree names {built:?}");
    packages
}

#[test]
fn every_licence_is_on_the_list() {
    let allowed = deny().licenses.allow;
    let refused: Vec<String> = packages()
        .iter()
        .filter(|package| {
            !package
                .license
                .as_deref()
                .is_some_and(|license| permitted(license, &allowed))
        })
        .map(|package| {
            format!(
                "{} {}: {:?}",
                package.name, package.version, package.license
            )
        })
        .collect();
    assert!(
        refused.is_empty(),
        "not permitted by deny.toml:\n{}",
        refused.join("\n")
    );
}

#[test]
fn nothing_banned_is_in_the_build() {
    let packages = packages();
    let found: Vec<String> = deny()
        .bans
        .deny
        .iter()
        .filter(|ban| packages.iter().any(|package| package.name == ban.name))
        .map(|ban| format!("{}: {}", ban.name, ban.reason))
        .collect();
    assert!(
        found.is_empty(),
        "banned by deny.toml:\n{}",
        found.join("\n")
    );
}

#[test]
fn everything_comes_from_a_listed_registry() {
    let registries: Vec<String> = deny()
        .sources
        .allow_registry
        .iter()
        .map(|url| format!("registry+{url}"))
        .collect();
    let foreign: Vec<String> = packages()
        .into_iter()
        .filter(|package| {
            package
                .source
                .as_ref()
                .is_some_and(|from| !registries.contains(from))
        })
        .map(|package| package.name)
        .collect();
    assert!(foreign.is_empty(), "from elsewhere: {foreign:?}");
}

/// Whether an SPDX expression can be met with the allowed licences alone.
///
/// `/` is the older way to write OR. AND binds more tightly than OR, WITH more than both.
fn permitted(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let value = either(&mut rest, allowed);
    value && rest.is_empty()
}

fn either(rest: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut value = both(rest, allowed);
    while rest.first() == Some(&"OR") {
        *rest = &rest[1..];
        value |= both(rest, allowed);
    }
    value
}

fn both(rest: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut value = term(rest, allowed);
    while rest.first() == Some(&"AND") {
        *rest = &rest[1..];
        value &= term(rest, allowed);
    }
    value
}

fn term(rest: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    match **rest {
        ["(", ref inside @ ..] => {
            *rest = inside;
            let value = either(rest, allowed);
            let closed = rest.first() == Some(&")");
            *rest = rest.get(1..).unwrap_or_default();
            value && closed
        }
        [license, "WITH", exception, ref after @ ..] => {
            *rest = after;
            allowed.contains(&format!("{license} WITH {exception}"))
        }
        [license, ref after @ ..] => {
            *rest = after;
            allowed.contains(license)
        }
        [] => false,
    }
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = ["MIT", "BSD-3-Clause", "Apache-2.0 WITH LLVM-exception"]
        .map(str::to_owned)
        .into();
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT/GPL-3.0", true),
        ("GPL-3.0 OR MIT", true),
        ("MIT AND GPL-3.0", false),
        ("(GPL-3.0 OR MIT) AND BSD-3-Clause", true),
        ("GPL-3.0 OR MIT AND ISC", false),
        ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", true),
        ("Apache-2.0", false),
        ("(MIT", false),
        ("MIT BSD-3-Clause", false),
        ("", false),
    ] {
        assert_eq!(permitted(expression, &allowed), expected, "{expression}");
    }
}

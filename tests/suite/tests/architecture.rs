//! Holds ARCHITECTURE.md to the truth: every path that it names exists, every crate of the
//! workspace is on its map, and the edges that it draws between crates are cargo's.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// Nothing for a normal dependency, else `dev` or `build`.
    kind: Option<String>,
    /// Only dependencies inside the workspace have one.
    path: Option<PathBuf>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn document() -> String {
    std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()
}

/// The packages of the workspace, without resolving what they depend on.
fn packages() -> Vec<Package> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(root())
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice::<Metadata>(&output.stdout)
        .unwrap()
        .packages
}

/// The words between single backticks, outside fenced blocks.
fn code_words(text: &str) -> Vec<&str> {
    let fences = text.split("```");
    let prose = fences.step_by(2);
    prose
        .flat_map(|part| part.split('`').skip(1).step_by(2))
        .collect()
}

/// Edges as the document's ```edges block has them: `crate -> dep dep ...` per line.
fn drawn_edges(text: &str) -> BTreeSet<(String, String)> {
    let block = text
        .split("```edges")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let block = block.expect("ARCHITECTURE.md has a fenced block ```edges");
    let mut edges = BTreeSet::new();
    for line in block.lines().filter(|line| !line.trim().is_empty()) {
        let (from, to) = line
            .split_once("->")
            .unwrap_or_else(|| panic!("no arrow in {line:?}"));
        let to = to.split_whitespace();
        edges.extend(to.map(|to| (from.trim().to_owned(), to.to_owned())));
    }
    edges
}

#[test]
fn every_path_named_exists() {
    let root = root();
    let top: BTreeSet<String> = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let text = document();
    // A word is a path if it has a slash and no blank, or is a file's name at the top.
    let is_path = |word: &&str| {
        let plain = word
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"/_.-".contains(&byte));
        let inside = word.contains('/') && !word.starts_with('/');
        plain && (inside || top.contains(*word) || word.ends_with(".md"))
    };
    let named: Vec<&str> = code_words(&text).into_iter().filter(is_path).collect();
    assert!(named.len() >= 15, "the check sees too few paths: {named:?}");
    let absent: Vec<&&str> = named
        .iter()
        .filter(|path| !root.join(path).exists())
        .collect();
    assert!(
        absent.is_empty(),
        "ARCHITECTURE.md names what does not exist: {absent:?}"
    );
}

#[test]
fn every_crate_is_on_the_map() {
    let text = document();
    let words: BTreeSet<&str> = code_words(&text).into_iter().collect();
    let crates = packages().into_iter().map(|package| package.name);
    let absent: Vec<String> = crates
        .filter(|name| !words.contains(name.as_str()))
        .collect();
    assert!(
        absent.is_empty(),
        "not on the map of ARCHITECTURE.md: {absent:?}"
    );
}

#[test]
fn the_edges_drawn_are_those_of_cargo() {
    let mut real = BTreeSet::new();
    for package in packages() {
        let normal = package
            .dependencies
            .into_iter()
            .filter(|dependency| dependency.kind.is_none() && dependency.path.is_some());
        real.extend(normal.map(|dependency| (package.name.clone(), dependency.name)));
    }
    let drawn = drawn_edges(&document());
    let missing: Vec<_> = real.difference(&drawn).collect();
    let invented: Vec<_> = drawn.difference(&real).collect();
    assert!(
        missing.is_empty(),
        "not drawn in ARCHITECTURE.md: {missing:?}"
    );
    assert!(
        invented.is_empty(),
        "drawn in ARCHITECTURE.md, but no dependency: {invented:?}"
    );
}

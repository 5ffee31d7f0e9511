//! Holds the documents to the tree: every command they tell people to type and every file they
//! point at exists, and every shell script parses.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// The files of the checkout whose name ends so, outside `.git` and build output.
fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() && !path.is_symlink() {
                if name != ".git" && name != "target" {
                    folders.push(path);
                }
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The words that follow `make ` in code spans and code blocks of a document.
fn make_targets(markdown: &str) -> BTreeSet<String> {
    let mut targets = BTreeSet::new();
    let mut in_block = false;
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
            continue;
        }
        let spans: Vec<&str> = if in_block {
            vec![line]
        } else {
            line.split('`').skip(1).step_by(2).collect()
        };
        for span in spans {
            let mut words = span.split(|c: char| c.is_whitespace() || "$()\";".contains(c));
            while let Some(word) = words.next() {
                if word == "make" {
                    targets.extend(
                        words
                            .find(|next| !next.is_empty() && *next != "-s")
                            .map(str::to_owned),
                    );
                }
            }
        }
    }
    targets
}

/// The targets of `](…)` links that point into the checkout.
fn links(markdown: &str) -> Vec<&str> {
    markdown
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
        .filter(|target| !target.contains("://") && !target.starts_with('#'))
        .map(|target| target.split('#').next().unwrap_or(target))
        .collect()
}

#[test]
fn every_make_target_in_a_document_exists() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let defined: BTreeSet<&str> = makefile
        .lines()
        .filter_map(|line| line.split_once(':').map(|(name, _)| name))
        .collect();
    for document in files(".md") {
        for target in make_targets(&fs::read_to_string(&document).unwrap()) {
            assert!(
                defined.contains(&*target),
                "{}: make {target}",
                document.display()
            );
        }
    }
}

#[test]
fn every_link_in_a_document_leads_somewhere() {
    for document in files(".md") {
        for link in links(&fs::read_to_string(&document).unwrap()) {
            let target = document.parent().unwrap().join(link);
            assert!(target.exists(), "{}: {link}", document.display());
        }
    }
}

#[test]
fn every_shell_script_parses() {
    for script in files(".sh").into_iter().chain(files(".sbatch")) {
        let output = Command::new("bash")
            .arg("-n")
            .arg(&script)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {errors}", script.display());
    }
}

#[test]
fn make_targets_are_found_where_people_type_them() {
    let text =
        "make believe\n`make test` and `. \"$(make -s lab-env)\"`\n```\nmake lab-up; make\n```\n";
    assert_eq!(
        make_targets(text),
        ["test", "lab-env", "lab-up"].map(str::to_owned).into()
    );
}

//! A folder with the folders below it: what comes, goes and is renamed is one event for each file.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "harness/double.rs"]
mod double;
mod harness;
#[path = "harness/site.rs"]
mod site;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use harness::Dice;
use serde_json::Value;
use site::{LIMIT, Site};

fn tree(more: &str) -> Site {
    let source = format!(
        "[[sources]]\nkind = \"directory\"\nname = \"in\"\npath = \"in\"\nsuffix = \".nc\"\n\
         recursive = true\nsettle_ms = 300\n{more}"
    );
    let site = Site::new("", &source);
    fs::create_dir(site.path("in")).unwrap();
    site
}

fn connected(source: &Value) -> bool {
    source["state"] == "connected"
}

/// How many events there are of each file: by its path and inode.
fn told(site: &Site) -> BTreeMap<(PathBuf, u64), u32> {
    let ledger = site.ledger();
    let mut list = ledger.prepare("SELECT document FROM events").unwrap();
    let rows = list.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let mut found = BTreeMap::new();
    for document in rows {
        let event: Value = serde_json::from_str(&document.unwrap()).unwrap();
        let data = &event["data"];
        let path = PathBuf::from(data["path"].as_str().unwrap());
        *found
            .entry((path, data["inode"].as_u64().unwrap()))
            .or_insert(0) += 1;
    }
    found
}

/// The files that are there and count.
fn there(folder: &Path, found: &mut Vec<(PathBuf, u64)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            there(&path, found);
        } else if kind.is_file() && path.extension().is_some_and(|end| end == "nc") {
            found.push((path, entry.metadata().unwrap().ino()));
        }
    }
}

fn names(site: &Site) -> Vec<String> {
    let root = site.path("in");
    let told = told(site);
    let mut names: Vec<String> = told
        .keys()
        .map(|(path, _)| path.strip_prefix(&root).unwrap().display().to_string())
        .collect();
    names.sort();
    names
}

#[test]
fn files_of_folders_that_come_and_go_are_one_event_each() {
    // Nothing is found by a rescan in time.
    let mut site = tree("rescan_s = 600\n");
    let root = site.path("in");
    fs::create_dir_all(root.join("old/deep")).unwrap();
    fs::write(root.join("old/deep/before.nc"), "x").unwrap();
    fs::write(root.join("top.nc"), "x").unwrap();
    // None of these counts: elsewhere, hidden, or by another name.
    let elsewhere = site.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("linked.nc"), "x").unwrap();
    std::os::unix::fs::symlink(&elsewhere, root.join("link")).unwrap();
    fs::create_dir(root.join(".hidden")).unwrap();
    fs::write(root.join(".hidden/a.nc"), "x").unwrap();
    site.gateway.start();
    site.wait_source("in", connected);
    site.exactly(2);
    // Made and filled at once.
    fs::create_dir_all(root.join("a/b/c")).unwrap();
    fs::write(root.join("a/b/c/1.nc"), "x").unwrap();
    fs::write(root.join("a/other.txt"), "x").unwrap();
    site.exactly(3);
    fs::write(root.join("a/b/c/2.nc"), "x").unwrap();
    site.exactly(4);
    // Made whole elsewhere and moved in; then its files have other names, and it is watched still.
    let whole = site.path("whole");
    fs::create_dir_all(whole.join("x")).unwrap();
    fs::write(whole.join("x/3.nc"), "x").unwrap();
    fs::rename(&whole, root.join("whole")).unwrap();
    site.exactly(5);
    fs::rename(root.join("whole"), root.join("renamed")).unwrap();
    site.exactly(6);
    fs::write(root.join("renamed/x/4.nc"), "x").unwrap();
    site.exactly(7);
    // Moved away: what happens there is not ours.
    fs::rename(root.join("renamed"), site.path("away")).unwrap();
    fs::write(site.path("away/x/5.nc"), "x").unwrap();
    fs::write(elsewhere.join("6.nc"), "x").unwrap();
    // Removed, and made anew by the same name.
    fs::remove_dir_all(root.join("a")).unwrap();
    fs::create_dir(root.join("a")).unwrap();
    fs::write(root.join("a/7.nc"), "x").unwrap();
    site.exactly(8);
    let expected = [
        "a/7.nc",
        "a/b/c/1.nc",
        "a/b/c/2.nc",
        "old/deep/before.nc",
        "renamed/x/3.nc",
        "renamed/x/4.nc",
        "top.nc",
        "whole/x/3.nc",
    ];
    assert_eq!(names(&site), expected);
    site.gateway.kill();
    site.gateway.start();
    site.wait_source("in", connected);
    site.exactly(8);
    // What went is forgotten, what is there is not.
    let since = Instant::now();
    let items = || -> Vec<String> {
        let ledger = site.ledger();
        let query = "SELECT item FROM source_items WHERE source = 'in' ORDER BY item";
        let mut list = ledger.prepare(query).unwrap();
        let rows = list.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    while items() != ["a/7.nc", "old/deep/before.nc", "top.nc"] {
        assert!(since.elapsed() < LIMIT, "{:?}", items());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn whatever_is_done_to_folders_no_file_is_lost_or_told_twice() {
    let mut dice = Dice::throw();
    let mut site = tree("rescan_s = 600\n");
    let root = site.path("in");
    site.gateway.start();
    site.wait_source("in", connected);
    let mut folders = vec![root.clone()];
    for step in 0..400 {
        let at = usize::try_from(dice.between(0, folders.len() as u64)).unwrap();
        let folder = folders[at].clone();
        match dice.between(0, 10) {
            0..=3 => fs::write(folder.join(format!("{step}.nc")), "x").unwrap(),
            4..=6 => {
                let made = folder.join(format!("d{step}"));
                fs::create_dir(&made).unwrap();
                fs::write(made.join(format!("{step}.nc")), "x").unwrap();
                folders.push(made);
            }
            7 if folder != root => {
                fs::remove_dir_all(&folder).unwrap();
                folders.retain(|one| !one.starts_with(&folder));
            }
            8 if folder != root => {
                let to = folder.with_file_name(format!("r{step}"));
                fs::rename(&folder, &to).unwrap();
                for one in &mut folders {
                    if let Ok(rest) = one.strip_prefix(&folder) {
                        *one = to.join(rest);
                    }
                }
            }
            _ => std::thread::sleep(Duration::from_millis(dice.between(0, 30))),
        }
    }
    let mut expected = Vec::new();
    there(&root, &mut expected);
    assert!(expected.len() > 20, "{} files", expected.len());
    let since = Instant::now();
    loop {
        let told = told(&site);
        let missing: Vec<_> = expected
            .iter()
            .filter(|one| !told.contains_key(one))
            .collect();
        if missing.is_empty() {
            break;
        }
        assert!(
            since.elapsed() < LIMIT,
            "{missing:?}\n{}",
            site.gateway.log()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(Duration::from_millis(700));
    let twice: Vec<_> = told(&site)
        .into_iter()
        .filter(|(_, count)| *count > 1)
        .collect();
    assert!(twice.is_empty(), "{twice:?}");
    assert!(connected(&site.source("in")), "{}", site.source("in"));
}

#[test]
fn too_many_folders_are_said_so() {
    let mut site = tree("rescan_s = 600\nmax_folders = 3\n");
    let root = site.path("in");
    fs::create_dir_all(root.join("a/b")).unwrap();
    site.gateway.start();
    site.wait_source("in", connected);
    fs::write(root.join("a/b/1.nc"), "x").unwrap();
    site.exactly(1);
    fs::create_dir(root.join("a/c")).unwrap();
    let told = site.wait_source("in", |source| source["state"] == "failed");
    let error = told["last_error"].as_str().unwrap();
    assert!(error.contains("max_folders = 3"), "{error}");
    fs::remove_dir(root.join("a/c")).unwrap();
    fs::write(root.join("a/b/2.nc"), "x").unwrap();
    site.exactly(2);
}

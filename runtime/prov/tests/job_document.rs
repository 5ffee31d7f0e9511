//! The document of a job: its text, and what the Python package `prov` makes of it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use mizar_core::ids::{Rank, StepId};
use mizar_prov::job::{FileProvenance, RankProvenance, ScriptProvenance, StepProvenance};
use mizar_prov::{Document, JobProvenance, RelationKind, job_document};

const START_NS: i64 = 1_795_000_000_000_000_000;
const SECOND_NS: i64 = 1_000_000_000;

fn digest(seed: u8) -> Option<String> {
    Some(format!("{seed:02x}").repeat(32))
}

fn file(step: u32, rank: Option<u32>, generated: bool, path: &str, seed: u8) -> FileProvenance {
    FileProvenance {
        step: StepId(step),
        rank: rank.map(Rank),
        generated,
        path: path.into(),
        size_bytes: Some(1000 + u64::from(seed)),
        sha256: digest(seed),
        note: None,
    }
}

fn step(number: u32, ranks: u32) -> StepProvenance {
    let start_ns = START_NS + i64::from(number + 1) * SECOND_NS;
    let rank = |rank| RankProvenance {
        rank: Rank(rank),
        node: format!("n{}", rank % 2 + 1),
        pid: 4000 + i32::try_from(rank).unwrap(),
        start_ns,
        end_ns: Some(start_ns + SECOND_NS),
        status: Some(if rank == 3 { 9 } else { 0 }),
    };
    StepProvenance {
        step: StepId(number),
        command: vec![
            "mizar".into(),
            "cube".into(),
            "-timmean".into(),
            "my file.nc".into(),
        ],
        cwd: "/scratch/alice".into(),
        start_ns,
        end_ns: Some(start_ns + SECOND_NS),
        ranks: (0..ranks).map(rank).collect(),
    }
}

/// Two steps of four and one ranks: the second reads what the first made.
fn job() -> JobProvenance {
    JobProvenance {
        id: 1234,
        name: "monthly \"mean\" <été>".into(),
        user: "alice".into(),
        uid: 1000,
        cluster: "lab".into(),
        partition: "main".into(),
        nodes: "n[1-2]".into(),
        start_ns: START_NS,
        end_ns: Some(START_NS + 10 * SECOND_NS + 250_000_000),
        script: Some(ScriptProvenance {
            path: "/scratch/alice/job.sh".into(),
            size_bytes: Some(212),
            sha256: digest(0xab),
            note: None,
        }),
        steps: vec![step(0, 4), step(1, 1)],
        files: vec![
            file(0, Some(0), false, "/scratch/alice/my file.nc", 1),
            file(0, Some(1), false, "/scratch/alice/my file.nc", 1),
            file(0, Some(0), true, "/scratch/alice/mean.nc", 2),
            file(1, None, false, "/scratch/alice/mean.nc", 2),
            FileProvenance {
                sha256: None,
                size_bytes: None,
                note: Some("gone before it was read".into()),
                ..file(1, None, true, "/tmp/map.png", 3)
            },
        ],
        mizard_version: "0.1.0".into(),
        slurm_version: "22.05.8".into(),
        ..JobProvenance::default()
    }
}

#[test]
fn the_document_of_a_job_reads_as_expected() {
    insta::assert_snapshot!(job_document(&job()).to_json_text());
}

#[test]
fn the_document_is_whole_and_read_back_equal() {
    let document = job_document(&job());
    assert!(document.undeclared_prefixes().is_empty());
    assert_eq!(
        Document::from_json_text(&document.to_json_text()).unwrap(),
        document
    );
    let referred = document
        .relations
        .values()
        .flatten()
        .flat_map(|r| r.elements.values());
    for name in referred {
        let known = document.entities.contains_key(name)
            || document.activities.contains_key(name)
            || document.agents.contains_key(name);
        assert!(known, "{name} is referred to but not described");
    }
    assert_eq!(document.relations_of(RelationKind::WasInformedBy).len(), 1);
}

#[test]
fn names_depend_on_cluster_job_and_content_alone() {
    let first = job_document(&job());
    let mut later = job();
    later.start_ns += 5 * SECOND_NS;
    later.files.reverse();
    let again = job_document(&later);
    assert!(first.entities.keys().eq(again.entities.keys()));
    assert!(first.activities.keys().eq(again.activities.keys()));

    let requeued = job_document(&JobProvenance {
        restart_count: 2,
        ..job()
    });
    assert!(
        requeued
            .activities
            .contains_key(&"job:1234.r2".parse().unwrap())
    );
    let elsewhere = job_document(&JobProvenance {
        cluster: "other".into(),
        ..job()
    });
    assert_ne!(first.prefixes["job"], elsewhere.prefixes["job"]);
}

#[test]
fn a_running_job_of_which_little_is_known_has_a_document_too() {
    let document = job_document(&JobProvenance {
        id: 7,
        uid: 1001,
        ..JobProvenance::default()
    });
    let activity = &document.activities[&"job:7".parse().unwrap()];
    assert_eq!(activity.end, None);
    assert!(
        document
            .agents
            .contains_key(&"user:uid1001".parse().unwrap())
    );
    assert_eq!(
        Document::from_json_text(&document.to_json_text()).unwrap(),
        document
    );
}

#[test]
fn the_python_package_prov_reads_it_without_a_warning() {
    let Some(python) = mizar_lab::venv::python_with("prov") else {
        return;
    };
    let checker = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/check.py");
    let mut child = Command::new(python)
        .args(["-W", "error"])
        .arg(checker)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = job_document(&job()).to_json_text();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    insta::assert_snapshot!(said);
}

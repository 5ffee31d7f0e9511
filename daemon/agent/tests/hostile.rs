//! What a job's owner, or the time at which things happen, may do to the daemon and to the
//! records of others.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::path::PathBuf;

use mizar_api::{ErrorCode, FileRole, FileUse, Request};
use mizar_core::ids::{JobId, StepId};
use mizar_record::reader::read_job;
use support::{Daemon, SmallDisk, Task, is_root, refused, until};

const JOB: JobId = JobId(7);
const STEP: StepId = StepId(0);

fn used(job: JobId, path: PathBuf) -> Request {
    Request::File(FileUse {
        job,
        step: STEP,
        rank: None,
        role: FileRole::Used,
        path,
    })
}

#[test]
fn digests_of_huge_files_keep_no_other_record_open() {
    let daemon = Daemon::start("sample_ms = 100\nflush_ms = 100\ndigest_timeout_s = 25\n");
    let huge = daemon.folder().join("huge");
    std::fs::File::create(&huge)
        .and_then(|file| file.set_len(64 << 30))
        .unwrap();
    let task = Task::sleeping();
    let slow: Vec<JobId> = (10..14).map(JobId).collect();
    for job in &slow {
        daemon.register(*job, STEP, &[&task]);
        daemon.ask(used(*job, huge.clone())).unwrap();
        daemon.ask(Request::JobEnd { job: *job }).unwrap();
    }
    daemon.register(JOB, STEP, &[&task]);
    daemon.ask(Request::JobEnd { job: JOB }).unwrap();
    let whole = |job: JobId| std::fs::exists(daemon.record(job).join("prov.json")).unwrap();
    until("the job without files has its record", || {
        whole(JOB).then_some(())
    });
    assert!(!slow.iter().any(|job| whole(*job)), "they were to be slow");
}

#[test]
fn the_names_of_files_are_bounded_in_bytes() {
    let daemon = Daemon::start("");
    let task = Task::sleeping();
    daemon.register(JOB, STEP, &[&task]);
    let answers: Vec<_> = (0..300)
        .map(|index| daemon.ask(used(JOB, format!("/{index:04000}").into())))
        .collect();
    let taken = answers.iter().take_while(|answer| answer.is_ok()).count();
    assert_eq!(taken, (1 << 20) / 4001);
    assert!(refused(&answers[taken], ErrorCode::Limit), "{answers:?}");
}

#[test]
fn an_ordinary_users_line_is_short() {
    if !is_root() {
        println!("SKIP: becoming another user needs root");
        return;
    }
    let daemon = Daemon::start("");
    let long = used(JOB, format!("/{:036000}", 0).into());
    let answer = daemon.ask_as_nobody(&long);
    assert!(answer.contains("\"code\":\"limit\""), "{answer}");
    assert!(refused(&daemon.ask(long), ErrorCode::Malformed));
}

#[test]
fn a_record_ends_when_the_disk_has_room_again_however_busy_the_daemon_is() {
    let Some(disk) = SmallDisk::mount(1536 << 10) else {
        return;
    };
    let daemon = Daemon::start(&format!(
        "sample_ms = 100\nflush_ms = 200\nrecord_dir = {:?}\n",
        disk.path()
    ));
    let task = Task::sleeping();
    daemon.register(JOB, STEP, &[&task]);
    let folder = disk.path().join("7");
    until("samples are on disk", || {
        (read_job(&folder).ok()?.nodes[0].task_samples.len() > 2).then_some(())
    });
    let filler = disk.path().join("filler");
    let _ = std::fs::write(&filler, vec![1; 4 << 20]);
    daemon.ask(Request::JobEnd { job: JOB }).unwrap();
    // Each wakes the thread that tries to end the record.
    let other = Task::sleeping();
    for step in 0..60 {
        daemon.register(JobId(8), StepId(step), &[&other]);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    std::fs::remove_file(&filler).unwrap();
    until("the record is merged", || {
        std::fs::exists(folder.join("job.h5"))
            .unwrap()
            .then_some(())
    });
    assert!(!daemon.log().contains("given up"), "{}", daemon.log());
    assert!(read_job(&folder).unwrap().complete);
}

#[test]
fn a_job_that_waits_for_its_digests_takes_no_running_jobs_place() {
    let daemon = Daemon::start("max_tasks = 1\ndigest_timeout_s = 25\n");
    let huge = daemon.folder().join("huge");
    std::fs::File::create(&huge)
        .and_then(|file| file.set_len(64 << 30))
        .unwrap();
    let task = Task::sleeping();
    daemon.register(JOB, STEP, &[&task]);
    daemon.ask(used(JOB, huge)).unwrap();
    daemon.ask(Request::JobEnd { job: JOB }).unwrap();
    daemon.register(JobId(8), STEP, &[&task]);
}

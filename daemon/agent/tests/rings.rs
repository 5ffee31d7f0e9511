//! What hostile processes may hand over as their counters: nothing of it harms the daemon or
//! reaches the record.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;

use mizar_api::ring::{LAYOUT, MAGIC, RING_BYTES};
use mizar_api::{ErrorCode, Request, Response, RingOffer};
use mizar_core::ids::{JobId, Rank, StepId};
use mizar_record::reader::read_job;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use support::{Daemon, Task};

const JOB: JobId = JobId(7);
const STEP: StepId = StepId(0);

fn memory(bytes: usize, seals: SealFlag) -> File {
    let memory = memfd_create(c"test", MFdFlags::MFD_ALLOW_SEALING).unwrap();
    let file = File::from(memory);
    file.set_len(bytes as u64).unwrap();
    put(&file, 0, &[MAGIC, LAYOUT]);
    if !seals.is_empty() {
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).unwrap();
    }
    file
}

/// A ring as the library makes it.
fn ring() -> File {
    memory(RING_BYTES, SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW)
}

fn put(file: &File, word: usize, values: &[u64]) {
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    file.write_all_at(&bytes, 8 * word as u64).unwrap();
}

fn offer(daemon: &Daemon, offer: RingOffer, files: &[i32]) -> Response {
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    let envelope = mizar_api::Envelope {
        version: mizar_api::PROTOCOL_VERSION,
        request: Request::Ring(offer),
    };
    let mut line = serde_json::to_vec(&envelope).unwrap();
    line.push(b'\n');
    let rights = [ControlMessage::ScmRights(files)];
    let rights = if files.is_empty() { &[][..] } else { &rights };
    sendmsg::<()>(
        stream.as_raw_fd(),
        &[IoSlice::new(&line)],
        rights,
        MsgFlags::empty(),
        None,
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap()
}

fn mine(step: StepId) -> RingOffer {
    RingOffer {
        job: JOB,
        step,
        rank: Some(Rank(0)),
    }
}

fn code(answer: &Response) -> Option<ErrorCode> {
    match answer {
        Response::Error { code, .. } => Some(*code),
        _ => None,
    }
}

#[test]
fn what_is_no_ring_is_refused() {
    let daemon = Daemon::start("sample_ms = 100\n");
    let task = Task::sleeping();
    daemon.register(JOB, STEP, &[&task]);
    let shrink = SealFlag::F_SEAL_SHRINK;
    let unknown = memory(RING_BYTES, shrink);
    put(&unknown, 0, &[MAGIC, LAYOUT + 1]);
    let (pipe, _other): (OwnedFd, OwnedFd) = nix::unistd::pipe().unwrap();
    let disk = tempfile::tempfile().unwrap();
    disk.set_len(RING_BYTES as u64).unwrap();
    let (loose, short) = (
        memory(RING_BYTES, SealFlag::empty()),
        memory(RING_BYTES / 2, shrink),
    );
    let long = memory(2 * RING_BYTES, shrink);
    for (what, file) in [
        ("could shrink", loose.as_raw_fd()),
        ("too short", short.as_raw_fd()),
        ("too long", long.as_raw_fd()),
        ("of another release", unknown.as_raw_fd()),
        ("a pipe", pipe.as_raw_fd()),
        ("a file", disk.as_raw_fd()),
    ] {
        let answer = offer(&daemon, mine(STEP), &[file]);
        assert_eq!(
            code(&answer),
            Some(ErrorCode::Malformed),
            "{what}: {answer:?}"
        );
    }
    let answer = offer(&daemon, mine(STEP), &[]);
    assert_eq!(code(&answer), Some(ErrorCode::Malformed), "{answer:?}");
    let good = ring();
    let answer = offer(&daemon, mine(StepId(9)), &[good.as_raw_fd()]);
    assert_eq!(code(&answer), Some(ErrorCode::Unknown), "{answer:?}");
    assert_eq!(
        offer(&daemon, mine(STEP), &[good.as_raw_fd()]),
        Response::Ok
    );
    // More descriptors than one: the first counts, the others are closed.
    let many = [good.as_raw_fd(); 9];
    assert_eq!(offer(&daemon, mine(STEP), &many), Response::Ok);
    if support::is_root() {
        let answer = daemon.ask_as_nobody(&Request::Ring(mine(STEP)));
        assert!(answer.contains("denied"), "{answer}");
    }
}

#[test]
fn lies_reach_no_record_and_harm_nobody() {
    let daemon = Daemon::start("sample_ms = 100\nflush_ms = 200\n");
    let task = Task::sleeping();
    daemon.register(JOB, STEP, &[&task]);
    let seed = std::process::id();
    println!("seed {seed}");
    let mut state = u64::from(seed) | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let words = RING_BYTES / 8;
    // All ones; random words; a writer that never finishes writing; one that changes all the time.
    let (ones, noise, stuck, lively) = (ring(), ring(), ring(), ring());
    put(&ones, 2, &vec![u64::MAX; words - 2]);
    let content: Vec<u64> = (2..words).map(|_| random()).collect();
    put(&noise, 2, &content);
    put(&stuck, 2, &[1]);
    for (rank, file) in [&ones, &noise, &stuck, &lively].into_iter().enumerate() {
        let offered = RingOffer {
            rank: Some(Rank(rank as u32)),
            ..mine(STEP)
        };
        assert_eq!(offer(&daemon, offered, &[file.as_raw_fd()]), Response::Ok);
    }
    for _ in 0..40 {
        let word = 2 + random() as usize % (words - 2);
        put(&lively, word, &[random()]);
        put(&lively, 2, &[random(), random(), random()]);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // It says it is no ring any more.
    put(&lively, 0, &[0, 0]);
    daemon.ask(Request::Ping).unwrap();
    daemon.ask(Request::JobEnd { job: JOB }).unwrap();
    daemon.wait_for_record(JOB);
    let record = read_job(&daemon.record(JOB)).unwrap();
    let node = &record.nodes[0];
    assert!(node.task_samples.len() >= 2, "{}", node.task_samples.len());
    for row in &node.split_samples {
        let sum = [row.exposed_ns, row.io_ns, row.idle_ns]
            .iter()
            .fold(row.compute_ns, |sum, part| sum.saturating_add(*part));
        // No more than the machine has been up.
        let up = mizar_core::clock::monotonic_ns().unsigned_abs();
        assert!(sum <= 2 * up && row.hidden_ns <= row.compute_ns, "{row:?}");
    }
    let names = node.names.iter();
    assert!(
        names
            .clone()
            .all(|name| !name.name.chars().any(char::is_control))
    );
    assert!(node.mark_samples.len() < 5 * 8192);
    assert!(!daemon.log().contains("panick"), "{}", daemon.log());
}

#[test]
fn a_line_with_a_descriptor_and_no_end_is_dropped() {
    let daemon = Daemon::start("sample_ms = 100\n");
    for _ in 0..50 {
        let stream = UnixStream::connect(daemon.socket()).unwrap();
        let file = ring();
        let files = [file.as_raw_fd()];
        sendmsg::<()>(
            stream.as_raw_fd(),
            &[IoSlice::new(b"{")],
            &[ControlMessage::ScmRights(&files)],
            MsgFlags::empty(),
            None,
        )
        .unwrap();
        (&stream).write_all(b"\n").unwrap();
    }
    daemon.ask(Request::Ping).unwrap();
}

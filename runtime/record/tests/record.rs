//! Records on disk: written, read while open, cut short, merged; h5py reads what we write.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::Command;

use mizar_core::ids::{Rank, StepId};
use mizar_record::folder::MERGED;
use mizar_record::merge::{Merged, merge};
use mizar_record::model::*;
use mizar_record::reader::read_job;
use mizar_record::writer::{Rows, SegmentWriter};
use mizar_record::{RecordError, reader};

fn begin(node: &str, restart_count: u32) -> Event {
    Event::Begin {
        time_ns: 1_000,
        schema: SCHEMA.to_owned(),
        job: Box::new(JobInfo {
            id: 42,
            restart_count,
            name: "Zeitmittel ü".to_owned(),
            nodes: "n[1-2]".to_owned(),
            user: "ada".to_owned(),
            start_ns: 1_000,
            ..JobInfo::default()
        }),
        node: node.to_owned(),
        job_cpus: Some(4),
        memory_limit_bytes: None,
        sample_ms: Some(1000),
        methods: Methods {
            communication: "PMPI".to_owned(),
            cpu: "process tree".to_owned(),
            ..Methods::default()
        },
        mizar: mizar_core::VERSION.to_owned(),
    }
}

fn rows(from: u64, count: u64) -> Rows {
    let mut rows = Rows::default();
    for index in from..from + count {
        let time_ns = index as i64 * 1_000_000_000;
        rows.task_samples.push(TaskSample {
            time_ns,
            interval_ns: 1_000_000_000,
            step: 0,
            rank: (index % 2) as u32,
            cpu_ns: index * 7,
            rss_bytes: 1 << 20,
            read_bytes: UNKNOWN,
            write_bytes: 0,
            rchar_bytes: index,
            wchar_bytes: 1,
            threads: 2,
            processes: 1,
        });
        rows.node_samples.push(NodeSample {
            time_ns,
            interval_ns: 1_000_000_000,
            cpu_busy_ns: index,
            cpu_total_ns: 2 * index,
            memory_used_bytes: 5,
            memory_total_bytes: 10,
            net_rx_bytes: 1,
            net_tx_bytes: 2,
            energy_joules: f64::NAN,
            power_watts: f64::NAN,
        });
        rows.own_cost.push(OwnCost {
            time_ns,
            cpu_ns: index,
            rss_bytes: 9,
        });
        rows.counter_samples.push(CounterSample {
            time_ns,
            interval_ns: 1,
            value: index,
            counter: 77,
            reserved: 0,
        });
        rows.gpu_samples.push(GpuSample {
            time_ns,
            energy_uj: index,
            ..GpuSample::unknown(0)
        });
        rows.gpu_process_samples.push(GpuProcessSample {
            time_ns,
            interval_ns: 1,
            memory_bytes: index,
            step: 0,
            rank: 0,
            gpu: 0,
            busy: 0.5,
        });
        rows.call_samples.push(CallSample {
            time_ns,
            interval_ns: 1,
            calls: index,
            bytes: 8 * index,
            spent_ns: 3,
            step: 0,
            rank: 0,
            call: 1,
            reserved: 0,
        });
        rows.split_samples.push(SplitSample {
            time_ns,
            interval_ns: 1,
            compute_ns: index,
            exposed_ns: 1,
            hidden_ns: 0,
            io_ns: 0,
            idle_ns: 0,
            lost: 0,
            step: 0,
            rank: 0,
        });
        rows.mark_samples.push(MarkSample {
            time_ns,
            value: 0.25,
            step: 0,
            rank: 0,
            name: 2,
            kind: MARK_FIGURE,
        });
    }
    rows
}

/// Runs a script with `args`; `None` if there is no Python with h5py.
fn h5py(script: &str, file: &Path) -> Option<String> {
    let python = mizar_lab::venv::python_with("h5py")?;
    let output = Command::new(python)
        .arg("-c")
        .arg(script)
        .arg(file)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

#[test]
fn h5py_follows_a_segment_while_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = SegmentWriter::create(folder.path(), "n1", &begin("n1", 0)).unwrap();
    writer.append(&rows(0, 300)).unwrap();
    let path = writer.segment().tables();
    let script = "import h5py,sys\n\
        f=h5py.File(sys.argv[1],'r',libver='latest',swmr=True)\n\
        t=f['task_samples']; n=f['node_samples']\n\
        print(len(t), t['cpu_ns'][299], t[5]['read_bytes']==2**64-1, n['energy_joules'][0], f.attrs['schema'])";
    if let Some(out) = h5py(script, &path) {
        assert_eq!(out, "300 2093 True nan mizar-record/1");
    }
    writer.append(&rows(300, 5)).unwrap();
    if let Some(out) = h5py(script, &path) {
        assert!(out.starts_with("305 "), "{out}");
    }
    let live = read_job(folder.path()).unwrap();
    assert!(!live.complete);
    assert_eq!(
        live.nodes[0].task_samples,
        [rows(0, 300).task_samples, rows(300, 5).task_samples].concat()
    );
    assert_eq!(live.missing_nodes, ["n2"]);
    writer.close().unwrap();
    if let Some(out) = h5py(&script.replace("libver='latest',swmr=True", ""), &path) {
        assert!(out.starts_with("305 "), "{out}");
    }
}

#[test]
fn a_segment_of_a_killed_daemon_is_read_up_to_its_last_flush() {
    let folder = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let mut writer = SegmentWriter::create(folder.path(), "n1", &begin("n1", 0)).unwrap();
    writer.append(&rows(0, 200)).unwrap();
    // What kill -9 leaves: the file as it is now, still marked as being written.
    for name in ["n1.0.h5", "n1.0.jsonl"] {
        std::fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    writer.append(&rows(200, 10)).unwrap();
    let record = read_job(copy.path()).unwrap();
    assert_eq!(record.nodes[0].node_samples.len(), 200);
    assert!(
        record.nodes[0].gaps.is_empty(),
        "{:?}",
        record.nodes[0].gaps
    );
    // The restarted daemon goes on in the next segment.
    let mut second = SegmentWriter::create(copy.path(), "n1", &begin("n1", 0)).unwrap();
    assert_eq!(second.segment().number, 1);
    second.append(&rows(210, 5)).unwrap();
    assert_eq!(
        read_job(copy.path()).unwrap().nodes[0].node_samples.len(),
        205
    );
}

#[test]
fn truncated_and_garbage_tables_become_gaps_and_not_panics() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = SegmentWriter::create(folder.path(), "n1", &begin("n1", 0)).unwrap();
    writer.append(&rows(0, 2000)).unwrap();
    let path = writer.segment().tables();
    writer.close().unwrap();
    let whole = std::fs::read(&path).unwrap();
    for part in 0..40 {
        std::fs::write(&path, &whole[..whole.len() * part / 40]).unwrap();
        let record = read_job(folder.path()).unwrap();
        let node = &record.nodes[0];
        assert!(
            node.task_samples.len() == 2000 || !node.gaps.is_empty(),
            "part {part}"
        );
        let expected = rows(0, 2000).task_samples;
        assert_eq!(
            node.task_samples,
            expected[..node.task_samples.len()],
            "part {part}"
        );
    }
    std::fs::write(&path, b"not HDF5 at all").unwrap();
    assert_eq!(read_job(folder.path()).unwrap().nodes[0].gaps.len(), 1);
}

#[test]
fn the_last_node_merges_everything_into_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = SegmentWriter::create(folder.path(), "n1", &begin("n1", 0)).unwrap();
    let mut second = SegmentWriter::create(folder.path(), "n2", &begin("n2", 0)).unwrap();
    let task = TaskInfo {
        step: StepId(0),
        rank: Rank(0),
        local_rank: 0,
        pid: 7,
        start_ns: 1_000,
        end_ns: None,
        status: None,
        visible_gpus: None,
    };
    first.append_events(&[Event::Task(task)]).unwrap();
    first.append(&rows(0, 5000)).unwrap();
    second.append(&rows(0, 10)).unwrap();
    let end = TaskEnd { time_ns: 3_000 };
    first
        .append_events(&[end.event(Some(9)), Event::End { time_ns: 4_000 }])
        .unwrap();
    first.close().unwrap();
    assert_eq!(
        merge(folder.path()).unwrap(),
        Merged::Running(vec!["n2".to_owned()])
    );
    second
        .append_events(&[Event::End { time_ns: 5_000 }])
        .unwrap();
    second.close().unwrap();
    let before = read_job(folder.path()).unwrap();
    let merged = folder.path().join(MERGED);
    assert_eq!(
        merge(folder.path()).unwrap(),
        Merged::Written(merged.clone())
    );
    assert!(says_complete(&merged));
    let after = reader::read_merged(&merged).unwrap();
    assert!(after.complete && after.missing_nodes.is_empty());
    assert_eq!(after.job.end_ns, Some(5_000));
    assert_eq!(after.nodes[0].tasks[0].status, Some(9));
    assert_eq!(after.nodes[0].tasks[0].end_ns, Some(3_000));
    // NaN is no equal of itself: compare as text.
    assert_eq!(format!("{before:?}"), format!("{after:?}"));
    assert_eq!(
        format!("{:?}", read_job(folder.path()).unwrap()),
        format!("{after:?}")
    );
    let script = "import h5py,sys,json\n\
        f=h5py.File(sys.argv[1])\n\
        print(sorted(f['nodes']), len(f['nodes/n1/task_samples']), f['nodes/n1/task_samples'].compression,\n\
        json.loads(f['nodes/n2/events'][-1])['event'], f.attrs['job_id'], json.loads(f.attrs['job'])['name'],\n\
        f['nodes/n1'].attrs['cpu_method'])";
    if let Some(out) = h5py(script, &merged) {
        assert_eq!(
            out,
            "['n1', 'n2'] 5000 gzip end 42 Zeitmittel ü process tree"
        );
    }
}

struct TaskEnd {
    time_ns: i64,
}

impl TaskEnd {
    fn event(&self, status: Option<i32>) -> Event {
        Event::TaskEnd {
            time_ns: self.time_ns,
            step: StepId(0),
            rank: Rank(0),
            status,
        }
    }
}

#[test]
fn a_requeued_job_shows_its_last_run_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = SegmentWriter::create(folder.path(), "n1", &begin("n1", 0)).unwrap();
    first.append(&rows(0, 50)).unwrap();
    drop(first);
    let mut second = SegmentWriter::create(folder.path(), "n1", &begin("n1", 1)).unwrap();
    second.append(&rows(0, 3)).unwrap();
    let record = read_job(folder.path()).unwrap();
    assert_eq!(
        (record.job.restart_count, record.nodes[0].node_samples.len()),
        (1, 3)
    );
}

#[test]
fn a_record_of_the_first_release_has_no_gpus_and_no_calls() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = SegmentWriter::create(folder.path(), "n1", &begin("n1", 0)).unwrap();
    writer.append(&rows(0, 7)).unwrap();
    writer
        .append_events(&[Event::End { time_ns: 4_000 }])
        .unwrap();
    writer.close().unwrap();
    assert!(matches!(merge(folder.path()).unwrap(), Merged::Written(_)));
    let merged = folder.path().join(MERGED);
    let full = reader::read_merged(&merged).unwrap();
    assert_eq!(full.nodes[0].gpu_samples.len(), 7);
    assert_eq!(full.nodes[0].mark_samples[6].value, 0.25);
    let file = hdf5::File::open_rw(&merged).unwrap();
    for table in [
        "counter_samples",
        "gpu_samples",
        "gpu_process_samples",
        "call_samples",
        "split_samples",
        "mark_samples",
    ] {
        file.unlink(&format!("nodes/n1/{table}")).unwrap();
    }
    file.close().unwrap();
    let old = reader::read_merged(&merged).unwrap();
    assert_eq!(old.nodes[0].node_samples.len(), 7);
    assert!(old.nodes[0].gpu_samples.is_empty() && old.nodes[0].gaps.is_empty());
}

#[test]
fn a_newer_layout_and_an_empty_folder_are_named() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        read_job(folder.path()),
        Err(RecordError::Missing { .. })
    ));
    assert!(matches!(
        read_job(&folder.path().join("no")),
        Err(RecordError::Missing { .. })
    ));
    let line = serde_json::to_string(&begin("n1", 0))
        .unwrap()
        .replace(SCHEMA, "mizar-record/9");
    std::fs::write(folder.path().join("n1.0.jsonl"), line + "\n").unwrap();
    assert!(matches!(
        read_job(folder.path()),
        Err(RecordError::Newer { .. })
    ));
    std::fs::write(
        folder.path().join("n1.0.jsonl"),
        "{\"event\":\"nonsense\"}\n",
    )
    .unwrap();
    assert!(matches!(
        read_job(folder.path()),
        Err(RecordError::Damaged { .. })
    ));
}

#[test]
fn a_full_disk_is_a_typed_error_and_what_was_written_stays_readable() {
    let Some(disk) = SmallDisk::mount(4 << 20) else {
        return;
    };
    let reserve = disk.path.join("reserve");
    std::fs::write(&reserve, vec![1_u8; 128 << 10]).unwrap();
    let mut writer = SegmentWriter::create(&disk.path, "n1", &begin("n1", 0)).unwrap();
    let mut written = 0;
    let error = loop {
        match writer.append(&rows(written, 100)) {
            Ok(()) => written += 100,
            Err(error) => break error,
        }
    };
    assert!(error.is_disk_full(), "{error}");
    assert!(written > 1000, "{written}");
    // Even with nothing left at all, for HDF5 to run into.
    let filler = disk.path.join("filler");
    let _ = std::fs::write(&filler, vec![1_u8; 8 << 20]);
    assert!(writer.append(&rows(written, 1)).unwrap_err().is_disk_full());
    let event = Event::Gap {
        from_ns: 0,
        to_ns: 1,
        reason: "x".repeat(100_000),
    };
    assert!(writer.append_events(&[event]).unwrap_err().is_disk_full());
    assert_eq!(
        read_job(&disk.path).unwrap().nodes[0].node_samples.len() as u64,
        written
    );
    // Room again: the same segment goes on.
    std::fs::remove_file(&filler).unwrap();
    std::fs::remove_file(&reserve).unwrap();
    writer.append(&rows(written, 1)).unwrap();
    writer.close().unwrap();
    assert_eq!(
        read_job(&disk.path).unwrap().nodes[0].node_samples.len() as u64,
        written + 1
    );
}

/// A tmpfs of a few bytes, unmounted at the end.
struct SmallDisk {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(size_bytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        std::fs::create_dir(&path).unwrap();
        let options = format!("size={size_bytes}");
        let flags = nix::mount::MsFlags::empty();
        match nix::mount::mount(
            Some("tmpfs"),
            &path,
            Some("tmpfs"),
            flags,
            Some(options.as_str()),
        ) {
            Ok(()) => Some(Self {
                path,
                _folder: folder,
            }),
            Err(code) => {
                println!("SKIP: a small tmpfs needs root ({code})");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.path, nix::mount::MntFlags::MNT_DETACH);
    }
}

/// Names the folder in the process that the next test runs itself in.
const LIMITED: &str = "MIZAR_TEST_FILE_SIZE_LIMITED";

/// A quota that `statvfs` does not see: writes fail inside the library.
#[test]
fn a_write_that_fails_inside_hdf5_shows_no_stack_and_keeps_what_was_flushed() {
    if let Some(folder) = std::env::var_os(LIMITED) {
        return run_into_the_limit(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("a_write_that_fails_inside_hdf5_shows_no_stack_and_keeps_what_was_flushed")
        .env(LIMITED, folder.path())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    assert!(!errors.contains("HDF5"), "{errors}");
    let written = std::fs::read_to_string(folder.path().join("written")).unwrap();
    let written: usize = written.parse().unwrap();
    assert!(written >= 500, "{written}");
    let node = read_job(folder.path()).unwrap().nodes.remove(0);
    // What the failed append got through may be there too.
    assert!(
        node.task_samples.len() >= written,
        "{written} {:?}",
        node.gaps
    );
    let expected = rows(0, written as u64).task_samples;
    assert_eq!(node.task_samples[..written], expected);
}

fn run_into_the_limit(folder: &Path) {
    use nix::sys::resource::{Resource, setrlimit};
    use nix::sys::signal::{SigHandler, Signal, signal};
    #[allow(
        unsafe_code,
        reason = "nix marks every change of a signal's handler unsafe"
    )]
    // SAFETY: no handler runs; the signal is ignored, so that the write fails instead.
    unsafe {
        signal(Signal::SIGXFSZ, SigHandler::SigIgn).unwrap();
    }
    let mut writer = SegmentWriter::create(folder, "n1", &begin("n1", 0)).unwrap();
    let limit = 512 << 10;
    setrlimit(Resource::RLIMIT_FSIZE, limit, limit).unwrap();
    let mut written = 0;
    let error = loop {
        match writer.append(&rows(written, 100)) {
            Ok(()) => written += 100,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, RecordError::Hdf5 { .. }), "{error}");
    std::fs::write(folder.join("written"), written.to_string()).unwrap();
}

proptest::proptest! {
    #[test]
    fn no_line_of_events_is_too_strange(bytes: Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("n1.0.jsonl"), &bytes).unwrap();
        let _ = read_job(folder.path());
    }

    #[test]
    fn half_a_line_is_ignored_wherever_it_was_cut(cut in 1_usize..400) {
        let folder = tempfile::tempdir().unwrap();
        let first = serde_json::to_string(&begin("n1", 0)).unwrap() + "\n";
        let second = serde_json::to_string(&Event::End { time_ns: 7 }).unwrap();
        let lines = first.clone() + &second;
        let cut = cut.min(lines.len());
        std::fs::write(folder.path().join("n1.0.jsonl"), &lines.as_bytes()[..cut]).unwrap();
        match read_job(folder.path()) {
            Ok(record) => proptest::prop_assert!(cut >= first.len() && !record.complete),
            Err(RecordError::Missing { .. }) => proptest::prop_assert!(cut < first.len()),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_fifo_for_a_lock_keeps_no_merge_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join(".merge.lock");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(merge(folder.path()), Err(RecordError::Io { .. })));
}

fn says_complete(merged: &Path) -> bool {
    let file = hdf5::File::open(merged).unwrap();
    file.attr("complete").unwrap().read_scalar().unwrap()
}

#[test]
fn a_record_without_one_of_the_jobs_nodes_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut only = SegmentWriter::create(folder.path(), "n1", &begin("n1", 0)).unwrap();
    only.append_events(&[Event::End { time_ns: 4_000 }])
        .unwrap();
    only.close().unwrap();
    merge(folder.path()).unwrap();
    assert!(!says_complete(&folder.path().join(MERGED)));
    assert_eq!(read_job(folder.path()).unwrap().missing_nodes, ["n2"]);
}

//! Counters of devices, raised by the test as a network would.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use mizar_core::ids::{JobId, StepId};
use mizar_record::reader::read_job;
use support::{Daemon, Task, until};

const JOB: JobId = JobId(7);
const STEP: StepId = StepId(0);

#[test]
fn counters_of_devices_are_in_the_record_once_a_second_whatever_the_rate() {
    let sys = tempfile::tempdir().unwrap();
    let port = sys.path().join("class/infiniband/mlx5_0/ports/1");
    std::fs::create_dir_all(port.join("counters")).unwrap();
    std::fs::write(port.join("link_layer"), "InfiniBand\n").unwrap();
    let words = port.join("counters/port_rcv_data");
    std::fs::write(&words, "1000\n").unwrap();
    let daemon = Daemon::start(&format!(
        "sample_ms = 100\nflush_ms = 200\nsys_root = {:?}\n",
        sys.path()
    ));
    let task = Task::sleeping();
    daemon.register(JOB, STEP, &[&task]);
    let rows = |count: usize| {
        let record = read_job(&daemon.record(JOB)).ok()?;
        let node = record.nodes.into_iter().next()?;
        let names = node.counters.iter();
        let id = names
            .filter(|name| {
                (name.class.as_str(), name.quantity.as_str()) == ("infiniband", "received")
            })
            .map(|name| name.id)
            .next()?;
        let rows = node.counter_samples.iter().filter(|row| row.counter == id);
        let rows: Vec<_> = rows.copied().collect();
        (rows.len() >= count).then_some((rows, node.node_samples.len()))
    };
    until("the port is in the record", || rows(1));
    std::fs::write(&words, "1500\n").unwrap();
    let (rows, samples) = until("it was read again", || rows(3));
    assert_eq!(rows.first().unwrap().value, 4000);
    assert_eq!(rows.last().unwrap().value, 6000);
    for row in &rows[1..] {
        let interval_s = row.interval_ns as f64 * 1e-9;
        assert!((0.9..2.0).contains(&interval_s), "{rows:?}");
    }
    assert!(samples > 3 * rows.len(), "{samples} {rows:?}");
}

//! The report as people see it in a terminal.

use mizar_record::model::{CounterInfo, CounterSample};
use mizar_report::synthetic::{Shape, record};
use mizar_report::{analyse, html, text};

#[test]
fn the_report_of_a_wasteful_job() {
    let mut job = record(&Shape {
        busy: |rank, _| if rank == 3 { 0.9 } else { 0.5 },
        memory_mib: |_, _| 1536,
        memory_limit_gib: Some(32),
        cpus_per_node: 4,
        watts: Some(180.0),
        name: "monthly mean",
        ..Shape::default()
    });
    job.nodes[1].tasks[1].status = Some(139);
    insta::assert_snapshot!(text::render(&analyse(&job)));
}

#[test]
fn the_report_of_a_running_job_of_many_ranks_on_nodes_without_anything() {
    let mut job = record(&Shape {
        ranks_per_node: 10,
        running: true,
        memory_limit_gib: None,
        elapsed_s: 20,
        ..Shape::default()
    });
    for node in &mut job.nodes {
        node.job_cpus = None;
        node.own_cost.clear();
        node.files.clear();
        node.script = None;
    }
    insta::assert_snapshot!(text::render(&analyse(&job)));
}

#[test]
fn names_cannot_command_the_terminal() {
    let job = record(&Shape {
        name: "\u{1b}[2Jgone\r\n",
        ..Shape::default()
    });
    let text = text::render(&analyse(&job));
    assert!(!text.contains('\u{1b}'), "{text}");
    assert!(
        text.starts_with("Job 1234 · \u{fffd}[2Jgone\u{fffd}\u{fffd} · finished\n"),
        "{text}"
    );
}

#[test]
fn devices_are_told_in_text_page_and_json() {
    let mut job = record(&Shape::default());
    let start_ns = job.job.start_ns;
    let node = &mut job.nodes[0];
    for (id, quantity, unit) in [
        (1, "received", "bytes"),
        (2, "waited to send", "ticks"),
        (3, "link lost", "times"),
    ] {
        node.counters.push(CounterInfo {
            id,
            class: "infiniband".to_owned(),
            device: "mlx5_0:1".to_owned(),
            quantity: quantity.to_owned(),
            unit: unit.to_owned(),
        });
        for second in 0..3 {
            node.counter_samples.push(CounterSample {
                time_ns: start_ns + second * 1_000_000_000,
                interval_ns: if second == 0 { 0 } else { 1_000_000_000 },
                value: if id == 3 { 7 } else { (second as u64) << 20 },
                counter: id,
                reserved: 0,
            });
        }
    }
    let report = analyse(&job);
    let counts = &report.nodes[0].devices[0].counts;
    assert_eq!(counts[1].value, Some(f64::from(2 << 20)));
    for shown in [text::render(&report), html::render(&report).unwrap()] {
        assert!(
            shown.contains("mlx5_0:1") && shown.contains("2.00 MiB"),
            "{shown}"
        );
        assert!(shown.contains("2097152 ticks"), "{shown}");
        // What went wrong never is not told.
        assert!(!shown.contains("link lost"), "{shown}");
    }
}

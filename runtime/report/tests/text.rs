//! The report as people see it in a terminal.

use mizar_report::synthetic::{Shape, record};
use mizar_report::{analyse, text};

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

//! The page: safe, self-contained, with the figures of the JSON; drawn by a real browser.
#![allow(clippy::unwrap_used, reason = "tests")]

mod browser;

use browser::{assert_figures_are_those_of_the_json, drawn};
use mizar_report::synthetic::{GpuShape, Shape, add_gpu_event, add_gpus, record};
use mizar_report::{Report, analyse, html};

fn hostile() -> Report {
    let mut job = record(&Shape {
        name: "<script>alert('x')</script> & \"more\"",
        gap: Some((20, 30)),
        cpus_per_node: 3,
        watts: Some(180.0),
        ..Shape::default()
    });
    job.job.user = "</title><b>".to_owned();
    job.nodes[0].files[0].path = "/scratch/\"><img src=x onerror=alert(1)>.nc".into();
    job.nodes[0].steps[0].command[4] = "<iframe>".to_owned();
    job.nodes[1].node = "n2'\"<em>".to_owned();
    analyse(&job)
}

#[test]
fn users_text_cannot_become_markup() {
    let page = html::render(&hostile()).unwrap();
    for markup in [
        "<script",
        "<img",
        "<iframe",
        "<em>",
        "<b>\n",
        "onerror=alert(1)>",
    ] {
        assert!(!page.contains(markup), "{markup} is in the page");
    }
    assert!(
        page.contains("&lt;script&gt;alert(&#x27;x&#x27;)&lt;&#x2f;script&gt;"),
        "not escaped"
    );
}

#[test]
fn the_page_refers_to_nothing_outside() {
    let page = html::render(&analyse(&record(&Shape::default()))).unwrap();
    for reference in ["http://", "https://", " src=", "@import", "url("] {
        assert!(!page.contains(reference), "{reference} is in the page");
    }
    let links = page
        .match_indices("href=\"")
        .map(|(at, _)| &page[at + 6..at + 11]);
    assert!(links.into_iter().all(|target| target == "data:"));
}

#[test]
fn figures_equal_the_json_in_all_states() {
    let nothing_measured = {
        let mut job = record(&Shape {
            running: true,
            memory_limit_gib: None,
            ..Shape::default()
        });
        for node in &mut job.nodes {
            node.task_samples.clear();
            node.node_samples.clear();
            node.job_cpus = None;
        }
        analyse(&job)
    };
    let many = analyse(&record(&Shape {
        ranks_per_node: 40,
        nodes: 14,
        ..Shape::default()
    }));
    for report in [hostile(), many] {
        assert_figures_are_those_of_the_json(&html::render(&report).unwrap(), &report);
    }
    assert!(
        html::render(&nothing_measured)
            .unwrap()
            .contains("not measured")
    );
}

#[test]
fn a_browser_draws_it_without_a_complaint() {
    let folder = tempfile::tempdir().unwrap();
    let report = hostile();
    let file = folder.path().join("report.html");
    std::fs::write(&file, html::render(&report).unwrap()).unwrap();
    let Some((page, complaints)) = drawn(&file, folder.path()) else {
        return;
    };
    assert_figures_are_those_of_the_json(&page, &report);
    assert!(!complaints.contains("CONSOLE"), "{complaints}");
    // Two nodes: charts of 3 + 5 quantities; the browser has parsed each as SVG.
    assert_eq!(page.matches("<path class=\"area\"").count(), 3 * 4 + 5 * 2);
    assert!(
        page.contains("<title>Job 1234 · &lt;script&gt;"),
        "the title was cut"
    );
}

#[test]
fn a_browser_draws_gpus_and_users_text_in_them_stays_text() {
    let folder = tempfile::tempdir().unwrap();
    let mut job = record(&Shape::default());
    add_gpus(&mut job, &[GpuShape::default(), GpuShape::default()]);
    job.nodes[0].gpus[0].name = "<script>alert(1)</script>".to_owned();
    add_gpu_event(&mut job, 0, 9, "xid", "XID 31 <img src=x>");
    let report = analyse(&job);
    let file = folder.path().join("report.html");
    let page = html::render(&report).unwrap();
    assert!(!page.contains("<script") && !page.contains("<img"));
    std::fs::write(&file, page).unwrap();
    let Some((page, complaints)) = drawn(&file, folder.path()) else {
        return;
    };
    assert_figures_are_those_of_the_json(&page, &report);
    assert!(!complaints.contains("CONSOLE"), "{complaints}");
    // Two nodes of two ranks and two GPUs: 3 quantities of each, 4 of the nodes without power.
    assert_eq!(
        page.matches("<path class=\"area\"").count(),
        3 * 4 + 3 * 4 + 4 * 2
    );
}

//! The live page of a node, drawn by a real browser, and the metrics under omnistat's names.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::HashMap;
use std::path::Path;

use mizar_core::ids::{JobId, StepId};
use serde_json::Value;
use support::{Daemon, Task, until};

const JOB: JobId = JobId(7);
const STEP: StepId = StepId(0);
fn address(daemon: &Daemon) -> String {
    let log = daemon.log();
    let address = log.split("address=").nth(1).unwrap();
    address.split_whitespace().next().unwrap().to_owned()
}

fn watched(keys: &str) -> (Daemon, Task) {
    let daemon = Daemon::start(&format!(
        "sample_ms = 100\nmetrics_listen = \"127.0.0.1:0\"\n{keys}"
    ));
    let task = Task::busy();
    daemon.register(JOB, STEP, &[&task]);
    until("it is sampled", || {
        daemon.job(JOB)?.steps[0].tasks[0].cpus_busy
    });
    (daemon, task)
}

fn fetch(url: &str) -> (ureq::http::HeaderMap, String) {
    let mut answer = ureq::get(url).call().unwrap();
    (
        answer.headers().clone(),
        answer.body_mut().read_to_string().unwrap(),
    )
}

/// What is a name or number in the metrics; values change between two looks.
fn families(metrics: &str) -> Vec<String> {
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.split(['{', ' ']).next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_live_figures_are_those_of_the_metrics_and_no_more() {
    let (daemon, _task) = watched("");
    let address = address(&daemon);
    let (_, metrics) = fetch(&format!("http://{address}/metrics"));
    let (headers, live) = fetch(&format!("http://{address}/live.json"));
    assert_eq!(headers["cache-control"], "no-store");
    let live: Value = serde_json::from_str(&live).unwrap();
    assert_eq!(live["schema"], "mizard-live/1");
    let samples = live["samples"].as_array().unwrap();
    let names: Vec<String> = samples
        .iter()
        .map(|s| s["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, families(&metrics));
    let memory = |text: &str| text.parse::<f64>().unwrap();
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("mizar_node_memory_total_bytes "));
    let sample = samples
        .iter()
        .find(|s| s["name"] == "mizar_node_memory_total_bytes")
        .unwrap();
    assert_eq!(sample["value"].as_f64().unwrap(), memory(line.unwrap()));
    let (headers, page) = fetch(&format!("http://{address}/"));
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    for reference in [
        "http://",
        "https://",
        " src=",
        "@import",
        "url(",
        "innerHTML",
    ] {
        assert!(!page.contains(reference), "{reference} is in the page");
    }
}

#[test]
fn a_browser_shows_the_node_and_its_jobs_without_a_complaint() {
    let (daemon, _task) = watched("");
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://{}/", address(&daemon));
    let Some((page, complaints)) = drawn(&url, folder.path()) else {
        return;
    };
    assert!(!complaints.contains("CONSOLE"), "{complaints}");
    let raw = page
        .split_once("<pre id=\"raw\">")
        .unwrap()
        .1
        .split_once("</pre>")
        .unwrap()
        .0;
    let raw = raw
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    let live: Value = serde_json::from_str(&raw).unwrap();
    let exact: HashMap<String, f64> = live["samples"]
        .as_array()
        .unwrap()
        .iter()
        .map(named)
        .collect();
    let attribute = |tag: &str, name: &str| {
        let rest = tag.split_once(&format!("{name}=\"")).unwrap().1;
        rest.split_once('"').unwrap().0.to_owned()
    };
    let mut jobs = 0;
    for tag in page.split('<').filter(|tag| tag.contains("data-figure=")) {
        let figure = attribute(tag, "data-figure");
        jobs += u32::from(figure.starts_with("mizar_job_"));
        let shown: f64 = attribute(tag, "data-value").parse().unwrap();
        assert_eq!(shown, exact[&figure], "{figure}");
    }
    assert_eq!(jobs, 5, "tasks, threads, CPUs, memory, I/O of one job");
    assert!(
        page.contains("<h1 id=\"node\">vm</h1>"),
        "the node is not named"
    );
    // CPUs of the node are a difference of two polls.
    let cpus = page.split_once("CPUs of the node").unwrap().1;
    assert!(
        cpus.split_once("</div>").unwrap().0.contains(" %"),
        "polled once only"
    );
}

/// A sample's name as the page writes it, and its value.
fn named(sample: &Value) -> (String, f64) {
    let labels = sample["labels"].as_array().unwrap().iter();
    let labels: Vec<String> = labels
        .map(|pair| {
            format!(
                "{}={}",
                pair[0].as_str().unwrap(),
                pair[1].as_str().unwrap()
            )
        })
        .collect();
    let name = sample["name"].as_str().unwrap();
    let name = if labels.is_empty() {
        name.to_owned()
    } else {
        format!("{name}{{{}}}", labels.join(","))
    };
    (name, sample["value"].as_f64().unwrap())
}

#[test]
fn a_daemon_that_is_gone_is_said_on_the_page() {
    let (daemon, _task) = watched("");
    let folder = tempfile::tempdir().unwrap();
    // A page of a daemon that has ended: the document without its figures.
    let (_, page) = fetch(&format!("http://{}/", address(&daemon)));
    let file = folder.path().join("live.html");
    std::fs::write(&file, page).unwrap();
    let Some((page, _)) = drawn(&format!("file://{}", file.display()), folder.path()) else {
        return;
    };
    assert!(
        page.contains("class=\"lost\"") && page.contains("No answer from mizard"),
        "{page}"
    );
}

#[test]
fn omnistats_names_stand_beside_ours_or_alone() {
    let (daemon, _task) = watched("metrics_names = [\"mizar\", \"omnistat\"]\n");
    let (_, both) = fetch(&format!("http://{}/metrics", address(&daemon)));
    let value = |text: &str, name: &str| -> f64 {
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("no {name} in {text}"));
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    };
    assert_eq!(
        value(&both, "omnistat_host_mem_total_bytes "),
        value(&both, "mizar_node_memory_total_bytes ")
    );
    let available = value(&both, "omnistat_host_mem_available_bytes ");
    assert_eq!(
        available,
        value(&both, "mizar_node_memory_total_bytes ")
            - value(&both, "mizar_node_memory_used_bytes ")
    );
    let received = "omnistat_network_rx_bytes{device_class=\"net\",interface=\"all\"} ";
    assert_eq!(
        value(&both, received),
        value(&both, "mizar_node_network_receive_bytes_total ")
    );
    assert_eq!(value(&both, "rmsjob_info{jobid=\"7\","), 1.0);
    // One TYPE a family, or Prometheus refuses the page.
    let mut types: Vec<&str> = both
        .lines()
        .filter(|line| line.starts_with("# TYPE"))
        .collect();
    let count = types.len();
    types.sort_unstable();
    types.dedup();
    assert_eq!(types.len(), count);
    let (daemon, _task) = watched("metrics_names = [\"omnistat\"]\n");
    let (_, alone) = fetch(&format!("http://{}/metrics", address(&daemon)));
    assert!(!alone.contains("mizar_"), "{alone}");
    // The live page knows our names whatever the metrics are called.
    let (_, live) = fetch(&format!("http://{}/live.json", address(&daemon)));
    assert!(live.contains("mizar_node_memory_total_bytes"));
}

/// The document after a browser has run it for some polls, and what the browser said.
fn drawn(url: &str, folder: &Path) -> Option<(String, String)> {
    // The browser's clock runs ahead, the daemon's figures do not.
    mizar_lab::browser::drawn(url, folder, &["--virtual-time-budget=120000"])
}

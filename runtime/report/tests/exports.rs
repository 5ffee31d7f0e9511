//! Exports, read back by independent readers: Python's gzip, base64, json and pandas.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;

use mizar_record::model::{GpuInfo, JobRecord};
use mizar_report::analyse;
use mizar_report::export::{jobstats, mlflow, omnistat, trace};
use mizar_report::scaling::synthetic::{Training, record};
use serde_json::{Value, json};

fn job() -> JobRecord {
    let mut job = record(&Training {
        id: 77,
        name: "ddp-1x4",
        nodes: 2,
        ranks_per_node: 2,
        epochs_s: vec![20.0, 10.0, 10.0, 10.0, 10.0],
        samples: Some(100.0),
        gpu_watts: Some(250.0),
        node_watts: Some(600.0),
        split: Some([0.8, 0.1, 0.05, 0.05]),
        ..Training::default()
    });
    for gpu in job.nodes.iter_mut().flat_map(|node| &mut node.gpus) {
        gpu.minor = Some(gpu.gpu + 4);
        gpu.memory_total_bytes = Some(80 << 30);
    }
    for sample in job.nodes.iter_mut().flat_map(|node| &mut node.gpu_samples) {
        sample.memory_used_bytes = 20 << 30;
    }
    job
}

/// What Python reads, or nothing without it.
fn python(kind: &str, path: &Path) -> Option<Value> {
    let python = mizar_lab::venv::python()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/exports.py");
    let output = Command::new(python)
        .arg(script)
        .arg(kind)
        .arg(path)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn the_admin_comment_is_read_by_python_as_jobstats_reads_it() {
    let job = job();
    let mut summary = jobstats::summary(&job, &analyse(&job));
    // A host that is not ASCII must not break the database.
    let node = summary.nodes["n2"].clone();
    summary.nodes.insert("knoten-ä".to_owned(), node);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("comment");
    std::fs::write(&file, jobstats::admin_comment(&summary)).unwrap();
    let Some(read) = python("comment", &file) else {
        return;
    };
    assert_eq!(read, serde_json::to_value(&summary).unwrap());
    assert_eq!(read["gpus"], 4);
    assert_eq!(read["total_time"], 64.0);
    let expected = json!({
        "cpus": 2,
        "total_memory": 2_u64 << 30,
        "used_memory": 1_u64 << 30,
        "total_time": 128.0,
        "gpu_total_memory": { "4": 80_u64 << 30, "5": 80_u64 << 30 },
        "gpu_used_memory": { "4": 20_u64 << 30, "5": 20_u64 << 30 },
        "gpu_utilization": { "4": 75.0, "5": 75.0 },
    });
    assert_eq!(read["nodes"]["n1"], expected);
}

#[test]
fn short_and_unmeasured_jobs_have_jobstats_words_for_it() {
    let short = record(&Training {
        epochs_s: vec![10.0],
        ..Training::default()
    });
    let comment = |job: &JobRecord| jobstats::admin_comment(&jobstats::summary(job, &analyse(job)));
    assert_eq!(comment(&short), "JS1:Short");
    let mut blind = job();
    for node in &mut blind.nodes {
        node.task_samples.clear();
    }
    assert_eq!(comment(&blind), "JS1:None");
    let comment = comment(&job());
    assert!(
        comment.len() > 10 && comment.starts_with("JS1:H4s"),
        "{comment}"
    );
}

#[test]
fn instances_of_a_divided_gpu_have_no_utilisation() {
    let mut job = job();
    let node = &mut job.nodes[0];
    node.gpus.push(GpuInfo {
        gpu: 9,
        parent: Some(1),
        memory_total_bytes: Some(10 << 30),
        ..GpuInfo::default()
    });
    let summary = jobstats::summary(&job, &analyse(&job));
    let n1 = &summary.nodes["n1"];
    assert_eq!(summary.gpus, 4, "one whole, one instance, two on n2");
    assert!(n1.gpu_total_memory.contains_key("9"));
    assert_eq!(n1.gpu_utilization.keys().collect::<Vec<_>>(), ["4"]);
}

#[test]
fn omnistats_files_have_its_levels_and_are_read_by_pandas() {
    let job = job();
    let files = omnistat::files(&job);
    let names: Vec<&str> = files.iter().map(|file| file.name).collect();
    assert_eq!(
        names,
        [
            "omnistat-rocm.gpu.csv",
            "omnistat-host.csv",
            "omnistat-network.csv",
            "omnistat-vendor.csv"
        ]
    );
    assert!(
        files[0]
            .text
            .starts_with("metric,rocm_utilization_percentage,")
    );
    let folder = tempfile::tempdir().unwrap();
    for (file, levels) in files.iter().zip([
        &["metric", "instance", "card"][..],
        &["metric", "instance"],
        &["metric", "instance", "device_class", "interface"],
        &["metric", "instance", "vendor"],
    ]) {
        let path = folder.path().join(file.name);
        std::fs::write(&path, &file.text).unwrap();
        let Some(read) = python("csv", &path) else {
            return;
        };
        assert_eq!(read["levels"], json!(levels), "{}", file.name);
        assert_eq!(read["index"], "timestamp");
        assert_eq!(read["rows"], 64);
        // START_NS is 2026-11-18 11:06:40 UTC.
        assert_eq!(read["first"], "2026-11-18 11:06:41");
        let value = |metric: &str, instance: &str| {
            let columns = read["columns"].as_array().unwrap();
            let place = columns
                .iter()
                .position(|column| column[0] == metric && column[1] == instance);
            read["last"][place.unwrap_or_else(|| panic!("no {metric}"))]
                .as_f64()
                .unwrap()
        };
        match file.name {
            "omnistat-rocm.gpu.csv" => {
                assert_eq!(value("rocm_utilization_percentage", "n2"), 75.0);
                assert_eq!(value("rocm_vram_used_percentage", "n1"), 25.0);
                assert_eq!(value("rocm_energy_joules", "n1"), 64.0 * 250.0);
            }
            "omnistat-host.csv" => {
                assert_eq!(
                    value("omnistat_host_mem_total_bytes", "n1"),
                    (64_u64 << 30) as f64
                );
                assert_eq!(
                    value("omnistat_host_cpu_aggregate_core_utilization", "n2"),
                    2.0
                );
            }
            "omnistat-vendor.csv" => {
                assert_eq!(value("omnistat_vendor_power_watts", "n1"), 600.0);
            }
            _ => assert_eq!(
                value("omnistat_network_tx_bytes", "n1"),
                (64_u64 << 20) as f64
            ),
        }
    }
}

#[test]
fn a_metric_with_a_gap_has_empty_cells() {
    let mut job = job();
    let middle = job.nodes[1].node_samples[30].time_ns;
    job.nodes[1]
        .node_samples
        .retain(|sample| sample.time_ns != middle);
    let host = &omnistat::files(&job)[1].text;
    let empty: Vec<usize> = host
        .lines()
        .skip(3)
        .enumerate()
        .filter(|(_, line)| line.ends_with(','))
        .map(|(second, _)| second)
        .collect();
    // The last column is the CPUs of n2: unknown at first, in the gap, and over it.
    assert_eq!(empty, [0, 30, 31]);
}

#[test]
fn a_trace_has_a_track_a_rank_and_spans_that_nest() {
    let job = job();
    let trace: Value = serde_json::from_str(&trace::chrome(&job)).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let of = |phase: &str, category: &str| -> Vec<&Value> {
        let is = |event: &&Value| {
            event["ph"] == phase && (category.is_empty() || event["cat"] == category)
        };
        events.iter().filter(is).collect()
    };
    let names = of("M", "");
    let named: Vec<&str> = names
        .iter()
        .map(|event| event["args"]["name"].as_str().unwrap())
        .collect();
    assert!(
        named.contains(&"n2") && named.contains(&"step 0 rank 3"),
        "{named:?}"
    );
    let steps = of("X", "step");
    assert_eq!(steps.len(), 4);
    // 5 epochs and 5 validations on each of 4 ranks.
    let marks = of("X", "mark");
    assert_eq!(marks.len(), 40);
    for mark in marks {
        let step = steps
            .iter()
            .find(|step| step["pid"] == mark["pid"] && step["tid"] == mark["tid"])
            .unwrap();
        let end = |event: &Value| event["ts"].as_f64().unwrap() + event["dur"].as_f64().unwrap();
        assert!(step["ts"].as_f64() <= mark["ts"].as_f64() && end(mark) <= end(step));
    }
    let first = of("X", "mark")
        .into_iter()
        .find(|mark| mark["name"] == "epoch")
        .unwrap();
    assert!(
        (first["ts"].as_f64().unwrap() - 3e6).abs() < 1.0,
        "3 s after the start"
    );
    assert_eq!(of("i", "figure").len(), 20);
    let cpus = events
        .iter()
        .filter(|e| e["ph"] == "C" && e["name"] == "CPUs busy, step 0 rank 3");
    let cpus: Vec<f64> = cpus
        .map(|event| event["args"]["CPUs"].as_f64().unwrap())
        .collect();
    assert_eq!(cpus.len(), 63);
    assert!(cpus.iter().all(|cpus| (cpus - 1.0).abs() < 1e-6));
    // Whatever a viewer keeps in floating point is exact.
    assert!(
        events
            .iter()
            .all(|event| event["tid"].as_u64().unwrap_or(0) < 1 << 20)
    );
}

#[test]
fn mlflow_gets_what_itwinai_logs_in_batches_that_it_takes() {
    let job = job();
    let uploads = mlflow::uploads(&job, &analyse(&job));
    let [upload] = &uploads[..] else {
        panic!("{} runs", uploads.len());
    };
    assert_eq!(upload.name, "ddp-1x4-77");
    let params = upload.batches[0]["params"].as_array().unwrap();
    let param = |key: &str| params.iter().find(|p| p["key"] == key).unwrap()["value"].clone();
    assert_eq!(
        (param("strategy"), param("global_world_size")),
        (json!("ddp"), json!("4"))
    );
    let metrics: Vec<&Value> = upload.batches[1..]
        .iter()
        .flat_map(|batch| batch["metrics"].as_array().unwrap())
        .collect();
    assert!(
        upload.batches[1..]
            .iter()
            .all(|b| b["metrics"].as_array().unwrap().len() <= mlflow::MAX_BATCH_METRICS)
    );
    let epochs: Vec<f64> = metrics
        .iter()
        .filter(|metric| metric["key"] == "epoch_time_s")
        .map(|metric| metric["value"].as_f64().unwrap())
        .collect();
    assert_eq!(epochs, [20.0, 10.0, 10.0, 10.0, 10.0]);
    assert!(
        metrics
            .iter()
            .any(|metric| metric["key"] == "cpus_busy/rank_3")
    );
    assert_eq!(upload.update["status"], "FINISHED");
}

#[test]
fn network_traffic_is_by_device_where_the_record_has_it() {
    use mizar_record::model::{CounterInfo, CounterSample};
    let mut job = job();
    let counter = |id, class: &str, device: &str, quantity: &str| CounterInfo {
        id,
        class: class.to_owned(),
        device: device.to_owned(),
        quantity: quantity.to_owned(),
        unit: "bytes".to_owned(),
    };
    let node = &mut job.nodes[0];
    node.counters = vec![
        counter(1, "ethernet", "eth0", "received"),
        counter(2, "slingshot", "hsn0", "sent, at least"),
        counter(3, "lustre", "scratch", "read"),
    ];
    let times: Vec<i64> = node
        .node_samples
        .iter()
        .map(|sample| sample.time_ns)
        .collect();
    for (time_ns, id) in times
        .iter()
        .flat_map(|time| [1, 2, 3].map(|id| (*time, id)))
    {
        node.counter_samples.push(CounterSample {
            time_ns,
            interval_ns: 1_000_000_000,
            value: u64::from(id) * 100,
            counter: id,
            reserved: 0,
        });
    }
    let network = &omnistat::files(&job)[2].text;
    let lines: Vec<&str> = network.lines().collect();
    assert_eq!(
        lines[0],
        "metric,omnistat_network_rx_bytes,omnistat_network_tx_bytes"
    );
    assert_eq!(lines[1], "instance,n1,n1");
    assert_eq!(lines[2], "device_class,net,slingshot");
    assert_eq!(lines[3], "interface,eth0,hsn0");
    assert!(lines[5].ends_with(",100,200"), "{}", lines[5]);
}

//! GPU figures and advice of synthetic jobs whose answers are known; no figure of hardware.
#![allow(clippy::unwrap_used, reason = "tests")]

use mizar_record::model::{GpuInfo, GpuSample, JobRecord, limits};
use mizar_report::gpus::{Gpus, REPLAYED};
use mizar_report::synthetic::{GpuShape, Shape, add_gpu_event, add_gpus, record};
use mizar_report::{Report, analyse, html, text};

const MIB: u64 = 1 << 20;

fn job(shapes: &[GpuShape]) -> JobRecord {
    let mut job = record(&Shape {
        nodes: 1,
        memory_mib: |_, _| 900,
        ..Shape::default()
    });
    add_gpus(&mut job, shapes);
    job
}

fn gpus(report: &Report) -> &Gpus {
    report.gpu.as_ref().unwrap()
}

fn kinds(report: &Report) -> Vec<&'static str> {
    report.advice.iter().map(|advice| advice.kind).collect()
}

fn directive(report: &Report, kind: &str) -> Option<String> {
    let piece = report.advice.iter().find(|advice| advice.kind == kind);
    piece
        .unwrap_or_else(|| panic!("no {kind}: {:?}", kinds(report)))
        .directive
        .clone()
}

fn close(found: Option<f64>, expected: f64) {
    let found = found.expect("measured");
    assert!(
        (found - expected).abs() <= 1e-6 * expected.abs().max(1.0),
        "{found} is not {expected}"
    );
}

#[test]
fn a_job_without_gpus_has_none() {
    let report = analyse(&record(&Shape::default()));
    assert_eq!(report.gpu, None);
    assert!(!text::render(&report).contains("GPU"));
}

#[test]
fn means_and_energy_are_those_of_the_script() {
    // 60 s: readings after 1 s to 60 s, so 59 s are observed.
    let stepped = GpuShape {
        watts: |second| if second < 30 { 100.0 } else { 400.0 },
        busy: |second| if second < 30 { 0.2 } else { 1.0 },
        ..GpuShape::default()
    };
    let report = analyse(&job(&[GpuShape::default(), stepped]));
    let all = gpus(&report);
    assert_eq!(all.count, 2);
    let [constant, stepped] = &all.devices[..] else {
        panic!()
    };
    close(constant.energy.joules, 59.0 * 300.0);
    close(constant.energy.bound_joules, 0.1 * 300.0);
    close(constant.mean_watts, 300.0);
    close(constant.mean_busy, f64::from(0.9_f32));
    close(stepped.energy.joules, 29.0 * 100.0 + 30.0 * 400.0);
    close(stepped.energy.bound_joules, 0.1 * 400.0);
    close(stepped.max_watts, 400.0);
    close(stepped.mean_busy, (29.0 * f64::from(0.2_f32) + 30.0) / 59.0);
    close(all.joules, 59.0 * 300.0 + 29.0 * 100.0 + 30.0 * 400.0);
    close(all.bound_joules, 70.0);
    close(Some(all.reserved_h), 2.0 / 60.0);
    assert_eq!(stepped.energy.unobserved_s, 0.0);
    assert!(stepped.energy.method.starts_with("NVML energy counter"));
    assert_eq!(stepped.peak_memory_bytes, Some(40_960 * MIB));
    close(stepped.peak_memory_share, 0.5);
    close(stepped.busy.values[10], f64::from(0.2_f32));
    assert_eq!(
        (stepped.mean_sm_active, stepped.pcie_rx_bytes),
        (None, None)
    );
    assert_eq!(all.replayed.as_deref(), Some(REPLAYED));
    let ranks: Vec<_> = all.ranks.iter().map(|rank| (rank.rank, rank.gpu)).collect();
    assert_eq!(ranks, [(0, 0), (1, 1)]);
    assert_eq!(all.ranks[0].peak_memory_bytes, Some(40_960 * MIB));
    close(all.ranks[0].mean_busy, f64::from(0.9_f32));
    assert_eq!(kinds(&report), [] as [&str; 0]);
}

#[test]
fn without_a_counter_power_is_integrated_and_gaps_are_unobserved() {
    let shape = GpuShape {
        counter: false,
        gap: Some((20, 30)),
        ..GpuShape::default()
    };
    let report = analyse(&job(&[shape]));
    let gpu = &gpus(&report).devices[0];
    // 19 s before the gap, 29 s after it, 11 s of nothing.
    close(gpu.energy.joules, 48.0 * 300.0);
    close(Some(gpu.energy.unobserved_s), 11.0);
    close(gpu.energy.bound_joules, 0.05 * 48.0 * 300.0);
    assert!(
        gpu.energy.method.contains("integrated") && gpu.energy.method.contains("11.0 s unobserved")
    );
    assert!(gpu.power.values[22].is_none(), "{:?}", gpu.power.values);
    close(gpu.observed_share, 48.0 / 60.0);
}

#[test]
fn an_instance_gets_a_stated_share_of_the_whole() {
    let mut job = job(&[GpuShape::default()]);
    let node = &mut job.nodes[0];
    node.gpus[0].slices = Some((7, 7));
    node.gpus.push(GpuInfo {
        gpu: 1,
        parent: Some(0),
        slices: Some((2, 7)),
        energy_refresh_ms: None,
        ..node.gpus[0].clone()
    });
    let instance: Vec<GpuSample> = node
        .gpu_samples
        .iter()
        .map(|row| GpuSample {
            time_ns: row.time_ns,
            interval_ns: row.interval_ns,
            sm_active: 0.5,
            memory_used_bytes: 512 * MIB,
            ..GpuSample::unknown(1)
        })
        .collect();
    node.gpu_samples.extend(instance);
    let report = analyse(&job);
    let all = gpus(&report);
    assert_eq!((all.count, all.devices[0].is_context), (1, true));
    close(all.joules, 59.0 * 300.0 * 2.0 / 7.0);
    assert!(all.devices[1].energy.estimated);
    // At worst it drew nothing, or all.
    close(all.bound_joules, 59.0 * 300.0 * 5.0 / 7.0 + 30.0);
    close(all.mean_busy, 0.5);
    assert!(text::render(&report).contains("(estimated)"));
}

#[test]
fn a_package_is_not_counted_twice() {
    let silent = GpuShape {
        watts: |_| 0.0,
        ..GpuShape::default()
    };
    let mut job = job(&[GpuShape::default(), silent]);
    job.nodes[0].gpus[0].reports_for = vec![1];
    for row in job.nodes[0]
        .gpu_samples
        .iter_mut()
        .filter(|row| row.gpu == 1)
    {
        row.power_watts = f32::NAN;
        row.energy_uj = u64::MAX;
    }
    let report = analyse(&job);
    close(gpus(&report).joules, 59.0 * 300.0);
}

#[test]
fn advice_on_use_follows_jobstats() {
    let idle = || GpuShape {
        busy: |_| 0.0,
        ..GpuShape::default()
    };
    let busy = |busy: fn(u32) -> f32| GpuShape {
        busy,
        ..GpuShape::default()
    };
    let report = analyse(&job(&[GpuShape::default(), idle()]));
    assert_eq!(
        directive(&report, "idle_gpu").as_deref(),
        Some("#SBATCH --gpus-per-node=1")
    );
    let report = analyse(&job(&[idle()]));
    assert_eq!(
        directive(&report, "idle_gpu").as_deref(),
        Some("#SBATCH --gpus=0")
    );
    use mizar_report::schema::Severity::{Critical, Warning};
    for (share, severity) in [
        ((|_| 0.15) as fn(u32) -> f32, Critical),
        (|_| 0.16, Warning),
        (|_| 0.249, Warning),
    ] {
        let report = analyse(&job(&[busy(share), busy(share)]));
        let piece = report
            .advice
            .iter()
            .find(|piece| piece.kind == "low_gpu")
            .unwrap();
        assert_eq!(piece.severity, severity, "{}", share(0));
    }
    assert!(!kinds(&analyse(&job(&[busy(|_| 0.251)]))).contains(&"low_gpu"));
    let mut small = record(&Shape {
        nodes: 1,
        cpus_per_node: 1,
        ranks_per_node: 1,
        ..Shape::default()
    });
    add_gpus(
        &mut small,
        &[GpuShape {
            busy: |_| 0.1,
            memory_mib: 900,
            ..GpuShape::default()
        }],
    );
    assert!(
        directive(&analyse(&small), "smaller_gpu")
            .unwrap()
            .contains("--gres=gpu:")
    );
    let report = analyse(&job(&[GpuShape {
        memory_mib: 900,
        ..GpuShape::default()
    }]));
    assert_eq!(directive(&report, "gpu_memory_low"), None);
}

#[test]
fn idle_cpus_of_a_job_on_gpus_are_no_fault() {
    let lazy = Shape {
        nodes: 1,
        busy: |_, _| 0.2,
        ..Shape::default()
    };
    assert!(kinds(&analyse(&record(&lazy))).contains(&"low_cpu"));
    let mut job = record(&lazy);
    add_gpus(&mut job, &[GpuShape::default()]);
    assert!(!kinds(&analyse(&job)).contains(&"low_cpu"));
}

#[test]
fn advice_on_health_names_node_and_directive() {
    let hot = GpuShape {
        limits: |second| {
            if second > 50 {
                limits::THERMAL | limits::IDLE
            } else {
                limits::IDLE
            }
        },
        errors: |second| (u64::from(second) * 100, 0),
        memory_mib: 80_000,
        ..GpuShape::default()
    };
    let mut sick = job(&[hot]);
    add_gpu_event(
        &mut sick,
        0,
        40,
        "xid",
        "XID 79: the GPU has fallen off the bus",
    );
    let report = analyse(&sick);
    let gpu = &gpus(&report).devices[0];
    close(gpu.throttled_share, 10.0 / 59.0);
    assert_eq!(gpu.ecc_corrected, Some(5900));
    for kind in ["gpu_failed", "gpu_throttled", "gpu_ecc_corrected"] {
        assert_eq!(
            directive(&report, kind).as_deref(),
            Some("#SBATCH --exclude=n1"),
            "{kind}"
        );
    }
    assert!(directive(&report, "gpu_memory_high").is_some());
    let failing = GpuShape {
        errors: |second| (0, u64::from(second > 30)),
        ..GpuShape::default()
    };
    let report = analyse(&job(&[failing]));
    assert_eq!(report.advice[0].kind, "gpu_ecc_uncorrected");
    // The power limit alone is no fault.
    let capped = GpuShape {
        limits: |_| limits::POWER_CAP,
        ..GpuShape::default()
    };
    let report = analyse(&job(&[capped]));
    assert_eq!(directive(&report, "gpu_throttled"), None);
}

#[test]
fn the_report_of_a_job_with_gpus() {
    let slow = GpuShape {
        busy: |_| 0.1,
        counter: false,
        limits: |second| {
            if second > 30 {
                limits::HARDWARE_THERMAL
            } else {
                0
            }
        },
        ..GpuShape::default()
    };
    let mut job = job(&[GpuShape::default(), slow]);
    add_gpu_event(
        &mut job,
        1,
        42,
        "hung",
        "the driver has not answered for 2.0 s; left alone",
    );
    let report = analyse(&job);
    insta::assert_snapshot!(text::render(&report));
    let page = html::render(&report).unwrap();
    assert!(page.contains(REPLAYED) && page.contains("data-figure=\"gpu.joules\""));
}

//! Figures and advice of synthetic jobs whose answers are known.
#![allow(clippy::unwrap_used, reason = "tests")]

use mizar_core::ids::StepId;
use mizar_record::model::UNKNOWN;
use mizar_report::schema::Severity;
use mizar_report::synthetic::{Shape, record};
use mizar_report::{Report, analyse};

const MIB: u64 = 1 << 20;

fn kinds(report: &Report) -> Vec<&'static str> {
    report.advice.iter().map(|advice| advice.kind).collect()
}

fn close(found: Option<f64>, expected: f64) {
    let found = found.expect("measured");
    assert!(
        (found - expected).abs() <= 1e-9 * expected.abs(),
        "{found} is not {expected}"
    );
}

#[test]
fn a_fully_busy_job_is_wholly_efficient_and_needs_no_advice() {
    let report = analyse(&record(&Shape {
        memory_mib: |_, _| 900,
        watts: Some(100.0),
        ..Shape::default()
    }));
    assert_eq!(report.cpu.allocated, Some(4));
    close(report.cpu.used_s, 240.0);
    close(report.cpu.efficiency, 1.0);
    assert_eq!(report.memory.peak_bytes, Some(1800 * MIB));
    close(report.memory.used_share, 1800.0 / 2048.0);
    assert_eq!(report.io.totals.read_bytes, Some(4 * 60 * 4 * MIB));
    assert_eq!(report.io.totals.written_bytes, Some(60 * 4 * MIB));
    assert_eq!(report.io.totals.device_read_bytes, Some(2 * 60 * 4 * MIB));
    close(report.io.mean_bytes_per_s, (5 * 4 * MIB) as f64);
    close(report.energy.joules, 2.0 * 100.0 * 60.0);
    // RAPL lags by a millisecond, on two nodes.
    close(report.energy.bound_joules, 2.0 * 100.0 * 0.001);
    close(report.energy.mean_watts, 200.0);
    close(report.measurement.own_cpu_s, 0.24);
    close(report.measurement.own_cpu_share, 0.002);
    close(report.completeness.observed_share, 1.0);
    close(
        report.steps[0]
            .balance
            .as_ref()
            .map(|balance| balance.max_over_mean),
        1.0,
    );
    close(report.nodes[0].cpu_busy.values[30], 0.5);
    assert_eq!(report.nodes[0].sent_bytes, Some(59 * MIB));
    assert_eq!(kinds(&report), [] as [&str; 0]);
}

#[test]
fn energy_is_not_measured_if_one_node_did_not() {
    let mut job = record(&Shape {
        watts: Some(100.0),
        ..Shape::default()
    });
    for sample in &mut job.nodes[1].node_samples {
        sample.energy_joules = f64::NAN;
    }
    let report = analyse(&job);
    assert_eq!(report.energy.joules, None);
    assert_eq!(report.energy.method, "not measured");
    assert!(
        !analyse(&record(&Shape::default())).nodes[0]
            .power
            .is_observed()
    );
}

#[test]
fn a_gap_is_a_gap_and_totals_stay_right() {
    let report = analyse(&record(&Shape {
        gap: Some((20, 30)),
        ..Shape::default()
    }));
    close(report.cpu.used_s, 240.0);
    let busy = report.ranks[0].cpu_busy.as_ref().unwrap();
    assert_eq!(busy.values.len(), 60);
    assert_eq!(busy.values[19], Some(1.0));
    // Second 31 has a reading, but no interval: its daemon had just begun.
    assert!(
        busy.values[20..31].iter().all(Option::is_none),
        "{:?}",
        busy.values
    );
    assert_eq!(busy.values[31], Some(1.0));
    close(
        report.completeness.observed_share,
        (60.0 * 4.0 - 11.0 * 2.0) / 240.0,
    );
    assert_eq!(report.completeness.gaps[0].reason, "daemon restarted");
}

#[test]
fn what_could_not_be_read_is_not_measured_and_never_zero() {
    let mut job = record(&Shape::default());
    for sample in job.nodes.iter_mut().flat_map(|node| &mut node.task_samples) {
        sample.rchar_bytes = UNKNOWN;
        sample.wchar_bytes = UNKNOWN;
        sample.read_bytes = UNKNOWN;
        sample.write_bytes = UNKNOWN;
        sample.rss_bytes = UNKNOWN;
    }
    for node in &mut job.nodes {
        node.job_cpus = None;
    }
    let report = analyse(&job);
    assert_eq!(report.io.totals.read_bytes, None);
    assert_eq!(report.io.mean_bytes_per_s, None);
    assert_eq!(report.memory.peak_bytes, None);
    assert_eq!(report.cpu.efficiency, None);
    close(report.cpu.mean_busy, 4.0);
    assert!(!report.ranks[0].memory.as_ref().unwrap().is_observed());
}

#[test]
fn a_job_that_asked_for_32_gb_and_used_3_is_told_to_ask_for_4() {
    let report = analyse(&record(&Shape {
        memory_mib: |_, _| 1536,
        memory_limit_gib: Some(32),
        ..Shape::default()
    }));
    let advice = &report.advice[0];
    assert_eq!(
        advice.message,
        "Asked for 32.0 GiB of memory a node, used 3.00 GiB."
    );
    assert_eq!(advice.directive.as_deref(), Some("#SBATCH --mem=4G"));
    assert_eq!(advice.severity, Severity::Warning);
}

#[test]
fn memory_counts_what_ran_at_one_time() {
    // The ranks of a node peak at different times: 1000 + 100, never 2000.
    let report = analyse(&record(&Shape {
        memory_mib: |rank, second| {
            if (second < 30) == (rank % 2 == 0) {
                1000
            } else {
                100
            }
        },
        ..Shape::default()
    }));
    assert_eq!(report.ranks[0].peak_bytes, Some(1000 * MIB));
    // While rank 1 has not been read again after rank 0 fell, both stand at their last value.
    assert_eq!(report.memory.peak_bytes, Some(1100 * MIB));
}

#[test]
fn each_kind_of_waste_is_named_with_the_line_to_change() {
    let fitting = Shape {
        memory_mib: |_, _| 900,
        ..Shape::default()
    };
    for (shape, kind, directive) in [
        (
            Shape {
                busy: |rank, _| if rank == 0 { 0.97 } else { 0.0 },
                nodes: 1,
                ..fitting.clone()
            },
            "serial_code",
            Some("#SBATCH --ntasks=1 --cpus-per-task=1"),
        ),
        (
            Shape {
                busy: |rank, _| if rank < 2 { 1.0 } else { 0.0 },
                ..fitting.clone()
            },
            "idle_node",
            Some("#SBATCH --nodes=1"),
        ),
        (
            Shape {
                cpus_per_node: 8,
                ..fitting.clone()
            },
            "low_cpu",
            Some("#SBATCH --cpus-per-task=1"),
        ),
        (
            Shape {
                busy: |_, _| 0.75,
                ..fitting.clone()
            },
            "low_cpu",
            None,
        ),
        (
            Shape {
                memory_mib: |_, _| 1000,
                ..fitting.clone()
            },
            "high_memory",
            Some("#SBATCH --mem=3G"),
        ),
        (
            Shape {
                busy: |rank, _| if rank == 3 { 1.0 } else { 0.8 },
                ..fitting.clone()
            },
            "imbalance",
            None,
        ),
        (
            Shape {
                busy: |_, _| 0.4,
                read_mib: |_, _| 100,
                ..fitting.clone()
            },
            "io_bound",
            None,
        ),
    ] {
        let report = analyse(&record(&shape));
        let advice = report.advice.iter().find(|advice| advice.kind == kind);
        let advice = advice.unwrap_or_else(|| panic!("{kind} not in {:?}", kinds(&report)));
        assert_eq!(advice.directive.as_deref(), directive, "{kind}");
    }
}

#[test]
fn a_leak_is_named_with_its_rank_its_rate_and_the_time_that_is_left() {
    let leaking = Shape {
        elapsed_s: 600,
        memory_mib: |rank, second| match rank {
            // 1 MiB a second, below a temporary array of 100 each five.
            2 => 300 + u64::from(second) + if second % 5 == 0 { 100 } else { 0 },
            _ => 300,
        },
        ..Shape::default()
    };
    let report = analyse(&record(&leaking));
    let advice = report
        .advice
        .iter()
        .find(|advice| advice.kind == "memory_growth");
    let advice = advice.unwrap_or_else(|| panic!("{:?}", kinds(&report)));
    let growth = report.ranks[2].memory_growth.unwrap();
    let off = (growth.bytes_per_s - MIB as f64).abs();
    assert!(off <= growth.bound_bytes_per_s.max(1e4), "{growth:?}");
    assert!(
        advice.message.starts_with(
            "Step 0: the memory of rank 2 grew all the time, by 1022.1 KiB/s (± 3.11 KiB/s), to "
        ),
        "{}",
        advice.message
    );
    // 2048 MiB less the peak: 300 of rank 3, and 300 + 595 + 100 of this one.
    assert!(
        advice.action.ends_with("lasts 12 min 34 s more."),
        "{}",
        advice.action
    );
    assert!(report.ranks[0].memory_growth.is_none());
    for memory_mib in [
        // Too little to matter, and too little of much.
        (|_, second| 300 + u64::from(second / 60)) as fn(u32, u32) -> u64,
        |_, second| 900 + u64::from(second / 13),
    ] {
        let shape = Shape {
            memory_mib,
            ..leaking.clone()
        };
        let report = analyse(&record(&shape));
        assert!(!kinds(&report).contains(&"memory_growth"));
    }
}

#[test]
fn a_rank_that_is_always_busier_is_a_straggler_and_noise_is_none() {
    let shape = Shape {
        nodes: 1,
        ranks_per_node: 8,
        cpus_per_node: 8,
        busy: |rank, second| match rank {
            5 => 1.0,
            _ => 0.70 + 0.01 * f64::from((rank * 7 + second * 3) % 5),
        },
        ..Shape::default()
    };
    let straggler = analyse(&record(&shape));
    assert_eq!(straggler.steps[0].balance.as_ref().unwrap().stragglers, [5]);
    let even = Shape {
        busy: |rank, s| 0.7 + 0.01 * f64::from((rank * 7 + s * 3) % 5),
        ..shape
    };
    assert_eq!(
        analyse(&record(&even)).steps[0]
            .balance
            .as_ref()
            .unwrap()
            .stragglers,
        [0; 0]
    );
}

#[test]
fn a_short_steps_imbalance_is_not_worth_a_word() {
    let mut job = record(&Shape {
        busy: |rank, _| if rank == 3 { 1.0 } else { 0.5 },
        ..Shape::default()
    });
    assert!(kinds(&analyse(&job)).contains(&"imbalance"));
    // The same step, in a job of three hours.
    job.job.start_ns -= 3 * 3600 * 1_000_000_000;
    assert!(!kinds(&analyse(&job)).contains(&"imbalance"));
}

#[test]
fn a_short_job_gets_no_advice_on_its_use_but_failures_are_told() {
    let mut job = record(&Shape {
        elapsed_s: 4,
        busy: |_, _| 0.1,
        ..Shape::default()
    });
    job.nodes[1].tasks[1].status = Some(9);
    let report = analyse(&job);
    assert_eq!(kinds(&report), ["failed_ranks", "short_run"]);
    assert_eq!(
        report.advice[0].message,
        "1 of 4 ranks of step 0 failed (rank 3: signal 9)."
    );
}

#[test]
fn a_step_of_one_rank_that_failed_is_said_in_plain_words() {
    let mut job = record(&Shape {
        nodes: 1,
        ranks_per_node: 1,
        ..Shape::default()
    });
    job.nodes[0].tasks[0].status = Some(3 << 8);
    assert_eq!(analyse(&job).advice[0].message, "Step 0 failed (exit 3).");
    let batch = StepId::BATCH;
    job.nodes[0].steps[0].step = batch;
    job.nodes[0].tasks[0].step = batch;
    let advice = &analyse(&job).advice[0];
    assert_eq!(advice.message, "The batch script failed (exit 3).");
    assert_eq!(advice.action, "Read its output.");
}

#[test]
fn a_running_job_is_measured_up_to_its_last_reading() {
    let report = analyse(&record(&Shape {
        running: true,
        elapsed_s: 30,
        ..Shape::default()
    }));
    assert_eq!(report.job.state, "running");
    close(Some(report.job.elapsed_s), 30.0);
    close(report.cpu.efficiency, 1.0);
    assert_eq!(report.ranks[0].status, "running");
}

#[test]
fn a_record_without_readings_has_a_report() {
    let mut job = record(&Shape::default());
    job.missing_nodes = vec!["n2".to_owned()];
    job.nodes.pop();
    job.nodes[0].task_samples.clear();
    job.nodes[0].node_samples.clear();
    job.nodes[0].own_cost.clear();
    let report = analyse(&job);
    assert_eq!(report.cpu.used_s, None);
    assert_eq!(report.measurement.own_cpu_s, None);
    assert!(kinds(&report).contains(&"incomplete"));
    job.nodes.clear();
    assert_eq!(analyse(&job).cpu.allocated, None);
}

/// A job of 1000 s with this time limit.
fn of_1000_s(limit_s: u64) -> mizar_record::model::JobRecord {
    let mut job = record(&Shape {
        elapsed_s: 1000,
        memory_mib: |_, _| 900,
        ..Shape::default()
    });
    job.job.time_limit_s = Some(limit_s);
    job
}

#[test]
fn a_time_limit_far_beyond_the_need_is_told_with_a_shorter_one() {
    // jobstats: plain below 60 %, red up to 10 %, never below 900 s.
    for (limit_s, severity) in [
        (1600, None),
        (1700, Some(Severity::Note)),
        (9999, Some(Severity::Note)),
        (10_000, Some(Severity::Critical)),
    ] {
        let report = analyse(&of_1000_s(limit_s));
        let found = report
            .advice
            .iter()
            .find(|advice| advice.kind == "time_limit");
        assert_eq!(found.map(|advice| advice.severity), severity, "{limit_s}");
        if let Some(advice) = found {
            assert_eq!(advice.directive.as_deref(), Some("#SBATCH --time=00:20:00"));
        }
    }
    let mut short = record(&Shape {
        elapsed_s: 800,
        ..Shape::default()
    });
    short.job.time_limit_s = Some(86_400);
    assert!(!kinds(&analyse(&short)).contains(&"time_limit"));
}

#[test]
fn a_job_that_was_killed_at_its_limit_is_told_so() {
    let mut job = of_1000_s(1000);
    job.nodes[0].tasks[0].status = Some(9);
    let report = analyse(&job);
    let advice = report
        .advice
        .iter()
        .find(|advice| advice.kind == "timeout")
        .unwrap();
    assert_eq!(advice.severity, Severity::Critical);
    assert_eq!(advice.directive.as_deref(), Some("#SBATCH --time=00:25:00"));
    // One that failed early did not run into anything.
    job.job.time_limit_s = Some(5000);
    let kinds = kinds(&analyse(&job));
    assert!(
        !kinds.contains(&"timeout") && !kinds.contains(&"time_limit"),
        "{kinds:?}"
    );
}

#[test]
fn memory_is_not_asked_back_of_a_job_that_has_the_node_to_itself() {
    let wasteful = Shape {
        memory_limit_gib: Some(32),
        ..Shape::default()
    };
    let mut job = record(&wasteful);
    let report = analyse(&job);
    assert_eq!(report.nodes[0].node_cpus, Some(4));
    assert!(kinds(&report).contains(&"low_memory"));
    for sample in job.nodes.iter_mut().flat_map(|node| &mut node.node_samples) {
        sample.cpu_total_ns /= 2;
    }
    let report = analyse(&job);
    assert_eq!(
        (report.nodes[0].job_cpus, report.nodes[0].node_cpus),
        (Some(2), Some(2))
    );
    assert!(!kinds(&report).contains(&"low_memory"));
}

#[test]
fn the_bound_of_energy_follows_its_method() {
    let shape = Shape {
        watts: Some(100.0),
        nodes: 1,
        ..Shape::default()
    };
    let mut job = record(&shape);
    job.nodes[0].methods.energy_refresh_ms = Some(100);
    close(analyse(&job).energy.bound_joules, 100.0 * 0.1);
    // A steady sensor may still be wrong by its own error.
    job.nodes[0].methods.energy_refresh_ms = None;
    close(analyse(&job).energy.bound_joules, 0.05 * 59.0 * 100.0);
    for (index, sample) in job.nodes[0].node_samples.iter_mut().enumerate() {
        sample.power_watts = if index % 2 == 0 { 50.0 } else { 150.0 };
    }
    // 59 intervals of a second, in each of which power changes by 100 W.
    close(analyse(&job).energy.bound_joules, 59.0 * 0.5 * 100.0);
    let unmeasured = record(&Shape::default());
    assert_eq!(analyse(&unmeasured).energy.bound_joules, None);
}

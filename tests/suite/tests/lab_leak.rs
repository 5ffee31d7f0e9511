//! A program that leaks at a known rate, on a real Slurm: the report names rank, rate and bound.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::time::{Duration, Instant};

use mizar_lab::{Lab, MizarOptions, binary};
use serde_json::Value;

const JOB: Duration = Duration::from_secs(120);
const RECORD: Duration = Duration::from_secs(30);

/// What rank 1 keeps a second.
const RATE_MIB: f64 = 8.0;

/// Both ranks make and drop arrays of 8 MiB; rank 1 keeps 8 MiB a second besides, by the clock, so
/// that a loaded machine leaks no less.
const PROGRAM: &str = "\
import os, time
leaks = os.environ['SLURM_PROCID'] == '1'
MIB = 1 << 20
kept, begun = [], time.monotonic()
while (now := time.monotonic() - begun) < 24:
    temporary = b'x' * (8 * MIB)
    while leaks and len(kept) < now * 8:
        kept.append(b'x' * MIB)
    time.sleep(0.02)
    del temporary
    time.sleep(0.05)
";

#[test]
fn a_leak_is_told_with_its_rank_and_rate() {
    let options = MizarOptions::default()
        .key("sample_ms", "100")
        .key("flush_ms", "400");
    let builder = Lab::builder().nodes(1).cpus(2).mizar_with(options);
    let Some(lab) = builder.start_or_skip() else {
        return;
    };
    std::fs::write(lab.dir().join("leak.py"), PROGRAM).unwrap();
    let program = lab.dir().join("leak.py").display().to_string();
    let script = format!(
        "#!/bin/bash\n#SBATCH --mizar\n#SBATCH --ntasks=2\nsrun --mpi=none python3 {program}\n"
    );
    let job = lab.sbatch(&script, &[]).unwrap();
    assert_eq!(lab.wait_job(job, JOB).unwrap(), "COMPLETED");
    let folder = lab.record_dir().join(job.to_string());
    let begun = Instant::now();
    while !folder.join("prov.json").exists() {
        assert!(begun.elapsed() < RECORD, "the record was not merged");
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut command = lab.command(binary("mizar"));
    command.args(["report", "--json", "--record-dir"]);
    command.arg(lab.record_dir()).arg(job.to_string());
    let output = lab.run_output(command).unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();

    let ranks = report["ranks"].as_array().unwrap();
    let growth_of = |number: u64| {
        let is_it = |rank: &&Value| rank["step"] == "0" && rank["rank"] == number;
        ranks.iter().find(is_it).unwrap()["memory_growth"].clone()
    };
    let growth = growth_of(1);
    let mib = |name: &str| growth[name].as_f64().unwrap_or(f64::NAN) / f64::from(1 << 20);
    let (rate, bound) = (mib("bytes_per_s"), mib("bound_bytes_per_s"));
    let memory = |number: u64| {
        let is_it = |rank: &&Value| rank["step"] == "0" && rank["rank"] == number;
        ranks.iter().find(is_it).unwrap()["memory"].to_string()
    };
    assert!((rate - RATE_MIB).abs() <= bound, "{growth:#} {}", memory(1));
    assert!(bound < RATE_MIB / 5.0, "{growth:#}");
    assert_eq!(growth_of(0), Value::Null, "rank 0 gives back what it takes");
    let advice = report["advice"].as_array().unwrap();
    let told = advice.iter().find(|piece| piece["kind"] == "memory_growth");
    let told = told.unwrap_or_else(|| panic!("{advice:#?}"));
    let message = told["message"].as_str().unwrap();
    assert!(
        message.starts_with("Step 0: the memory of rank 1 grew all the time, by "),
        "{message}"
    );
    lab.stop();
}

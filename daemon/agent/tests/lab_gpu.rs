//! GPUs under a real Slurm with the real plugin: which of a node's GPUs a job gets, told by
//! Slurm, found by `mizard` over the double of NVML. Replayed, not hardware.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::{Duration, Instant};

use mizar_lab::{Lab, MizarOptions};
use mizar_record::reader::read_job;

/// Anything in a lab, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Four GPUs, the same on each node, whose UUIDs end in the numbers of their device nodes.
fn script() -> String {
    (0..4)
        .map(|gpu| {
            format!(
                "[[gpu]]\nuuid = \"GPU-{gpu}\"\nminor = {gpu}\nbusy = [[0, 0.5]]\n\
                 power_w = [[0, 100]]\ncounter = {{}}\n"
            )
        })
        .collect()
}

#[test]
fn jobs_side_by_side_get_the_gpus_that_slurm_gave_them() {
    let folder = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let library =
        mizar_gpu_trace::place(folder.path(), "libmizar_fake_nvml.so", &script()).unwrap();
    let options = MizarOptions::default()
        .key("sample_ms", "200")
        .key("flush_ms", "500")
        .key("nvml_library", &format!("{library:?}"));
    let lab = Lab::builder().nodes(1).cpus(8).gpus(4).mizar_with(options);
    let Some(lab) = lab.start_or_skip() else {
        return;
    };
    // At once on one node: each has what the others have not, and one has none.
    let script = "#!/bin/sh\nsrun --mizar sh -c 'echo gpus=$CUDA_VISIBLE_DEVICES; sleep 4'\n";
    let submit = |gpus: &str| lab.sbatch(script, &["-n1", "--mizar", gpus]).unwrap();
    let jobs = [submit("--gres=gpu:1"), submit("--gres=gpu:2")];
    let none = submit("--comment=none");
    for job in jobs.iter().chain([&none]) {
        lab.wait_job(*job, PATIENCE).unwrap();
    }
    let gpus = |job: &dyn std::fmt::Display| -> Vec<String> {
        let folder = lab.record_dir().join(job.to_string());
        let deadline = Instant::now() + PATIENCE;
        while !folder.join("prov.json").exists() {
            assert!(
                Instant::now() < deadline,
                "the record of {job} is not finished"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        let record = read_job(&folder).unwrap();
        let node = &record.nodes[0];
        let seen: Vec<_> = node.tasks.iter().map(|task| &task.visible_gpus).collect();
        println!("job {job}: {seen:?} -> {:?}", node.gpus);
        for gpu in &node.gpus {
            let rows = node.gpu_samples.iter().filter(|row| row.gpu == gpu.gpu);
            assert!(rows.count() > 5, "{gpu:?} was hardly read");
        }
        node.gpus.iter().map(|gpu| gpu.uuid.clone()).collect()
    };
    let (first, second) = (gpus(&jobs[0]), gpus(&jobs[1]));
    assert_eq!((first.len(), second.len()), (1, 2), "{first:?} {second:?}");
    assert!(!second.contains(&first[0]), "{first:?} {second:?}");
    assert_eq!(gpus(&none), [] as [&str; 0]);
}

//! `--mizar=comm` under a real Slurm: the option alone, unchanged programs, both ways to start
//! ranks.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::path::Path;
use std::time::Duration;

use mizar_lab::{Lab, MizarOptions};
use mizar_record::model::{JobRecord, NodeRecord};
use mizar_record::reader::read_job;
use support::{open_mpi, until};

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a script over two nodes to its end; its record, once it is merged.
fn record_of(lab: &Lab, script: &str) -> JobRecord {
    let job = lab.sbatch(script, &["-N2", "-n2", "--mizar=comm"]).unwrap();
    lab.wait_job(job, PATIENCE).unwrap();
    let folder = lab.record_dir().join(job.to_string());
    until("the record is merged", || {
        folder.join("job.h5").exists().then_some(())
    });
    read_job(&folder).unwrap()
}

fn marks(node: &NodeRecord) -> Vec<(u32, u32)> {
    let step = node.mark_samples.iter().filter(|row| row.step == 0);
    step.map(|row| (row.rank, row.kind)).collect()
}

#[test]
fn unchanged_programs_are_counted_with_the_option_alone() {
    let Some(mpi) = open_mpi() else { return };
    let options = MizarOptions::default()
        .key("sample_ms", "200")
        .key("flush_ms", "500");
    let lab = Lab::builder().nodes(2).cpus(4).mizar_with(options);
    let Some(lab) = lab.start_or_skip() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    // Tasks of srun: each on its node, by Slurm's rank.
    let own = |path: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let script = format!(
        "#!/bin/sh\nexport PYTHONPATH={} PYTHONDONTWRITEBYTECODE=1\n\
         srun --mpi=none python3 {}\n",
        own("python").display(),
        own("tests/programs/marks.py").display(),
    );
    let record = record_of(&lab, &script);
    for (rank, node) in (0..).zip(&record.nodes) {
        let found = marks(node);
        assert_eq!(found.len(), 12, "{}: {found:?}", node.node);
        assert!(found.iter().all(|mark| mark.0 == rank), "{found:?}");
        assert!(
            node.methods.communication.contains("preloaded"),
            "{:?}",
            node.methods
        );
    }
    // Ranks of mpirun: by MPI's own.
    let program = mpi.compile("counts.c", folder.path());
    let script = format!(
        "#!/bin/sh\n{} -n 2 {} {}\n",
        mpi.run.join(" "),
        program.display(),
        folder.path().join("written").display(),
    );
    let record = record_of(&lab, &script);
    let rows = record.nodes.iter().flat_map(|node| &node.split_samples);
    let ranks: Vec<u32> = rows.map(|row| row.rank).collect();
    assert!(ranks.contains(&0) && ranks.contains(&1), "{ranks:?}");
    for rank in [0, 1] {
        let found = support::calls(&record, rank, "MPI_Allreduce");
        assert_eq!(found.map(|found| (found.0, found.1)), Some((11, 264)));
    }
}

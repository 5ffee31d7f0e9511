//! Submits every shipped example to a real Slurm with the plugin loaded, which checks its
//! options, `--mizar` among them, without running it.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::fs;
use std::path::Path;

use mizar_lab::{Lab, plugin_path};

#[test]
fn slurm_accepts_every_example() {
    let plugstack = format!("required {}\n", plugin_path().display());
    let builder = Lab::builder().nodes(2).gpus(4).plugstack(plugstack);
    let Some(lab) = builder.start_or_skip() else {
        return;
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_none_or(|extension| extension != "sbatch")
        {
            continue;
        }
        seen += 1;
        let mut sbatch = lab.command("sbatch");
        sbatch.arg("--test-only").arg(&path);
        let output = lab.run_output(sbatch).unwrap();
        let answer = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {answer}", path.display());
    }
    assert!(seen >= 3, "only {seen} examples");
}

//! What sbatch says, what it is asked, and what a job leaves.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::*;

fn finished(code: Option<i32>, stdout: &str, stderr: &str) -> Finished {
    Finished {
        status: code.map(|code| ExitStatus::from_raw(code << 8)),
        complete: true,
        stdout: stdout.to_owned(),
        stderr: stderr.to_owned(),
    }
}

#[test]
fn outcomes_are_told_apart() {
    use SubmitOutcome::*;
    let kind = |outcome: &SubmitOutcome| std::mem::discriminant(outcome);
    let table = [
        (finished(Some(0), "42\n", ""), Submitted(JobId(42))),
        (
            finished(Some(0), "42;east\n", "Welcome to the site!\n"),
            Submitted(JobId(42)),
        ),
        (
            finished(Some(0), "hello\n42\n\n", "sbatch: error: harmless\n"),
            Submitted(JobId(42)),
        ),
        (
            finished(Some(0), "Submitted batch job\n", ""),
            Unknown(String::new()),
        ),
        (finished(None, "", ""), Unknown(String::new())),
        (
            finished(
                Some(1),
                "42\n",
                "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n",
            ),
            Unknown(String::new()),
        ),
        (
            finished(
                Some(1),
                "",
                "sbatch: error: Batch job submission failed: Unable to contact slurm controller (receive failure)\n",
            ),
            Unknown(String::new()),
        ),
        (
            finished(
                Some(1),
                "",
                "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)\n",
            ),
            Unavailable(String::new()),
        ),
        (
            finished(
                Some(1),
                "",
                "sbatch: error: invalid partition specified: nope\nsbatch: error: Batch job submission failed: Invalid partition name specified\n",
            ),
            Refused(String::new()),
        ),
        (
            finished(
                Some(1),
                "",
                "sbatch: error: Batch job submission failed: Requested node configuration is not available\n",
            ),
            Refused(String::new()),
        ),
        (
            finished(
                Some(255),
                "",
                "sbatch: unrecognized option '--bad=x'\nTry \"sbatch --help\" for more information\n",
            ),
            Refused(String::new()),
        ),
        (
            finished(Some(1), "", "sbatch: error: Unable to open file /nosuch\n"),
            Refused(String::new()),
        ),
    ];
    for (done, expected) in table {
        let found = read_submission(&done);
        assert_eq!(kind(&found), kind(&expected), "{done:?} gave {found:?}");
        if let Submitted(_) = expected {
            assert_eq!(found, expected);
        }
    }
}

#[test]
fn the_script_ends_the_options() {
    let request = SubmitRequest {
        marker: Marker::new("svc", "0123456789abcdef0123456789abcdef", 0).unwrap(),
        script: "/opt/run.sh".into(),
        arguments: vec!["--wrap=x".into(), "a b;$(c)".into()],
        options: vec![
            ("nodes".into(), "2".into()),
            ("mizar".into(), String::new()),
        ],
        directory: "/data/e".into(),
        environment: vec![],
        user: None,
        tasks: Vec::new(),
    };
    let arguments = submit_arguments(&request);
    let script = arguments.iter().position(|a| a == "/opt/run.sh").unwrap();
    assert_eq!(arguments[script + 1..], ["--wrap=x", "a b;$(c)"]);
    assert!(arguments[..script].contains(&"--nodes=2".to_owned()));
    assert!(arguments[..script].contains(&"--mizar".to_owned()));
    assert!(arguments.contains(&"--output=/data/e/slurm-%j.out".to_owned()));
    let array = submit_arguments(&SubmitRequest {
        tasks: vec![0, 1, 2, 5],
        ..request
    });
    assert!(array[..script + 1].contains(&"--array=0-2,5".to_owned()));
    assert!(array.contains(&"--output=/data/e/%a/slurm-%j.out".to_owned()));
}

#[test]
fn output_files_prove_a_start() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "slurm-7.out",
        "slurm-x.out",
        "slurm-9.out.bak",
        "event.json",
        "slurm-3.out",
    ] {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    assert_eq!(started_jobs(folder.path()).unwrap(), [JobId(3), JobId(7)]);
    assert_eq!(started_jobs(&folder.path().join("none")).unwrap(), []);
}

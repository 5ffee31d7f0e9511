//! The script of an array, run by a shell.

use std::process::Command;

use super::*;

const HASH: &str = "0123456789abcdef0123456789abcdef";

fn task(folder: &Path, index: u32, arguments: &[&str]) -> Task {
    Task {
        index,
        marker: Marker::new("svc", HASH, index).unwrap(),
        folder: folder.join(format!("events/{index}")),
        document: format!("{{\"id\":{index}}}"),
        arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
    }
}

#[test]
fn each_task_runs_the_script_as_it_would_alone() {
    let folder = tempfile::tempdir().unwrap();
    // A folder's name may hold anything.
    let root = folder.path().join("a 'b' $(c)");
    std::fs::create_dir(&root).unwrap();
    let script = root.join("job.sh");
    let text = "#!/bin/sh\n# a note\n#SBATCH --time=5\n\n#SBATCH -N1\nprintf '%s|' \"$#\" \"$@\"\npwd -P\n\
         cat \"$MIZAR_EVENT_FILE\"; echo \" $MIZAR_MARKER $SLURM_SUBMIT_DIR\"\nexit $1\n#SBATCH --array=1\n";
    std::fs::write(&script, text).unwrap();
    let tasks = [
        task(&root, 0, &["0", "a b; $(touch pwned) `id` \"'\\", "*"]),
        task(&root, 1, &["7"]),
        task(&root, 5, &[]),
    ];
    let base = root.join("array");
    let folders = folders(&base, &script, &tasks).unwrap();
    mizar_slurm::jobfile::make_all(&folders, mizar_slurm::jobfile::Modes::OWNER).unwrap();
    std::fs::write(&script, "#!/bin/sh\necho changed since\n").unwrap();
    let batch = std::fs::read_to_string(base.join(BATCH)).unwrap();
    assert!(
        batch.starts_with("#!/bin/sh\n# a note\n#SBATCH --time=5\n\n#SBATCH -N1\n# A task"),
        "{batch}"
    );
    let run = |index: &str| {
        let done = Command::new(base.join(BATCH))
            .env("SLURM_ARRAY_TASK_ID", index)
            .output()
            .unwrap();
        let text = String::from_utf8(done.stdout).unwrap();
        (done.status.code().unwrap(), text)
    };
    for (task, code, arguments) in [
        (&tasks[0], 0, "3|0|a b; $(touch pwned) `id` \"'\\|*|"),
        (&tasks[1], 7, "1|7|"),
    ] {
        let own = task.folder.canonicalize().unwrap();
        let expected = format!(
            "{arguments}{}\n{} {} {}\n",
            own.display(),
            task.document,
            task.marker,
            task.folder.display()
        );
        assert_eq!(run(&task.index.to_string()), (code, expected));
        assert_eq!(
            base.join(task.index.to_string()).canonicalize().unwrap(),
            own
        );
        assert!(!task.folder.join("pwned").exists());
    }
    assert!(run("5").1.starts_with("0|"), "no arguments are none");
    assert_eq!(run("2"), (1, String::new()));
}

#[test]
fn what_cannot_be_an_array_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("job.sh");
    let tasks = [task(folder.path(), 0, &[])];
    for (text, part) in [
        ("echo\n", "no `#!`"),
        ("#!/bin/sh\n#SBATCH --array=1-3\necho\n", "array of its own"),
        ("#!/bin/sh\n#SBATCH -t 5 -a 1-3\necho\n", "array of its own"),
        ("#!/bin/sh\n#SBATCH -a1-3\necho\n", "array of its own"),
        ("#!/bin/sh\n#SBATCH hetjob\necho\n", "array of its own"),
        ("#!/bin/sh\n# no command", "no commands"),
    ] {
        std::fs::write(&script, text).unwrap();
        let error = folders(folder.path(), &script, &tasks).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
    std::fs::write(&script, "#!/bin/sh\n#SBATCH --account=a\necho\n").unwrap();
    assert!(folders(folder.path(), &script, &tasks).is_ok());
    let long = "x".repeat(2 << 20);
    let error = folders(folder.path(), &script, &[task(folder.path(), 0, &[&long])]);
    assert!(error.unwrap_err().contains("arguments"));
    let error = folders(folder.path(), &folder.path().join("none"), &tasks);
    assert!(error.unwrap_err().contains("cannot read"));
}

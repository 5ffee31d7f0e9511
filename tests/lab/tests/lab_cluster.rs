//! The lab itself, against the real Slurm of this machine.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use mizar_lab::{Lab, LabError, Signal};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const JOB: Duration = Duration::from_secs(60);
const NOBODY: u32 = 65_534;

fn text(lab: &Lab, program: &str, arguments: &[&str]) -> String {
    let mut command = lab.command(program);
    command.args(arguments);
    let output = lab
        .run_output(command)
        .unwrap_or_else(|error| panic!("{error}"));
    String::from_utf8(output.stdout).unwrap()
}

fn sorted_lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// The processes whose environment, command line or working directory names `dir`.
fn processes_of(dir: &Path) -> Vec<String> {
    let needle = dir.as_os_str().as_encoded_bytes();
    let names = |path: PathBuf| {
        std::fs::read(path)
            .is_ok_and(|bytes| bytes.windows(needle.len()).any(|part| part == needle))
    };
    let works_in =
        |path: &Path| std::fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir));
    let entries = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    entries
        .filter(|path| names(path.join("environ")) || names(path.join("cmdline")) || works_in(path))
        .map(|path| std::fs::read_to_string(path.join("status")).unwrap_or_default())
        .filter(|status| !status.is_empty() && !status.contains("(zombie)"))
        .map(|status| status.lines().next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn two_nodes_are_told_apart_and_run_batch_jobs() {
    let Some(lab) = Lab::builder().nodes(2).start_or_skip() else {
        return;
    };
    if lab.has_namespaces() {
        assert_eq!(
            sorted_lines(&text(&lab, "srun", &["-N2", "hostname"])),
            ["n1", "n2"]
        );
    }
    let names = text(&lab, "srun", &["-N2", "printenv", "SLURMD_NODENAME"]);
    assert_eq!(sorted_lines(&names), ["n1", "n2"]);
    let job = lab
        .sbatch("#!/bin/sh\nsrun -l echo hello\n", &["-N2"])
        .unwrap();
    assert_eq!(lab.wait_job(job, JOB).unwrap(), "COMPLETED");
    assert_eq!(
        sorted_lines(&lab.job_output(job).unwrap()),
        ["0: hello", "1: hello"]
    );
    let job = lab.sbatch("#!/bin/sh\nexit 3\n", &[]).unwrap();
    assert_eq!(lab.wait_job(job, JOB).unwrap(), "FAILED");
    assert_eq!(lab.job_field(job, "ExitCode").unwrap(), "3:0");
    lab.wait_idle(JOB).unwrap();
    let error = lab
        .sbatch("#!/bin/sh\n", &["--partition=none"])
        .unwrap_err()
        .to_string();
    assert!(error.contains("invalid partition"), "{error}");
}

#[test]
fn srun_starts_mpi_programs_over_two_nodes() {
    let Some(lab) = Lab::builder().nodes(2).start_or_skip() else {
        return;
    };
    if Command::new("mpicc").arg("--version").output().is_err() {
        println!("SKIP: mpicc is not installed (libopenmpi-dev)");
        return;
    }
    let source = "#include <mpi.h>\n#include <stdio.h>\n\
        int main(int c, char **v) { int r, n, sum; MPI_Init(&c, &v);\n\
        MPI_Comm_rank(MPI_COMM_WORLD, &r); MPI_Comm_size(MPI_COMM_WORLD, &n);\n\
        MPI_Allreduce(&r, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);\n\
        printf(\"rank %d of %d sum %d\\n\", r, n, sum); MPI_Finalize(); return 0; }\n";
    let (code, program) = (lab.dir().join("out/hello.c"), lab.dir().join("out/hello"));
    std::fs::write(&code, source).unwrap();
    let mut compile = Command::new("mpicc");
    compile.arg(&code).arg("-o").arg(&program);
    lab.run_output(compile).unwrap();
    let output = text(
        &lab,
        "srun",
        &["--mpi=pmix", "-N2", "-n4", program.to_str().unwrap()],
    );
    let expected: Vec<String> = (0..4)
        .map(|rank| format!("rank {rank} of 4 sum 6"))
        .collect();
    assert_eq!(sorted_lines(&output), expected);
}

#[test]
fn gpus_are_handed_out() {
    let Some(lab) = Lab::builder().gpus(2).start_or_skip() else {
        return;
    };
    let devices = |gres: &str| text(&lab, "srun", &[gres, "printenv", "CUDA_VISIBLE_DEVICES"]);
    assert_eq!(devices("--gres=gpu:2").trim(), "0,1");
    assert_eq!(devices("--gres=gpu:1").trim().len(), 1);
}

#[test]
fn labs_run_side_by_side() {
    let Some(first) = Lab::builder().start_or_skip() else {
        return;
    };
    let Some(second) = Lab::builder().start_or_skip() else {
        return;
    };
    for lab in [&first, &second] {
        let conf = text(lab, "srun", &["printenv", "SLURM_CONF"]);
        assert_eq!(Path::new(conf.trim()), lab.dir().join("etc/slurm.conf"));
    }
}

#[test]
fn jobs_are_accounted_for() {
    let Some(lab) = Lab::builder().slurmdbd(true).start_or_skip() else {
        return;
    };
    let job = lab.sbatch("#!/bin/sh\n", &["--comment=told"]).unwrap();
    assert_eq!(lab.wait_job(job, JOB).unwrap(), "COMPLETED");
    let (start, job) = (Instant::now(), job.to_string());
    loop {
        let found = text(
            &lab,
            "sacct",
            &["-nPX", "-j", &job, "-o", "JobID,State,Comment"],
        );
        if found.trim() == format!("{job}|COMPLETED|told") {
            return;
        }
        assert!(start.elapsed() < JOB, "sacct says {found:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn processes_run_inside_nodes_and_die_with_them() {
    let Some(mut lab) = Lab::builder().start_or_skip() else {
        return;
    };
    if !lab.has_namespaces() {
        println!("SKIP: nodes of their own need root");
        return;
    }
    let mut hostname = Command::new("sh");
    hostname
        .args(["-c", "hostname; echo $$; pwd"])
        .current_dir(lab.dir());
    let output = lab.run_on_node("n1", hostname).unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let mut lines = output.lines();
    assert_eq!(lines.next(), Some("n1"));
    let pid: u32 = lines.next().unwrap().parse().unwrap();
    assert!(pid < 1000, "{pid} is not of a PID namespace");
    assert_eq!(lines.next().map(Path::new), Some(lab.dir()));

    let sleep = |seconds: &str| {
        let mut command = Command::new("sleep");
        command.arg(seconds);
        command
    };
    let mut short = lab.spawn_on_node("n1", sleep("1000")).unwrap();
    let name = std::fs::read_to_string(format!("/proc/{}/comm", short.pid())).unwrap();
    assert_eq!(name.trim(), "sleep");
    short.signal(Signal::SIGKILL);
    assert_eq!(short.wait(JOB).unwrap().code(), Some(128 + 9));

    let mut long = lab.spawn_on_node("n1", sleep("1001")).unwrap();
    lab.kill_node("n1").unwrap();
    assert!(!long.wait(JOB).unwrap().success());
    lab.start_node("n1").unwrap();
    assert_eq!(text(&lab, "srun", &["echo", "back"]).trim(), "back");
    assert!(matches!(
        lab.kill_node("n9"),
        Err(LabError::UnknownNode { .. })
    ));
}

#[test]
fn other_users_run_jobs_too() {
    let Some(lab) = Lab::builder().start_or_skip() else {
        return;
    };
    if !nix::unistd::geteuid().is_root() {
        println!("SKIP: root, to run jobs of another user");
        return;
    }
    let mut id = lab.command("srun");
    id.args(["id", "-u"])
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/");
    let output = lab.run_output(id).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap().trim(),
        NOBODY.to_string()
    );
}

#[test]
fn slurmctld_comes_back_with_its_jobs() {
    let Some(mut lab) = Lab::builder().start_or_skip() else {
        return;
    };
    let job = lab
        .sbatch("#!/bin/sh\nsleep 3\n", &["--job-name=remembered"])
        .unwrap();
    let state = lab.dir().join("state/job_state");
    let saved = || {
        let bytes = std::fs::read(&state).unwrap_or_default();
        bytes.windows(10).any(|part| part == b"remembered")
    };
    let start = Instant::now();
    while !saved() {
        assert!(start.elapsed() < JOB, "slurmctld does not save its state");
        std::thread::sleep(Duration::from_millis(50));
    }
    println!(
        "slurmctld saved the job after {:.1} s",
        start.elapsed().as_secs_f64()
    );
    let before = lab.slurmctld_pid();
    lab.kill_slurmctld();
    lab.start_slurmctld().unwrap();
    assert_ne!(lab.slurmctld_pid(), before);
    assert_eq!(lab.wait_job(job, JOB).unwrap(), "COMPLETED");
}

#[test]
fn stopping_is_quick_and_complete() {
    let Some(lab) = Lab::builder().nodes(2).start_or_skip() else {
        return;
    };
    let dir = lab.dir().to_owned();
    let script = "#!/bin/sh\nsetsid sleep 997 &\nprintf started\nsleep 996\n";
    let job = lab.sbatch(script, &["-N2"]).unwrap();
    let start = Instant::now();
    while lab.job_output(job).unwrap_or_default() != "started" {
        assert!(
            start.elapsed() < JOB,
            "{}",
            lab.job_field(job, "JobState").unwrap()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let start = Instant::now();
    lab.stop();
    let seconds = start.elapsed().as_secs_f64();
    println!("the lab stopped in {seconds:.1} s");
    assert!(seconds < 5.0, "{seconds} s");
    assert!(!dir.exists());
    assert_eq!(processes_of(&dir), [""; 0]);
}

/// Without namespaces the guard has to find the job's processes; here it must.
#[test]
fn an_ordinary_user_has_a_lab_that_ends_as_well() {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIP: root, to become an ordinary user; the other tests just ran as one");
        return;
    }
    if Lab::builder().start_or_skip().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let test = folder.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &test).unwrap();
    let status = Command::new(&test)
        .args(["stopping_is_quick_and_complete", "--exact", "--nocapture"])
        .uid(NOBODY)
        .gid(NOBODY)
        .env("TMPDIR", "/tmp")
        .current_dir("/")
        .status();
    assert!(status.unwrap().success());
}

/// A second process owns the lab and is killed; nothing of the lab may stay.
#[test]
fn nothing_outlives_a_killed_owner() {
    const OWNER: &str = "MIZAR_LAB_TEST_OWNER";
    if let Some(report) = std::env::var_os(OWNER) {
        let lab = Lab::builder().nodes(2).start().unwrap();
        lab.sbatch("#!/bin/sh\nsleep 995\n", &["-N2"]).unwrap();
        let fresh = Path::new(&report).with_extension("new");
        std::fs::write(&fresh, lab.dir().to_str().unwrap()).unwrap();
        std::fs::rename(fresh, report).unwrap();
        std::thread::sleep(Duration::from_secs(600));
        return;
    }
    if Lab::builder().start_or_skip().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("dir");
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["nothing_outlives_a_killed_owner", "--exact"])
        .env(OWNER, &report)
        .spawn()
        .unwrap();
    let start = Instant::now();
    while !report.exists() {
        assert!(start.elapsed() < JOB && owner.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(50));
    }
    let dir = PathBuf::from(std::fs::read_to_string(&report).unwrap());
    assert!(!processes_of(&dir).is_empty());
    owner.kill().unwrap();
    owner.wait().unwrap();
    let start = Instant::now();
    let left = || (processes_of(&dir), dir.exists());
    while left() != (Vec::new(), false) {
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "left: {:?}",
            left()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    println!(
        "nothing is left after {:.1} s",
        start.elapsed().as_secs_f64()
    );
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains(dir.to_str().unwrap()), "{mounts}");
}

#[test]
fn missing_programs_are_named_with_their_packages() {
    let error = Lab::builder()
        .search_path(Vec::new())
        .slurmdbd(true)
        .start()
        .unwrap_err();
    assert!(error.is_missing_requirement());
    let text = error.to_string();
    for word in [
        "slurmctld",
        "apt-get install",
        "munge",
        "slurm-client",
        "mariadb-server",
    ] {
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn directories_are_not_shared_nor_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.tex"), "years of work").unwrap();
    let refused = |result| match result {
        Err(LabError::MissingPrograms { .. }) => println!("SKIP: Slurm is not installed"),
        Err(LabError::NotALab { .. } | LabError::InUse { .. }) => {}
        other => panic!("{other:?}"),
    };
    refused(Lab::builder().dir(folder.path()).start());
    let own = folder.path().join("lab");
    let Some(lab) = Lab::builder().dir(&own).start_or_skip() else {
        return;
    };
    refused(Lab::builder().dir(&own).start());
    lab.stop();
    assert!(own.join("log/slurmctld.log").exists());
    assert_eq!(processes_of(&own), [""; 0]);
}

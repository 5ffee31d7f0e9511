//! One step on one node, by the facts that Slurm would tell.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use super::*;

const WATCHED: Settings = Settings {
    enabled: true,
    require: false,
    sample_ms: None,
    comm: true,
};

#[test]
fn the_library_comes_before_the_users_own_and_once() {
    let ours = "/opt/libmizar_comm.so";
    for (theirs, expected) in [
        (None, Some("/opt/libmizar_comm.so")),
        (Some(""), Some("/opt/libmizar_comm.so")),
        (Some("/a.so"), Some("/opt/libmizar_comm.so:/a.so")),
        (
            Some("/a.so /b.so"),
            Some("/opt/libmizar_comm.so:/a.so /b.so"),
        ),
        (Some("/a.so:/opt/libmizar_comm.so"), None),
        (Some("/opt/libmizar_comm.so /a.so"), None),
    ] {
        assert_eq!(preload(ours, theirs).as_deref(), expected, "{theirs:?}");
    }
}

fn facts(step: StepId, program: &str) -> Facts {
    Facts {
        job: JobId(7),
        step,
        array: None,
        restart_count: 0,
        uid: 1000,
        gid: 1000,
        hostname: "login".to_owned(),
        node_index: 1,
        node_count: 2,
        task_count: 3,
        local_ranks: vec![1],
        cpus: Some(4),
        memory_mib: None,
        command: vec![program.to_owned()],
        cwd: PathBuf::from("/home/u"),
    }
}

fn slurm(more: &[(&'static str, &str)]) -> HashMap<&'static str, String> {
    let mut variables = HashMap::from([
        ("SLURM_JOB_NODELIST", "n[1-4]".to_owned()),
        ("SLURM_STEP_NODELIST", "n[2-3]".to_owned()),
        ("SLURM_STEP_TASKS_PER_NODE", "2,1".to_owned()),
    ]);
    variables.extend(
        more.iter()
            .map(|(name, value)| (*name, (*value).to_owned())),
    );
    variables
}

/// All that the only task here gets, and the problem.
fn environment(
    facts: &Facts,
    variables: &HashMap<&'static str, String>,
) -> (HashMap<&'static str, String>, Option<String>) {
    let lookup = |name: &str| variables.get(name).cloned();
    let (environment, problem) = facts.environment(Path::new("/run/m.sock"), &lookup);
    let tasks = environment.tasks.into_iter().flatten();
    (
        environment.common.into_iter().chain(tasks).collect(),
        problem,
    )
}

#[test]
fn a_rank_gets_the_whole_rendezvous_of_its_step() {
    let (set, problem) = environment(&facts(StepId(0), "python"), &slurm(&[]));
    assert_eq!(problem, None);
    for (name, value) in [
        ("MASTER_ADDR", "n2"),
        ("WORLD_SIZE", "3"),
        ("RANK", "1"),
        ("LOCAL_RANK", "0"),
        ("LOCAL_WORLD_SIZE", "1"),
        ("HOROVOD_HOSTNAME", "n3"),
        ("MIZAR_SOCKET", "/run/m.sock"),
        ("MIZAR_JOB_ID", "7"),
        ("MIZAR_STEP_ID", "0"),
    ] {
        assert_eq!(set[name], value, "{name}");
    }
}

#[test]
fn the_users_variables_stay_and_those_of_an_outer_step_do_not() {
    let user = [("MASTER_PORT", "29500"), ("RANK", "5")];
    let (set, _) = environment(&facts(StepId(0), "python"), &slurm(&user));
    assert!(!set.contains_key("MASTER_PORT") && !set.contains_key("RANK"));
    assert_eq!(set["MASTER_ADDR"], "n2");
    assert!(!set[MARK].contains("29500"));

    let outer = [
        ("MASTER_ADDR", "n1"),
        ("RANK", "0"),
        (MARK, "MASTER_ADDR=n1,RANK=0"),
    ];
    let (set, _) = environment(&facts(StepId(0), "python"), &slurm(&outer));
    assert_eq!(
        (set["MASTER_ADDR"].as_str(), set["RANK"].as_str()),
        ("n2", "1")
    );
}

#[test]
fn a_batch_script_gets_the_meeting_place_but_no_rank() {
    let script = Facts {
        node_index: 0,
        ..facts(StepId::BATCH, "/spool/slurm_script")
    };
    let (set, problem) = environment(&script, &slurm(&[]));
    assert_eq!(problem, None);
    assert_eq!(
        (set["MASTER_ADDR"].as_str(), set["MIZAR_STEP_ID"].as_str()),
        ("n1", "batch")
    );
    for name in ["RANK", "WORLD_SIZE", "LOCAL_RANK", "HOROVOD_RANK"] {
        assert!(
            !set.contains_key(name),
            "{name} would reach the ranks of mpirun"
        );
    }
}

#[test]
fn the_daemons_of_mpirun_get_no_rendezvous() {
    for program in LAUNCHERS.map(|name| format!("/opt/mpi/bin/{name}")) {
        let (set, problem) = environment(&facts(StepId(0), &program), &slurm(&[]));
        assert_eq!(problem, None);
        assert!(
            !set.contains_key("RANK") && !set.contains_key("MASTER_ADDR"),
            "{program}"
        );
        assert_eq!(set["MIZAR_SOCKET"], "/run/m.sock");
    }
}

#[test]
fn a_layout_that_contradicts_slurm_sets_no_rendezvous_and_says_so() {
    for wrong in [
        ("SLURM_STEP_NODELIST", "n[1-999999999]"),
        ("SLURM_STEP_NODELIST", "n2"),
        ("SLURM_STEP_TASKS_PER_NODE", "1,2"),
        ("SLURM_STEP_TASKS_PER_NODE", "3"),
        ("SLURM_STEP_TASKS_PER_NODE", "(null)"),
    ] {
        let (set, problem) = environment(&facts(StepId(0), "python"), &slurm(&[wrong]));
        assert!(problem.is_some() && !set.contains_key("RANK"), "{wrong:?}");
        assert_eq!(set["MIZAR_JOB_ID"], "7");
    }
}

#[test]
fn a_small_step_of_a_large_job_reports_the_cpus_of_the_job() {
    let small = facts(StepId(1), "python");
    for (cpus_per_node, expected) in [
        ("8(x2),16,8", Some(16)),
        ("8(x2)", Some(4)),
        ("1(x4)", Some(4)),
        ("x", Some(4)),
    ] {
        let variables = slurm(&[("SLURM_JOB_CPUS_PER_NODE", cpus_per_node)]);
        let cpus = small.job_cpus(&|name| variables.get(name).cloned());
        assert_eq!(cpus, expected, "{cpus_per_node}");
    }
}

#[test]
fn a_command_line_of_megabytes_does_not_outgrow_the_message() {
    let mut facts = facts(StepId(0), "ls");
    facts
        .command
        .extend(std::iter::repeat_n("x".repeat(1024), 4096));
    let registration = facts.registration(WATCHED, &|_| None);
    assert!(serde_json::to_vec(&registration).unwrap().len() < 2 * MAX_COMMAND_BYTES);
    assert_eq!(registration.command.first().map(String::as_str), Some("ls"));
    assert_eq!(registration.command.last().map(String::as_str), Some("…"));
}

#[test]
fn the_daemon_hears_of_a_step_once_all_tasks_are_forked() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("none.sock");
    let two = Facts {
        local_ranks: vec![0, 1],
        ..facts(StepId(0), "python")
    };
    let daemon = Daemon::new(socket, Duration::from_millis(50));
    let step = RunningStep::new(&two, WATCHED, &|_| None, daemon);
    assert!(step.forked(1, 101, None).is_none());
    assert!(step.forked(7, 107, None).is_none());
    let error = step.forked(0, 100, None).unwrap().unwrap_err();
    let line = step.unwatched(&error);
    assert!(
        line.starts_with("step 7.0 is not watched on login, after "),
        "{line}"
    );
    assert!(
        line.contains("none.sock: ") && !line.contains('\n'),
        "{line}"
    );
    assert!(step.task_exited(0, 0).is_none() && step.ended().is_none());
}

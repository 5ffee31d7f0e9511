//! What users see of the plugin on a real Slurm: options, environments, and what a daemon hears.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod fixture;

use fixture::{Daemons, JOB, Site, by_rank, count, registrations, stderr, stdout};
use mizar_api::{Request, Response};
use mizar_core::ids::StepId;

/// `env` as three tasks on the first node and one on the second give it.
const UNEVEN: [&str; 2] = ["-N2", "-n4"];
/// What the plugin sets that is not for one framework alone.
const OURS: [&str; 6] = [
    "MIZAR_SOCKET",
    "MIZAR_JOB_ID",
    "MIZAR_RENDEZVOUS",
    "MASTER_ADDR",
    "MASTER_PORT",
    "RANK",
];

#[test]
fn ranks_on_two_nodes_get_the_rendezvous_of_torch_horovod_and_jax() {
    let Some(site) = Site::start("") else { return };
    let ranks = site.environments(&[], &[&UNEVEN[..], &["--mizar"]].concat());
    assert_eq!(ranks.len(), 4);
    let master_port = &ranks[&0]["MASTER_PORT"];
    let coordinator: u32 = master_port.parse::<u32>().unwrap() + 1;
    for (rank, [local_rank, local_size, node_index, cross_rank, cross_size]) in (0_u32..).zip([
        [0, 3, 0, 0, 2],
        [1, 3, 0, 0, 1],
        [2, 3, 0, 0, 1],
        [0, 1, 1, 1, 2],
    ]) {
        let node = format!("n{}", node_index + 1);
        for (name, value) in [
            ("MASTER_ADDR", "n1".to_owned()),
            ("MASTER_PORT", master_port.clone()),
            ("WORLD_SIZE", "4".to_owned()),
            ("RANK", rank.to_string()),
            ("LOCAL_RANK", local_rank.to_string()),
            ("LOCAL_WORLD_SIZE", local_size.to_string()),
            ("GROUP_RANK", node_index.to_string()),
            ("GROUP_WORLD_SIZE", "2".to_owned()),
            ("CROSS_RANK", cross_rank.to_string()),
            ("CROSS_SIZE", cross_size.to_string()),
            ("HOROVOD_HOSTNAME", node.clone()),
            ("HOROVOD_RANK", rank.to_string()),
            ("HOROVOD_SIZE", "4".to_owned()),
            ("HOROVOD_LOCAL_RANK", local_rank.to_string()),
            ("HOROVOD_LOCAL_SIZE", local_size.to_string()),
            ("HOROVOD_CROSS_RANK", cross_rank.to_string()),
            ("HOROVOD_CROSS_SIZE", cross_size.to_string()),
            ("JAX_COORDINATOR_ADDRESS", format!("n1:{coordinator}")),
            ("MIZAR_SOCKET", site.socket(&node).display().to_string()),
            ("MIZAR_JOB_ID", ranks[&rank]["SLURM_JOB_ID"].clone()),
            ("MIZAR_STEP_ID", "0".to_owned()),
            // Slurm's own view, which ours must match.
            ("SLURM_PROCID", rank.to_string()),
            ("SLURM_LOCALID", local_rank.to_string()),
            ("SLURM_NODEID", node_index.to_string()),
        ] {
            assert_eq!(
                ranks[&rank].get(name),
                Some(&value),
                "{name} of rank {rank}"
            );
        }
    }
}

#[test]
fn cyclic_ranks_are_the_ones_that_slurm_gives() {
    let Some(site) = Site::start("default=on") else {
        return;
    };
    let ranks = site.environments(&[], &["-N2", "-n4", "-m", "cyclic"]);
    assert_eq!(ranks[&1]["HOROVOD_HOSTNAME"], "n2");
    for (rank, variables) in ranks {
        assert_eq!(variables["RANK"], rank.to_string());
        assert_eq!(
            variables["LOCAL_RANK"], variables["SLURM_LOCALID"],
            "of rank {rank}"
        );
    }
}

#[test]
fn nothing_is_set_or_sent_unless_asked() {
    let Some(site) = Site::start("") else { return };
    let daemons = Daemons::start(&site, &Response::Ok);
    let assert_none = |arguments: &[&str]| {
        for (rank, variables) in site.environments(&[], arguments) {
            for name in OURS {
                assert!(!variables.contains_key(name), "{name} of rank {rank}");
            }
        }
    };
    assert_none(&UNEVEN);
    assert_none(&["-N2", "-n2", "--mizar=off"]);
    site.set_arguments("default=on");
    assert_none(&["-N2", "-n2", "--mizar=off"]);
    assert!(site.environments(&[], &UNEVEN)[&3].contains_key("MASTER_ADDR"));
    let messages = daemons.messages();
    assert_eq!(
        registrations(&messages).len(),
        2,
        "of the two nodes of the last step"
    );
}

#[test]
fn what_the_user_set_stays() {
    let Some(site) = Site::start("default=on") else {
        return;
    };
    let user = [
        ("MASTER_PORT", "29500"),
        ("WORLD_SIZE", "64"),
        ("RANK", "63"),
    ];
    for (_, variables) in site.environments(&user, &UNEVEN) {
        for (name, value) in user {
            assert_eq!(variables[name], value);
        }
        assert_eq!(variables["MASTER_ADDR"], "n1");
    }
}

#[test]
fn a_directive_reaches_the_script_and_the_steps_in_it() {
    let Some(site) = Site::start("") else { return };
    let daemons = Daemons::start(&site, &Response::Ok);
    let script = "#!/bin/sh\n#SBATCH --mizar=sample=2hz\n#SBATCH -N2 -n4\n\
        env | sed 's/^/9: /'\n\
        srun --mpi=none --label env\n\
        MASTER_PORT=29500 srun --mpi=none -N1 -n1 sh -c 'echo 8: USER=$MASTER_ADDR:$MASTER_PORT'\n\
        srun --mpi=none --mizar=off -N1 -n1 sh -c 'echo 8: OFF=$RANK'\n";
    let (state, output) = site.batch(script, &[]);
    assert_eq!(state, "COMPLETED", "{output}");
    let output: Vec<&str> = output.lines().filter(|line| line.contains(": ")).collect();
    let ranks = by_rank(&output.join("\n").replace("srun: ", "7: "));
    // The script itself: where to meet, but no rank that mpirun would hand on.
    assert_eq!(ranks[&9]["MASTER_ADDR"], "n1");
    assert_eq!(ranks[&9]["MIZAR_STEP_ID"], "batch");
    assert!(!ranks[&9].contains_key("RANK") && !ranks[&9].contains_key("WORLD_SIZE"));
    for rank in 0..4 {
        assert_eq!(ranks[&rank]["RANK"], rank.to_string());
        assert_eq!(ranks[&rank]["WORLD_SIZE"], "4");
        assert_eq!(ranks[&rank]["MIZAR_STEP_ID"], "0");
        assert_ne!(
            ranks[&rank]["MASTER_PORT"], ranks[&9]["MASTER_PORT"],
            "the script's leaked"
        );
    }
    assert_eq!(
        ranks[&3]["MIZAR_SOCKET"],
        site.socket("n2").display().to_string()
    );
    assert_eq!(ranks[&8]["USER"], "n1:29500");
    assert_eq!(ranks[&8]["OFF"], "");

    let messages = daemons.wait(|all| count(all, |r| matches!(r, Request::JobEnd { .. })) == 2);
    let steps: Vec<_> = registrations(&messages)
        .iter()
        .map(|r| (r.step, r.sample_ms))
        .collect();
    let of = |step| {
        steps
            .iter()
            .filter(|found| **found == (step, Some(500)))
            .count()
    };
    assert_eq!(
        (of(StepId::BATCH), of(StepId(0)), of(StepId(1)), steps.len()),
        (1, 2, 1, 4)
    );
}

#[test]
fn salloc_hands_the_option_on() {
    let Some(site) = Site::start("") else { return };
    let mut command = site.lab.command("salloc");
    command.args([
        "-N2",
        "-n2",
        "--mizar",
        "srun",
        "--mpi=none",
        "--label",
        "env",
    ]);
    let output = command.output().unwrap();
    let ranks = by_rank(&stdout(&output));
    assert_eq!(ranks[&1]["RANK"], "1", "{}", stderr(&output));
}

#[test]
fn a_wrong_value_is_refused_with_the_valid_ones_and_nothing_is_queued() {
    let Some(site) = Site::start("") else { return };
    for (program, arguments) in [
        ("srun", vec!["--mizar=bogus", "true"]),
        ("sbatch", vec!["--mizar=bogus", "--wrap=true"]),
        ("salloc", vec!["--mizar=bogus", "true"]),
        ("srun", vec!["--mizar=sample=999hz", "true"]),
    ] {
        let output = site.lab.command(program).args(&arguments).output().unwrap();
        let message = stderr(&output);
        assert!(!output.status.success(), "{program} {arguments:?}");
        for part in [
            "is not valid for --mizar",
            "on, off, require, comm, sample=<n>hz",
        ] {
            assert!(message.contains(part), "{program} {arguments:?}: {message}");
        }
    }
    let error = site
        .lab
        .sbatch("#!/bin/sh\n#SBATCH --mizar=bogus\ntrue\n", &[])
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`bogus` is not valid for --mizar"),
        "{error}"
    );
    let jobs = site
        .lab
        .command("squeue")
        .args(["-h", "-t", "all"])
        .output()
        .unwrap();
    assert_eq!(stdout(&jobs), "");
}

#[test]
fn the_option_is_in_the_help_of_every_command() {
    let Some(site) = Site::start("") else { return };
    for program in ["srun", "sbatch", "salloc"] {
        let help = stdout(&site.lab.command(program).arg("--help").output().unwrap());
        assert!(
            help.contains("--mizar=[on|off|key=value,...]"),
            "{program}: {help}"
        );
    }
}

#[test]
fn a_daemon_hears_of_each_step_once_and_of_every_end() {
    let Some(site) = Site::start("") else { return };
    let daemons = Daemons::start(&site, &Response::Ok);
    let output = site.srun(&[
        "-N2",
        "-n4",
        "--mem=100",
        "--mizar",
        "sh",
        "-c",
        "exit $SLURM_PROCID",
    ]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let messages = daemons.wait(|all| count(all, |r| matches!(r, Request::JobEnd { .. })) == 2);
    assert!(
        messages
            .iter()
            .all(|message| message.peer_uid == nix::unistd::geteuid().as_raw())
    );

    let mut steps = registrations(&messages);
    steps.sort_by(|a, b| a.node.cmp(&b.node));
    assert_eq!(steps.len(), 2);
    for (index, (step, ranks)) in (0..).zip(steps.iter().zip([vec![0, 1, 2], vec![3]])) {
        assert_eq!(
            (step.node.as_str(), step.node_index),
            (fixture::NODES[index as usize], index)
        );
        assert_eq!((step.step, step.task_count), (StepId(0), 4));
        assert_eq!(
            (step.job_nodes.as_str(), step.step_nodes.as_str()),
            ("n[1-2]", "n[1-2]")
        );
        assert_eq!(step.uid, nix::unistd::geteuid().as_raw());
        assert_eq!(step.command, ["sh", "-c", "exit $SLURM_PROCID"]);
        assert_eq!(step.cwd, std::env::current_dir().unwrap());
        assert_eq!(step.job_memory_mib, Some(100));
        assert_eq!(step.job_cpus, u32::try_from(ranks.len()).ok());
        assert!(
            step.variables
                .iter()
                .any(|(name, _)| name == "SLURM_JOB_PARTITION")
        );
        let found: Vec<u32> = step.tasks.iter().map(|task| task.rank.0).collect();
        assert_eq!(found, ranks);
        assert!(
            step.tasks
                .iter()
                .all(|task| task.pid > 1 && task.pid != step.stepd_pid)
        );
    }
    let mut exits: Vec<(u32, i32)> = messages
        .iter()
        .filter_map(|message| match message.request {
            Request::TaskExit(exit) => Some((exit.rank.0, exit.status >> 8)),
            _ => None,
        })
        .collect();
    exits.sort_unstable();
    assert_eq!(exits, [(0, 0), (1, 1), (2, 2), (3, 3)]);
    assert_eq!(
        count(&messages, |request| matches!(
            request,
            Request::StepEnd { .. }
        )),
        2
    );
}

#[test]
fn another_users_job_is_registered_by_root() {
    const NOBODY: u32 = 65_534;
    if !nix::unistd::geteuid().is_root() {
        println!("SKIP: root, to submit as another user");
        return;
    }
    let Some(site) = Site::start("default=on") else {
        return;
    };
    let daemons = Daemons::start(&site, &Response::Ok);
    let output = site.srun(&["--uid=65534", "--gid=65534", "-D", "/", "-n2", "id", "-u"]);
    assert_eq!(stdout(&output), "65534\n65534\n", "{}", stderr(&output));
    let messages = daemons.wait(|all| count(all, |r| matches!(r, Request::StepEnd { .. })) == 1);
    assert!(
        messages.iter().all(|message| message.peer_uid == 0),
        "{messages:?}"
    );
    let steps = registrations(&messages);
    assert_eq!((steps[0].uid, steps[0].gid), (NOBODY, NOBODY));
    assert_eq!(steps[0].tasks.len(), 2);
}

#[test]
fn steps_that_run_at_the_same_time_have_different_ports() {
    let Some(site) = Site::start("default=on") else {
        return;
    };
    let script = "#!/bin/sh\n#SBATCH -N1 -n2\n\
        for i in 1 2; do\n\
          srun --mpi=none --exact -n1 sh -c 'echo PORT $MASTER_PORT; sleep 1' &\n\
        done; wait\n";
    let first = site.lab.sbatch(script, &[]).unwrap();
    let second = site.lab.sbatch(script, &[]).unwrap();
    let mut ports: Vec<String> = Vec::new();
    for job in [first, second] {
        assert_eq!(site.lab.wait_job(job, JOB).unwrap(), "COMPLETED");
        let output = site.lab.job_output(job).unwrap();
        ports.extend(
            output
                .lines()
                .filter(|line| line.starts_with("PORT "))
                .map(str::to_owned),
        );
    }
    assert_eq!(ports.len(), 4);
    ports.sort();
    ports.dedup();
    assert_eq!(ports.len(), 4, "{ports:?}");
}

#[test]
fn array_tasks_say_which_they_are() {
    let Some(site) = Site::start("default=on") else {
        return;
    };
    let daemons = Daemons::start(&site, &Response::Ok);
    site.lab
        .sbatch("#!/bin/sh\ntrue\n", &["--array=3,5"])
        .unwrap();
    let messages = daemons.wait(|all| count(all, |r| matches!(r, Request::JobEnd { .. })) == 2);
    let steps = registrations(&messages);
    let mut tasks: Vec<u32> = steps
        .iter()
        .filter_map(|step| Some(step.array?.1))
        .collect();
    tasks.sort_unstable();
    assert_eq!(tasks, [3, 5]);
    assert_ne!(steps[0].job, steps[1].job);
    assert_eq!(steps[0].array.unwrap().0, steps[1].array.unwrap().0);
    assert!(
        steps
            .iter()
            .all(|step| step.task_count == 1 && step.step == StepId::BATCH)
    );
}

#[test]
fn a_step_says_which_gpus_its_tasks_see() {
    let Some(site) = Site::start_with_gpus("default=on", 2) else {
        return;
    };
    let daemons = Daemons::start(&site, &Response::Ok);
    let script = "#!/bin/sh\n#SBATCH -N1 -n1 --gres=gpu:2\nsrun --mpi=none --gres=gpu:1 \
                  sh -c 'echo GPU=$CUDA_VISIBLE_DEVICES'\n";
    let (state, output) = site.batch(script, &[]);
    assert_eq!(state, "COMPLETED", "{output}");
    let messages = daemons.wait(|all| count(all, |r| matches!(r, Request::JobEnd { .. })) == 1);
    let steps = registrations(&messages);
    let seen = |step| {
        let step = steps.iter().find(|found| found.step == step).unwrap();
        step.tasks[0].visible_gpus.clone().unwrap()
    };
    assert_eq!(seen(StepId::BATCH), "0,1");
    assert_eq!(output.trim(), format!("GPU={}", seen(StepId(0))));
}

#[test]
fn the_ranks_of_mpirun_do_not_inherit_a_rank_of_slurm() {
    let Some(site) = Site::start("default=on") else {
        return;
    };
    let script = "#!/bin/sh\n#SBATCH -N2 -n2\n\
        command -v mpirun >/dev/null || { echo SKIP: mpirun; exit 0; }\n\
        mpirun -n 2 --map-by node --tag-output sh -c 'echo $OMPI_COMM_WORLD_RANK \
        rank=$RANK world=$WORLD_SIZE addr=$MASTER_ADDR port=$MASTER_PORT node=$(hostname)'\n";
    let (state, output) = site.batch(script, &[]);
    assert_eq!(state, "COMPLETED", "{output}");
    if output.contains("SKIP: ") {
        println!("{output}");
        return;
    }
    let lines: Vec<&str> = output
        .lines()
        .filter(|line| line.contains("rank="))
        .collect();
    assert_eq!(lines.len(), 2, "{output}");
    assert!(
        lines
            .iter()
            .all(|line| line.contains("rank= world= addr=n1 port=")),
        "{output}"
    );
}

#[test]
fn ranks_meet_at_the_address_and_port_that_they_were_given() {
    const MEET: &str = "import os, socket, time
place = (os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT']))
if os.environ['RANK'] == '0':
    with socket.create_server(place) as server:
        peers = [server.accept()[0] for _ in range(int(os.environ['WORLD_SIZE']) - 1)]
        print('met', sorted(peer.recv(9).decode() for peer in peers))
else:
    for _ in range(300):
        try:
            peer = socket.create_connection(place)
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    peer.sendall(os.environ['RANK'].encode())
";
    let Some(site) = Site::start("default=on") else {
        return;
    };
    if !site.lab.has_namespaces() {
        println!("SKIP: root, for nodes whose names resolve");
        return;
    }
    if site
        .lab
        .command("python3")
        .arg("--version")
        .output()
        .is_err()
    {
        println!("SKIP: python3");
        return;
    }
    let output = site.srun(&["-N2", "-n4", "python3", "-c", MEET]);
    assert_eq!(
        stdout(&output),
        "met ['1', '2', '3']\n",
        "{}",
        stderr(&output)
    );
}

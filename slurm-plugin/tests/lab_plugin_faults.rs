//! What may go wrong around the plugin, and that no job notices: daemons that are dead, hung,
//! stale or talk nonsense, panics, another Slurm release, mistakes in plugstack.conf.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod fixture;

use std::os::unix::net::UnixListener;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use fixture::{Daemons, NODES, Site, count, registrations, stderr, stdout};
use mizar_api::{ErrorCode, Request, Response};

/// The plugin's own limit; see `budget_ms` in plugstack.conf.
const BUDGET_MS: f64 = 50.0;
/// How much the time of one `srun` varies on a busy machine of two cores, even the shortest of
/// several.
const NOISE: Duration = Duration::from_millis(60);

const HELLO: [&str; 5] = ["-N2", "-n4", "sh", "-c", "echo hello"];
const WATCHED_HELLO: [&str; 6] = ["-N2", "-n4", "--mizar", "sh", "-c", "echo hello"];

fn assert_hello(output: &Output, about: &str) {
    let message = stderr(output);
    assert!(output.status.success(), "{about}: {message}");
    assert_eq!(stdout(output), "hello\n".repeat(4), "{about}: {message}");
    // `srun: job 3 queued …` is Slurm's own and depends on the moment.
    let ours: Vec<&str> = message
        .lines()
        .filter(|line| line.contains("mizar"))
        .collect();
    assert!(ours.is_empty(), "{about}: {ours:?}");
}

/// What each step says it spent on its daemon before giving it up, in milliseconds, sorted.
fn spent_ms(site: &Site) -> Vec<f64> {
    let lines = site.log().into_iter();
    let lines = lines.filter(|line| line.contains("is not watched on"));
    let spent = |line: String| {
        let (_, rest) = line.split_once(", after ")?;
        rest.split_once(" ms: ")?.0.parse().ok()
    };
    let mut spent: Vec<f64> = lines.filter_map(spent).collect();
    spent.sort_by(f64::total_cmp);
    spent
}

/// Fails unless the budget was kept: by the least disturbed step as it stands, by the others but
/// for the time that a busy machine made them wait for a CPU.
fn assert_within(budget_ms: f64, site: &Site, about: &str) {
    let spent = spent_ms(site);
    assert!(!spent.is_empty(), "{about}: {:?}", site.log());
    let (least, most) = (spent[0], spent[spent.len() - 1]);
    assert!(least <= budget_ms, "{about}: {spent:?}");
    assert!(
        most <= budget_ms + NOISE.as_secs_f64() * 1e3,
        "{about}: {spent:?}"
    );
}

/// The shortest of several runs without and with `--mizar`, in alternation.
fn shortest(site: &Site, pairs: usize) -> (Duration, Duration) {
    let time = |arguments: &[&str]| {
        let start = Instant::now();
        assert!(site.srun(arguments).status.success());
        start.elapsed()
    };
    let run = |_| {
        (
            time(&["-N2", "-n2", "true"]),
            time(&["-N2", "-n2", "--mizar", "true"]),
        )
    };
    let (without, with): (Vec<_>, Vec<_>) = (0..pairs).map(run).unzip();
    (
        without.into_iter().min().unwrap(),
        with.into_iter().min().unwrap(),
    )
}

fn assert_costs_at_most_the_budget(site: &Site, about: &str) {
    let (without, with) = shortest(site, 5);
    println!("{about}: srun in {without:?} without and {with:?} with --mizar");
    let limit = without + Duration::from_secs_f64(BUDGET_MS / 1e3) + NOISE;
    assert!(with <= limit, "{about}: {with:?} is more than {limit:?}");
    assert_within(BUDGET_MS, site, about);
}

#[test]
fn without_a_daemon_the_job_runs_the_same() {
    let Some(site) = Site::start("") else { return };
    assert_hello(&site.srun(&HELLO), "unwatched");
    assert_hello(&site.srun(&WATCHED_HELLO), "missing");
    assert_costs_at_most_the_budget(&site, "missing");
    site.assert_nodes_stay_in_service();
}

#[test]
fn with_a_stale_socket_the_job_runs_the_same() {
    let Some(site) = Site::start("") else { return };
    for node in NODES {
        drop(UnixListener::bind(site.socket(node)).unwrap());
    }
    assert_hello(&site.srun(&WATCHED_HELLO), "stale");
    assert_costs_at_most_the_budget(&site, "stale");
    site.assert_nodes_stay_in_service();
}

#[test]
fn with_a_hung_daemon_the_job_runs_the_same_and_costs_the_budget_once() {
    let Some(site) = Site::start("") else { return };
    let _hung = NODES.map(|node| UnixListener::bind(site.socket(node)).unwrap());
    assert_hello(&site.srun(&WATCHED_HELLO), "hung");
    // Registration, two task exits a node and the step's end share one budget.
    assert_costs_at_most_the_budget(&site, "hung");
    assert!(
        spent_ms(&site)[0] > BUDGET_MS / 2.0,
        "the daemon was waited for"
    );
    site.assert_nodes_stay_in_service();
}

#[test]
fn the_site_may_lower_the_budget() {
    let Some(site) = Site::start("budget_ms=10") else {
        return;
    };
    let _hung = NODES.map(|node| UnixListener::bind(site.socket(node)).unwrap());
    for _ in 0..3 {
        assert_hello(&site.srun(&WATCHED_HELLO), "hung");
    }
    assert_within(10.0, &site, "a budget of 10 ms");
}

#[test]
fn a_daemon_that_hangs_up_or_drips_nonsense_changes_nothing() {
    let Some(site) = Site::start("") else { return };
    let serve = |listener: UnixListener, hang_up: bool| {
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if !hang_up {
                    std::thread::spawn(move || drip(stream));
                }
            }
        })
    };
    serve(UnixListener::bind(site.socket("n1")).unwrap(), true);
    serve(UnixListener::bind(site.socket("n2")).unwrap(), false);
    for _ in 0..3 {
        assert_hello(&site.srun(&WATCHED_HELLO), "nonsense");
    }
    assert_within(BUDGET_MS, &site, "nonsense");
    site.assert_nodes_stay_in_service();
}

fn drip(mut stream: std::os::unix::net::UnixStream) {
    while std::io::Write::write_all(&mut stream, b"{").is_ok() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_daemon_that_refuses_is_not_asked_again_in_the_step() {
    let Some(site) = Site::start("") else { return };
    let message = "this daemon is full".to_owned();
    let daemons = Daemons::start(
        &site,
        &Response::Error {
            code: ErrorCode::Limit,
            message,
        },
    );
    assert_hello(&site.srun(&WATCHED_HELLO), "refused");
    let messages = daemons.wait(|all| count(all, |r| matches!(r, Request::JobEnd { .. })) == 2);
    assert_eq!(registrations(&messages).len(), 2);
    assert_eq!(count(&messages, |r| matches!(r, Request::TaskExit(_))), 0);
    assert!(
        site.log()
            .iter()
            .any(|line| line.contains("this daemon is full"))
    );
}

#[test]
fn required_daemons_that_are_missing_end_the_step_with_a_clear_error() {
    let Some(site) = Site::start("") else { return };
    let script = ["sh", "-c", "echo STARTED"];
    let output = site.srun(&[&["-N2", "-n3", "--mizar=require"], &script[..]].concat());
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(69), "{message}");
    assert_eq!(stdout(&output), "");
    let socket = site.socket("n1").display().to_string();
    let line = format!("mizar: --mizar=require: mizard does not answer at {socket}");
    assert!(message.contains(&line), "{message}");

    // The same from the site's side, and in a batch script, whose failure to start would have
    // Slurm drain the node.
    site.set_arguments("require default=on");
    let (state, output) = site.batch("#!/bin/sh\necho STARTED\n", &[]);
    assert_eq!(state, "FAILED", "{output}");
    assert!(
        output.contains("--mizar=require: ") && !output.contains("STARTED"),
        "{output}"
    );
    // Who wants no watching needs no daemon.
    assert!(site.srun(&["--mizar=off", "true"]).status.success());
    site.assert_nodes_stay_in_service();

    let _daemons = Daemons::start(&site, &Response::Ok);
    assert_eq!(
        stdout(&site.srun(&[&["-n1"], &script[..]].concat())),
        "STARTED\n"
    );
}

#[test]
fn a_panic_in_any_hook_is_logged_and_the_job_and_later_hooks_go_on() {
    let Some(site) = Site::start("") else { return };
    for hook in [
        "init",
        "option",
        "user_init",
        "task_init",
        "task_post_fork",
        "task_exit",
        "exit",
    ] {
        let daemons = Daemons::start(&site, &Response::Ok);
        site.set_arguments(&format!("test-panic={hook}"));
        let output = site.srun(&WATCHED_HELLO);
        let message = stderr(&output);
        assert!(output.status.success(), "{hook}: {message}");
        assert_eq!(stdout(&output), "hello\n".repeat(4), "{hook}");
        let mut reports = site.log();
        reports.extend(message.lines().map(str::to_owned));
        let report = format!("test-panic={hook}");
        let found = reports.iter().find(|line| line.contains(&report));
        assert!(
            found.is_some_and(|line| line.contains("mizar: internal error")),
            "{reports:?}"
        );
        // The epilog runs after all of them, in a process of its own.
        daemons.wait(|all| count(all, |r| matches!(r, Request::JobEnd { .. })) == 2);
        let messages = daemons.messages();
        let ends = count(&messages, |r| matches!(r, Request::StepEnd { .. }));
        let exits = count(&messages, |r| matches!(r, Request::TaskExit(_)));
        match hook {
            // Without the option or the step's state there is nothing to register.
            "option" | "user_init" => assert_eq!((exits, ends), (0, 0), "{hook}"),
            "task_exit" => assert_eq!((exits, ends), (0, 2), "{hook}"),
            "exit" => assert_eq!((exits, ends), (4, 0), "{hook}"),
            _ => assert_eq!((exits, ends), (4, 2), "{hook}"),
        }
    }
    site.assert_nodes_stay_in_service();
}

#[test]
fn an_epilog_that_panics_or_meets_a_hung_daemon_does_not_drain_the_node() {
    let Some(site) = Site::start("default=on test-panic=job_epilog") else {
        return;
    };
    assert!(site.srun(&["-N2", "true"]).status.success());
    site.assert_nodes_stay_in_service();
    assert!(
        site.log()
            .iter()
            .any(|line| line.contains("test-panic=job_epilog"))
    );

    site.set_arguments("default=on");
    let _hung = NODES.map(|node| UnixListener::bind(site.socket(node)).unwrap());
    for _ in 0..3 {
        assert!(site.srun(&["-N2", "true"]).status.success());
    }
    site.assert_nodes_stay_in_service();
}

#[test]
fn mistakes_in_plugstack_conf_are_reported_and_stop_nobody() {
    let Some(site) = Site::start("sampel=2s") else {
        return;
    };
    let output = site.srun(&HELLO);
    assert!(output.status.success());
    assert_eq!(stdout(&output), "hello\n".repeat(4));
    let message = stderr(&output);
    assert!(
        message.contains("plugstack.conf: `sampel=2s` is not valid; valid are"),
        "{message}"
    );
}

#[test]
fn another_slurm_release_refuses_the_plugin_in_one_clear_line_and_jobs_run() {
    let Some(site) = Site::start("") else { return };
    let plugin = site.plugin();
    let Some(offset) = offset_of(&plugin, "plugin_version") else {
        println!("SKIP: nm (Debian: binutils), to find the version in the plugin");
        return;
    };
    let mut bytes = std::fs::read(&plugin).unwrap();
    let word: [u8; 4] = bytes[offset..offset + 4].try_into().unwrap();
    // One major release ahead: 22.05.8 becomes 23.05.8.
    let ahead = (u32::from_ne_bytes(word) + 0x01_0000).to_ne_bytes();
    bytes[offset..offset + 4].copy_from_slice(&ahead);
    let other = plugin.with_extension("new");
    std::fs::write(&other, bytes).unwrap();
    std::fs::rename(&other, &plugin).unwrap();

    let output = site.srun(&HELLO);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output), "hello\n".repeat(4));
    let message = stderr(&output);
    let lines: Vec<&str> = message
        .lines()
        .filter(|line| line.contains("spank_mizar"))
        .collect();
    println!("{lines:?}");
    // Slurm says which file and release, and then, as an error, that it goes on without it.
    let line = format!("Incompatible Slurm plugin {} version (", plugin.display());
    assert_eq!(
        lines.iter().filter(|found| found.contains(&line)).count(),
        1,
        "{message}"
    );
    assert_eq!(
        lines
            .iter()
            .filter(|found| found.contains("error: "))
            .count(),
        1,
        "{message}"
    );
    site.assert_nodes_stay_in_service();
}

/// Where a symbol's value is in the file: read-only data is mapped where it lies.
fn offset_of(library: &std::path::Path, symbol: &str) -> Option<usize> {
    let output = Command::new("nm")
        .args(["-D", "--defined-only"])
        .arg(library)
        .output()
        .ok()?;
    let text = stdout(&output);
    let line = text
        .lines()
        .find(|line| line.split(' ').nth(2) == Some(symbol))
        .unwrap();
    usize::from_str_radix(line.split(' ').next().unwrap(), 16).ok()
}

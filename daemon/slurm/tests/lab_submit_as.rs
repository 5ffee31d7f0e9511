//! Jobs of other users on a real Slurm: through `mizar-submit-as` and through slurmrestd with
//! tokens of scontrol, as two users that the test makes and removes. It needs root.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use mizar_lab::{Lab, SubmitAsHelper, Users};
use mizar_slurm::JobFile;
use mizar_slurm::submit_as::Folder;
use mizar_slurm::{
    CliSettings, JobReport, Marker, Phase, Proof, RestSettings, Scheduler, SlurmCli, SlurmRestd,
    SubmitAs, SubmitAsError, SubmitOutcome, SubmitRequest,
};

/// A program to its end.
fn run(words: &[&str]) -> Output {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::null());
    command.output().unwrap()
}

/// A running helper, and the place of its users' folders.
struct Helper {
    client: SubmitAs,
    work_dir: PathBuf,
    _running: SubmitAsHelper,
}

impl Helper {
    fn start(lab: &Lab, users: &Users) -> Self {
        let work_dir = lab.dir().join("work");
        fs::create_dir(&work_dir).unwrap();
        fs::set_permissions(&work_dir, PermissionsExt::from_mode(0o711)).unwrap();
        let running = SubmitAsHelper::start(lab, users, &work_dir).unwrap();
        let client = SubmitAs::new(running.socket.clone());
        assert_eq!(client.work_dir().unwrap(), work_dir);
        Self {
            client,
            work_dir,
            _running: running,
        }
    }
}

fn cli(lab: &Lab, users: &Users, helper: Option<&Helper>) -> SlurmCli {
    SlurmCli::new(CliSettings {
        conf: Some(lab.slurm_conf()),
        users: vec![users.first.clone(), users.second.clone()],
        submit_as: helper.map(|helper| helper.client.clone()),
        ..CliSettings::default()
    })
}

const SCRIPT: &[u8] = b"#!/bin/sh\nid -un\nid -Gn\necho \"$HOME $USER\"\numask\ncat event.json\n";

/// Has a folder made for a job of `user`.
fn prepare(helper: &Helper, user: &str, letter: char) -> SubmitRequest {
    let path = format!("svc/{letter}/job");
    let folder = Folder {
        path: path.clone(),
        files: vec![
            JobFile::program("job.sh", SCRIPT),
            JobFile::new("event.json", "{\"a\":1}\n"),
        ],
        links: vec![],
    };
    helper.client.prepare(user, folder).unwrap();
    let directory = SubmitAs::user_dir(&helper.work_dir, user).join(path);
    SubmitRequest {
        marker: Marker::new("svc", &letter.to_string().repeat(32), 0).unwrap(),
        script: directory.join("job.sh"),
        arguments: vec![],
        options: vec![("time".to_owned(), "5".to_owned())],
        directory,
        environment: vec![("MIZAR_CHECK".to_owned(), "$(id)".to_owned())],
        user: Some(user.to_owned()),
        tasks: Vec::new(),
    }
}

fn end(scheduler: &dyn Scheduler, marker: &Marker) -> JobReport {
    let started = Instant::now();
    loop {
        let mut jobs = scheduler.find_by_marker(marker).unwrap();
        assert_eq!(jobs.len(), 1);
        if jobs[0].state.phase().is_final() {
            return jobs.remove(0);
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{jobs:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Runs a job of `user` and checks that it was theirs.
fn runs_as(scheduler: &dyn Scheduler, request: &SubmitRequest, user: &str, group: &str) {
    let outcome = scheduler.submit(request);
    assert!(
        matches!(outcome, SubmitOutcome::Submitted(_)),
        "{outcome:?}"
    );
    let job = end(scheduler, &request.marker);
    assert_eq!(
        (job.user.as_str(), job.state.phase()),
        (user, Phase::Completed)
    );
    let output = request.directory.join(format!("slurm-{}.out", job.id));
    let text = fs::read_to_string(&output).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], user, "{text}");
    assert!(lines[1].split(' ').any(|one| one == group), "{text}");
    assert_eq!(lines[2], format!("/home/{user} {user}"), "{text}");
    assert_eq!(lines[4], "{\"a\":1}", "{text}");
}

#[test]
fn the_helper_submits_and_cancels_as_the_user() {
    let Some(users) = Users::make_or_skip() else {
        return;
    };
    let Some(lab) = Lab::builder().nodes(1).start_or_skip() else {
        return;
    };
    let helper = Helper::start(&lab, &users);
    let scheduler = cli(&lab, &users, Some(&helper));
    let (first, second, group) = (&users.first, &users.second, &users.group);
    let mut request = prepare(&helper, first, 'a');
    runs_as(&scheduler, &request, first, group);

    // What the job wrote is its user's, can be read by the gateway's group, and by no other.
    for (path, mode) in [("event.json", 0o640), ("job.sh", 0o750), (".", 0o2750)] {
        let found = fs::metadata(request.directory.join(path)).unwrap();
        assert_eq!(found.mode() & 0o7777, mode, "{path}");
        let uid = nix::unistd::User::from_name(first).unwrap().unwrap().uid;
        assert_eq!((found.uid(), found.gid()), (uid.as_raw(), 0), "{path}");
    }
    let event = request.directory.join("event.json").display().to_string();
    let read = |user: &str| {
        run(&["runuser", "-u", user, "--", "cat", &event])
            .status
            .success()
    };
    assert!(read(first) && !read(second));

    // A script that only a further group of the user may read: sbatch has that group.
    let script = lab.dir().join("out/shared.sh");
    fs::write(&script, SCRIPT).unwrap();
    let gid = nix::unistd::Group::from_name(group).unwrap().unwrap().gid;
    chown(&script, None, Some(gid.as_raw())).unwrap();
    fs::set_permissions(&script, PermissionsExt::from_mode(0o640)).unwrap();
    request.marker = Marker::new("svc", &"c".repeat(32), 0).unwrap();
    request.script = script.clone();
    runs_as(&scheduler, &request, first, group);
    let mut others = prepare(&helper, second, 'b');
    others.script = script;
    let outcome = scheduler.submit(&others);
    assert!(matches!(outcome, SubmitOutcome::Refused(_)), "{outcome:?}");

    let mut waits = prepare(&helper, second, 'd');
    waits.options.push(("hold".to_owned(), String::new()));
    let SubmitOutcome::Submitted(id) = scheduler.submit(&waits) else {
        panic!("not accepted")
    };
    scheduler.cancel(id.into()).unwrap();
    assert_eq!(
        end(&scheduler, &waits.marker).state.phase(),
        Phase::Cancelled
    );
    scheduler.cancel(id.into()).unwrap();
}

#[test]
fn the_helper_does_nothing_for_others() {
    let Some(users) = Users::make_or_skip() else {
        return;
    };
    let Some(lab) = Lab::builder().nodes(1).start_or_skip() else {
        return;
    };
    let helper = Helper::start(&lab, &users);
    let request = prepare(&helper, &users.first, 'a');
    let refused = |user: &str, path: &str| {
        let folder = Folder {
            path: path.to_owned(),
            files: vec![],
            links: vec![],
        };
        helper.client.prepare(user, folder).unwrap_err()
    };
    for user in ["root", "daemon", "nobody", "no-such-user", "-x", "a/../b"] {
        let error = refused(user, "svc/x");
        assert!(
            matches!(error, SubmitAsError::Refused(_)),
            "{user}: {error}"
        );
    }
    assert!(matches!(
        refused(&users.first, "../x"),
        SubmitAsError::Failed(_)
    ));
    // A user outside our own list is refused before the helper is asked.
    let mut scheduler = cli(&lab, &users, Some(&helper));
    let as_root = SubmitRequest {
        user: Some("daemon".to_owned()),
        tasks: Vec::new(),
        ..request.clone()
    };
    let outcome = scheduler.submit(&as_root);
    assert!(matches!(outcome, SubmitOutcome::Refused(_)), "{outcome:?}");
    let preload = SubmitRequest {
        environment: vec![("LD_PRELOAD".to_owned(), "/tmp/x.so".to_owned())],
        ..request.clone()
    };
    let outcome = scheduler.submit(&preload);
    assert!(matches!(outcome, SubmitOutcome::Refused(_)), "{outcome:?}");

    // Whoever is not the gateway gets no word, even where the socket's mode lets them in.
    let socket = helper.client.socket();
    fs::set_permissions(socket, PermissionsExt::from_mode(0o666)).unwrap();
    let ask = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
               b=b'{\"user\":\"-\",\"task\":\"hello\"}'\ntry:\n s.sendall(len(b).to_bytes(4,'big')+b)\n print(len(s.recv(99)))\nexcept OSError: print(0)\n";
    let path = socket.display().to_string();
    let said = |user: &str| {
        let output = run(&[
            "runuser",
            "-u",
            user,
            "--",
            "/usr/bin/python3",
            "-c",
            ask,
            &path,
        ]);
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(said(&users.first), "0\n");
    assert_ne!(said("root"), "0\n");

    // Somebody else's folder in the place of a user's is not taken.
    let theirs = SubmitAs::user_dir(&helper.work_dir, &users.second);
    fs::create_dir(&theirs).unwrap();
    chown(&theirs, Some(1), None).unwrap();
    assert!(matches!(
        refused(&users.second, "svc/x"),
        SubmitAsError::Failed(_)
    ));
    fs::remove_dir(&theirs).unwrap();
    std::os::unix::fs::symlink("/etc", &theirs).unwrap();
    assert!(matches!(
        refused(&users.second, "svc/x"),
        SubmitAsError::Failed(_)
    ));
    assert_eq!(fs::metadata("/etc").unwrap().uid(), 0);

    // Without the helper nothing was sent, so nothing is in doubt.
    drop(helper);
    let outcome = scheduler.submit(&request);
    assert!(
        matches!(outcome, SubmitOutcome::Unavailable(_)),
        "{outcome:?}"
    );
    scheduler = cli(&lab, &users, None);
    let outcome = scheduler.submit(&request);
    assert!(matches!(outcome, SubmitOutcome::Refused(_)), "{outcome:?}");
    assert_eq!(scheduler.queue().unwrap(), []);
}

#[test]
fn slurmrestd_submits_as_the_user_of_a_token() {
    let Some(users) = Users::make_or_skip() else {
        return;
    };
    let Some(lab) = Lab::builder().nodes(1).slurmrestd(true).start_or_skip() else {
        return;
    };
    let helper = Helper::start(&lab, &users);
    let settings = RestSettings {
        place: lab.rest_address().parse().unwrap(),
        proof: Proof::Scontrol,
        limit: Duration::from_secs(20),
        is_only: true,
        is_careful: false,
    };
    let rest = SlurmRestd::new(cli(&lab, &users, None), settings);
    for (user, letter) in [(&users.first, 'a'), (&users.second, 'b')] {
        let request = prepare(&helper, user, letter);
        runs_as(
            &rest,
            &request,
            user,
            if letter == 'a' { &users.group } else { user },
        );
    }
    assert_eq!(rest.sent(), 2);
    assert!(Path::new(&helper.work_dir).exists());
}

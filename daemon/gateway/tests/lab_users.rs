//! Events of mapped callers on a real Slurm: each job runs as its caller's Unix user, through
//! `mizar-submit-as`, with a folder that others cannot read; and a job of another user that
//! carries the marker of an event is not taken for the event's. It needs root.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod harness;
#[path = "harness/issuer.rs"]
mod issuer;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use harness::{Gateway, event, program, secret};
use issuer::{Issuer, Signer};
use mizar_lab::{Lab, SubmitAsHelper, Users};
use mizar_slurm::SubmitAs;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);

fn gateway(lab: &Lab, users: &Users, issuer: &Issuer, socket: &Path) -> Gateway {
    let dir = lab.dir().join("gateway");
    let script = dir.join("job.sh");
    program(
        &script,
        "#!/bin/sh\nid -un; id -Gn; stat -c %U \"$MIZAR_EVENT_FILE\"; grep -c specversion \"$MIZAR_EVENT_FILE\"\n",
    );
    let services = format!(
        "[[service]]\nname = \"who\"\nscript = \"{}\"\nsbatch = {{ time = \"5\", mem = 10 }}\n",
        script.display()
    );
    secret(&dir.join("token"), "an-operators-token\n");
    let rule = |subject: &str, user: &str| {
        let url = &issuer.url;
        format!(
            "[[identity.users]]\nissuer = \"{url}\"\nsubject = \"{subject}\"\nuser = \"{user}\"\n"
        )
    };
    let extra = format!(
        "token_file = \"token\"\n[slurm]\nconf = \"{}/etc/slurm.conf\"\npoll_ms = 300\ngrace_ms = 2000\n\
         submit_as = \"{}\"\n[identity]\n[[identity.issuers]]\nissuer = \"{}\"\naudience = \"mizar\"\n{}{}",
        lab.dir().display(),
        socket.display(),
        issuer.url,
        rule("ann", &users.first),
        rule("bob", &users.second)
    );
    Gateway::prepare(&dir, &extra, &services)
}

/// Sends an event and waits until its job has ended.
fn run(gateway: &mut Gateway, token: &str, count: usize) -> Vec<Value> {
    gateway.token(token);
    let headers = [("content-type", "application/cloudevents+json")];
    let (status, answer) = gateway.post("/events", &headers, event("same").to_string().as_bytes());
    assert_eq!(status, 202, "{answer}");
    gateway.wait_jobs(LIMIT, |jobs| {
        jobs.len() == count && jobs.iter().all(|job| job["state"] == "completed")
    })
}

#[test]
fn each_job_runs_as_the_user_of_its_caller() {
    let Some(users) = Users::make_or_skip() else {
        return;
    };
    let Some(lab) = Lab::builder().nodes(1).start_or_skip() else {
        return;
    };
    let work_dir = lab.dir().join("gateway/work");
    fs::create_dir_all(&work_dir).unwrap();
    fs::set_permissions(&work_dir, PermissionsExt::from_mode(0o711)).unwrap();
    let helper = SubmitAsHelper::start(&lab, &users, &work_dir).unwrap();
    let signer = Signer::p256("p");
    let issuer = Issuer::start(&[&signer]);
    let mut gateway = gateway(&lab, &users, &issuer, &helper.socket);
    gateway.start();
    let token = |subject: &str| signer.token(&issuer.claims(subject));
    run(&mut gateway, &token("ann"), 1);
    run(&mut gateway, &token("bob"), 2);
    let jobs = run(&mut gateway, "an-operators-token", 3);
    for (user, group) in [
        (Some(&users.first), Some(&users.group)),
        (Some(&users.second), None),
        (None, None),
    ] {
        let of_user = |job: &&Value| job["user"].as_str() == user.map(String::as_str);
        let job = jobs.iter().find(of_user).unwrap();
        let name = user.map_or("root", |user| user);
        // The gateway's own view of the folder leads to the user's.
        let id = job["id"].as_i64().unwrap();
        let (status, text) = gateway.get(&format!("/v1/jobs/{id}/log"));
        assert_eq!(status, 200, "{text}");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines[2], lines[3]), (name, name, "1"), "{text}");
        if let Some(group) = group {
            assert!(lines[1].split(' ').any(|one| one == group), "{text}");
        }
    }
    for user in [&users.first, &users.second] {
        let found = fs::metadata(SubmitAs::user_dir(&gateway.dir.join("work"), user)).unwrap();
        assert_eq!(found.mode() & 0o7777, 0o2750);
    }

    // The second user guesses the marker of an event of the first's that waits.
    drop(helper);
    gateway.token(&token("ann"));
    let headers = [("content-type", "application/cloudevents+json")];
    gateway.post("/events", &headers, event("later").to_string().as_bytes());
    let waiting = gateway.wait_jobs(LIMIT, |jobs| {
        jobs.iter().any(|job| job["reason"].is_string())
    });
    let job = waiting
        .iter()
        .find(|job| job["reason"].is_string())
        .unwrap();
    let reason = job["reason"].as_str().unwrap();
    assert!(reason.contains("is it running?"), "{reason}");
    let forged = forge(&lab, &users, &gateway, job);
    let _helper = SubmitAsHelper::start(&lab, &users, &work_dir).unwrap();
    let jobs = gateway.wait_jobs(LIMIT, |jobs| {
        jobs.iter().all(|job| job["state"] == "completed") && jobs.len() == 4
    });
    let ours = jobs.iter().find(|one| one["id"] == job["id"]).unwrap();
    assert_ne!(ours["slurm_job"], Value::from(forged));
}

/// A job of the second user's with the marker of somebody's event; its number.
fn forge(lab: &Lab, users: &Users, gateway: &Gateway, job: &Value) -> u32 {
    let marker = job["marker"].as_str().unwrap().to_owned();
    let mut sbatch = lab.command("runuser");
    sbatch
        .args(["-u", &users.second, "--", "sbatch", "--parsable", "--hold"])
        .args(["--chdir=/tmp", "--output=/dev/null"])
        .args([
            format!("--comment={marker}"),
            format!("--job-name={marker}"),
        ])
        .arg(gateway.dir.join("job.sh"));
    let output = lab.run_output(sbatch).unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

//! [`SlurmRestd`] on a real slurmrestd: the conformance suite over the socket and with tokens,
//! and what happens when slurmrestd goes away.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mizar_lab::Lab;
use mizar_slurm::{
    CliSettings, Marker, Place, Proof, RestSettings, Scheduler, SlurmCli, SlurmRestd,
    SubmitOutcome, SubmitRequest, conformance,
};

fn cli(lab: &Lab) -> SlurmCli {
    SlurmCli::new(CliSettings {
        conf: Some(lab.slurm_conf()),
        ..CliSettings::default()
    })
}

fn client(lab: &Lab, place: &str, proof: Proof, is_only: bool) -> SlurmRestd {
    let settings = RestSettings {
        place: place.parse().unwrap(),
        proof,
        limit: Duration::from_secs(20),
        is_only,
        is_careful: !is_only,
    };
    SlurmRestd::new(cli(lab), settings)
}

fn socket(lab: &Lab) -> String {
    Place::Unix(lab.rest_socket()).to_string()
}

fn request(folder: &Path, script: &str, hash: char) -> SubmitRequest {
    let path = folder.join(format!("{hash}.sh"));
    std::fs::write(&path, script).unwrap();
    SubmitRequest {
        marker: Marker::new("restd", &hash.to_string().repeat(32), 0).unwrap(),
        script: path,
        arguments: vec![],
        options: vec![],
        directory: folder.to_owned(),
        environment: vec![],
        user: None,
        tasks: Vec::new(),
    }
}

fn id(outcome: SubmitOutcome) -> u32 {
    match outcome {
        SubmitOutcome::Submitted(id) => id.0,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_rest_client_conforms() {
    let Some(lab) = Lab::builder().nodes(1).slurmrestd(true).start_or_skip() else {
        return;
    };
    let folder = |name: &str| {
        let folder: PathBuf = lab.dir().join("out").join(name);
        std::fs::create_dir(&folder).unwrap();
        folder
    };
    let token_file = lab.dir().join("token");
    let mut token = lab.command("scontrol");
    token.args(["token", "lifespan=600"]);
    std::fs::write(&token_file, lab.run_output(token).unwrap().stdout).unwrap();
    std::fs::set_permissions(&token_file, PermissionsExt::from_mode(0o600)).unwrap();
    let client_of = |place: &str, proof| {
        let client = client(&lab, place, proof, true);
        let said = client.probe().unwrap();
        assert!(said.starts_with("v0.0.38 at "), "{said}");
        client
    };
    let client = client_of(&socket(&lab), Proof::Socket);
    conformance::check(&client, &folder("socket"));
    assert_eq!(client.sent(), 6, "every job of the suite went over HTTP");
    // The suite's markers are the same each time, so that a lab can have it only once.
    for (letter, proof) in [('f', Proof::File(token_file)), ('e', Proof::Scontrol)] {
        let client = client_of(&lab.rest_address(), proof);
        let request = request(&folder(&letter.to_string()), "#!/bin/sh\n", letter);
        let job = id(client.submit(&request));
        assert_eq!(client.sent(), 1);
        assert_eq!(client.find_by_marker(&request.marker).unwrap()[0].id.0, job);
    }
}

#[test]
fn what_only_sbatch_can_say_goes_through_sbatch() {
    let Some(mut lab) = Lab::builder().nodes(1).slurmrestd(true).start_or_skip() else {
        return;
    };
    let folder = lab.dir().join("out");
    let either = client(&lab, &socket(&lab), Proof::Socket, false);
    let only = client(&lab, &socket(&lab), Proof::Socket, true);
    assert!(either.probe().is_ok());
    assert_eq!(either.way().via, "slurmrestd");
    let asks = "#!/bin/sh\n#SBATCH --time=7 --ntasks=2\nsleep 1\n";
    let job = id(either.submit(&request(&folder, asks, 'a')));
    assert_eq!(lab.job_field(job, "TimeLimit").unwrap(), "00:07:00");
    assert_eq!(lab.job_field(job, "NumTasks").unwrap(), "2");
    assert_eq!(
        either.sent(),
        1,
        "slurmrestd was told the script's own wishes"
    );

    let short = request(&folder, "#!/bin/sh\n#SBATCH -t 9\nsleep 1\n", 'b');
    let outcome = only.submit(&short);
    assert!(matches!(outcome, SubmitOutcome::Refused(_)), "{outcome:?}");
    let job = id(either.submit(&short));
    assert_eq!(lab.job_field(job, "TimeLimit").unwrap(), "00:09:00");
    assert_eq!(either.sent(), 1, "sbatch reads short options");

    lab.kill_slurmrestd();
    id(either.submit(&request(&folder, "#!/bin/sh\n", 'c')));
    assert_eq!(either.sent(), 1);
    let outcome = only.submit(&request(&folder, "#!/bin/sh\n", 'd'));
    assert!(
        matches!(outcome, SubmitOutcome::Unavailable(_)),
        "{outcome:?}"
    );
    assert_eq!(either.way().via, "sbatch");
    assert!(
        either.way().why.contains("nothing was sent"),
        "{:?}",
        either.way()
    );
    lab.start_slurmrestd().unwrap();
    id(either.submit(&request(&folder, "#!/bin/sh\n", 'e')));
    assert_eq!(either.sent(), 2, "slurmrestd is used again");
    for letter in ['a', 'b', 'c', 'e'] {
        let marker = Marker::new("restd", &letter.to_string().repeat(32), 0).unwrap();
        assert_eq!(either.find_by_marker(&marker).unwrap().len(), 1, "{letter}");
    }
}

#[test]
fn a_site_with_plugins_for_sbatch_has_all_jobs_through_it() {
    let Some(lab) = Lab::builder()
        .nodes(1)
        .slurmrestd(true)
        .plugstack("optional no_such_plugin.so\n")
        .start_or_skip()
    else {
        return;
    };
    let careful = client(&lab, &socket(&lab), Proof::Socket, false);
    let why = careful.probe().unwrap_err();
    assert!(why.contains("no_such_plugin.so"), "{why}");
    id(careful.submit(&request(&lab.dir().join("out"), "#!/bin/sh\n", 'a')));
    assert_eq!((careful.sent(), careful.way().via.as_str()), (0, "sbatch"));
}

#[test]
fn a_token_that_is_not_accepted_submits_nothing_there() {
    let Some(lab) = Lab::builder().nodes(1).slurmrestd(true).start_or_skip() else {
        return;
    };
    let file = lab.dir().join("token");
    std::fs::write(&file, "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.AAAA").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let client = client(&lab, &lab.rest_address(), Proof::File(file), true);
    let problem = client.probe().unwrap_err();
    assert!(!problem.contains("eyJ"), "{problem}");
    let request = request(&lab.dir().join("out"), "#!/bin/sh\n", 'a');
    let outcome = client.submit(&request);
    println!("{problem}; {outcome:?}");
    assert!(
        !matches!(outcome, SubmitOutcome::Submitted(_)),
        "{outcome:?}"
    );
    assert_eq!(client.find_by_marker(&request.marker).unwrap(), []);
}

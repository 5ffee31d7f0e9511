//! What every [`Scheduler`] must do, as one suite that each implementation's tests run
//! against a real scheduler.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::{ArrayTask, JobRef, JobReport, Marker, Phase, Scheduler, SubmitOutcome, SubmitRequest};

/// Longest wait for a short job to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the suite. `directory` must be visible to the nodes.
///
/// # Panics
/// With the first rule that is broken; this is for tests.
pub fn check(scheduler: &dyn Scheduler, directory: &Path) {
    let script = directory.join("conformance.sh");
    std::fs::write(
        &script,
        "#!/bin/sh\nprintf '%s\\n' \"$@\" \"$MIZAR_CHECK\"\nexit $2\n",
    )
    .expect("the test folder can be written");
    let request = |hash: u32, arguments: &[&str]| SubmitRequest {
        marker: Marker::new("conformance", &format!("{hash:032x}"), 0).expect("a valid marker"),
        script: script.clone(),
        arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
        options: vec![("time".to_owned(), "5".to_owned())],
        directory: directory.to_path_buf(),
        environment: vec![("MIZAR_CHECK".to_owned(), "kept $HOME".to_owned())],
        user: None,
        tasks: Vec::new(),
    };

    let unknown = request(1, &[]).marker;
    assert_eq!(
        scheduler.find_by_marker(&unknown).expect("an answer"),
        [],
        "nobody has it"
    );

    let machine = scheduler.capacity().expect("an answer");
    assert!(
        machine.nodes > 0 && machine.cpus >= machine.nodes && machine.memory_mib > 0,
        "{machine:?}"
    );

    values_arrive_as_they_are(scheduler, &request(2, &["a b; `id` $(id) \"'", "0"]));
    failures_keep_their_code(scheduler, &request(3, &["x", "3"]));
    refusals_are_final(scheduler, &request(4, &["x", "0"]));
    waiting_jobs_can_be_cancelled(scheduler, &request(5, &["x", "0"]));
    tasks_are_followed_one_by_one(scheduler, &request(6, &[]));
    a_waiting_task_can_be_cancelled_alone(scheduler, &request(7, &[]));
}

fn values_arrive_as_they_are(scheduler: &dyn Scheduler, request: &SubmitRequest) {
    let job = finish(scheduler, request);
    assert_eq!(
        (job.state.phase(), job.exit_code),
        (Phase::Completed, Some(0))
    );
    let output = request.directory.join(format!("slurm-{}.out", job.id));
    let text = std::fs::read_to_string(output).expect("the job's output");
    assert_eq!(text, format!("{}\n0\nkept $HOME\n", request.arguments[0]));
}

fn failures_keep_their_code(scheduler: &dyn Scheduler, request: &SubmitRequest) {
    let job = finish(scheduler, request);
    assert_eq!((job.state.phase(), job.exit_code), (Phase::Failed, Some(3)));
}

fn refusals_are_final(scheduler: &dyn Scheduler, request: &SubmitRequest) {
    let mut request = request.clone();
    request
        .options
        .push(("partition".to_owned(), "no-such-partition".to_owned()));
    let outcome = scheduler.submit(&request);
    assert!(matches!(outcome, SubmitOutcome::Refused(_)), "{outcome:?}");
    assert_eq!(
        scheduler
            .find_by_marker(&request.marker)
            .expect("an answer"),
        []
    );
}

fn waiting_jobs_can_be_cancelled(scheduler: &dyn Scheduler, request: &SubmitRequest) {
    let mut request = request.clone();
    request.options.push(("hold".to_owned(), String::new()));
    let SubmitOutcome::Submitted(id) = scheduler.submit(&request) else {
        panic!("not accepted")
    };
    let jobs = scheduler
        .find_by_marker(&request.marker)
        .expect("an answer");
    assert_eq!(jobs.len(), 1);
    assert_eq!((jobs[0].id, jobs[0].state.phase()), (id, Phase::Waiting));
    scheduler.cancel(id.into()).expect("cancelled");
    scheduler
        .cancel(id.into())
        .expect("cancelling twice is no error");
    assert_eq!(
        wait_for_end(scheduler, &request.marker).state.phase(),
        Phase::Cancelled
    );
}

/// An array whose tasks end with their index as exit code.
fn array(request: &SubmitRequest, tasks: &[u32]) -> SubmitRequest {
    let directory = request.directory.join(request.marker.hash());
    for task in tasks {
        std::fs::create_dir_all(directory.join(task.to_string())).expect("a folder for a task");
    }
    let script = directory.join("task.sh");
    std::fs::write(
        &script,
        "#!/bin/sh\necho $MIZAR_CHECK\nexit $SLURM_ARRAY_TASK_ID\n",
    )
    .expect("the test folder can be written");
    SubmitRequest {
        script,
        directory,
        tasks: tasks.to_vec(),
        ..request.clone()
    }
}

fn tasks_are_followed_one_by_one(scheduler: &dyn Scheduler, request: &SubmitRequest) {
    let request = array(request, &[0, 1, 4]);
    let SubmitOutcome::Submitted(id) = scheduler.submit(&request) else {
        panic!("not accepted")
    };
    let started = Instant::now();
    let jobs = loop {
        let mut jobs = scheduler
            .find_by_marker(&request.marker)
            .expect("an answer");
        jobs.sort_by_key(|job| job.task.map(|task| task.index));
        let tasks: Vec<_> = jobs.iter().map(|job| job.task.expect("a task")).collect();
        assert!(tasks.iter().all(|task| task.array == id), "{tasks:?}");
        let indices: Vec<u32> = tasks.iter().map(|task| task.index).collect();
        assert_eq!(indices, request.tasks, "each is told at each time");
        if jobs.iter().all(|job| job.state.phase().is_final()) {
            break jobs;
        }
        assert!(started.elapsed() < PATIENCE, "{jobs:?}");
        std::thread::sleep(Duration::from_millis(50));
    };
    let codes: Vec<_> = jobs.iter().map(|job| job.exit_code).collect();
    assert_eq!(codes, [Some(0), Some(1), Some(4)]);
    for (job, task) in jobs.iter().zip(&request.tasks) {
        let output = request
            .directory
            .join(format!("{task}/slurm-{}.out", job.id));
        let text = std::fs::read_to_string(&output).expect("the task's output");
        assert_eq!(text, "kept $HOME\n", "{}", output.display());
    }
}

fn a_waiting_task_can_be_cancelled_alone(scheduler: &dyn Scheduler, request: &SubmitRequest) {
    let mut request = array(request, &[0, 1, 2]);
    request.options.push(("hold".to_owned(), String::new()));
    let SubmitOutcome::Submitted(id) = scheduler.submit(&request) else {
        panic!("not accepted")
    };
    let waiting = || {
        let jobs = scheduler
            .find_by_marker(&request.marker)
            .expect("an answer");
        let waits = |job: &&JobReport| job.state.phase() == Phase::Waiting;
        let found = jobs.iter().filter(waits).map(JobReport::handle);
        found.collect::<Vec<_>>()
    };
    let task = |index| JobRef::Task(ArrayTask { array: id, index });
    assert_eq!(waiting(), [task(0), task(1), task(2)]);
    scheduler.cancel(task(1)).expect("cancelled");
    assert_eq!(waiting(), [task(0), task(2)]);
    scheduler.cancel(id.into()).expect("cancelled");
    assert_eq!(waiting(), []);
}

fn finish(scheduler: &dyn Scheduler, request: &SubmitRequest) -> JobReport {
    let outcome = scheduler.submit(request);
    let SubmitOutcome::Submitted(id) = outcome else {
        panic!("not accepted: {outcome:?}")
    };
    let job = wait_for_end(scheduler, &request.marker);
    assert_eq!(job.id, id);
    job
}

fn wait_for_end(scheduler: &dyn Scheduler, marker: &Marker) -> JobReport {
    let started = Instant::now();
    loop {
        let mut jobs = scheduler.find_by_marker(marker).expect("an answer");
        assert_eq!(jobs.len(), 1, "one job carries {marker}");
        if jobs[0].state.phase().is_final() {
            return jobs.remove(0);
        }
        assert!(
            started.elapsed() < PATIENCE,
            "{marker} is still {}",
            jobs[0].state
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

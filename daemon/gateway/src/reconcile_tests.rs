//! One row for each race that [`super`] promises to close.

use super::*;

const M: &str = "mizar:svc:0123456789abcdef0123456789abcdef";
const POLICY: Policy = Policy {
    grace_ms: 1_000,
    backoff_ms: 100,
    backoff_max_ms: 5_000,
    max_attempts: 3,
};

/// The look began at 10,000 and is weighed at 10,050.
const LOOK: i64 = 10_000;
const NOW: i64 = 10_050;

fn row(state: State) -> Followed {
    Followed {
        job: 1,
        marker: M.parse().unwrap(),
        state,
        verdict: None,
        slurm_job: (state != State::Unsure).then_some(JobId(7)),
        slurm_state: None,
        reason: None,
        looks: 0,
        failures: 0,
        next_ms: 0,
        changed_ms: 5_000,
        is_deleted: false,
        user: None,
        place: None,
    }
}

fn job(id: u32, state: JobState) -> JobReport {
    let exit_code = state.phase().is_final().then(|| state.default_exit_code());
    JobReport {
        user: String::new(),
        id: JobId(id),
        task: None,
        marker: M.parse().unwrap(),
        state,
        exit_code,
        reason: String::new(),
    }
}

fn look(
    row: &Followed,
    queue: &[JobReport],
    accounted: &[JobReport],
    started: &[JobId],
) -> Option<Change> {
    decide(
        row,
        &Sight {
            queue,
            accounted,
            started,
            has_array: false,
        },
        LOOK,
        NOW,
        &POLICY,
    )
}

#[test]
fn a_found_job_is_taken_over_whatever_sbatch_said() {
    for verdict in [Verdict::Unknown, Verdict::Refused, Verdict::Unavailable] {
        let unsure = Followed {
            verdict: Some(verdict),
            ..row(State::Unsure)
        };
        let change = look(&unsure, &[job(9, JobState::Pending)], &[], &[]).unwrap();
        assert_eq!(
            (change.to, change.slurm_job),
            (State::Submitted, Some(JobId(9)))
        );
        let change = look(&unsure, &[], &[job(9, JobState::Completed)], &[]).unwrap();
        assert_eq!((change.to, change.exit_code), (State::Completed, Some(0)));
    }
}

#[test]
fn an_uncertain_submission_is_looked_for_twice() {
    let mut unsure = Followed {
        verdict: Some(Verdict::Unknown),
        ..row(State::Unsure)
    };
    let first = look(&unsure, &[], &[], &[]).unwrap();
    assert_eq!(
        (first.to, first.looks, first.verdict),
        (State::Unsure, 1, Some(Verdict::Unknown))
    );
    assert_eq!(first.next_ms, NOW + POLICY.grace_ms);
    unsure.looks = 1;
    unsure.next_ms = NOW + 1;
    assert_eq!(look(&unsure, &[], &[], &[]), None, "the grace is not over");
    unsure.next_ms = NOW;
    let second = look(&unsure, &[], &[], &[]).unwrap();
    assert_eq!(
        (second.to, second.failed, second.lost),
        (State::Received, true, false)
    );
    unsure.failures = 2;
    assert_eq!(
        look(&unsure, &[], &[], &[]).unwrap().to,
        State::Dead,
        "the third failure"
    );
}

#[test]
fn a_killed_gateway_counts_against_no_event() {
    let verdict = Some(Verdict::Interrupted);
    let unsure = Followed {
        verdict,
        failures: 2,
        looks: 1,
        ..row(State::Unsure)
    };
    let change = look(&unsure, &[], &[], &[]).unwrap();
    assert_eq!((change.to, change.failed), (State::Received, false));
    let first = Followed { looks: 0, ..unsure };
    assert_eq!(
        look(&first, &[], &[], &[]).unwrap().looks,
        1,
        "it is looked for twice all the same"
    );
}

#[test]
fn certain_failures_need_one_look() {
    let refused = Followed {
        verdict: Some(Verdict::Refused),
        ..row(State::Unsure)
    };
    assert_eq!(look(&refused, &[], &[], &[]).unwrap().to, State::Dead);
    let away = Followed {
        verdict: Some(Verdict::Unavailable),
        ..row(State::Unsure)
    };
    let change = look(&away, &[], &[], &[]).unwrap();
    assert_eq!((change.to, change.failed), (State::Received, false));
}

#[test]
fn a_look_older_than_the_row_proves_nothing() {
    for state in [State::Unsure, State::Submitted, State::Running] {
        let fresh = Followed {
            changed_ms: LOOK,
            ..row(state)
        };
        assert_eq!(look(&fresh, &[], &[], &[]), None);
    }
}

#[test]
fn a_lost_job_that_never_started_gets_a_new_generation() {
    let submitted = Followed {
        looks: 1,
        ..row(State::Submitted)
    };
    let change = look(&submitted, &[], &[], &[]).unwrap();
    assert_eq!((change.to, change.lost), (State::Received, true));
    // The accounting still believes that it waits.
    let change = look(&submitted, &[], &[job(7, JobState::Pending)], &[]).unwrap();
    assert_eq!((change.to, change.lost), (State::Received, true));
    assert_eq!(
        look(&row(State::Submitted), &[], &[], &[]).unwrap().to,
        State::Submitted,
        "first look"
    );
}

#[test]
fn a_lost_job_with_any_sign_of_a_start_is_never_run_again() {
    for (state, accounted, started) in [
        (State::Running, vec![], vec![]),
        (State::Submitted, vec![], vec![JobId(7)]),
        (State::Submitted, vec![job(7, JobState::Running)], vec![]),
        (State::Unsure, vec![], vec![JobId(7)]),
    ] {
        let verdict = (state == State::Unsure).then_some(Verdict::Refused);
        let first = Followed {
            verdict,
            ..row(state)
        };
        assert_eq!(
            look(&first, &[], &accounted, &started).unwrap().to,
            state,
            "looked at twice"
        );
        let second = Followed { looks: 1, ..first };
        assert_eq!(
            look(&second, &[], &accounted, &started).unwrap().to,
            State::Vanished
        );
    }
}

#[test]
fn a_job_that_comes_back_clears_the_first_look() {
    let missing = Followed {
        looks: 1,
        slurm_state: Some("PENDING".into()),
        ..row(State::Submitted)
    };
    let change = look(&missing, &[job(7, JobState::Pending)], &[], &[]).unwrap();
    assert_eq!((change.to, change.looks), (State::Submitted, 0));
    let known = Followed {
        looks: 0,
        ..missing
    };
    assert_eq!(
        look(&known, &[job(7, JobState::Pending)], &[], &[]),
        None,
        "no news, no write"
    );
}

#[test]
fn of_two_jobs_the_recorded_one_is_kept_then_the_oldest_alive() {
    let jobs = [
        job(9, JobState::Pending),
        job(7, JobState::Cancelled),
        job(8, JobState::Pending),
    ];
    for (recorded, expected) in [(Some(9), 9), (Some(7), 7), (Some(1), 8), (None, 8)] {
        assert_eq!(
            keep(&jobs, recorded.map(JobId)).unwrap().id,
            JobId(expected)
        );
    }
    assert_eq!(keep(&[], None), None);
}

#[test]
fn waits_double_up_to_the_limit() {
    let waits: Vec<_> = [0, 1, 2, 3, 7, 4_000_000_000]
        .map(|n| POLICY.backoff(n))
        .to_vec();
    assert_eq!(waits, [100, 100, 200, 400, 5_000, 5_000]);
}

#[test]
fn a_clock_that_was_set_back_neither_hurries_nor_stops_a_row() {
    let verdict = Some(Verdict::Unavailable);
    for (changed_ms, next_ms) in [(NOW + 1, 0), (5_000, NOW + POLICY.grace_ms + 1)] {
        let ahead = Followed {
            verdict,
            looks: 1,
            changed_ms,
            next_ms,
            ..row(State::Unsure)
        };
        let anew = look(&ahead, &[], &[], &[]).unwrap();
        assert_eq!(
            (anew.to, anew.looks, anew.next_ms, anew.verdict),
            (State::Unsure, 0, 0, verdict)
        );
    }
}

#[test]
fn what_slurm_may_requeue_has_ended_only_at_the_second_look() {
    for state in [
        JobState::Failed,
        JobState::NodeFail,
        JobState::Preempted,
        JobState::BootFail,
    ] {
        let running = row(State::Running);
        let first = look(&running, &[job(7, state)], &[], &[]).unwrap();
        assert_eq!((first.to, first.looks), (State::Running, 1), "{state}");
        let seen = Followed {
            looks: 1,
            ..running.clone()
        };
        let second = look(&seen, &[job(7, state)], &[], &[]).unwrap();
        assert!(second.to.is_final(), "{state}");
        let requeued = look(&seen, &[job(7, JobState::Pending)], &[], &[]).unwrap();
        assert_eq!(
            (requeued.to, requeued.looks),
            (State::Submitted, 0),
            "{state}"
        );
        let accounted = look(&running, &[], &[job(7, state)], &[]).unwrap();
        assert!(
            accounted.to.is_final(),
            "the accounting is certain of {state}"
        );
    }
}

/// A task of an array that is on record, as one of the array's other tasks is seen.
fn task_row(state: State) -> Followed {
    let place = crate::ledger::Place {
        array: M.replace("012", "fff").parse().unwrap(),
        task: 3,
    };
    Followed {
        place: Some(place),
        ..row(state)
    }
}

fn look_at_task(row: &Followed, started: &[JobId], has_array: bool) -> Option<Change> {
    let sight = Sight {
        started,
        has_array,
        ..Sight::default()
    };
    decide(row, &sight, LOOK, NOW, &POLICY)
}

#[test]
fn a_task_that_left_its_array_without_a_trace_was_cancelled_and_is_not_made_again() {
    for state in [State::Submitted, State::Unsure] {
        let first = look_at_task(&task_row(state), &[], true).unwrap();
        assert_eq!(
            (first.to, first.looks),
            (state, 1),
            "one look proves nothing"
        );
        let seen = Followed {
            looks: 1,
            ..task_row(state)
        };
        let change = look_at_task(&seen, &[], true).unwrap();
        assert_eq!((change.to, change.lost), (State::Cancelled, false));
        // With a sign of a start it is not known how it ended.
        let change = look_at_task(&seen, &[JobId(8)], true).unwrap();
        assert_eq!(change.to, State::Vanished);
    }
    let seen = Followed {
        looks: 1,
        ..task_row(State::Submitted)
    };
    let change = look_at_task(&seen, &[], false).unwrap();
    assert_eq!(
        (change.to, change.lost),
        (State::Received, true),
        "the array was lost"
    );
}

#[test]
fn the_events_of_a_refused_array_are_tried_alone() {
    let refused = Followed {
        verdict: Some(Verdict::Refused),
        ..task_row(State::Unsure)
    };
    let change = look_at_task(&refused, &[], false).unwrap();
    assert_eq!((change.to, change.alone), (State::Received, true));
    let alone = Followed {
        verdict: Some(Verdict::Refused),
        ..row(State::Unsure)
    };
    let change = look(&alone, &[], &[], &[]).unwrap();
    assert_eq!(change.to, State::Dead);
}

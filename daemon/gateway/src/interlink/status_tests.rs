//! Every state of Slurm, as a table; and the rule that a job that failed never looks well.

use mizar_slurm::{JobState, Phase};

use super::*;
use crate::ledger::Door;

fn row(state: State, slurm: Option<JobState>) -> JobRow {
    JobRow {
        id: 5,
        service: "interlink".to_owned(),
        state,
        slurm_job: Some(42),
        slurm_state: slurm.map(|state| state.name().to_owned()),
        slurm_task: None,
        exit_code: slurm
            .filter(|state| state.phase().is_final())
            .map(JobState::default_exit_code),
        reason: None,
        attempts: 1,
        marker: String::new(),
        event_id: String::new(),
        source: String::new(),
        kind: String::new(),
        subject: None,
        received_ms: 1_000,
        changed_ms: 9_000,
        door: Door::Pod,
        started_ms: Some(2_000),
        ended_ms: Some(8_000),
        deleted_ms: None,
        joined: None,
        owner: None,
        user: None,
    }
}

fn at(slurm: JobState) -> JobRow {
    let state = match slurm.phase() {
        Phase::Waiting => State::Submitted,
        Phase::Running => State::Running,
        Phase::Completed => State::Completed,
        Phase::Failed => State::Failed,
        Phase::Cancelled => State::Cancelled,
    };
    row(state, Some(slurm))
}

fn started(ready: bool) -> Option<Progress> {
    Some(Progress {
        started_ms: Some(3_000),
        ready,
        ..Progress::default()
    })
}

fn ended(code: i32) -> Option<Progress> {
    Some(Progress {
        started_ms: Some(3_000),
        finished_ms: Some(4_000),
        exit_code: Some(code),
        ..Progress::default()
    })
}

fn code(state: &ContainerState) -> Option<i32> {
    match state {
        ContainerState::Terminated { code, .. } => Some(*code),
        _ => None,
    }
}

#[test]
fn every_state_of_slurm() {
    use JobState::*;
    for &slurm in JobState::ALL {
        let (_, apps) = states(&at(slurm), &[], &[started(true)]);
        let found = &apps[0];
        match slurm {
            Pending | Configuring | Requeued | RequeueFed | RequeueHold | ResvDelHold
            | SpecialExit | Revoked | PowerUpNode => {
                assert!(matches!(found, ContainerState::Waiting { .. }), "{slurm}");
            }
            Running | Resizing | Signaling | StageOut | Completing => {
                assert_eq!(
                    *found,
                    ContainerState::Running {
                        started_ms: 3_000,
                        ready: true
                    },
                    "{slurm}"
                );
            }
            Suspended | Stopped => {
                assert_eq!(
                    *found,
                    ContainerState::Running {
                        started_ms: 3_000,
                        ready: false
                    },
                    "{slurm}"
                );
            }
            Completed => assert_eq!(code(found), Some(0)),
            Failed | NodeFail | BootFail | Deadline => assert_eq!(code(found), Some(1), "{slurm}"),
            Cancelled | Timeout | Preempted => assert_eq!(code(found), Some(143), "{slurm}"),
            OutOfMemory => assert_eq!(code(found), Some(137)),
            _ => panic!("{slurm} has no row in this table"),
        }
        if let ContainerState::Waiting { message, .. }
        | ContainerState::Terminated { message, .. } = found
        {
            assert!(message.contains(slurm.name()), "{message}");
        }
    }
}

#[test]
fn containers_keep_their_own_codes() {
    let (init, apps) = states(
        &at(JobState::Failed),
        &[ended(0)],
        &[ended(0), ended(7), None],
    );
    assert_eq!(code(&init[0]), Some(0));
    assert_eq!(
        apps.iter().map(code).collect::<Vec<_>>(),
        [Some(0), Some(7), Some(1)]
    );
    let ContainerState::Terminated {
        started_ms,
        finished_ms,
        ..
    } = apps[0]
    else {
        panic!()
    };
    assert_eq!((started_ms, finished_ms), (3_000, 4_000));
    let ContainerState::Terminated {
        started_ms,
        finished_ms,
        ..
    } = apps[2]
    else {
        panic!()
    };
    assert_eq!(
        (started_ms, finished_ms),
        (2_000, 8_000),
        "the job's own times"
    );
}

#[test]
fn a_failed_init_container_takes_all_after_it_along() {
    let running = states(&at(JobState::Running), &[ended(0), started(true)], &[None]);
    assert!(matches!(running.0[1], ContainerState::Running { .. }));
    assert!(matches!(
        running.1[0],
        ContainerState::Waiting {
            reason: "PodInitializing",
            ..
        }
    ));
    let (init, apps) = states(&at(JobState::Failed), &[ended(3), None], &[None]);
    assert_eq!(
        init.iter().chain(&apps).map(code).collect::<Vec<_>>(),
        [Some(3), Some(1), Some(1)]
    );
}

#[test]
fn a_job_that_failed_never_looks_well() {
    for &slurm in JobState::ALL {
        if !matches!(slurm.phase(), Phase::Failed | Phase::Cancelled) {
            continue;
        }
        let all = [None, started(true), ended(0), ended(5)];
        for first in &all {
            for second in &all {
                let (init, apps) = states(
                    &at(slurm),
                    std::slice::from_ref(first),
                    std::slice::from_ref(second),
                );
                let codes: Vec<_> = init
                    .iter()
                    .chain(&apps)
                    .map(|one| code(one).unwrap())
                    .collect();
                assert!(codes.iter().any(|code| *code != 0), "{slurm} {codes:?}");
            }
        }
    }
    for state in [State::Vanished, State::Dead] {
        let (_, apps) = states(&row(state, None), &[], &[ended(0)]);
        assert_eq!(code(&apps[0]), Some(1));
    }
}

#[test]
fn states_of_an_earlier_job_do_not_count() {
    let mut progress = ended(0).unwrap();
    progress.start = "41.0".to_owned();
    assert!(!is_of(&progress, &at(JobState::Running)));
    progress.start = "42.1".to_owned();
    assert!(is_of(&progress, &at(JobState::Running)));
}

#[test]
fn a_pod_has_not_ended_before_its_job_has() {
    let (_, apps) = states(&at(JobState::Completing), &[], &[ended(0), ended(7)]);
    assert_eq!(code(&apps[0]), Some(0));
    assert!(matches!(
        apps[1],
        ContainerState::Running { ready: false, .. }
    ));
}

//! How a pod and its containers are: from the ledger's state of the job, and from what the
//! supervisor wrote about each container. Pure but for [`report`], which reads those files.
//!
//! Virtual Kubelet calls a pod failed only if some exit code is not zero, and a pod without
//! containers succeeded: so a job that failed has one that is not, and none is ever left out. It
//! overwrites reasons, so what matters is in the message.

use std::path::Path;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::pod::{Container, Pod};
use crate::ledger::{JobRow, State};
use crate::supervise::progress::{self, Progress};
use crate::supervise::start_name;

/// Code of what ended and left none of its own.
const FAILED: i32 = 1;

/// States of Slurm in which a job is there and does not run.
const HALTED: [&str; 2] = ["SUSPENDED", "STOPPED"];

/// How one container is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// Not started.
    Waiting {
        /// Why.
        reason: &'static str,
        /// Slurm's word.
        message: String,
    },
    /// Started.
    Running {
        /// When, in milliseconds since 1970.
        started_ms: i64,
        /// Whether it is ready.
        ready: bool,
    },
    /// Ended.
    Terminated {
        /// Its code.
        code: i32,
        /// Slurm's word, and the supervisor's.
        message: String,
        /// When it started, in milliseconds since 1970.
        started_ms: i64,
        /// When it ended, in milliseconds since 1970.
        finished_ms: i64,
    },
}

/// How all are: of the init containers and of the others, in the pod's order.
#[must_use]
pub fn states(
    row: &JobRow,
    init: &[Option<Progress>],
    apps: &[Option<Progress>],
) -> (Vec<ContainerState>, Vec<ContainerState>) {
    let word = word(row);
    let waiting = |reason| ContainerState::Waiting {
        reason,
        message: word.clone(),
    };
    match row.state {
        State::Received | State::Submitting | State::Unsure | State::Submitted => (
            vec![waiting("ContainerCreating"); init.len()],
            vec![
                waiting(if init.is_empty() {
                    "ContainerCreating"
                } else {
                    "PodInitializing"
                });
                apps.len()
            ],
        ),
        State::Running => running(row, init, apps, &waiting),
        _ => ended(row, init, apps, &word),
    }
}

fn running(
    row: &JobRow,
    init: &[Option<Progress>],
    apps: &[Option<Progress>],
    waiting: &dyn Fn(&'static str) -> ContainerState,
) -> (Vec<ContainerState>, Vec<ContainerState>) {
    let halted = row
        .slurm_state
        .as_deref()
        .is_some_and(|word| HALTED.contains(&word));
    let one = |progress: &Option<Progress>, reason| match progress {
        Some(progress) => match (progress.exit_code, progress.started_ms) {
            (Some(code), _) => terminated(row, progress, code, &progress.message),
            (None, Some(started_ms)) => ContainerState::Running {
                started_ms,
                ready: progress.ready && !halted,
            },
            (None, None) => waiting(reason),
        },
        None => waiting(reason),
    };
    let done = |progress: &Option<Progress>| {
        progress
            .as_ref()
            .is_some_and(|one| one.exit_code == Some(0))
    };
    let reason = if init.iter().all(done) {
        "ContainerCreating"
    } else {
        "PodInitializing"
    };
    let init = init
        .iter()
        .map(|progress| one(progress, "PodInitializing"))
        .collect();
    let mut states: Vec<_> = apps.iter().map(|progress| one(progress, reason)).collect();
    // The pod has not ended before Slurm says how the job did.
    let over = |state: &ContainerState| matches!(state, ContainerState::Terminated { .. });
    if states.iter().all(over)
        && let Some(ContainerState::Terminated { started_ms, .. }) = states.last()
    {
        let started_ms = *started_ms;
        states.pop();
        states.push(ContainerState::Running {
            started_ms,
            ready: false,
        });
    }
    (init, states)
}

fn ended(
    row: &JobRow,
    init: &[Option<Progress>],
    apps: &[Option<Progress>],
    word: &str,
) -> (Vec<ContainerState>, Vec<ContainerState>) {
    let is_good = row.state == State::Completed;
    let of_job = match row.exit_code {
        _ if is_good => 0,
        Some(code) if code != 0 => code,
        _ if row.state == State::Cancelled => 143,
        _ => FAILED,
    };
    let own = |progress: &Option<Progress>| progress.as_ref().and_then(|one| one.exit_code);
    let all_good = init.iter().chain(apps).all(|one| own(one) == Some(0));
    let count = init.len() + apps.len();
    let states: Vec<_> = init
        .iter()
        .chain(apps)
        .enumerate()
        .map(|(index, progress)| {
            let mut code = own(progress).unwrap_or(of_job);
            // Every container ended well, and the job did not: the last one bears it.
            if !is_good && all_good && index + 1 == count {
                code = of_job;
            }
            let told = progress.as_ref().map_or("", |one| one.message.as_str());
            let message = match (word, told) {
                (word, "") => word.to_owned(),
                (word, told) => format!("{word}: {told}"),
            };
            terminated(row, &progress.clone().unwrap_or_default(), code, &message)
        })
        .collect();
    let apps = states[init.len()..].to_vec();
    (states[..init.len()].to_vec(), apps)
}

fn terminated(row: &JobRow, progress: &Progress, code: i32, message: &str) -> ContainerState {
    let finished_ms = progress
        .finished_ms
        .or(row.ended_ms)
        .unwrap_or(row.changed_ms);
    let started_ms = progress
        .started_ms
        .or(row.started_ms)
        .unwrap_or(finished_ms);
    ContainerState::Terminated {
        code,
        message: message.to_owned(),
        started_ms: started_ms.min(finished_ms),
        finished_ms,
    }
}

/// Slurm's state and reason, or the ledger's where Slurm has none.
fn word(row: &JobRow) -> String {
    let state = match &row.slurm_state {
        Some(state) => format!("Slurm {state}"),
        None => format!("{} for Slurm", row.state.word()),
    };
    match row.reason.as_deref() {
        Some(reason) if !reason.is_empty() => format!("{state} ({reason})"),
        _ => state,
    }
}

/// The report about one pod, as `/status` answers it.
#[must_use]
pub fn report(row: &JobRow, pod: &Pod, folder: &Path) -> Value {
    let of = |containers: &[Container]| -> Vec<Option<Progress>> {
        let read =
            |one: &Container| progress::read(folder, &one.name).filter(|one| is_of(one, row));
        containers.iter().map(read).collect()
    };
    let (init, apps) = (&pod.spec.init_containers, &pod.spec.containers);
    let (init_states, app_states) = states(row, &of(init), &of(apps));
    let list = |containers: &[Container], states: &[ContainerState]| -> Vec<Value> {
        containers
            .iter()
            .zip(states)
            .map(|(one, state)| json_of(one, state))
            .collect()
    };
    json!({
        "name": pod.metadata.name, "UID": pod.metadata.uid, "namespace": pod.metadata.namespace,
        "JID": job_id(row),
        "containers": list(apps, &app_states),
        "initContainers": list(init, &init_states),
    })
}

/// Whether a state is of the job that the ledger follows, and not of an earlier one.
fn is_of(progress: &Progress, row: &JobRow) -> bool {
    row.slurm_job.is_some_and(|job| {
        let any = start_name(&job.to_string(), "");
        progress.start.split('.').next() == any.split('.').next()
    })
}

/// What Kubernetes remembers as the job: Slurm's id, or the ledger's until there is one.
#[must_use]
pub fn job_id(row: &JobRow) -> String {
    row.slurm_job
        .map_or_else(|| format!("mizar-{}", row.id), |job| job.to_string())
}

fn json_of(container: &Container, state: &ContainerState) -> Value {
    let (state, ready) = match state {
        ContainerState::Waiting { reason, message } => (
            json!({"waiting": {"reason": reason, "message": message}}),
            false,
        ),
        ContainerState::Running { started_ms, ready } => (
            json!({"running": {"startedAt": stamp(*started_ms)}}),
            *ready,
        ),
        ContainerState::Terminated {
            code,
            message,
            started_ms,
            finished_ms,
        } => {
            let reason = match code {
                0 => "Completed",
                137 if message.contains("OUT_OF_MEMORY") => "OOMKilled",
                _ => "Error",
            };
            let ended = json!({
                "exitCode": code, "reason": reason, "message": message,
                "startedAt": stamp(*started_ms), "finishedAt": stamp(*finished_ms),
            });
            (json!({"terminated": ended}), false)
        }
    };
    json!({
        "name": container.name, "state": state, "lastState": {}, "ready": ready,
        "restartCount": 0, "image": container.image, "imageID": "",
    })
}

/// A time as Kubernetes reads it.
#[must_use]
pub fn stamp(ms: i64) -> String {
    OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000))
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;

//! Submission of a burst: one sbatch for the events of an array.
//!
//! Whatever cannot be an array is submitted one by one, and no event pays for another's fault.

use std::sync::Arc;

use mizar_slurm::jobfile::{self, Modes};
use mizar_slurm::{Marker, SubmitRequest};
use tracing::warn;

use super::{dead, plain, prepare_service, run, unwritten, weigh};
use crate::array::{BATCH, Task, folders};
use crate::ledger::{Arrays, Change, Claim, State};
use crate::service::Service;
use crate::shared::Shared;

/// Which services' bursts become arrays.
pub(super) fn arrays(services: &[Service]) -> Arc<Arrays> {
    let all = services.iter().filter_map(|service| {
        let most = service.array?;
        Some((service.name.clone(), most))
    });
    Arc::new(all.collect())
}

/// Submits events as the tasks of an array, and says what is to be recorded of each.
pub(super) fn attempt(shared: &Shared, array: &Marker, claims: &[Claim]) -> Vec<Change> {
    let mut changes = Vec::with_capacity(claims.len());
    let (mut tasks, mut members, mut model) = (Vec::new(), Vec::new(), None);
    for (index, claim) in (0_u32..).zip(claims) {
        match prepare_service(shared, claim) {
            Ok(request) => {
                tasks.push(task(index, claim, &request));
                members.push(claim);
                model = Some(request);
            }
            Err(reason) => changes.push(dead(claim, reason)),
        }
    }
    let Some(model) = model else {
        return changes;
    };
    let each = |make: &dyn Fn(&Claim) -> Change| members.iter().map(|claim| make(claim)).collect();
    let of_members: Vec<Change> = match submit(shared, array, &model, &tasks) {
        Ok(request) => {
            let outcome = run(shared, &request);
            each(&|claim| weigh(shared, claim, array, &outcome))
        }
        Err(Instead::Later(reason)) => each(&|claim| unwritten(shared, claim, reason.clone())),
        Err(Instead::Alone(reason)) => {
            warn!(%array, %reason, "events are submitted one by one");
            each(&|claim| Change {
                alone: true,
                ..plain(claim, State::Received)
            })
        }
    };
    changes.extend(of_members);
    changes
}

/// What becomes of events that are not submitted.
enum Instead {
    /// They are tried again.
    Later(String),
    /// They are submitted one by one.
    Alone(String),
}

/// An event as a task: all that its own job would have.
fn task(index: u32, claim: &Claim, request: &SubmitRequest) -> Task {
    Task {
        index,
        marker: claim.marker.clone(),
        folder: request.directory.clone(),
        document: claim.document.clone(),
        arguments: request.arguments.clone(),
    }
}

/// Writes the folders of an array; `model` is the request of one of its events.
fn submit(
    shared: &Shared,
    array: &Marker,
    model: &SubmitRequest,
    tasks: &[Task],
) -> Result<SubmitRequest, Instead> {
    let base = shared.folder(array);
    let all = folders(&base, &model.script, tasks).map_err(Instead::Alone)?;
    jobfile::make_all(&all, Modes::OWNER).map_err(|error| {
        Instead::Later(format!("cannot write below {}: {error}", base.display()))
    })?;
    // What differs from event to event, of the variables too, the batch script sets.
    Ok(SubmitRequest {
        marker: array.clone(),
        script: base.join(BATCH),
        arguments: Vec::new(),
        directory: base,
        tasks: tasks.iter().map(|task| task.index).collect(),
        ..model.clone()
    })
}

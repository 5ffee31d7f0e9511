//! Submission: claims jobs in the ledger and hands them to Slurm, some at a time.
//!
//! A claim is on disk before its sbatch starts, and its outcome is on disk before the worker
//! takes the next; see [`crate::reconcile`] for what that buys.

mod burst;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mizar_slurm::jobfile::{self, Modes};
use mizar_slurm::{JobFile, Marker, SubmitAsError, SubmitOutcome, SubmitRequest};
use tracing::{error, info, warn};

use crate::event::Event;
use crate::jobfiles::{BATCH_FILE, Planned, planned_files};
use crate::ledger::{
    Change, Claim, Claimed, Door, LedgerError, Share, State, Verdict, apply, claim, is_due, now_ms,
    settle,
};
use crate::shared::Shared;
use crate::userfolder::{self, UserFolderError};

/// Claims per worker: one at work and one ready, so that no worker waits for a commit.
const CLAIMS_PER_WORKER: usize = 2;

/// Longest sleep of the dispatcher: due retries are found after at most this time.
const IDLE: Duration = Duration::from_millis(500);

/// How often the dispatcher looks for batches and windows whose time is over.
const TICK: Duration = Duration::from_millis(250);

/// Wait before a failed ledger write is tried again.
const LEDGER_PAUSE: Duration = Duration::from_millis(500);

/// Name of the event in its folder.
pub const EVENT_FILE: &str = "event.json";

/// Starts the dispatcher and its workers.
///
/// # Errors
/// If a thread cannot be started.
pub fn start(shared: &Arc<Shared>) -> io::Result<Vec<JoinHandle<()>>> {
    let workers = shared.config.slurm.submit_parallel;
    let (queue, claims) = sync_channel(workers * CLAIMS_PER_WORKER);
    let claims = Arc::new(Mutex::new(claims));
    let in_flight = Arc::new(AtomicUsize::new(0));
    let mut threads = Vec::with_capacity(workers + 1);
    for index in 0..workers {
        let (shared, claims, in_flight) = (
            Arc::clone(shared),
            Arc::clone(&claims),
            Arc::clone(&in_flight),
        );
        let thread = std::thread::Builder::new().name(format!("submit-{index}"));
        threads.push(thread.spawn(move || work(&shared, &claims, &in_flight))?);
    }
    let shared = Arc::clone(shared);
    let dispatcher = std::thread::Builder::new().name("dispatch".to_owned());
    threads.push(dispatcher.spawn(move || dispatch(&shared, &queue, &in_flight))?);
    Ok(threads)
}

fn dispatch(shared: &Shared, queue: &SyncSender<Claimed>, in_flight: &AtomicUsize) {
    let most = shared.config.slurm.submit_parallel * CLAIMS_PER_WORKER;
    let arrays = burst::arrays(&shared.services);
    let mut ticked: Option<Instant> = None;
    while !shared.is_stopping() {
        if ticked.is_none_or(|at| at.elapsed() >= TICK) {
            ticked = Some(Instant::now());
            if let Err(error) = tick(shared) {
                warn!(%error, "cannot look for what is due");
            }
        }
        let free = most.saturating_sub(in_flight.load(Ordering::SeqCst));
        if free == 0 || shared.away.load(Ordering::SeqCst) {
            shared.work.wait(IDLE);
            continue;
        }
        let arrays = Arc::clone(&arrays);
        let share = if arrays.is_empty() {
            Share::Yes
        } else {
            Share::No
        };
        match shared.writer.write_as(share, move |connection| {
            claim(connection, now_ms(), free, &arrays)
        }) {
            Ok(claims) if claims.is_empty() => shared.work.wait(IDLE),
            Ok(claims) => {
                let count = claims.len();
                let events = claims.iter().map(|one| one.claims.len() as u64).sum();
                let taken = |backlog: u64| Some(backlog.saturating_sub(events));
                let _ = shared
                    .backlog
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, taken);
                in_flight.fetch_add(count, Ordering::SeqCst);
                for claim in claims {
                    if queue.send(claim).is_err() {
                        return;
                    }
                }
            }
            Err(LedgerError::Closed) => return,
            Err(error) => {
                warn!(%error, "cannot claim jobs");
                shared.work.wait(LEDGER_PAUSE);
            }
        }
    }
}

/// Hears of a drain by another process, and settles batches and windows whose time is over.
fn tick(shared: &Shared) -> Result<(), LedgerError> {
    shared.look_at_drain()?;
    if shared.reader.read(|ledger| is_due(ledger, now_ms()))? {
        shared
            .writer
            .write(|ledger| settle(ledger, now_ms()))
            .map(drop)?;
    }
    Ok(())
}

fn work(shared: &Shared, claims: &Mutex<Receiver<Claimed>>, in_flight: &AtomicUsize) {
    loop {
        let next = claims.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Claimed { array, claims }) = next else {
            return;
        };
        let changes = if shared.is_stopping() {
            // Claimed, and sbatch never ran for them.
            let unused = claims.iter().map(|claim| plain(claim, State::Received));
            unused.collect()
        } else {
            match array {
                Some(marker) => burst::attempt(shared, &marker, &claims),
                None => claims.iter().map(|claim| attempt(shared, claim)).collect(),
            }
        };
        record(shared, &changes);
        in_flight.fetch_sub(1, Ordering::SeqCst);
        shared.work.ring();
    }
}

/// Writes the outcome, however long the ledger's disk is full; a stop leaves the claim for the
/// next start to look up.
fn record(shared: &Shared, changes: &[Change]) {
    loop {
        let copy = changes.to_vec();
        match shared
            .writer
            .write_as(Share::of(changes.len()), move |connection| {
                apply(connection, now_ms(), &copy)
            }) {
            Ok(_) => return,
            Err(error) => {
                let job = changes.first().map(|change| change.job);
                error!(%error, job, "cannot record a submission yet");
            }
        }
        if shared.is_stopping() {
            return;
        }
        std::thread::sleep(LEDGER_PAUSE);
    }
}

fn plain(claim: &Claim, to: State) -> Change {
    Change::new(claim.job, claim.marker.generation(), State::Submitting, to)
}

fn dead(claim: &Claim, reason: String) -> Change {
    warn!(job = claim.job, marker = %claim.marker, %reason, "an event became a dead letter");
    Change {
        reason: Some(reason),
        ..plain(claim, State::Dead)
    }
}

/// Runs sbatch for one claim and says what is to be recorded.
fn attempt(shared: &Shared, claim: &Claim) -> Change {
    let (request, planned) = match prepare(shared, claim) {
        Ok(request) => request,
        Err(reason) => return dead(claim, reason),
    };
    if let Err(change) = write_folder(shared, claim, &request.directory, planned.as_ref()) {
        return change;
    }
    let outcome = run(shared, &request);
    weigh(shared, claim, &claim.marker, &outcome)
}

/// Submits, and measures how long it took.
fn run(shared: &Shared, request: &SubmitRequest) -> SubmitOutcome {
    let started = Instant::now();
    let outcome = shared.scheduler.submit(request);
    shared
        .metrics
        .sbatch
        .observe(started.elapsed().as_secs_f64());
    outcome
}

/// Writes what the job finds in its folder; else says what is to be recorded.
fn write_folder(
    shared: &Shared,
    claim: &Claim,
    folder: &Path,
    planned: Option<&Planned>,
) -> Result<(), Change> {
    let mut files = vec![JobFile::new(EVENT_FILE, claim.document.as_str())];
    let mut links = Vec::new();
    if let Some(planned) = planned {
        files.extend(planned_files(planned, folder, &shared.config.supervisor()));
        links.clone_from(&planned.links);
    }
    let written = match userfolder::other(shared, claim.user.as_deref()) {
        Some(user) => match userfolder::make(shared, &claim.marker, user, files, links) {
            Err(error @ UserFolderError::NoHelper { .. }) => {
                return Err(dead(claim, error.to_string()));
            }
            Err(UserFolderError::Helper {
                source: error @ SubmitAsError::Refused(_),
                ..
            }) => return Err(dead(claim, error.to_string())),
            other => other.map_err(|error| mizar_core::chain(&error)),
        },
        None => jobfile::make(folder, &files, &links, Modes::OWNER)
            .map_err(|error| format!("cannot write {}: {error}", folder.display())),
    };
    written.map_err(|reason| unwritten(shared, claim, reason))
}

/// Nothing was submitted; the disk may have room again later.
fn unwritten(shared: &Shared, claim: &Claim, reason: String) -> Change {
    warn!(job = claim.job, %reason, "a job's folder is not written");
    Change {
        reason: Some(reason),
        next_ms: now_ms() + shared.policy().backoff(claim.failures + 1),
        ..plain(claim, State::Received)
    }
}

/// What a submission under `marker` means for one of its events.
fn weigh(shared: &Shared, claim: &Claim, marker: &Marker, outcome: &SubmitOutcome) -> Change {
    let doubt = |verdict, reason: &String| Change {
        verdict: Some(verdict),
        reason: Some(reason.clone()),
        ..plain(claim, State::Unsure)
    };
    let (word, change) = match outcome {
        SubmitOutcome::Submitted(id) => {
            info!(job = claim.job, %marker, slurm_job = %id, "submitted");
            let change = Change {
                slurm_job: Some(*id),
                ..plain(claim, State::Submitted)
            };
            return count(shared, "submitted", change);
        }
        SubmitOutcome::Refused(reason) => ("refused", doubt(Verdict::Refused, reason)),
        SubmitOutcome::Unavailable(reason) => {
            shared.away.store(true, Ordering::SeqCst);
            ("unavailable", doubt(Verdict::Unavailable, reason))
        }
        SubmitOutcome::Unknown(reason) => ("unknown", doubt(Verdict::Unknown, reason)),
    };
    warn!(job = claim.job, %marker, outcome = word, reason = change.reason.as_deref(), "submission failed");
    shared.look.ring();
    count(shared, word, change)
}

fn count(shared: &Shared, outcome: &str, change: Change) -> Change {
    shared.metrics.count_submission(outcome);
    change
}

/// Builds the request; a reason that no retry can mend makes a dead letter.
fn prepare(shared: &Shared, claim: &Claim) -> Result<(SubmitRequest, Option<Planned>), String> {
    check_user(shared, claim)?;
    let folder = userfolder::place(shared, &claim.marker, claim.user.as_deref());
    let planned = match claim.door {
        Door::Event => return prepare_service(shared, claim).map(|request| (request, None)),
        Door::Pod => plan_pod(shared, claim, &folder)?,
        Door::Oscar => crate::oscar::job::plan(shared, claim, &folder)?,
        Door::Worker => crate::oscar::warm::plan(shared, claim)?,
    };
    let request = SubmitRequest {
        marker: claim.marker.clone(),
        script: folder.join(BATCH_FILE),
        arguments: Vec::new(),
        options: planned.options.clone(),
        environment: environment(&claim.marker, &folder),
        user: claim.user.clone(),
        directory: folder,
        tasks: Vec::new(),
    };
    Ok((request, Some(planned)))
}

/// Whether there is still a rule by which somebody is this user: maps change while jobs wait.
fn check_user(shared: &Shared, claim: &Claim) -> Result<(), String> {
    let Some(user) = &claim.user else {
        return Ok(());
    };
    let rules = &shared.config.identity.users;
    match rules.iter().any(|rule| rule.user == *user) {
        true => Ok(()),
        false => Err(format!(
            "nobody is the user `{user}` any more in [identity]"
        )),
    }
}

fn plan_pod(shared: &Shared, claim: &Claim, folder: &Path) -> Result<Planned, String> {
    let payload = claim.payload.as_deref().ok_or("the pod was forgotten")?;
    let create = serde_json::from_slice(payload)
        .map_err(|error| format!("the ledger holds no pod: {error}"))?;
    let user = claim.user.as_deref();
    crate::interlink::plan(shared, &create, &folder.display().to_string(), user)
}

/// What every job is told.
fn environment(marker: &Marker, folder: &Path) -> Vec<(String, String)> {
    let event = folder.join(EVENT_FILE).display().to_string();
    vec![
        ("MIZAR_EVENT_FILE".to_owned(), event),
        ("MIZAR_SERVICE".to_owned(), marker.service().to_owned()),
        ("MIZAR_MARKER".to_owned(), marker.to_string()),
    ]
}

fn prepare_service(shared: &Shared, claim: &Claim) -> Result<SubmitRequest, String> {
    let marker = &claim.marker;
    let service = shared
        .services
        .iter()
        .find(|service| service.name == marker.service())
        .ok_or_else(|| {
            format!(
                "the service `{}` is not configured any more",
                marker.service()
            )
        })?;
    let document = serde_json::from_str(&claim.document)
        .map_err(|error| format!("the ledger holds no JSON for this event: {error}"))?;
    let event = Event::from_document(document).map_err(|error| error.to_string())?;
    let taken: Result<Vec<_>, _> = service.args.iter().map(|arg| arg.take(&event)).collect();
    let arguments = taken.map_err(|error| error.to_string())?;
    let directory = userfolder::place(shared, marker, claim.user.as_deref());
    Ok(SubmitRequest {
        marker: marker.clone(),
        script: service.script.clone(),
        arguments,
        options: service.options(),
        environment: environment(marker, &directory),
        user: claim.user.clone(),
        directory,
        tasks: Vec::new(),
    })
}

//! The one look at Slurm for all jobs: squeue once per interval, sacct for those that left it.
//!
//! What a look means is decided in [`crate::reconcile`]; here it is made and recorded.

mod tidy;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mizar_slurm::cli::started_jobs;
use mizar_slurm::{JobId, JobReport, Marker, Phase};
use tracing::{info, warn};

use self::tidy::{forget_arrays, forget_jobs, forget_old_changes, tidy};
use crate::ledger::{
    Change, Followed, Place, Share, State, apply, counts, followed, generation_of, is_left,
    mend_waits, now_ms,
};
use crate::reconcile::{Sight, decide, keep};
use crate::shared::Shared;
use crate::supervise::event::last_words;
use crate::tasks::{Tasks, Told};
use crate::way::Note;

/// Most changes in one ledger operation, so that intake is not kept waiting.
const CHANGES_AT_ONCE: usize = 500;

/// Longest pause between looks while Slurm does not answer.
const AWAY_MAX: Duration = Duration::from_secs(30);

/// Looks between two rounds of tidying the ledger, unless there was more than a round may do.
const FORGET_EVERY: u64 = 500;

/// How much of a failed script's output is kept as the reason of its job.
const LAST_WORDS_BYTES: u64 = 400;

/// How often the nodes are looked at, for those who report them.
const CAPACITY_EVERY: Duration = Duration::from_secs(30);

/// Starts the poller.
///
/// # Errors
/// If the thread cannot be started.
pub fn start(shared: &Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    std::thread::Builder::new()
        .name("poll".to_owned())
        .spawn(move || run(&shared))
}

fn run(shared: &Shared) {
    let interval = Duration::from_millis(shared.config.slurm.poll_ms);
    let mut pause = interval;
    let mut round = 0_u64;
    let mut note = Note::new(&shared.config.state_dir);
    let mut seen: Option<Instant> = None;
    let mut more_to_forget = false;
    while !shared.is_stopping() {
        round += 1;
        refresh_counts(shared);
        note.keep(shared.scheduler.way());
        let due = seen.is_none_or(|seen| seen.elapsed() >= CAPACITY_EVERY);
        if due && look_at_nodes(shared) {
            seen = Some(Instant::now());
        }
        match look(shared) {
            Ok(()) => {
                pause = interval;
                shared.metrics.scheduler_up.set(1);
                if shared.away.swap(false, Ordering::SeqCst) {
                    info!("Slurm answers again");
                    shared.work.ring();
                }
            }
            Err(error) => {
                warn!(%error, "no look at Slurm");
                shared.metrics.scheduler_up.set(0);
                shared.away.store(true, Ordering::SeqCst);
                pause = (pause * 2).min(AWAY_MAX.max(interval));
            }
        }
        tidy(shared);
        if more_to_forget || round.is_multiple_of(FORGET_EVERY) {
            more_to_forget = forget_jobs(shared);
        }
        if round.is_multiple_of(FORGET_EVERY) {
            forget_arrays(shared);
            forget_old_changes(shared);
            let mended = shared
                .writer
                .write(|connection| mend_waits(connection, now_ms()));
            if let Err(error) = mended {
                warn!(%error, "cannot mend waits");
            }
        }
        shared.look.wait(pause);
    }
}

fn refresh_counts(shared: &Shared) {
    match shared.reader.read(counts) {
        Ok(counts) => {
            // What waits for other events takes as much room as what waits for Slurm.
            let waits = |state| matches!(state, State::Received | State::Gathering);
            let waiting = counts.iter().filter(|(state, _)| waits(*state));
            let waiting = waiting.map(|(_, count)| count).sum();
            shared.backlog.store(waiting, Ordering::SeqCst);
            shared.metrics.set_jobs(&counts);
        }
        Err(error) => warn!(%error, "cannot count jobs"),
    }
}

/// Looks at the nodes, if a front door reports them; whether there is no need to look again soon.
fn look_at_nodes(shared: &Shared) -> bool {
    if shared.config.interlink.is_none() && shared.config.oscar.is_none() {
        return true;
    }
    match shared.scheduler.capacity() {
        Ok(capacity) => shared.set_capacity(capacity),
        Err(error) => warn!(%error, "cannot look at the nodes"),
    }
    // A failure may have taken its whole time limit: the jobs come first.
    true
}

/// Cancels what Slurm has of jobs that their owners deleted.
fn cancel_deleted(shared: &Shared, queue: &HashMap<Marker, Vec<JobReport>>, rows: &[Followed]) {
    for row in rows.iter().filter(|row| row.is_deleted) {
        let jobs = queue
            .get(&row.marker)
            .map(Vec::as_slice)
            .unwrap_or_default();
        for job in jobs.iter().filter(|job| !job.state.phase().is_final()) {
            info!(slurm_job = %job.id, marker = %row.marker, "cancelling the job of what was deleted");
            if let Err(error) = shared.scheduler.cancel(job.handle()) {
                warn!(%error, slurm_job = %job.handle(), "cannot cancel it");
            }
        }
    }
}

/// Why a look came to nothing.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Query(#[from] mizar_slurm::QueryError),
    #[error(transparent)]
    Ledger(#[from] crate::ledger::LedgerError),
}

fn look(shared: &Shared) -> Result<(), LookError> {
    let look_ms = now_ms();
    shared.metrics.looks.inc();
    let jobs = shared.scheduler.queue()?;
    let rows = shared.reader.read(followed)?;
    let tasks = Tasks::new(&rows);
    let mut queue = tasks.tell(jobs);
    let users = shared.config.users();
    drop_forged(&mut queue.jobs, &rows, &users);
    let gone = tasks.unseen(&rows, &queue.jobs);
    let mut accounted = tasks.tell(shared.scheduler.accounted(&gone)?).jobs;
    drop_forged(&mut accounted, &rows, &users);
    cancel_extras(shared, &queue.jobs, &rows);
    cancel_left(shared, &queue.left);
    cancel_deleted(shared, &queue.jobs, &rows);
    let mut changes = Vec::new();
    let mut again = false;
    // One time for all: what was an array waits as one.
    let times = (look_ms, now_ms());
    for row in &rows {
        let change = weigh(shared, row, &queue, &accounted, times);
        again |= change
            .as_ref()
            .is_some_and(|change| change.to == State::Received);
        changes.extend(change);
        if changes.len() == CHANGES_AT_ONCE {
            record(shared, std::mem::take(&mut changes))?;
        }
    }
    record(shared, changes)?;
    if again {
        shared.work.ring();
    }
    Ok(())
}

/// Leaves out jobs that carry the marker of somebody else's: anybody can write a comment.
fn drop_forged(jobs: &mut HashMap<Marker, Vec<JobReport>>, rows: &[Followed], users: &[String]) {
    for row in rows {
        let Some(found) = jobs.get_mut(&row.marker) else {
            continue;
        };
        found.retain(|job| match &row.user {
            Some(user) => job.user == *user,
            // Our own user may have no name, or another in Slurm.
            None => !users.contains(&job.user),
        });
        if found.is_empty() {
            jobs.remove(&row.marker);
        }
    }
}

fn record(shared: &Shared, changes: Vec<Change>) -> Result<(), LookError> {
    if changes.is_empty() {
        return Ok(());
    }
    shared
        .writer
        .write_as(Share::of(changes.len()), move |connection| {
            apply(connection, now_ms(), &changes)
        })?;
    Ok(())
}

fn weigh(
    shared: &Shared,
    row: &Followed,
    seen: &Told,
    accounted: &HashMap<Marker, Vec<JobReport>>,
    (look_ms, weighed_ms): (i64, i64),
) -> Option<Change> {
    let of = |map: &'_ HashMap<Marker, Vec<JobReport>>| {
        map.get(&row.marker).cloned().unwrap_or_default()
    };
    let (queue, accounted) = (of(&seen.jobs), of(accounted));
    let started: Vec<JobId> = if queue.is_empty() {
        match started_jobs(&shared.folder(&row.marker)) {
            Ok(jobs) => jobs,
            Err(error) => {
                // Unreadable is not empty: nothing may be decided from it.
                warn!(%error, marker = %row.marker, "cannot read a job's folder");
                return None;
            }
        }
    } else {
        Vec::new()
    };
    let sight = Sight {
        queue: &queue,
        accounted: &accounted,
        started: &started,
        has_array: seen.has_array(row),
    };
    let mut change = decide(row, &sight, look_ms, weighed_ms, &shared.policy())?;
    if change.to != row.state {
        info!(job = row.job, marker = %row.marker, from = row.state.word(), to = change.to.word(),
            slurm_job = change.slurm_job.map(|job| job.0), reason = change.reason.as_deref(), "job moved");
    }
    // Not in the log: what a script prints is its owner's.
    if change.to == State::Failed
        && let Some(words) = last_words(&shared.folder(&row.marker), LAST_WORDS_BYTES)
    {
        let reason = change.reason.unwrap_or_default();
        change.reason = Some(
            format!("{reason}: {words}")
                .trim_start_matches(": ")
                .to_owned(),
        );
    }
    Some(change)
}

/// Cancels waiting jobs whose event has another: see race 7 of [`crate::reconcile`].
fn cancel_extras(shared: &Shared, queue: &HashMap<Marker, Vec<JobReport>>, rows: &[Followed]) {
    let on_record: HashMap<&Marker, Option<JobId>> = rows
        .iter()
        .map(|row| (&row.marker, row.slurm_job))
        .collect();
    for (marker, jobs) in queue {
        let waiting = |job: &&JobReport| job.state.phase() == Phase::Waiting;
        if !jobs.iter().any(|job| waiting(&job)) {
            continue;
        }
        let kept = match on_record.get(marker) {
            Some(record) => keep(jobs, *record).map(|job| job.id),
            // No row follows this marker: ended, or of an older generation than the row's.
            None => match shared.reader.read(|ledger| generation_of(ledger, marker)) {
                Ok(Some(generation)) if generation > marker.generation() => None,
                _ => continue,
            },
        };
        for job in jobs
            .iter()
            .filter(waiting)
            .filter(|job| Some(job.id) != kept)
        {
            cancel_second(shared, job);
        }
    }
}

/// Cancels waiting tasks whose events are not in that array any more.
fn cancel_left(shared: &Shared, left: &[(Place, JobReport)]) {
    for (place, job) in left {
        if job.state.phase() != Phase::Waiting {
            continue;
        }
        match shared.reader.read(|ledger| is_left(ledger, place)) {
            Ok(true) => cancel_second(shared, job),
            Ok(false) => {}
            Err(error) => warn!(%error, "cannot look for the event of a task"),
        }
    }
}

fn cancel_second(shared: &Shared, job: &JobReport) {
    let slurm_job = job.handle();
    warn!(%slurm_job, marker = %job.marker, "cancelling a second job of one event");
    match shared.scheduler.cancel(slurm_job) {
        Ok(()) => drop(shared.metrics.duplicates_cancelled.inc()),
        Err(error) => warn!(%error, %slurm_job, "cannot cancel it"),
    }
}

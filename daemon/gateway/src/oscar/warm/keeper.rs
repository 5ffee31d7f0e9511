//! Has done what the pool decides: workers made, cancelled and forgotten, in the ledger.

use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mizar_slurm::Marker;
use mizar_slurm::cli::{output_name, started_jobs};
use tokio::sync::watch;
use tracing::{info, warn};

use super::pool::Action;
use super::{Warm, worker_job};
use crate::http::intake::announce;
use crate::ledger::{
    self, JobRow, LedgerError, Selection, State, add_worker, delete_ended_workers, live_workers,
    now_ms, place_of,
};
use crate::oscar::store::{self, Kept};
use crate::shared::Shared;
use crate::supervise::progress::open_below;

/// How often the workers are weighed without being asked.
const TICK: Duration = Duration::from_millis(250);

/// Shortest time between two such looks, however often they are asked for.
const PAUSE: Duration = Duration::from_millis(20);

/// How often the services are read without having been changed.
const READ_EVERY: Duration = Duration::from_secs(5);

/// How much of a failed worker's last words is told.
const LAST_WORDS_BYTES: u64 = 400;

pub(super) async fn keep(warm: Arc<Warm>, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let ended = write(&shared, |ledger| delete_ended_workers(ledger, now_ms())).await;
    if let Err(error) = ended {
        warn!(%error, "cannot forget the workers of before");
    }
    let mut read: Option<Instant> = None;
    loop {
        if let Err(error) = look(&warm, &shared, &mut read).await {
            warn!(%error, "cannot look after the workers");
        }
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            () = warm.bell.notified() => {}
            () = tokio::time::sleep(TICK) => {}
            _ = stop.changed() => return,
        }
    }
}

async fn look(warm: &Warm, shared: &Shared, read: &mut Option<Instant>) -> Result<(), LedgerError> {
    let now = Instant::now();
    let is_stale = warm.is_stale.swap(false, Ordering::SeqCst);
    if is_stale || read.is_none_or(|at| at.elapsed() >= READ_EVERY) {
        let services = shared
            .reader
            .read(store::list)
            .inspect_err(|_| warm.services_changed())?;
        *read = Some(now);
        let mut pool = warm.pool();
        for kept in &services {
            pool.define(kept, now);
        }
        pool.retain(
            |name| services.iter().any(|kept| kept.definition.name == name),
            now,
        );
    }
    let rows = shared.reader.read(live_workers)?;
    let (actions, counts) = {
        let mut pool = warm.pool();
        (pool.step(&rows, shared.is_draining(), now), pool.counts())
    };
    shared.metrics.set_workers(&counts);
    for action in actions {
        match action {
            Action::Start { kept, place } => start(warm, shared, &kept, place).await,
            Action::Cancel { job, reason } => {
                info!(job, reason, "a worker's job is cancelled");
                if let Err(error) = delete(shared, job).await {
                    warn!(%error, job, "cannot cancel a worker's job yet");
                    warm.pool().not_cancelled(job);
                }
            }
            Action::Ended { job, never_came } => ended(warm, shared, job, never_came).await,
        }
    }
    Ok(())
}

async fn start(warm: &Warm, shared: &Shared, kept: &Kept, place: u32) {
    let event = match worker_job::event(kept, place) {
        Ok(event) => event,
        Err(error) => return warn!(%error, "cannot make a worker"),
    };
    let most = usize::try_from(warm.settings.workers).unwrap_or(usize::MAX);
    let added = write(shared, move |ledger| {
        add_worker(ledger, now_ms(), &event, place, most)
    })
    .await;
    match added {
        Ok(Some(job)) => {
            info!(service = %kept.definition.name, place, job, "a worker is wanted");
            announce(shared, 1);
        }
        // The next look sees who has the place.
        Ok(None) => {}
        Err(error) => warn!(%error, "cannot have a worker made"),
    }
}

/// A worker's job has ended: why, if that is worth telling; then its folder goes.
async fn ended(warm: &Warm, shared: &Shared, job: i64, never_came: bool) {
    let selection = Selection {
        job: Some(job),
        limit: 1,
        ..Selection::default()
    };
    let row = shared
        .reader
        .read(|ledger| ledger::jobs(ledger, &selection));
    if let Ok(Some(row)) = row.map(|mut rows| rows.pop()) {
        let reason = row.reason.clone().unwrap_or_default();
        let words = last_words(shared, &row).unwrap_or_default();
        let (serves, place) = (
            row.subject.clone().unwrap_or_default(),
            place_of_row(shared, job),
        );
        if never_came || !matches!(row.state, State::Completed | State::Cancelled) {
            warn!(job, service = %serves, place, state = row.state.word(), %reason, %words, "a worker ended");
        } else {
            info!(job, service = %serves, place, state = row.state.word(), "a worker ended");
        }
        if never_came && !matches!(row.state, State::Cancelled) {
            let said = format!("{reason} {words}");
            let problem = format!(
                "the job of its worker is {}: {}",
                row.state.word(),
                said.trim()
            );
            warm.pool().blame(&serves, problem);
        }
    }
    if let Err(error) = delete(shared, job).await {
        warn!(%error, job, "cannot forget a worker yet");
    }
}

fn place_of_row(shared: &Shared, job: i64) -> u32 {
    let document = shared.reader.read(|ledger| ledger::document(ledger, job));
    document
        .ok()
        .flatten()
        .map_or(u32::MAX, |text| place_of(&text))
}

/// The end of what a worker wrote to its job's output.
fn last_words(shared: &Shared, row: &JobRow) -> Option<String> {
    let folder = shared.folder(&row.marker.parse::<Marker>().ok()?);
    let newest = started_jobs(&folder).ok()?.pop()?;
    let mut file = open_below(&folder, &folder.join(output_name(newest))).ok()?;
    let size = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(LAST_WORDS_BYTES)))
        .ok()?;
    let mut text = Vec::new();
    file.take(LAST_WORDS_BYTES).read_to_end(&mut text).ok()?;
    Some(
        String::from_utf8_lossy(&text)
            .trim()
            .escape_debug()
            .to_string(),
    )
}

async fn delete(shared: &Shared, job: i64) -> Result<(), LedgerError> {
    write(shared, move |ledger| ledger::delete(ledger, now_ms(), job)).await?;
    shared.look.ring();
    Ok(())
}

async fn write<T: Send + 'static>(
    shared: &Shared,
    operation: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, LedgerError> {
    shared.writer.submit(operation)?.done().await
}

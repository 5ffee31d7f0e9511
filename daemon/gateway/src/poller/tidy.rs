//! What the poller forgets: old jobs, changes and arrays, and the folders of what was deleted. Each
//! operation is short, so that intake is not kept waiting.

use mizar_slurm::Marker;
use tracing::warn;

use crate::ledger::{
    drop_payload, forget, forget_array, forget_changes, now_ms, old_arrays, untidied,
};
use crate::shared::Shared;
use crate::userfolder;

/// Most jobs forgotten in one operation, and how many of those follow each other: with a look each
/// two seconds that is more than comes in.
const FORGET_AT_ONCE: u32 = 500;
const FORGET_TIMES: u32 = 20;

/// Most changes of jobs forgotten in one operation, and how many of those follow each other: a
/// round forgets what the busiest hour wrote.
const FORGET_CHANGES_AT_ONCE: u32 = 5_000;
const FORGET_CHANGES_TIMES: u32 = 200;

/// Removes the folders of jobs that their owners deleted and that have ended.
pub(super) fn tidy(shared: &Shared) {
    let found = match shared.reader.read(untidied) {
        Ok(found) => found,
        Err(error) => return warn!(%error, "cannot look for deleted jobs"),
    };
    for (job, marker) in found {
        let mut removed = true;
        for generation in 0..=marker.generation() {
            let Ok(marker) = Marker::new(marker.service(), marker.hash(), generation) else {
                continue;
            };
            let folder = shared.folder(&marker);
            if let Err(error) = userfolder::remove(&folder) {
                warn!(%error, folder = %folder.display(), "cannot remove a deleted job's folder");
                removed = false;
            }
        }
        // The payload stays until its folder has gone: it is what says that there is one.
        if removed && let Err(error) = shared.writer.write(move |ledger| drop_payload(ledger, job))
        {
            warn!(%error, job, "cannot forget a payload");
        }
    }
}

/// Forgets old jobs; whether there are more than may be forgotten now.
pub(super) fn forget_jobs(shared: &Shared) -> bool {
    let before = keep_since(shared);
    for _ in 0..FORGET_TIMES {
        let forgotten = shared
            .writer
            .write(move |ledger| forget(ledger, before, FORGET_AT_ONCE));
        match forgotten {
            Ok(count) if count < FORGET_AT_ONCE as usize => return false,
            Ok(_) => {}
            Err(error) => {
                warn!(%error, "cannot forget old jobs");
                return false;
            }
        }
    }
    true
}

/// What is older is forgotten.
fn keep_since(shared: &Shared) -> i64 {
    now_ms() - i64::from(shared.config.limits.keep_days) * 86_400_000
}

/// Removes the folders of arrays whose jobs are forgotten; those of the jobs stay.
pub(super) fn forget_arrays(shared: &Shared) {
    let before = keep_since(shared);
    let old = shared
        .reader
        .read(|ledger| old_arrays(ledger, before, FORGET_AT_ONCE));
    let old = match old {
        Ok(old) => old,
        Err(error) => return warn!(%error, "cannot look for old arrays"),
    };
    for (id, marker) in old {
        let folder = shared.folder(&marker);
        let forgotten = userfolder::remove(&folder)
            .map_err(|error| error.to_string())
            .and_then(|()| {
                let forget = shared.writer.write(move |ledger| forget_array(ledger, id));
                forget.map_err(|error| error.to_string())
            });
        if let Err(error) = forgotten {
            warn!(%error, folder = %folder.display(), "cannot forget an array");
        }
    }
}

pub(super) fn forget_old_changes(shared: &Shared) {
    let before = keep_since(shared);
    let keep = shared.config.limits.changes;
    for _ in 0..FORGET_CHANGES_TIMES {
        let forgotten = shared
            .writer
            .write(move |ledger| forget_changes(ledger, before, keep, FORGET_CHANGES_AT_ONCE));
        match forgotten {
            Ok(count) if count < FORGET_CHANGES_AT_ONCE as usize => break,
            Ok(_) => {}
            Err(error) => return warn!(%error, "cannot forget old changes"),
        }
    }
}

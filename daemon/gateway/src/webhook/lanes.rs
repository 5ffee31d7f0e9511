//! Several calls of one webhook at once: those of one job follow each other, those of different jobs
//! do not wait for each other. What is given out, and what became of it, is kept here, with no call
//! in it.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::ledger::Moved;

/// A page of changes that several workers go through.
pub(super) struct Lanes {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    waiting: VecDeque<Moved>,
    /// Jobs with a change on its way.
    busy: HashSet<i64>,
    has_failed: bool,
}

impl Lanes {
    /// Of changes in order.
    pub(super) fn new(changes: impl IntoIterator<Item = Moved>) -> Self {
        Self {
            state: Mutex::new(State {
                waiting: changes.into_iter().collect(),
                busy: HashSet::new(),
                has_failed: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// The next change whose job has none on its way; waits for one, and returns None at the end, or
    /// once something failed.
    pub(super) fn next(&self) -> Option<Moved> {
        let mut state = self.state();
        loop {
            if state.has_failed || state.waiting.is_empty() {
                return None;
            }
            let free = |one: &Moved| !state.busy.contains(&one.job);
            if let Some(at) = state.waiting.iter().position(free) {
                let change = state.waiting.remove(at)?;
                state.busy.insert(change.job);
                return Some(change);
            }
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Tells that a call has ended; after the first failure no other change is given out.
    pub(super) fn tell(&self, change: &Moved, was_taken: bool) {
        let mut state = self.state();
        state.busy.remove(&change.job);
        state.has_failed |= !was_taken;
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a mark may go: behind the last change before which none is missing.
pub(super) fn mark(page: &[i64], done: &BTreeSet<i64>, from: i64, until: i64) -> i64 {
    match page.iter().position(|id| !done.contains(id)) {
        None => until.max(from),
        Some(0) => from,
        Some(missing) => page[missing - 1].max(from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::State as JobState;

    fn change(id: i64, job: i64) -> Moved {
        Moved {
            id,
            job,
            service: "s".to_owned(),
            generation: 0,
            was: None,
            state: JobState::Received,
            slurm_job: None,
            slurm_state: None,
            exit_code: None,
            reason: None,
            at_ms: 0,
            event_id: None,
            event_source: None,
            event_type: None,
            event_subject: None,
        }
    }

    #[test]
    fn a_job_has_one_change_on_its_way_and_others_pass_by() {
        let lanes = Lanes::new([change(1, 7), change(2, 7), change(3, 8), change(4, 7)]);
        let first = lanes.next().unwrap();
        let other = lanes.next().unwrap();
        assert_eq!((first.id, other.id), (1, 3));
        lanes.tell(&other, true);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| lanes.next().map(|one| one.id));
            std::thread::sleep(std::time::Duration::from_millis(30));
            assert!(!waiting.is_finished(), "2 waits for 1");
            lanes.tell(&first, true);
            assert_eq!(waiting.join().unwrap(), Some(2));
        });
        lanes.tell(&change(2, 7), true);
        assert_eq!(lanes.next().map(|one| one.id), Some(4));
        lanes.tell(&change(4, 7), true);
        assert!(lanes.next().is_none());
    }

    #[test]
    fn after_a_failure_nothing_is_begun() {
        let lanes = Lanes::new([change(1, 7), change(2, 8), change(3, 9)]);
        let (one, two) = (lanes.next().unwrap(), lanes.next().unwrap());
        lanes.tell(&one, false);
        assert!(lanes.next().is_none());
        lanes.tell(&two, true);
        assert!(lanes.next().is_none());
    }

    #[test]
    fn a_mark_never_passes_what_is_missing() {
        let page = [3, 5, 9];
        for (done, expected) in [
            (&[][..], 2),
            (&[3], 3),
            (&[5, 9], 2),
            (&[3, 9], 3),
            (&[3, 5], 5),
            (&[3, 5, 9], 12),
        ] {
            let done: BTreeSet<i64> = done.iter().copied().collect();
            assert_eq!(mark(&page, &done, 2, 12), expected, "{done:?}");
        }
        assert_eq!(mark(&[], &BTreeSet::new(), 2, 12), 12);
    }
}

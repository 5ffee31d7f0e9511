//! Telling: the changes at hand, one after the other or several at once, and what each answer means
//! for its change and for the mark.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tracing::warn;

use super::call::{self, CallError};
use super::lanes::{self, Lanes};
use super::settings::Secrets;
use super::{HookError, MAX_REFUSALS, Teller, message};
use crate::ledger::{Moved, now_ms};

impl Teller<'_> {
    /// Delivers one change and moves the mark behind it.
    pub(super) fn tell(&mut self, change: &Moved, secrets: &Secrets) -> Result<(), HookError> {
        let result = self.call(change, secrets);
        self.judge(change, result)?;
        self.failures = 0;
        self.at.mark = change.id;
        self.tell_state("open", None);
        self.write_mark();
        Ok(())
    }

    /// Delivers a page of changes, several at once, and moves the mark as far as none is missing.
    pub(super) fn tell_at_once(
        &mut self,
        changes: Vec<Moved>,
        until: i64,
        secrets: &Secrets,
    ) -> Result<(), HookError> {
        let page: Vec<i64> = changes.iter().map(|change| change.id).collect();
        let (known, left): (Vec<_>, Vec<_>) = changes
            .into_iter()
            .partition(|one| self.ahead.contains(&one.id));
        let lanes = Lanes::new(left);
        let results = Mutex::new(Vec::new());
        let this = &*self;
        std::thread::scope(|scope| {
            for _ in 0..this.webhook.parallel {
                scope.spawn(|| {
                    while !this.shared.is_stopping()
                        && let Some(change) = lanes.next()
                    {
                        let result = this.call(&change, secrets);
                        lanes.tell(&change, result.is_ok());
                        let mut all = results.lock().unwrap_or_else(PoisonError::into_inner);
                        all.push((change, result));
                    }
                });
            }
        });
        let mut done: BTreeSet<i64> = known.iter().map(|one| one.id).collect();
        let mut failed = None;
        for (change, result) in results.into_inner().unwrap_or_else(PoisonError::into_inner) {
            match self.judge(&change, result) {
                Ok(()) => drop(done.insert(change.id)),
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        self.at.mark = lanes::mark(&page, &done, self.at.mark, until);
        let mark = self.at.mark;
        done.retain(|id| *id > mark);
        self.ahead = done;
        self.write_mark();
        match failed {
            Some(error) => Err(error),
            None => {
                self.failures = 0;
                self.tell_state("open", None);
                Ok(())
            }
        }
    }

    /// One call, when its time has come.
    fn call(&self, change: &Moved, secrets: &Secrets) -> Result<(), CallError> {
        if let Some(spacing) = self.spacing.filter(|spacing| !spacing.is_zero()) {
            let mut called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(called) = *called {
                self.sleep(spacing.saturating_sub(called.elapsed()));
            }
            *called = Some(Instant::now());
        }
        let message = message::message(change, self.webhook, secrets, now_ms() / 1000);
        call::deliver(&self.agent, self.webhook, message)
    }

    /// What an answer means for a change: taken, passed over, or to be tried again.
    fn judge(&mut self, change: &Moved, result: Result<(), CallError>) -> Result<(), HookError> {
        match result {
            Ok(()) => {
                self.at.delivered += 1;
                self.count("delivered", 1);
            }
            Err(CallError::Refused(reason)) => {
                let refusals = self.refusals.entry(change.id).or_insert(0);
                *refusals += 1;
                if *refusals < MAX_REFUSALS {
                    return Err(CallError::Refused(reason).into());
                }
                warn!(
                    webhook = self.webhook.name,
                    change = change.id,
                    reason,
                    "a change is passed over"
                );
                self.at.refused += 1;
                self.count("refused", 1);
            }
            Err(error) => return Err(error.into()),
        }
        self.refusals.remove(&change.id);
        Ok(())
    }
}

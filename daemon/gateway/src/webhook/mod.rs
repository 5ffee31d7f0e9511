//! Webhooks: every change of a job is posted to those who want it, as a CloudEvent.
//!
//! A thread for each webhook goes through the changes of the ledger from its mark on, one call
//! after the other, and moves the mark once the receiver has answered well. So a receiver gets
//! every change at least once and in order, whatever is killed in between, and tells repeats by
//! their id; and no webhook waits for another's receiver. With `parallel` several calls of one are
//! on their way at once, a page of changes at a time ([`lanes`]): then order is kept for each job
//! alone, and after a kill a page may come again. What fails is tried again, ever more slowly; what the receiver refuses for what it is
//! (400, 413, 415, 422) is passed over after [`MAX_REFUSALS`] tries, so that it blocks nothing;
//! 410 ends the webhook until the gateway starts again.
//!
//! Nothing is held in memory but the few changes at hand: the queue is the ledger's own list, and
//! `queue_changes` its limit.

mod call;
mod lanes;
mod message;
mod settings;
mod tell;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::{info, warn};
use ureq::Agent;

pub(crate) use settings::check;
pub use settings::{Secrets, Webhook};

use self::call::CallError;
use crate::ledger::{self, LedgerError, Progress, Stretch, now_ms};
use crate::reconcile::Policy;
use crate::shared::Shared;

/// How often the ledger is looked at for changes.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Changes that are read at once.
const PAGE: u32 = 100;

/// Calls with one change that the receiver refuses for what it is, until it is passed over.
const MAX_REFUSALS: u32 = 3;

/// Changes of others that are passed over before the mark is written, or so much time.
const MARK_CHANGES: i64 = 1_000;
const MARK_EVERY: Duration = Duration::from_secs(5);

/// Starts the webhooks.
///
/// # Errors
/// If the ledger does not take their names, or a thread cannot be started.
pub fn start(shared: &Arc<Shared>) -> io::Result<Vec<JoinHandle<()>>> {
    let webhooks = &shared.config.webhooks;
    let names: Vec<String> = webhooks.iter().map(|one| one.name.clone()).collect();
    shared
        .writer
        .write(move |ledger| ledger::configure_webhooks(ledger, now_ms(), &names))
        .map_err(io::Error::other)?;
    let threads = webhooks.iter().map(|webhook| {
        let (shared, webhook) = (Arc::clone(shared), webhook.clone());
        let thread = std::thread::Builder::new().name(format!("hook-{}", webhook.name));
        thread.spawn(move || run(&shared, &webhook))
    });
    threads.collect()
}

fn run(shared: &Shared, webhook: &Webhook) {
    let mut teller = Teller {
        shared,
        webhook,
        agent: call::agent(webhook),
        at: Progress::default(),
        written: 0,
        wrote: Instant::now(),
        spacing: None,
        called: Mutex::new(None),
        failures: 0,
        refusals: HashMap::new(),
        ahead: BTreeSet::new(),
        state: "starting",
    };
    teller.run();
}

/// Why a webhook pauses or ends.
#[derive(Debug, thiserror::Error)]
enum HookError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("{0}")]
    Secrets(String),
    #[error(transparent)]
    Call(#[from] CallError),
}

struct Teller<'a> {
    shared: &'a Shared,
    webhook: &'a Webhook,
    agent: Agent,
    /// How far it is, and what has not been counted in the ledger.
    at: Progress,
    /// The mark in the ledger.
    written: i64,
    wrote: Instant,
    /// Least time between two calls; None before the handshake.
    spacing: Option<Duration>,
    called: Mutex<Option<Instant>>,
    failures: u32,
    /// How often each change was refused for what it is.
    refusals: HashMap<i64, u32>,
    /// What was taken behind the mark, while something before it was not.
    ahead: BTreeSet<i64>,
    state: &'static str,
}

impl Teller<'_> {
    fn run(&mut self) {
        let name = self.webhook.name.clone();
        while !self.shared.is_stopping() {
            match self
                .shared
                .reader
                .read(|ledger| ledger::webhook_mark(ledger, &name))
            {
                Ok(mark) => {
                    (self.at.mark, self.written) = (mark, mark);
                    break;
                }
                Err(error) => warn!(%error, webhook = name, "cannot read a webhook's mark"),
            }
            self.sleep(LOOK_EVERY);
        }
        while !self.shared.is_stopping() {
            match self.round() {
                Ok(()) => {}
                Err(HookError::Call(CallError::Gone)) => {
                    self.tell_state("gone", Some(&CallError::Gone.to_string()));
                    warn!(
                        webhook = name,
                        "the receiver of a webhook wants nothing any more"
                    );
                    break;
                }
                Err(error) => self.fail(&error),
            }
        }
        self.write_mark();
    }

    /// Asks the receiver whether it wants to be told.
    fn open(&mut self) -> Result<(), HookError> {
        let secrets = self.webhook.secrets().map_err(HookError::Secrets)?;
        let spacing = match self.webhook.handshake {
            true => call::handshake(&self.agent, self.webhook, &secrets)?,
            false => Duration::ZERO,
        };
        self.spacing = Some(spacing);
        self.failures = 0;
        self.tell_state("open", None);
        Ok(())
    }

    /// Tells the next changes, or waits for some.
    fn round(&mut self) -> Result<(), HookError> {
        if self.spacing.is_none() {
            self.open()?;
        }
        self.drop_what_is_too_much()?;
        let Stretch { changes, until } = self.shared.reader.read(|ledger| {
            ledger::changes_after(ledger, self.at.mark, &self.webhook.services, PAGE)
        })?;
        // Read again each time: a new key counts from the next change on.
        let secrets = match changes.is_empty() {
            true => None,
            false => Some(self.webhook.secrets().map_err(HookError::Secrets)?),
        };
        if let Some(secrets) = secrets {
            match self.webhook.parallel {
                1 => {
                    for change in &changes {
                        if self.shared.is_stopping() {
                            return Ok(());
                        }
                        self.tell(change, &secrets)?;
                    }
                }
                _ => self.tell_at_once(changes, until, &secrets)?,
            }
            if self.shared.is_stopping() {
                return Ok(());
            }
        }
        let is_news = until > self.at.mark;
        self.at.mark = until.max(self.at.mark);
        let is_due = self.at.mark > self.written && self.wrote.elapsed() >= MARK_EVERY;
        if is_due || self.at.mark - self.written >= MARK_CHANGES {
            self.write_mark();
        }
        if !is_news {
            self.sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Passes over the oldest changes where more wait than may, and what the ledger forgot.
    fn drop_what_is_too_much(&mut self) -> Result<(), LedgerError> {
        let (mark, webhook) = (self.at.mark, self.webhook);
        let (first, count) = self.shared.reader.read(|ledger| {
            let most = i64::from(webhook.queue_changes);
            let full = ledger::newest_change(ledger)? - most;
            let first = full.max(ledger::changes_known_after(ledger)?);
            let count = match first > mark {
                true => ledger::count_changes(ledger, mark, first, &webhook.services)?,
                false => 0,
            };
            Ok((first, count))
        })?;
        if first > mark {
            self.at.mark = first;
            self.at.dropped = self.at.dropped.saturating_add(count);
            self.refusals.clear();
            self.ahead.retain(|id| *id > first);
            self.count("dropped", u64::from(count));
            warn!(
                webhook = webhook.name,
                changes = count,
                "changes are passed over: too many waited"
            );
            self.write_mark();
        }
        Ok(())
    }

    fn fail(&mut self, error: &HookError) {
        let reason = mizar_core::chain(error);
        self.failures = self.failures.saturating_add(1);
        self.count("failed", 1);
        if self.state != "failed" || self.failures.is_power_of_two() {
            warn!(
                webhook = self.webhook.name,
                failures = self.failures,
                reason,
                "a webhook failed"
            );
        }
        self.tell_state("failed", Some(&reason));
        let whole = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let policy = Policy {
            grace_ms: 0,
            backoff_ms: whole(self.webhook.backoff_ms),
            backoff_max_ms: whole(self.webhook.backoff_max_ms),
            max_attempts: 0,
        };
        let own = Duration::from_millis(policy.backoff(self.failures).unsigned_abs());
        let asked = match error {
            HookError::Call(CallError::Later { after, .. }) => after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        // A receiver may ask for time, not for ever.
        let most = Duration::from_millis(self.webhook.backoff_max_ms).max(own);
        self.sleep(own.max(asked.min(most)));
    }

    /// Writes the mark and what is not counted yet; if that fails it is written later, and after
    /// a kill some changes come again.
    fn write_mark(&mut self) {
        let (name, progress) = (self.webhook.name.clone(), self.at);
        self.wrote = Instant::now();
        let done = self
            .shared
            .writer
            .write(move |ledger| ledger::advance_webhook(ledger, &name, progress));
        match done {
            Ok(_) => {
                self.written = progress.mark;
                self.at = Progress {
                    mark: progress.mark,
                    ..Progress::default()
                };
            }
            Err(error) => warn!(%error, webhook = self.webhook.name, "cannot write a mark"),
        }
    }

    fn tell_state(&mut self, state: &'static str, error: Option<&str>) {
        if error.is_none() && self.state == state {
            return;
        }
        if self.state != state {
            info!(webhook = self.webhook.name, state, "a webhook's state");
        }
        self.state = state;
        let (name, error) = (self.webhook.name.clone(), error.map(str::to_owned));
        let done = self.shared.writer.write(move |ledger| {
            ledger::set_webhook_state(ledger, now_ms(), &name, state, error.as_deref())
        });
        if let Err(error) = done {
            warn!(%error, webhook = self.webhook.name, "cannot write a webhook's state");
        }
    }

    fn count(&self, result: &str, count: u64) {
        let metrics = &self.shared.metrics;
        metrics.count_webhook(&self.webhook.name, result, count);
    }

    /// Sleeps, unless the gateway stops.
    fn sleep(&self, time: Duration) {
        let began = Instant::now();
        while !self.shared.is_stopping() {
            let left = time.saturating_sub(began.elapsed());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(LOOK_EVERY));
        }
    }
}

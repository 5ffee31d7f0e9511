//! Decides, from what Slurm says, what becomes of a job: pure, so that every race is a row of
//! a table. The poller feeds it; see [`crate::poller`].
//!
//! # Exactly once: the races, and what closes them
//! 1. *Killed between sbatch and the record.* `submitting` is on disk before sbatch runs; the
//!    next start turns every such row `unsure`, and only a look by marker decides.
//! 2. *sbatch hangs, or fails although the job was queued.* Its process group is killed, the
//!    row becomes `unsure`. Nothing is submitted again, and nothing goes to the dead letters,
//!    without a look by marker that the controller answered. Where the answer was not certain
//!    a second look, [`Policy::grace_ms`] later, must find nothing either, because a request
//!    may still lie in the controller's socket at the first.
//! 3. *sbatch outlives its gateway.* The kernel kills it with the thread that started it.
//! 4. *slurmctld forgets a job it had acknowledged* (its state is saved asynchronously). The
//!    row is followed until its end; if neither queue nor accounting knows the job in two
//!    looks, it never was seen running, and its folder holds no output file, it never started:
//!    the event gets a job of the next generation. If there is a sign that it started, it is
//!    `vanished`, and a person decides: running a job twice is worse than asking.
//! 5. *Job ids come round again* after such a loss. Jobs are matched by marker, never by id.
//! 6. *A look that is older than the row* proves nothing: rows that changed after the look
//!    began are left alone.
//!    If the clock was set back meanwhile, the row starts over with both looks.
//! 7. *Two jobs for one event all the same* (a request delayed for longer than the grace):
//!    one is kept, the others are cancelled while they wait. A task of an array that its event has
//!    moved on from is such another.
//! 8. *A waiting task that somebody cancels* leaves no trace, while the rest of its array is seen:
//!    it was cancelled, where a job that nobody knows would be lost and made again.
//!
//! What remains: a delayed request that is queued and starts within one poll. And Slurm itself
//! may start one job twice, under one id, if slurmctld is killed after a start that it had not
//! saved (it then drains the node with "Duplicate jobid" and requeues), and a task of an array under
//! a second id, since it forgot the first; a service whose script must not be started again sets
//! `no-requeue = true` and no `array`.

use std::collections::HashMap;

use mizar_slurm::{JobId, JobReport, JobState, Marker, Phase};

use crate::ledger::{Change, Followed, State, Verdict};

/// What bounds retries.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Time between the two looks.
    pub grace_ms: i64,
    /// First wait after a failed submission.
    pub backoff_ms: i64,
    /// Longest wait.
    pub backoff_max_ms: i64,
    /// Failed submissions until the dead letters.
    pub max_attempts: u32,
}

impl Policy {
    /// The wait after the n-th failure, counted from 1.
    #[must_use]
    pub fn backoff(&self, failures: u32) -> i64 {
        let doublings = failures.saturating_sub(1).min(20);
        self.backoff_ms
            .saturating_mul(1 << doublings)
            .min(self.backoff_max_ms)
    }
}

/// What one look saw of one event's marker.
#[derive(Clone, Debug, Default)]
pub struct Sight<'a> {
    /// Jobs in the queue with this marker.
    pub queue: &'a [JobReport],
    /// Jobs in the accounting with this marker; empty if the queue had any.
    pub accounted: &'a [JobReport],
    /// Jobs whose output file lies in the event's folder; empty if the queue had any.
    pub started: &'a [JobId],
    /// Whether the queue has other tasks of the array that this job is in.
    pub has_array: bool,
}

/// Groups jobs by marker.
#[must_use]
pub fn by_marker(jobs: Vec<JobReport>) -> HashMap<Marker, Vec<JobReport>> {
    let mut map: HashMap<Marker, Vec<JobReport>> = HashMap::new();
    for job in jobs {
        map.entry(job.marker.clone()).or_default().push(job);
    }
    map
}

/// The job to keep of several with one marker: the one on record, else the oldest that was not
/// cancelled, else the oldest.
#[must_use]
pub fn keep(jobs: &[JobReport], on_record: Option<JobId>) -> Option<&JobReport> {
    let recorded = jobs.iter().find(|job| Some(job.id) == on_record);
    let live = |job: &&JobReport| job.state.phase() != Phase::Cancelled;
    let oldest = || jobs.iter().filter(live).min_by_key(|job| job.id);
    recorded
        .or_else(oldest)
        .or_else(|| jobs.iter().min_by_key(|job| job.id))
}

/// Decides about one row. `look_ms` is when the look began, `now_ms` when it is weighed.
/// None means that nothing changes.
#[must_use]
pub fn decide(
    row: &Followed,
    sight: &Sight<'_>,
    look_ms: i64,
    now_ms: i64,
    policy: &Policy,
) -> Option<Change> {
    let change = |to| Change::new(row.job, row.marker.generation(), row.state, to);
    if let Some(job) = keep(sight.queue, row.slurm_job) {
        if may_come_back(job.state) && row.looks == 0 {
            // Slurm may be about to requeue it: it has ended if the next look sees the same.
            let mut again = change(row.state);
            (again.looks, again.verdict) = (1, row.verdict);
            again.reason.clone_from(&row.reason);
            return Some(again);
        }
        return follow(row, job, &change);
    }
    // Finished jobs leave the queue for the accounting; one that the accounting believes to be
    // waiting or running, and the queue does not know, was lost.
    let ended: Vec<_> = sight
        .accounted
        .iter()
        .filter(|job| job.state.phase().is_final())
        .cloned()
        .collect();
    if let Some(job) = keep(&ended, row.slurm_job) {
        return follow(row, job, &change);
    }
    if row.changed_ms > now_ms || row.next_ms > now_ms + policy.grace_ms {
        // The clock was set back: waiting for those times again could take years.
        let mut anew = change(row.state);
        (anew.verdict, anew.reason) = (row.verdict, row.reason.clone());
        return Some(anew);
    }
    if row.changed_ms >= look_ms || now_ms < row.next_ms {
        return None;
    }
    let ran = sight
        .accounted
        .iter()
        .find(|job| job.state.phase() == Phase::Running);
    let trace = ran.map(|job| job.id).or(sight.started.last().copied());
    let waited = sight.accounted.first();
    let once_is_enough = row.state == State::Unsure
        && matches!(row.verdict, Some(Verdict::Unavailable | Verdict::Refused))
        && trace.is_none()
        && waited.is_none();
    if row.looks == 0 && !once_is_enough {
        let mut again = change(row.state);
        again.verdict = row.verdict;
        again.reason.clone_from(&row.reason);
        (again.looks, again.next_ms) = (1, now_ms + policy.grace_ms);
        return Some(again);
    }
    if sight.has_array && trace.is_none() && row.state != State::Running {
        let mut cancelled = change(State::Cancelled);
        cancelled.reason = Some("this task was cancelled in Slurm before it started".to_owned());
        return Some(cancelled);
    }
    if trace.is_some() || row.state == State::Running {
        let mut vanished = change(State::Vanished);
        vanished.slurm_job = trace;
        vanished.reason = Some("Slurm no longer knows how this job ended".to_owned());
        return Some(vanished);
    }
    if row.state == State::Submitted || waited.is_some() {
        let mut lost = change(State::Received);
        lost.lost = true;
        lost.reason = Some("Slurm lost the job before it started".to_owned());
        return Some(lost);
    }
    Some(resubmit(row, change(State::Received), now_ms, policy))
}

/// States that a requeue can follow, with the same id.
fn may_come_back(state: JobState) -> bool {
    matches!(
        state,
        JobState::Failed | JobState::NodeFail | JobState::BootFail | JobState::Preempted
    )
}

/// Takes over what Slurm says of the job, if it is news.
fn follow(row: &Followed, job: &JobReport, change: &dyn Fn(State) -> Change) -> Option<Change> {
    let to = match job.state.phase() {
        Phase::Waiting => State::Submitted,
        Phase::Running => State::Running,
        Phase::Completed => State::Completed,
        Phase::Failed => State::Failed,
        Phase::Cancelled => State::Cancelled,
    };
    let same = row.state == to
        && row.slurm_job == Some(job.id)
        && row.slurm_state.as_deref() == Some(job.state.name())
        && row.looks == 0;
    if same {
        return None;
    }
    let mut news = change(to);
    news.slurm_job = Some(job.id);
    news.slurm_state = Some(JobState::name(job.state));
    news.exit_code = job.exit_code;
    let worth_telling = !job.reason.is_empty() && to != State::Completed;
    news.reason = worth_telling.then(|| job.reason.clone());
    Some(news)
}

/// Nothing was queued: what the failure means.
fn resubmit(row: &Followed, mut change: Change, now_ms: i64, policy: &Policy) -> Change {
    change.reason.clone_from(&row.reason);
    match row.verdict {
        // The array may be what Slurm does not want.
        Some(Verdict::Refused) if row.place.is_some() => change.alone = true,
        Some(Verdict::Refused) => change.to = State::Dead,
        Some(Verdict::Unavailable) => change.next_ms = now_ms + policy.backoff_ms,
        // The event is not to blame for a gateway that is killed again and again.
        Some(Verdict::Interrupted) => {}
        Some(Verdict::Unknown) | None => {
            change.failed = true;
            change.next_ms = now_ms + policy.backoff(row.failures + 1);
            if row.failures + 1 >= policy.max_attempts {
                change.to = State::Dead;
            }
        }
    }
    change
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;

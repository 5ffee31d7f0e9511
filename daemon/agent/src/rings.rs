//! The rings of a job's processes (`--mizar=comm`): taken in, read at each sample, turned into
//! rows of the record.
//!
//! A ring is written by a user's process, which may write anything: what cannot be true is not
//! recorded, and no reading takes more than one pass over a ring. Several processes may be one
//! rank, one after another: their figures are added.

pub(crate) mod ffi;
mod marks;
mod reading;
mod waiting;

use std::collections::BTreeMap;

use mizar_api::calls::KINDS;
use mizar_api::ring::{STATE_ENDED, Split};
use mizar_api::{LiveCall, LiveSplit};
use mizar_core::ids::{JobId, Rank, StepId};
use mizar_record::model::{CallSample, Event, Hang, Name, SplitSample};
use mizar_record::writer::Rows;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use crate::rings::ffi::Mapping;
use crate::rings::marks::MarkNames;
use crate::rings::reading::Totals;
use crate::rings::waiting::HangWatch;
use crate::track::Stamp;

/// How the figures come to be, for the record.
pub(crate) const METHOD: &str = "calls intercepted by a preloaded library; union of intervals by \
    the main thread: inside MPI or NCCL exposed, inside file calls of 0.2 ms or more I/O, else \
    compute up to the process's CPU time and idle beyond it; hidden is compute while operations \
    are in flight, from their begin until they are seen to be complete; of NCCL the host's time \
    in its calls, not its kernels'";

/// Rings of one job on this node.
pub(crate) const MAX_RINGS: usize = 8192;

/// A rank that has been in a call for so long is shown to be in it.
const INSTANT_NS: u64 = 1_000_000_000;

/// Ranks are small numbers, whatever a ring says.
const MAX_RANK: u64 = 1 << 24;

/// A ring on its way from the socket to the engine.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) job: JobId,
    pub(crate) step: StepId,
    pub(crate) rank: Option<Rank>,
    pub(crate) pid: i32,
    pub(crate) mapping: Mapping,
}

/// The rings of one job.
#[derive(Debug, Default)]
pub(crate) struct JobRings {
    processes: Vec<Process>,
    ranks: BTreeMap<(u32, u32), RankFigures>,
    /// Kinds of calls whose name is in the record.
    named_calls: Vec<bool>,
    names: MarkNames,
    hangs: HangWatch,
}

/// A process with a ring.
#[derive(Debug)]
struct Process {
    mapping: Mapping,
    pid: i32,
    start_ticks: Option<u64>,
    step: StepId,
    rank: Option<Rank>,
    marks_seen: u64,
    totals: Totals,
    calls: Vec<mizar_api::ring::Calls>,
    split: Split,
    has_ended: bool,
    is_liar: bool,
}

/// What a rank's processes have done together.
#[derive(Debug, Default)]
struct RankFigures {
    /// Of processes that are gone.
    ended: Totals,
    ended_calls: Vec<mizar_api::ring::Calls>,
    /// As last recorded, and when (monotonic).
    recorded: Option<(i64, Totals)>,
    recorded_calls: Vec<(u64, i64)>,
}

/// What is shown of a rank.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RankNews {
    pub(crate) step: StepId,
    pub(crate) rank: Rank,
    pub(crate) split: LiveSplit,
    pub(crate) call: Option<LiveCall>,
}

/// What one reading of a job's rings gave.
#[derive(Debug, Default)]
pub(crate) struct RingNews {
    pub(crate) ranks: Vec<RankNews>,
    /// For the record.
    pub(crate) events: Vec<Event>,
    /// What is said of hangs now, if there are any.
    pub(crate) hang: Option<String>,
}

/// The clocks of one reading, and whom to ask of processes.
pub(crate) struct Look<'a> {
    pub(crate) stamp: Stamp,
    pub(crate) node: &'a str,
    /// Ranks that wait for longer hang; the largest number: nobody asks.
    pub(crate) hang_ns: i64,
    /// When a process began, in ticks; `None` if there is none of that number.
    pub(crate) start_ticks: &'a mut dyn FnMut(i32) -> Option<u64>,
}

impl JobRings {
    /// Takes a ring in, unless it is here already or there are too many; false then.
    pub(crate) fn add(&mut self, arrival: Arrival, start_ticks: Option<u64>) -> bool {
        let Arrival {
            step,
            rank,
            pid,
            mapping,
            ..
        } = arrival;
        let is_known = |process: &Process| process.mapping.identity == mapping.identity;
        if self.processes.len() >= MAX_RINGS || self.processes.iter().any(is_known) {
            return false;
        }
        self.processes.push(Process {
            mapping,
            pid,
            start_ticks,
            step,
            rank,
            marks_seen: 0,
            totals: Totals::default(),
            calls: vec![Default::default(); KINDS.len()],
            split: Split::default(),
            has_ended: false,
            is_liar: false,
        });
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.processes.is_empty() && self.ranks.is_empty()
    }

    /// Reads all rings and adds their rows.
    pub(crate) fn drain(&mut self, rows: &mut Rows, look: &mut Look<'_>) -> RingNews {
        let mut news = RingNews::default();
        if self.is_empty() {
            return news;
        }
        for process in &mut self.processes {
            process.read(look);
            let at = (process.step, process.rank(), look.stamp.unix_ns);
            let marks = self.names.drain(
                process.mapping.ring(),
                &mut process.marks_seen,
                at,
                &mut rows.mark_samples,
            );
            process.totals.lost = process.totals.lost.saturating_add(marks.lost);
            news.events.extend(marks.names.into_iter().map(Event::Name));
        }
        let ranks = self.by_rank();
        for (key, members) in &ranks {
            let figures = self.ranks.entry(*key).or_default();
            let members: Vec<&Process> = members
                .iter()
                .map(|index| &self.processes[*index])
                .collect();
            let shown = figures.record(*key, &members, rows, look.stamp);
            news.ranks.push(shown);
        }
        news.events.extend(self.name_calls(rows));
        let hang = self.look_for_hangs(look);
        news.hang = hang.1;
        news.events.extend(hang.0.into_iter().map(Event::Hang));
        self.let_go();
        news
    }

    /// The processes of each rank. One that communicates stands for its rank; the marks of
    /// others are kept, but their time is not added to it.
    fn by_rank(&self) -> BTreeMap<(u32, u32), Vec<usize>> {
        let mut ranks: BTreeMap<(u32, u32), Vec<usize>> = BTreeMap::new();
        for (index, process) in self.processes.iter().enumerate() {
            let communicates = process.calls.iter().any(|calls| calls.calls > 0);
            if let Some(rank) = process.rank()
                && communicates
                && !process.is_liar
            {
                ranks
                    .entry((process.step.0, rank.0))
                    .or_default()
                    .push(index);
            }
        }
        ranks
    }

    /// Names of the calls that rows speak of for the first time.
    fn name_calls(&mut self, rows: &Rows) -> Vec<Event> {
        self.named_calls.resize(KINDS.len(), false);
        let mut events = Vec::new();
        for row in &rows.call_samples {
            let index = row.call as usize;
            if let (Some(named), Some(kind)) = (self.named_calls.get_mut(index), KINDS.get(index))
                && !std::mem::replace(named, true)
            {
                events.push(Event::Name(Name {
                    id: row.call,
                    name: kind.name.to_owned(),
                }));
            }
        }
        events
    }

    fn look_for_hangs(&mut self, look: &Look<'_>) -> (Vec<Hang>, Option<String>) {
        if look.hang_ns == i64::MAX {
            return (Vec::new(), None);
        }
        let states: Vec<waiting::RankState> = self
            .processes
            .iter()
            .filter_map(|process| process.state(look.stamp))
            .collect();
        self.hangs
            .judge(&states, look.node, look.hang_ns, look.stamp.unix_ns)
    }

    /// Forgets processes that have ended; their figures stay with their ranks.
    fn let_go(&mut self) {
        for process in self.processes.iter().filter(|process| process.has_ended) {
            let Some(rank) = process.rank() else { continue };
            let Some(figures) = self.ranks.get_mut(&(process.step.0, rank.0)) else {
                continue;
            };
            if process.is_liar || process.calls.iter().all(|calls| calls.calls == 0) {
                continue;
            }
            figures.ended = figures.ended.plus(process.totals);
            figures.ended_calls.resize(KINDS.len(), Default::default());
            for (sum, calls) in figures.ended_calls.iter_mut().zip(&process.calls) {
                *sum = plus(*sum, *calls);
            }
        }
        self.processes.retain(|process| !process.has_ended);
    }
}

impl Process {
    fn rank(&self) -> Option<Rank> {
        let told = self
            .split
            .rank_plus_one
            .checked_sub(1)
            .filter(|rank| *rank < MAX_RANK);
        told.map(|rank| Rank(rank as u32)).or(self.rank)
    }

    fn read(&mut self, look: &mut Look<'_>) {
        let is_alive =
            self.start_ticks.is_some() && (look.start_ticks)(self.pid) == self.start_ticks;
        let ring = self.mapping.ring();
        if !ring.is_known() {
            // It was one when it came: its owner plays games.
            self.is_liar = true;
        }
        self.has_ended = !is_alive;
        let Some(split) = ring.split(!is_alive) else {
            return;
        };
        let cpu_ns = is_alive.then(|| cpu_ns(self.pid)).flatten();
        match reading::totals(&split, look.stamp.monotonic_ns.unsigned_abs(), cpu_ns) {
            Some(totals) => {
                self.totals = totals.at_least(self.totals);
                self.split = split;
            }
            None if !self.is_liar => {
                tracing::warn!(
                    pid = self.pid,
                    "a process's figures of communication cannot be true, and are not recorded"
                );
                self.is_liar = true;
            }
            None => {}
        }
        for (index, known) in self.calls.iter_mut().enumerate() {
            let now = ring.calls(index);
            known.calls = known.calls.max(now.calls);
            known.bytes = known.bytes.max(now.bytes);
            known.spent_ns = known.spent_ns.max(now.spent_ns);
        }
    }

    /// The call that it is in, by the wall clock.
    fn call(&self, stamp: Stamp) -> Option<(LiveCall, u64)> {
        let index = usize::try_from(self.split.call.checked_sub(1)?).ok()?;
        let kind = KINDS.get(index)?;
        let since_ns = stamp
            .monotonic_ns
            .unsigned_abs()
            .saturating_sub(self.split.call_since_ns);
        let call = LiveCall {
            name: kind.name.to_owned(),
            sequence: self.split.sequence,
            since_ns: stamp.unix_ns.saturating_sub(i64::try_from(since_ns).ok()?),
        };
        Some((call, since_ns))
    }

    /// Where it is, for the judgement on hangs: of processes that know their place only.
    fn state(&self, stamp: Stamp) -> Option<waiting::RankState> {
        let was_killed = self.has_ended && self.split.state != STATE_ENDED;
        if self.is_liar || was_killed || self.split.ranks == 0 {
            return None;
        }
        let outside_ns = stamp
            .monotonic_ns
            .unsigned_abs()
            .saturating_sub(self.split.window_ns);
        let call = self.call(stamp).map(|(call, _)| call);
        let has_ended = self.has_ended || self.split.state == STATE_ENDED;
        Some(waiting::RankState {
            step: self.step,
            rank: self.rank()?,
            rank_count: u32::try_from(self.split.ranks).ok()?,
            since_ns: call.as_ref().map_or_else(
                || stamp.unix_ns.saturating_sub(outside_ns.cast_signed()),
                |call| call.since_ns,
            ),
            call: call.filter(|_| !has_ended).map(|call| call.name),
            sequence: self.split.sequence,
        })
    }
}

impl RankFigures {
    /// Adds the rows of a rank, and says what is shown of it.
    fn record(
        &mut self,
        (step, rank): (u32, u32),
        processes: &[&Process],
        rows: &mut Rows,
        stamp: Stamp,
    ) -> RankNews {
        let totals = processes
            .iter()
            .fold(self.ended, |sum, process| sum.plus(process.totals));
        let last = self.recorded;
        let interval_ns = last.map_or(0, |(last_ns, _)| stamp.monotonic_ns - last_ns);
        rows.split_samples.push(SplitSample {
            time_ns: stamp.unix_ns,
            interval_ns,
            compute_ns: totals.compute,
            exposed_ns: totals.exposed,
            hidden_ns: totals.hidden,
            io_ns: totals.io,
            idle_ns: totals.idle,
            lost: totals.lost,
            step,
            rank,
        });
        self.recorded = Some((stamp.monotonic_ns, totals));
        self.recorded_calls.resize(KINDS.len(), (0, 0));
        for (index, recorded) in self.recorded_calls.iter_mut().enumerate() {
            let before = self.ended_calls.get(index).copied().unwrap_or_default();
            let sum = processes
                .iter()
                .fold(before, |sum, process| plus(sum, process.calls[index]));
            // Only what has changed: most kinds never do.
            let fingerprint = sum.calls.wrapping_mul(3).wrapping_add(sum.spent_ns);
            if sum.calls == 0 || fingerprint == recorded.0 {
                continue;
            }
            let interval_ns = if recorded.1 == 0 {
                0
            } else {
                stamp.monotonic_ns - recorded.1
            };
            rows.call_samples.push(CallSample {
                time_ns: stamp.unix_ns,
                interval_ns,
                calls: sum.calls,
                bytes: sum.bytes,
                spent_ns: sum.spent_ns,
                step,
                rank,
                call: index as u32,
                reserved: 0,
            });
            *recorded = (fingerprint, stamp.monotonic_ns);
        }
        RankNews {
            step: StepId(step),
            rank: Rank(rank),
            split: live(totals.minus(last.map_or(Totals::default(), |(_, last)| last))),
            call: processes.iter().find_map(|process| {
                let (call, since_ns) = process.call(stamp)?;
                (since_ns >= INSTANT_NS).then_some(call)
            }),
        }
    }
}

/// Shares of an interval.
fn live(totals: Totals) -> LiveSplit {
    let all = totals.sum().max(1) as f64;
    LiveSplit {
        compute: totals.compute as f64 / all,
        exposed: totals.exposed as f64 / all,
        hidden: totals.hidden as f64 / all,
        io: totals.io as f64 / all,
        idle: totals.idle as f64 / all,
    }
}

fn plus(a: mizar_api::ring::Calls, b: mizar_api::ring::Calls) -> mizar_api::ring::Calls {
    mizar_api::ring::Calls {
        calls: a.calls.saturating_add(b.calls),
        bytes: a.bytes.saturating_add(b.bytes),
        spent_ns: a.spent_ns.saturating_add(b.spent_ns),
    }
}

/// CPU time of another process, all threads.
fn cpu_ns(pid: i32) -> Option<u64> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid)).ok()?;
    let time = clock_gettime(clock).ok()?;
    Some((time.tv_sec() * 1_000_000_000 + time.tv_nsec()).unsigned_abs())
}

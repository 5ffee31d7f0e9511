//! What a process that is watched knows: its account, its operations in flight, its ring.
//!
//! Begun by the first call that is counted, if Mizar's environment is there and a daemon takes
//! the ring; else the process is quiet for good. One lock, held for moments and never waited
//! for without bound: a signal handler may interrupt its holder and come here itself.

use std::cell::Cell;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, TryLockError};

use mizar_api::calls::{Family, KINDS};
use mizar_api::ring::{Calls, Mark, Ring, STATE_COMMUNICATING, STATE_IO};

use crate::account::Account;
use crate::ffi::clock::Clock;
use crate::ffi::{clock, process};
use crate::offer::{self, Offered};
use crate::operations::{InFlight, Key, Operation};

/// Tries for the lock before a call goes uncounted.
const MAX_TRIES: u32 = 2_000;

/// From then on the holder is given the CPU between tries.
const YIELD_AFTER: u32 = 100;

/// Between two offers of the ring: a daemon that was restarted gets it again.
const OFFER_AGAIN_NS: u64 = 30_000_000_000;

const UNTRIED: u8 = 0;
const ACTIVE: u8 = 1;
const QUIET: u8 = 2;

static PHASE: AtomicU8 = AtomicU8::new(UNTRIED);
static CORE: Mutex<Option<Core>> = Mutex::new(None);
/// Calls that could not be counted because the lock was not to be had.
static UNCOUNTED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_MAIN: Cell<bool> = const { Cell::new(false) };
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// What is protected by the lock.
struct Core {
    ring: &'static Ring,
    clock: Clock,
    account: Account,
    in_flight: InFlight,
    /// Other threads inside calls.
    others: u32,
    /// Events that could not be counted here.
    lost: u64,
    offered: Offered,
    offered_ns: u64,
}

/// A call being made, from its begin to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    kind: usize,
    start_ns: u64,
    is_main: bool,
}

/// One thread's way into a call; what is called from inside is part of it.
pub(crate) struct Outermost(());

impl Outermost {
    /// `None` inside another call, or while the thread ends.
    pub(crate) fn enter() -> Option<Self> {
        DEPTH
            .try_with(|depth| {
                let is_first = depth.get() == 0;
                if is_first {
                    depth.set(1);
                }
                is_first.then_some(Self(()))
            })
            .ok()
            .flatten()
    }
}

impl Drop for Outermost {
    fn drop(&mut self) {
        let _ = DEPTH.try_with(|depth| depth.set(0));
    }
}

/// Is anything counted?
pub(crate) fn is_active() -> bool {
    PHASE.load(Ordering::Relaxed) == ACTIVE
}

/// Is this the thread that decides how time is spent?
pub(crate) fn is_main() -> bool {
    IS_MAIN.try_with(Cell::get).unwrap_or(false)
}

/// Begins to count, once a process; true if it counts from now on or did so before.
pub(crate) fn start() -> bool {
    let phase = PHASE.load(Ordering::Acquire);
    if phase != UNTRIED {
        return phase == ACTIVE;
    }
    let first = PHASE.compare_exchange(UNTRIED, QUIET, Ordering::AcqRel, Ordering::Relaxed);
    if let Err(phase) = first {
        return phase == ACTIVE;
    }
    // Quiet until all is there: what happens meanwhile is not counted.
    let birth = clock::birth();
    let account = Account::new(birth.monotonic_ns, birth.cpu_ns);
    let offered = offer::first(|ring| {
        ring.publish(&account.split);
        ring.begin();
    });
    let Some((ring, offered)) = offered else {
        return false;
    };
    let clock = Clock::new(birth.monotonic_ns);
    let core = Core {
        ring,
        account,
        in_flight: InFlight::default(),
        others: 0,
        lost: 0,
        offered,
        offered_ns: clock::monotonic_ns(),
        clock,
    };
    if let Ok(mut place) = CORE.lock() {
        *place = Some(core);
    }
    process::at_fork(quiet_in_child);
    process::at_exit(end);
    let _ = IS_MAIN.try_with(|main| main.set(true));
    PHASE.store(ACTIVE, Ordering::Release);
    true
}

/// The child of a fork shares the parent's ring, and must not write to it.
extern "C" fn quiet_in_child() {
    PHASE.store(QUIET, Ordering::Relaxed);
}

/// The process ends by itself.
extern "C" fn end() {
    if !is_active() {
        return;
    }
    with_core(|core| {
        let now_ns = core.clock.now_ns();
        core.account
            .enter(mizar_api::ring::STATE_ENDED, now_ns, clock::process_cpu_ns);
        core.account.split.call = 0;
        core.publish();
    });
    PHASE.store(QUIET, Ordering::Relaxed);
}

fn with_core<R>(use_core: impl FnOnce(&mut Core) -> R) -> Option<R> {
    for attempt in 0..MAX_TRIES {
        match CORE.try_lock() {
            Ok(mut core) => return core.as_mut().map(use_core),
            // A panic in the bookkeeping leaves figures that are off by one call.
            Err(TryLockError::Poisoned(poisoned)) => {
                return poisoned.into_inner().as_mut().map(use_core);
            }
            Err(TryLockError::WouldBlock) if attempt < YIELD_AFTER => std::hint::spin_loop(),
            Err(TryLockError::WouldBlock) => std::thread::yield_now(),
        }
    }
    UNCOUNTED.fetch_add(1, Ordering::Relaxed);
    None
}

impl Core {
    fn publish(&mut self) {
        let split = &mut self.account.split;
        split.pending = self.in_flight.count() as u64;
        split.lost = self.lost + UNCOUNTED.load(Ordering::Relaxed);
        self.ring.publish(split);
    }

    /// Communication is in flight if an operation or another thread's call is.
    fn cover(&mut self, now_ns: u64) {
        let in_flight = self.in_flight.count() > 0 || self.others > 0;
        self.account.cover(in_flight, now_ns);
    }

    fn end_operation(&mut self, key: Key, now_ns: u64) {
        if let Some(operation) = self.in_flight.end(key) {
            let spent_ns = now_ns.saturating_sub(operation.start_ns);
            self.ring.count(
                operation.kind,
                Calls {
                    spent_ns,
                    ..Calls::default()
                },
            );
        }
    }
}

/// The program's place among its ranks, once it is known.
pub(crate) fn set_rank(rank: u32, ranks: u32) {
    with_core(|core| {
        core.account.split.rank_plus_one = u64::from(rank) + 1;
        core.account.split.ranks = u64::from(ranks);
        core.publish();
    });
}

/// A call begins. Of a collective, `comm_ranks` is the size of its communicator, and one over
/// all ranks has the next number; of a wait, `waited` are the operations that it waits for, and
/// a collective among them is what it is shown as.
pub(crate) fn begin(kind: usize, comm_ranks: Option<u64>, waited: &[Key]) -> Option<Open> {
    let is_main = is_main();
    with_core(|core| {
        let now_ns = core.clock.now_ns();
        let one = Calls {
            calls: 1,
            ..Calls::default()
        };
        core.ring.count(kind, one);
        let over_all = comm_ranks.is_some_and(|ranks| ranks == core.account.split.ranks);
        core.account.split.sequence += u64::from(over_all);
        if is_main {
            core.account
                .enter(state_of(kind), now_ns, clock::process_cpu_ns);
            core.account.split.call = core.shown(kind, waited) as u64 + 1;
            core.account.split.call_since_ns = now_ns;
        } else {
            core.others += 1;
            core.cover(now_ns);
        }
        core.publish();
        Open {
            kind,
            start_ns: now_ns,
            is_main,
        }
    })
}

impl Core {
    fn shown(&self, kind: usize, waited: &[Key]) -> usize {
        let collective = |operation: &Operation| KINDS[operation.kind].family == Family::Collective;
        let found = waited.iter().filter_map(|key| self.in_flight.find(*key));
        found
            .into_iter()
            .find(collective)
            .map_or(kind, |operation| operation.kind)
    }
}

fn state_of(kind: usize) -> u64 {
    match KINDS.get(kind).map(|kind| kind.family) {
        Some(Family::File | Family::System) => STATE_IO,
        _ => STATE_COMMUNICATING,
    }
}

/// What a call has done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done<'a> {
    /// Bytes given into it.
    pub(crate) bytes: u64,
    /// Operations that it began.
    pub(crate) begun: &'a [Key],
    /// Operations that are complete now.
    pub(crate) ended: &'a [Key],
}

/// A call ends.
pub(crate) fn end_call(open: Open, done: Done<'_>) {
    let offer = with_core(|core| {
        let now_ns = core.clock.now_ns();
        let spent_ns = if done.begun.is_empty() {
            now_ns.saturating_sub(open.start_ns)
        } else {
            0
        };
        core.ring.count(
            open.kind,
            Calls {
                calls: 0,
                bytes: done.bytes,
                spent_ns,
            },
        );
        for key in done.begun {
            let operation = Operation {
                kind: open.kind,
                start_ns: open.start_ns,
            };
            core.lost += u64::from(!core.in_flight.begin(*key, operation));
        }
        for key in done.ended {
            core.end_operation(*key, now_ns);
        }
        if open.is_main {
            core.account.leave(now_ns, clock::process_cpu_ns);
            core.account.split.call = 0;
        } else {
            core.others = core.others.saturating_sub(1);
        }
        core.cover(now_ns);
        core.publish();
        let due = now_ns.saturating_sub(core.offered_ns) > OFFER_AGAIN_NS;
        if due {
            core.offered_ns = now_ns;
        }
        due.then(|| core.offered.clone())
    });
    // Outside of the lock: it may take a while.
    if let Some(Some(offered)) = offer {
        offered.again();
    }
}

/// The clocks before a call of the system that may block; of the main thread only.
pub(crate) fn before_io() -> Option<(u64, u64)> {
    with_core(|core| {
        let now_ns = core.clock.now_ns();
        (now_ns, core.account.cpu_at(now_ns, clock::process_cpu_ns))
    })
}

/// How long ago that was.
pub(crate) fn since(before: (u64, u64)) -> u64 {
    with_core(|core| core.clock.now_ns().saturating_sub(before.0)).unwrap_or(0)
}

/// It blocked: the time since `before` was I/O.
pub(crate) fn was_io(kind: usize, before: (u64, u64), bytes: u64) {
    with_core(|core| {
        let now_ns = core.clock.now_ns();
        core.account.enter(STATE_IO, before.0, || before.1);
        core.account.leave(now_ns, clock::process_cpu_ns);
        let spent_ns = now_ns.saturating_sub(before.0);
        core.ring.count(
            kind,
            Calls {
                calls: 1,
                bytes,
                spent_ns,
            },
        );
        core.publish();
    });
}

/// Adds a mark or a figure.
pub(crate) fn mark(name: &str, kind: u32, value: f64, time_ns: i64) {
    with_core(|core| match core.ring.name(name) {
        Some(name) => core.ring.mark(Mark {
            time_ns,
            value,
            name,
            kind,
        }),
        None => {
            core.lost += 1;
            core.publish();
        }
    });
}

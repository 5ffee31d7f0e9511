//! What a preloaded library and `mizard` share: a piece of memory with a rank's counters.
//!
//! One process writes it (`libmizar_comm.so`), `mizard` maps it read-only. All cells are atomic
//! words, so a reader never sees anything but numbers, however the writer behaves; which of
//! them to believe is the reader's judgement. Counters are cumulative, so a late or lost
//! reading loses nothing; marks are a ring, whose overrun is counted.
//!
//! Left out: who may hand a ring to whom, and mapping it.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use serde::{Deserialize, Serialize};

/// "mizaring", in the first word of a ring.
pub const MAGIC: u64 = u64::from_le_bytes(*b"mizaring");

/// The layout below; another number is not read.
pub const LAYOUT: u64 = 1;

/// The memory of a ring, a whole number of pages (of up to 64 KiB).
pub const RING_BYTES: usize = 64 << 10;

/// Kinds of calls that have a cell.
pub const MAX_CALLS: usize = 192;

/// Marks that wait at most; more are lost and counted.
pub const MAX_MARKS: usize = 1024;

/// Names of marks of one process.
pub const MAX_NAMES: usize = 128;

/// Bytes of a name, UTF-8.
pub const MAX_NAME_BYTES: usize = 64;

/// How often a reader tries to see a block between two writes.
const MAX_READS: usize = 64;

/// [`Split::state`]: the program is outside of all calls.
pub const STATE_OUTSIDE: u64 = 0;
/// It communicates: its main thread is inside a call.
pub const STATE_COMMUNICATING: u64 = 1;
/// It waits for files.
pub const STATE_IO: u64 = 2;
/// The process has ended, or speaks no more.
pub const STATE_ENDED: u64 = 3;

/// The words of [`Split`].
const SPLIT_WORDS: usize = 18;

/// A consistent reading of how the process spends its time.
///
/// `compute + exposed + io + idle` is the time from `start_ns` to `window_ns`, when the running
/// window began. What the running window is, a reader works out from its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// When the process began to be watched, by the monotonic clock.
    pub start_ns: u64,
    /// Finished windows: computing.
    pub compute_ns: u64,
    /// Communicating while nothing was computed.
    pub exposed_ns: u64,
    /// Communicating while something was computed.
    pub hidden_ns: u64,
    /// Waiting for files.
    pub io_ns: u64,
    /// None of these.
    pub idle_ns: u64,
    /// Since when the running window lasts.
    pub window_ns: u64,
    /// What it is: `STATE_…`.
    pub state: u64,
    /// CPU time of the process when the window began.
    pub cpu_ns: u64,
    /// Of a window outside: how much of it lay under communication in flight, up to
    /// `covered_since_ns`.
    pub covered_ns: u64,
    /// Since when communication is in flight; 0 if none is.
    pub covered_since_ns: u64,
    /// The call that the main thread is in, plus one; 0 if in none.
    pub call: u64,
    /// Since when it is in it.
    pub call_since_ns: u64,
    /// Collectives over all ranks begun so far.
    pub sequence: u64,
    /// Operations in flight.
    pub pending: u64,
    /// Events that could not be counted.
    pub lost: u64,
    /// The process's rank among all, plus one; 0 if not known.
    pub rank_plus_one: u64,
    /// Ranks of the program; 0 if not known.
    pub ranks: u64,
}

impl Split {
    fn words(&self) -> [u64; SPLIT_WORDS] {
        [
            self.start_ns,
            self.compute_ns,
            self.exposed_ns,
            self.hidden_ns,
            self.io_ns,
            self.idle_ns,
            self.window_ns,
            self.state,
            self.cpu_ns,
            self.covered_ns,
            self.covered_since_ns,
            self.call,
            self.call_since_ns,
            self.sequence,
            self.pending,
            self.lost,
            self.rank_plus_one,
            self.ranks,
        ]
    }

    fn of_words(words: [u64; SPLIT_WORDS]) -> Self {
        let [
            start_ns,
            compute_ns,
            exposed_ns,
            hidden_ns,
            io_ns,
            idle_ns,
            window_ns,
            state,
            cpu_ns,
            covered_ns,
            covered_since_ns,
            call,
            call_since_ns,
            sequence,
            pending,
            lost,
            rank_plus_one,
            ranks,
        ] = words;
        Self {
            start_ns,
            compute_ns,
            exposed_ns,
            hidden_ns,
            io_ns,
            idle_ns,
            window_ns,
            state,
            cpu_ns,
            covered_ns,
            covered_since_ns,
            call,
            call_since_ns,
            sequence,
            pending,
            lost,
            rank_plus_one,
            ranks,
        }
    }
}

/// What a window outside of all calls consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// Computing.
    pub compute_ns: u64,
    /// Of that: while communication was in flight.
    pub hidden_ns: u64,
    /// Not computing while communication was in flight.
    pub exposed_ns: u64,
    /// None of these.
    pub idle_ns: u64,
}

impl Split {
    /// Divides the running window outside, `length_ns` long at `now_ns`, by the CPU time
    /// `used_ns` that the process used in it. The library does so when a window ends, a reader
    /// while one runs.
    #[must_use]
    pub fn outside(&self, length_ns: u64, now_ns: u64, used_ns: u64) -> Outside {
        let open_ns = match self.covered_since_ns {
            0 => 0,
            since_ns => now_ns.saturating_sub(since_ns.max(self.window_ns)),
        };
        let covered_ns = self.covered_ns.saturating_add(open_ns).min(length_ns);
        let compute_ns = used_ns.min(length_ns);
        // Both are at most the length, and so is the quotient.
        let hidden_ns =
            u128::from(covered_ns) * u128::from(compute_ns) / u128::from(length_ns.max(1));
        let hidden_ns = hidden_ns as u64;
        let exposed_ns = covered_ns - hidden_ns;
        Outside {
            compute_ns,
            hidden_ns,
            exposed_ns,
            idle_ns: length_ns - compute_ns - exposed_ns,
        }
    }
}

/// A kind of call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Calls begun.
    pub calls: u64,
    /// Bytes given into them.
    pub bytes: u64,
    /// Time spent in them.
    pub spent_ns: u64,
}

/// A mark or a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    /// When, Unix nanoseconds.
    pub time_ns: i64,
    /// A figure's value.
    pub value: f64,
    /// Which of the process's names.
    pub name: u32,
    /// 0 begin, 1 end, 2 figure.
    pub kind: u32,
}

#[repr(C)]
#[derive(Debug, Default)]
struct CallCell {
    calls: AtomicU64,
    bytes: AtomicU64,
    spent_ns: AtomicU64,
}

#[repr(C)]
#[derive(Debug, Default)]
struct MarkCell {
    /// The mark's number plus one, once the cell holds it.
    number: AtomicU64,
    time_ns: AtomicU64,
    value: AtomicU64,
    what: AtomicU64,
}

/// The memory. All zero is an empty ring that is not yet begun.
#[repr(C)]
#[derive(Debug)]
pub struct Ring {
    magic: AtomicU64,
    layout: AtomicU64,
    /// Odd while the block is being written.
    turn: AtomicU64,
    split: [AtomicU64; SPLIT_WORDS],
    calls: [CallCell; MAX_CALLS],
    name_count: AtomicU64,
    names: [[AtomicU64; MAX_NAME_BYTES / 8]; MAX_NAMES],
    mark_count: AtomicU64,
    marks: [MarkCell; MAX_MARKS],
}

const _: () = assert!(size_of::<Ring>() <= RING_BYTES);

/// The writer's side: one thread at a time.
impl Ring {
    /// Makes an all-zero ring one that readers believe.
    pub fn begin(&self) {
        self.layout.store(LAYOUT, Ordering::Relaxed);
        self.magic.store(MAGIC, Ordering::Release);
    }

    /// Publishes a new state of affairs.
    pub fn publish(&self, split: &Split) {
        let turn = self.turn.load(Ordering::Relaxed) | 1;
        self.turn.store(turn, Ordering::Relaxed);
        fence(Ordering::Release);
        for (cell, word) in self.split.iter().zip(split.words()) {
            cell.store(word, Ordering::Relaxed);
        }
        self.turn.store(turn.wrapping_add(1), Ordering::Release);
    }

    /// Counts calls of a kind.
    pub fn count(&self, call: usize, more: Calls) {
        let Some(cell) = self.calls.get(call) else {
            return;
        };
        for (cell, more) in [
            (&cell.calls, more.calls),
            (&cell.bytes, more.bytes),
            (&cell.spent_ns, more.spent_ns),
        ] {
            // There is one writer: cheaper than a locked addition.
            let sum = cell.load(Ordering::Relaxed).wrapping_add(more);
            cell.store(sum, Ordering::Relaxed);
        }
    }

    /// The number of a mark's name, which is added if it is new; `None` once all places are
    /// taken. A name is cut at [`MAX_NAME_BYTES`].
    pub fn name(&self, name: &str) -> Option<u32> {
        let words = name_words(name);
        let count = (self.name_count.load(Ordering::Relaxed) as usize).min(MAX_NAMES);
        let same = |known: &[AtomicU64; MAX_NAME_BYTES / 8]| {
            let pairs = known.iter().zip(words);
            pairs.fold(true, |same, (cell, word)| {
                same & (cell.load(Ordering::Relaxed) == word)
            })
        };
        if let Some(index) = self.names.iter().take(count).position(same) {
            return u32::try_from(index).ok();
        }
        for (cell, word) in self.names.get(count)?.iter().zip(words) {
            cell.store(word, Ordering::Relaxed);
        }
        self.name_count.store(count as u64 + 1, Ordering::Release);
        u32::try_from(count).ok()
    }

    /// Adds a mark; the oldest gives way.
    pub fn mark(&self, mark: Mark) {
        let number = self.mark_count.load(Ordering::Relaxed);
        let cell = &self.marks[(number % MAX_MARKS as u64) as usize];
        cell.number.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        cell.time_ns
            .store(mark.time_ns.cast_unsigned(), Ordering::Relaxed);
        cell.value.store(mark.value.to_bits(), Ordering::Relaxed);
        let what = u64::from(mark.kind) << 32 | u64::from(mark.name);
        cell.what.store(what, Ordering::Relaxed);
        cell.number.store(number.wrapping_add(1), Ordering::Release);
        self.mark_count
            .store(number.wrapping_add(1), Ordering::Release);
    }
}

/// The reader's side. Whatever is read may be a lie, but is always some number.
impl Ring {
    /// Is it a ring of this layout?
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.magic.load(Ordering::Acquire) == MAGIC && self.layout.load(Ordering::Relaxed) == LAYOUT
    }

    /// The state of affairs; `None` if the writer was always just writing. Of a writer that has
    /// ended in the middle (`ended`), what is there.
    #[must_use]
    pub fn split(&self, ended: bool) -> Option<Split> {
        for _ in 0..MAX_READS {
            let before = self.turn.load(Ordering::Acquire);
            let words = std::array::from_fn(|index| self.split[index].load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.turn.load(Ordering::Relaxed) == before || ended {
                return Some(Split::of_words(words));
            }
            std::hint::spin_loop();
        }
        None
    }

    /// The calls of a kind.
    #[must_use]
    pub fn calls(&self, call: usize) -> Calls {
        self.calls.get(call).map_or(Calls::default(), |cell| Calls {
            calls: cell.calls.load(Ordering::Relaxed),
            bytes: cell.bytes.load(Ordering::Relaxed),
            spent_ns: cell.spent_ns.load(Ordering::Relaxed),
        })
    }

    /// The text of a name; `None` if it is not there or no text.
    #[must_use]
    pub fn text(&self, name: u32) -> Option<String> {
        let count = self
            .name_count
            .load(Ordering::Acquire)
            .min(MAX_NAMES as u64);
        let index = usize::try_from(name).ok()?;
        if u64::from(name) >= count {
            return None;
        }
        let words = self.names.get(index)?;
        let bytes: Vec<u8> = words
            .iter()
            .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
            .take_while(|byte| *byte != 0)
            .collect();
        String::from_utf8(bytes)
            .ok()
            .filter(|text| !text.is_empty())
    }

    /// Visits the marks after the first `seen`; returns how many there are now and how many of
    /// them were lost.
    pub fn marks_after(&self, seen: u64, visit: &mut dyn FnMut(Mark)) -> (u64, u64) {
        let count = self.mark_count.load(Ordering::Acquire);
        // A count that went back is a liar's: begin anew.
        let Some(news) = count.checked_sub(seen) else {
            return (count, 0);
        };
        let kept = news.min(MAX_MARKS as u64);
        let mut lost = news - kept;
        for number in (count - kept)..count {
            let cell = &self.marks[(number % MAX_MARKS as u64) as usize];
            let holds = || cell.number.load(Ordering::Acquire) == number.wrapping_add(1);
            let before = holds();
            let what = cell.what.load(Ordering::Relaxed);
            let mark = Mark {
                time_ns: cell.time_ns.load(Ordering::Relaxed).cast_signed(),
                value: f64::from_bits(cell.value.load(Ordering::Relaxed)),
                name: what as u32,
                kind: (what >> 32) as u32,
            };
            fence(Ordering::Acquire);
            if before && holds() {
                visit(mark);
            } else {
                lost += 1;
            }
        }
        (count, lost)
    }
}

/// A name's bytes, cut between characters, as words.
fn name_words(name: &str) -> [u64; MAX_NAME_BYTES / 8] {
    let mut end = name.len().min(MAX_NAME_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    let mut bytes = [0; MAX_NAME_BYTES];
    bytes[..end].copy_from_slice(&name.as_bytes()[..end]);
    std::array::from_fn(|index| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[8 * index..8 * index + 8]);
        u64::from_le_bytes(word)
    })
}

/// A ring on its way to the daemon; its memory travels beside the line as a file descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingOffer {
    /// The job.
    pub job: mizar_core::ids::JobId,
    /// The step.
    pub step: mizar_core::ids::StepId,
    /// The rank, as far as the environment tells; the program's own word goes before it.
    pub rank: Option<mizar_core::ids::Rank>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> Box<Ring> {
        Box::new(Ring {
            magic: AtomicU64::new(0),
            layout: AtomicU64::new(0),
            turn: AtomicU64::new(0),
            split: std::array::from_fn(|_| AtomicU64::new(0)),
            calls: std::array::from_fn(|_| CallCell::default()),
            name_count: AtomicU64::new(0),
            names: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
            mark_count: AtomicU64::new(0),
            marks: std::array::from_fn(|_| MarkCell::default()),
        })
    }

    fn marks(ring: &Ring, seen: u64) -> (Vec<i64>, u64, u64) {
        let mut times = Vec::new();
        let (count, lost) = ring.marks_after(seen, &mut |mark| times.push(mark.time_ns));
        (times, count, lost)
    }

    #[test]
    fn what_is_published_is_read() {
        let ring = ring();
        assert!(!ring.is_known());
        ring.begin();
        assert!(ring.is_known());
        let words: [u64; SPLIT_WORDS] = std::array::from_fn(|index| index as u64 + 1);
        let split = Split::of_words(words);
        assert_eq!(split.words(), words);
        ring.publish(&split);
        assert_eq!(ring.split(false), Some(split));
        ring.count(
            3,
            Calls {
                calls: 1,
                bytes: 8,
                spent_ns: 5,
            },
        );
        ring.count(
            3,
            Calls {
                calls: 1,
                bytes: 8,
                spent_ns: 6,
            },
        );
        let sum = Calls {
            calls: 2,
            bytes: 16,
            spent_ns: 11,
        };
        assert_eq!(ring.calls(3), sum);
        ring.count(MAX_CALLS, sum);
        assert_eq!(ring.calls(MAX_CALLS), Calls::default());
    }

    #[test]
    fn a_writer_that_dies_while_writing_blocks_nobody() {
        let ring = ring();
        ring.turn.store(7, Ordering::Relaxed);
        assert_eq!(ring.split(false), None);
        assert_eq!(ring.split(true), Some(Split::default()));
        ring.publish(&Split::default());
        assert!(ring.split(false).is_some());
    }

    #[test]
    fn names_are_kept_once_and_cut_between_characters() {
        let ring = ring();
        assert_eq!((ring.name("epoch"), ring.name("step")), (Some(0), Some(1)));
        assert_eq!(ring.name("epoch"), Some(0));
        assert_eq!(ring.text(1).as_deref(), Some("step"));
        let long = format!("x{}", "é".repeat(40));
        let id = ring.name(&long).unwrap();
        assert_eq!(ring.text(id).unwrap(), format!("x{}", "é".repeat(31)));
        for index in 3..MAX_NAMES {
            assert!(ring.name(&index.to_string()).is_some());
        }
        assert_eq!(ring.name("one too many"), None);
        assert_eq!(ring.text(MAX_NAMES as u32), None);
        ring.name_count.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(ring.text(u32::MAX), None);
    }

    #[test]
    fn marks_are_read_once_and_overruns_are_counted() {
        let ring = ring();
        let mark = |time_ns| {
            ring.mark(Mark {
                time_ns,
                value: 0.5,
                name: 1,
                kind: 2,
            });
        };
        (0..3).for_each(mark);
        assert_eq!(marks(&ring, 0), (vec![0, 1, 2], 3, 0));
        assert_eq!(marks(&ring, 3), (vec![], 3, 0));
        (3..3 + 2 * MAX_MARKS as i64).for_each(mark);
        let (times, count, lost) = marks(&ring, 3);
        assert_eq!((times.len(), count, lost), (MAX_MARKS, 2051, 1024));
        assert_eq!(times.last(), Some(&2050));
    }

    #[test]
    fn lies_about_marks_give_no_more_than_a_ring_of_them() {
        let ring = ring();
        for count in [u64::MAX, u64::MAX / 2, 1 << 40, 1] {
            ring.mark_count.store(count, Ordering::Relaxed);
            for seen in [0, 1, u64::MAX, 1 << 41] {
                let (times, _, _) = marks(&ring, seen);
                assert!(times.len() <= MAX_MARKS);
            }
        }
    }
}

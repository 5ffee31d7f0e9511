//! Collectives of the ranks of one node, in the memory that they share.
//!
//! Every array goes piece by piece; pieces are numbered through the life of the group, the same
//! on all ranks. For each rank there is an inbox, into which others write or from which they
//! read, and an outbox with what the rank has folded; each twice, for pieces of even and odd
//! numbers. A rank tells by two counters how far it is:
//!
//! - `filled` = g: what it gives to piece g lies where others look for it;
//! - `drained` = g: it needs no inbox of piece g any more.
//!
//! Before a rank fills piece g it waits until all have drained g - 2, the last that used the same
//! memory. An outbox of g - 2 is free once all have filled g, for nobody fills g before having
//! collected g - 2. Both waits are over before they begin unless a rank is two pieces behind.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::element::Element;
use super::segment::{self, Mapping};
use super::{Collective, DataType};
use crate::{CommError, Communicator, ReduceOperation, Result};

/// The most that a rank gives to one other in one piece: with both it fits the cache of a core.
const SLICE_BYTES_MAX: usize = 128 << 10;

/// The most that an inbox holds.
const INBOX_BYTES_MAX: usize = 1 << 20;

/// Arrays up to this go to all in one exchange: everybody folds everything.
const FLAT_BYTES_MAX: usize = 8 << 10;

/// Bytes that no two ranks write: two lines of a cache, which fetches them in pairs.
const LINE_BYTES: usize = 128;

/// Lines of a rank: `filled`, `drained`, `failed`, and what it calls, for even and odd pieces.
const LINES: usize = 5;
const FILLED: usize = 0;
const DRAINED: usize = 1;
const FAILED: usize = 2;
const CALL: usize = 3;

/// Looks at a counter before the processor is given to another thread.
const SPINS: u32 = 1 << 12;

/// Gives of the processor before the thread sleeps between looks.
const YIELDS: u32 = 1 << 12;
const SLEEP: Duration = Duration::from_micros(100);

/// The caller's end of the shared memory of its node.
#[derive(Debug)]
pub(super) struct Node {
    mapping: Option<Mapping>,
    /// The ranks here, in order.
    ranks: Vec<usize>,
    /// The caller's place among them.
    place: usize,
    name: String,
    time_limit: Duration,
    slice_bytes: usize,
    /// The last piece that was begun.
    piece: u64,
    /// The last call that was begun.
    call: u64,
    what: Collective,
    /// What the caller calls, in two words; told with its first piece.
    told: (u64, u64),
    is_told: bool,
    is_checked: bool,
}

impl Node {
    /// Makes the memory of the caller's node; all ranks of `comm` call it together.
    pub(super) fn join<C: Communicator>(
        comm: &C,
        nodes: &[Vec<usize>],
        ranks: Vec<usize>,
        name: String,
        time_limit: Duration,
    ) -> Result<Self> {
        let own = comm.rank();
        let place = ranks.iter().position(|rank| *rank == own).unwrap_or(0);
        let mut node = Self {
            mapping: None,
            slice_bytes: slice_bytes(ranks.len()),
            ranks,
            place,
            name,
            time_limit,
            piece: 0,
            call: 0,
            what: Collective::Barrier,
            told: (0, 0),
            is_told: true,
            is_checked: true,
        };
        if nodes.iter().all(|ranks| ranks.len() == 1) {
            return Ok(node);
        }
        let made = (place == 0 && node.ranks.len() > 1)
            .then(|| segment::create(node.bytes()))
            .transpose();
        // All get to know whether all went well, so that nobody waits for one who gave up.
        let path = made.as_ref().map_or_else(
            |error| format!("!{error}"),
            |made| {
                made.as_ref()
                    .map_or_else(String::new, |made| made.path().display().to_string())
            },
        );
        let paths = comm.all_gather(path.as_bytes())?;
        let opened = match made {
            Err(error) => Err(error),
            Ok(Some(made)) => Ok(Some(made)),
            Ok(None) if node.ranks.len() == 1 => Ok(None),
            Ok(None) => {
                let path = String::from_utf8_lossy(&paths[node.ranks[0]]).into_owned();
                segment::open(path.as_ref(), node.bytes()).map(|mapping| {
                    node.mapping = Some(mapping);
                    None
                })
            }
        };
        let told = opened
            .as_ref()
            .map_or_else(ToString::to_string, |_| String::new());
        let told = comm.all_gather(told.as_bytes())?;
        // From here on nobody opens it: it loses its name, whatever comes.
        if let Some(made) = opened? {
            node.mapping = Some(made.into_mapping());
        }
        match told.iter().position(|text| !text.is_empty()) {
            None => Ok(node),
            Some(rank) => Err(CommError::PeerFailed {
                rank,
                message: String::from_utf8_lossy(&told[rank]).into_owned(),
            }),
        }
    }

    fn bytes(&self) -> usize {
        let ranks = self.ranks.len();
        self.boxes() + ranks * 2 * (ranks + 1) * self.slice_bytes
    }

    fn boxes(&self) -> usize {
        (self.ranks.len() * LINES * LINE_BYTES).next_multiple_of(4096)
    }

    /// Where rank `of` has the slice of rank `from` of the pieces of this parity.
    fn inbox(&self, of: usize, from: usize) -> usize {
        let ranks = self.ranks.len();
        let parity = (self.piece % 2) as usize;
        self.boxes() + ((of * 2 + parity) * ranks + from) * self.slice_bytes
    }

    fn outbox(&self, of: usize) -> usize {
        let ranks = self.ranks.len();
        let parity = (self.piece % 2) as usize;
        self.boxes() + (ranks * 2 * ranks + of * 2 + parity) * self.slice_bytes
    }

    fn line(&self, place: usize, line: usize) -> usize {
        (place * LINES + line) * LINE_BYTES
    }

    fn mapping(&self) -> &Mapping {
        self.mapping
            .as_ref()
            .expect("a node of several ranks has memory")
    }

    fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let own = self.place;
        (0..self.ranks.len()).filter(move |place| *place != own)
    }

    /// Notes what comes next. It is told with the first piece, and compared before any result is.
    pub(super) fn begin(&mut self, what: Collective, kind: DataType, length: usize, more: u8) {
        self.call += 1;
        self.what = what;
        let word = u64::from_le_bytes([what as u8, kind as u8, more, 0, 0, 0, 0, 0]);
        self.told = (word | (self.call << 32), length as u64);
        (self.is_told, self.is_checked) = (false, false);
    }

    /// Do these call the same? Asked once they have filled the first piece of the call.
    fn check(&mut self, places: impl Iterator<Item = usize>) -> Result<()> {
        if std::mem::replace(&mut self.is_checked, true) {
            return Ok(());
        }
        for place in places {
            let line = self.line(place, CALL + (self.piece % 2) as usize);
            let word = self.mapping().counter(line).load(Ordering::Acquire);
            let found = (
                word,
                self.mapping().counter(line + 8).load(Ordering::Acquire),
            );
            if found != self.told {
                self.fail();
                return Err(CommError::Mismatch {
                    rank: self.ranks[place],
                    node: self.name.clone(),
                    expected: describe(self.told),
                    found: describe(found),
                });
            }
        }
        Ok(())
    }

    /// Tells the others that the caller gives up.
    fn fail(&self) {
        if let Some(mapping) = &self.mapping {
            let line = self.line(self.place, FAILED);
            mapping.counter(line).store(1, Ordering::Release);
        }
    }

    fn publish(&self, line: usize) {
        let line = self.line(self.place, line);
        self.mapping()
            .counter(line)
            .store(self.piece, Ordering::Release);
    }

    /// Waits until a rank's counter is at `piece`.
    fn wait(&self, place: usize, line: usize, piece: u64) -> Result<()> {
        let counter = self.mapping().counter(self.line(place, line));
        for _ in 0..SPINS {
            if counter.load(Ordering::Acquire) >= piece {
                return Ok(());
            }
            std::hint::spin_loop();
        }
        let failed = self.mapping().counter(self.line(place, FAILED));
        let begin = Instant::now();
        let mut looks = 0_u32;
        while counter.load(Ordering::Acquire) < piece {
            if failed.load(Ordering::Acquire) != 0 {
                return Err(CommError::Lost {
                    rank: self.ranks[place],
                });
            }
            looks = looks.saturating_add(1);
            if looks < YIELDS {
                std::thread::yield_now();
            } else {
                std::thread::sleep(SLEEP);
            }
            if begin.elapsed() >= self.time_limit {
                self.fail();
                return Err(CommError::TimedOut {
                    rank: self.ranks[place],
                    node: self.name.clone(),
                    collective: self.what.name(),
                    limit_s: self.time_limit.as_secs_f64(),
                });
            }
        }
        Ok(())
    }

    fn wait_all(&self, line: usize, piece: u64) -> Result<()> {
        self.others()
            .try_for_each(|place| self.wait(place, line, piece))
    }

    /// Begins a piece: its memory is free.
    fn next_piece(&mut self) -> Result<()> {
        self.piece += 1;
        self.wait_all(DRAINED, self.piece.saturating_sub(2))?;
        if !std::mem::replace(&mut self.is_told, true) {
            let line = self.line(self.place, CALL + (self.piece % 2) as usize);
            let (word, length) = self.told;
            self.mapping().counter(line).store(word, Ordering::Release);
            self.mapping()
                .counter(line + 8)
                .store(length, Ordering::Release);
        }
        Ok(())
    }

    fn filled_by_all(&mut self) -> Result<()> {
        self.publish(FILLED);
        self.wait_all(FILLED, self.piece)?;
        self.check(self.others())
    }

    pub(super) fn all_reduce<T: Element>(
        &mut self,
        values: &mut [T],
        operation: ReduceOperation,
    ) -> Result<()> {
        if self.ranks.len() == 1 {
            return Ok(());
        }
        if size_of_val(values) <= FLAT_BYTES_MAX.min(self.slice_bytes) {
            return self.all_reduce_flat(values, operation);
        }
        let pieces = self.pieces::<T>(values.len());
        let mut scratch = Vec::new();
        self.fill(values, &pieces[0])?;
        for (index, piece) in pieces.iter().enumerate() {
            let this = self.piece;
            if let Some(next) = pieces.get(index + 1) {
                self.fill(values, next)?;
            }
            let next = std::mem::replace(&mut self.piece, this);
            self.wait_all(FILLED, this)?;
            self.check(self.others())?;
            self.reduce(values, piece, operation, &mut scratch);
            self.publish(DRAINED);
            self.collect(values, piece)?;
            self.piece = next;
        }
        Ok(())
    }

    /// Everybody gives all to all, and folds all.
    fn all_reduce_flat<T: Element>(
        &mut self,
        values: &mut [T],
        operation: ReduceOperation,
    ) -> Result<()> {
        self.next_piece()?;
        let own = self.inbox(self.place, 0);
        self.mapping().write(own, values);
        self.filled_by_all()?;
        let length = values.len();
        for place in 0..self.ranks.len() {
            let mapping = self.mapping();
            mapping.look(self.inbox(place, 0), length, |theirs| match place {
                0 => values.copy_from_slice(theirs),
                _ => T::fold(operation, values, theirs),
            });
        }
        self.publish(DRAINED);
        Ok(())
    }

    /// Cuts an array into pieces, each of a slice for every rank.
    fn pieces<T>(&self, length: usize) -> Vec<Piece> {
        let ranks = self.ranks.len();
        let slice_max = self.slice_bytes / size_of::<T>();
        let step = slice_max * ranks;
        let piece = |start: usize| {
            let length = (length - start).min(step);
            // Whole cache lines, so that no two ranks write one.
            let slice = length.div_ceil(ranks).next_multiple_of(64).min(slice_max);
            Piece {
                start,
                length,
                slice,
            }
        };
        (0..length.max(1)).step_by(step).map(piece).collect()
    }

    fn fill<T: Element>(&mut self, values: &[T], piece: &Piece) -> Result<()> {
        self.next_piece()?;
        for place in self.others() {
            let slice = &values[piece.of(place)];
            self.mapping().write(self.inbox(place, self.place), slice);
        }
        self.publish(FILLED);
        Ok(())
    }

    /// Folds the caller's slice, in the order of ranks, and puts it out.
    fn reduce<T: Element>(
        &self,
        values: &mut [T],
        piece: &Piece,
        operation: ReduceOperation,
        scratch: &mut Vec<T>,
    ) {
        let own = &mut values[piece.of(self.place)];
        self.fold(own, operation, scratch);
        self.mapping().write(self.outbox(self.place), own);
    }

    /// Folds the slices in the caller's inbox with `own`, in the order of ranks.
    fn fold<T: Element>(&self, own: &mut [T], operation: ReduceOperation, scratch: &mut Vec<T>) {
        let (place, length) = (self.place, own.len());
        let theirs = |from: usize, fold: &mut dyn FnMut(&[T])| {
            self.mapping()
                .look(self.inbox(place, from), length, |slice| fold(slice));
        };
        // a + b is b + a: the first two need no order.
        if place <= 1 {
            for from in self.others() {
                theirs(from, &mut |slice| T::fold(operation, own, slice));
            }
            return;
        }
        scratch.resize(length, T::default());
        let folded = &mut scratch[..length];
        theirs(0, &mut |slice| folded.copy_from_slice(slice));
        for from in 1..self.ranks.len() {
            if from == place {
                T::fold(operation, folded, own);
            } else {
                theirs(from, &mut |slice| T::fold(operation, folded, slice));
            }
        }
        own.copy_from_slice(folded);
    }

    fn collect<T: Element>(&self, values: &mut [T], piece: &Piece) -> Result<()> {
        for place in self.others() {
            self.wait(place, DRAINED, self.piece)?;
            self.mapping()
                .read(self.outbox(place), &mut values[piece.of(place)]);
        }
        Ok(())
    }

    /// The caller's part of the fold; `values` is as long as all parts together.
    pub(super) fn reduce_scatter<T: Element>(
        &mut self,
        values: &[T],
        result: &mut [T],
        operation: ReduceOperation,
    ) -> Result<()> {
        let part = result.len();
        result.copy_from_slice(&values[self.place * part..][..part]);
        if self.ranks.len() == 1 {
            return Ok(());
        }
        let mut scratch = Vec::new();
        for cells in self.slices::<T>(part) {
            self.next_piece()?;
            for place in self.others() {
                let slice = &values[place * part..][cells.clone()];
                self.mapping().write(self.inbox(place, self.place), slice);
            }
            self.filled_by_all()?;
            self.fold(&mut result[cells], operation, &mut scratch);
            self.publish(DRAINED);
        }
        Ok(())
    }

    /// `result` gets the parts of all, in their order.
    pub(super) fn all_gather<T: Element>(&mut self, part: &[T], result: &mut [T]) -> Result<()> {
        let length = part.len();
        result[self.place * length..][..length].copy_from_slice(part);
        if self.ranks.len() == 1 {
            return Ok(());
        }
        for cells in self.slices::<T>(length) {
            self.next_piece()?;
            self.mapping()
                .write(self.inbox(self.place, 0), &part[cells.clone()]);
            self.filled_by_all()?;
            for place in self.others() {
                let theirs = &mut result[place * length..][cells.clone()];
                self.mapping().read(self.inbox(place, 0), theirs);
            }
            self.publish(DRAINED);
        }
        Ok(())
    }

    /// Those of the rank at `root` go to all.
    pub(super) fn broadcast<T: Element>(&mut self, root: usize, values: &mut [T]) -> Result<()> {
        if self.ranks.len() == 1 {
            return Ok(());
        }
        for cells in self.slices::<T>(values.len()) {
            self.next_piece()?;
            if self.place == root {
                // The others look at what it told, it at none of theirs: it needs nothing of them.
                self.is_checked = true;
                self.mapping().write(self.inbox(root, 0), &values[cells]);
                self.publish(FILLED);
            } else {
                self.publish(FILLED);
                self.wait(root, FILLED, self.piece)?;
                self.check(std::iter::once(root))?;
                self.mapping().read(self.inbox(root, 0), &mut values[cells]);
            }
            self.publish(DRAINED);
        }
        Ok(())
    }

    /// Part `i` of `values` goes to the rank at place `i`.
    pub(super) fn all_to_all<T: Element>(&mut self, values: &[T], result: &mut [T]) -> Result<()> {
        let part = values.len() / self.ranks.len();
        let own = self.place * part..(self.place + 1) * part;
        result[own.clone()].copy_from_slice(&values[own]);
        if self.ranks.len() == 1 {
            return Ok(());
        }
        for cells in self.slices::<T>(part) {
            self.next_piece()?;
            for place in self.others() {
                let slice = &values[place * part..][cells.clone()];
                self.mapping().write(self.inbox(place, self.place), slice);
            }
            self.filled_by_all()?;
            for place in self.others() {
                let theirs = &mut result[place * part..][cells.clone()];
                self.mapping().read(self.inbox(self.place, place), theirs);
            }
            self.publish(DRAINED);
        }
        Ok(())
    }

    /// What the first rank of the node got from other nodes goes to all here, or its failure.
    pub(super) fn share<T: Element>(
        &mut self,
        values: &mut [T],
        outcome: Result<()>,
    ) -> Result<()> {
        if outcome.is_err() {
            self.fail();
            return outcome;
        }
        self.broadcast(0, values)
    }

    /// Cuts a part into slices; at least one, so that all meet.
    fn slices<T>(&self, length: usize) -> Vec<Range<usize>> {
        let step = self.slice_bytes / size_of::<T>();
        (0..length.max(1))
            .step_by(step)
            .map(|start| start..(start + step).min(length))
            .collect()
    }
}

/// What of an array the ranks exchange at one time.
struct Piece {
    start: usize,
    length: usize,
    slice: usize,
}

impl Piece {
    /// The cells that the rank at `place` folds.
    fn of(&self, place: usize) -> Range<usize> {
        let from = (place * self.slice).min(self.length);
        let to = ((place + 1) * self.slice).min(self.length);
        self.start + from..self.start + to
    }
}

fn slice_bytes(ranks: usize) -> usize {
    let share = INBOX_BYTES_MAX / ranks.max(1);
    // A multiple of a page, so that no two ranks write one.
    (share & !4095).clamp(4096, SLICE_BYTES_MAX)
}

/// A call in words.
fn describe((word, length): (u64, u64)) -> String {
    let [what, kind, ..] = word.to_le_bytes();
    let what = Collective::ALL.iter().find(|known| **known as u8 == what);
    let kind = DataType::ALL.iter().find(|known| **known as u8 == kind);
    let call = word >> 32;
    match (what, kind) {
        (Some(what), Some(kind)) => {
            format!("call {call}: {} of {length} {}", what.name(), kind.name())
        }
        _ => "nothing yet".to_owned(),
    }
}

//! DEFLATE for bytes that do not repeat, several times as fast as a search for repetitions.
//!
//! The low bytes of floating-point numbers, sorted by significance (shuffled), come in no order
//! that a window would find again: all that a compressor gains lies in how often each byte
//! comes, and in runs of one byte. So each plane of bytes is looked at: while what it would gain
//! by references to earlier bytes is next to nothing, it is written as Huffman codes and runs
//! (RFC 1951, dynamic blocks), or as it is if codes too would gain next to nothing (stored blocks),
//! as with the last digits of most fields. From the first plane on that does repeat, libdeflate
//! does the rest of the stream. The decision rests on the bytes alone, so that it is the same on
//! any number of threads and ranks.

mod codes;
mod parts;

use libdeflater::Compressor;

use self::codes::{code_lengths, codes, pack_lengths};
use self::parts::{Parts, STEP, count, length_code, run_lengths};

/// The longest block: codes follow the data, and the reader's tables stay small.
const BLOCK_BYTES: usize = 128 << 10;

/// Codes are no longer than this, so that four fit 64 bits beside a begun byte. (The format
/// allows 15.)
const CODE_BITS_MAX: u8 = 14;
/// The same for the codes of code lengths.
const LENGTH_CODE_BITS_MAX: u8 = 7;

/// Literals, the end of a block, and lengths.
const SYMBOLS: usize = 286;
const END: usize = 256;

/// Where lengths of code lengths stand in the header.
const LENGTH_ORDER: [usize; 19] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];

/// Windows of a plane that are searched for repetitions, and their size.
const WINDOWS: usize = 3;
const WINDOW_BYTES: usize = 2048;

/// After so many bytes that begin no repetition, the next steps over one more are longer by one.
const MISSES_PER_STEP: usize = 32;

/// Bits that a reference to earlier bytes costs at least.
const REFERENCE_BITS: f64 = 20.0;

/// The entropy of a byte from which Huffman codes come near it, and that of planes of long runs.
const CODED_BITS_MIN: f64 = 1.5;
const RUN_BITS_MAX: f64 = 0.1;

/// The share that references may gain and be left out.
const GAIN_MAX: f64 = 0.10;

/// The entropy of a byte from which codes save too little for the time they take, of writers and of
/// all readers. (That of even noise is found as 7.97 in so few bytes as the windows have.)
const PLAIN_BITS_MIN: f64 = 7.9;

/// A stored block has no more.
const STORED_BYTES_MAX: usize = 65_535;

/// How a plane is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// As it is, but for blocks that have runs.
    Plain,
    /// As codes and runs.
    Codes,
    /// By a search for repetitions.
    Search,
}

/// Writes a raw DEFLATE stream of `bytes`, which are planes of `plane_bytes` each (the last may be
/// shorter), from `start` on into `out`, which grows as need be; returns where it ends. `tool`
/// does what repeats.
pub(super) fn deflate(
    bytes: &[u8],
    plane_bytes: usize,
    tool: &mut Compressor,
    out: &mut Vec<u8>,
    start: usize,
) -> usize {
    let mut rest = bytes;
    let mut writer = Writer::new(out, start);
    while !rest.is_empty() {
        let (plane, next) = rest.split_at(plane_bytes.clamp(1, rest.len()));
        let way = way(plane);
        if way == Way::Search {
            break;
        }
        let blocks = plane.chunks(BLOCK_BYTES);
        let last = blocks.len() - 1;
        for (index, block) in blocks.enumerate() {
            writer.block(block, way, next.is_empty() && index == last);
        }
        rest = next;
    }
    if rest.is_empty() && !bytes.is_empty() {
        return writer.finish();
    }
    if rest.len() < bytes.len() {
        writer.align();
    }
    let start = writer.finish();
    grow(out, start + tool.deflate_compress_bound(rest.len()));
    let length = tool
        .deflate_compress(rest, &mut out[start..])
        .expect("the buffer has the size that is always enough");
    start + length
}

/// Makes a buffer at least so long; what it has is kept, so that nothing is cleared twice.
fn grow(out: &mut Vec<u8>, bytes: usize) {
    if out.len() < bytes {
        out.resize(bytes, 0);
    }
}

/// What suits a plane: references to earlier bytes only where they gain more than [`GAIN_MAX`].
fn way(plane: &[u8]) -> Way {
    if plane.len() < WINDOW_BYTES {
        return Way::Search;
    }
    let step = (plane.len() - WINDOW_BYTES) / (WINDOWS - 1);
    let windows: [&[u8]; WINDOWS] =
        std::array::from_fn(|window| &plane[window * step..][..WINDOW_BYTES]);
    let mut counts = [0; 256];
    for byte in windows.iter().flat_map(|window| window.iter()) {
        counts[usize::from(*byte)] += 1;
    }
    let entropy_bits = entropy_bits(&counts, WINDOWS * WINDOW_BYTES);
    if entropy_bits < CODED_BITS_MIN {
        // One byte nearly throughout is runs; of what is between, a code of whole bits makes
        // too much.
        return match entropy_bits > RUN_BITS_MAX {
            true => Way::Search,
            false => Way::Codes,
        };
    }
    // A reference gains only if it is longer than its own cost.
    let shortest = (REFERENCE_BITS / entropy_bits).ceil() as usize + 1;
    let gain = |window: &&[u8]| gain_bits(window, entropy_bits, shortest);
    let gained_bits: f64 = windows.iter().map(gain).sum();
    if gained_bits > GAIN_MAX * entropy_bits * (WINDOWS * WINDOW_BYTES) as f64 {
        return Way::Search;
    }
    match entropy_bits > PLAIN_BITS_MIN {
        true => Way::Plain,
        false => Way::Codes,
    }
}

/// What references within a window would gain, runs apart.
fn gain_bits(window: &[u8], entropy_bits: f64, shortest: usize) -> f64 {
    const TABLE_BITS: u32 = 11;
    let mut table = [u16::MAX; 1 << TABLE_BITS];
    let (mut gained, mut misses) = (0.0, 0);
    let mut at = 1;
    while at + 4 <= window.len() {
        let key = u32::from_le_bytes([window[at], window[at + 1], window[at + 2], window[at + 3]]);
        let place = (key.wrapping_mul(0x9e37_79b1) >> (32 - TABLE_BITS)) as usize;
        let before = usize::from(std::mem::replace(&mut table[place], at as u16));
        let is_run = window[at - 1] == window[at] && key == u32::from_ne_bytes([window[at]; 4]);
        // None is shorter than the four bytes of the key: no byte is more than 8 bits.
        if before >= at || is_run || window[before..before + 4] != key.to_le_bytes() {
            // Where nothing has repeated for long, a look here and there tells as much.
            misses += 1;
            at += 1 + misses / MISSES_PER_STEP;
            continue;
        }
        misses = 0;
        let pairs = window[before..].iter().zip(&window[at..]);
        let length = pairs.take_while(|(a, b)| a == b).count();
        if length < shortest {
            at += 1;
            continue;
        }
        gained += length as f64 * entropy_bits - REFERENCE_BITS;
        at += length;
    }
    gained
}

fn entropy_bits(counts: &[u32; 256], total: usize) -> f64 {
    let share = |count: &u32| f64::from(*count) / total as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| -share(count) * share(count).log2())
        .sum()
}

/// Bits, the first in the lowest place of the first byte.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
    at: usize,
    bits: u64,
    count: u32,
}

impl<'a> Writer<'a> {
    fn new(out: &'a mut Vec<u8>, at: usize) -> Self {
        Self {
            out,
            at,
            bits: 0,
            count: 0,
        }
    }

    /// Room for so many bytes more, and for a whole word at the end.
    fn reserve(&mut self, bytes: usize) {
        grow(self.out, self.at + bytes + 8);
    }

    /// Adds bits; at most 56 before the next [`flush`](Self::flush).
    #[inline(always)]
    fn put(&mut self, bits: u64, count: u32) {
        self.bits |= bits << self.count;
        self.count += count;
    }

    /// Writes all whole bytes.
    #[inline(always)]
    fn flush(&mut self) {
        self.out[self.at..self.at + 8].copy_from_slice(&self.bits.to_le_bytes());
        let whole = self.count / 8;
        self.at += whole as usize;
        // 64 bits are never whole: at most 63 are there.
        self.bits >>= 8 * whole;
        self.count %= 8;
    }

    /// Ends on a whole byte with an empty stored block, so that another stream can follow.
    fn align(&mut self) {
        self.reserve(16);
        self.put(0, 3);
        self.count = self.count.next_multiple_of(8);
        self.flush();
        self.put(0xffff_0000, 32);
        self.flush();
    }

    /// Ends on a whole byte; returns where.
    fn finish(mut self) -> usize {
        self.reserve(8);
        self.count = self.count.next_multiple_of(8);
        self.flush();
        self.at
    }

    /// Writes a block of literals and runs, or of bytes as they are.
    fn block(&mut self, bytes: &[u8], way: Way, is_last: bool) {
        let parts = Parts::of(bytes);
        if way == Way::Plain && !parts.has_runs() {
            return self.stored(bytes, is_last);
        }
        let counts = count(&parts);
        let lengths = code_lengths::<SYMBOLS>(&counts, CODE_BITS_MAX);
        // A code is 14 bits at most, and the header some 300 of 7 + 7.
        self.reserve(bytes.len() * 2 + 1024);
        self.put(u64::from(is_last) | 0b100, 3);
        self.header(&lengths);
        self.codes(&parts, &codes(&lengths));
    }

    /// Writes bytes as they are.
    fn stored(&mut self, bytes: &[u8], is_last: bool) {
        let pieces = bytes.chunks(STORED_BYTES_MAX);
        let last = pieces.len() - 1;
        for (index, piece) in pieces.enumerate() {
            // Its head: three bits, the rest of their byte, the length and its complement.
            self.reserve(piece.len() + 16);
            self.put(u64::from(is_last && index == last), 3);
            self.count = self.count.next_multiple_of(8);
            self.flush();
            let length = piece.len() as u64;
            self.put(length | (length ^ 0xffff) << 16, 32);
            self.flush();
            self.out[self.at..self.at + piece.len()].copy_from_slice(piece);
            self.at += piece.len();
        }
    }

    /// The code lengths of literals and lengths, and of the one distance there is.
    fn header(&mut self, lengths: &[u8; SYMBOLS]) {
        let used = lengths
            .iter()
            .rposition(|length| *length > 0)
            .unwrap_or(END)
            + 1;
        let mut all: Vec<u8> = lengths[..used].to_vec();
        all.push(1);
        let packed = pack_lengths(&all);
        let mut counts = [0_u32; 19];
        for (symbol, ..) in &packed {
            counts[usize::from(*symbol)] += 1;
        }
        let code_lengths = code_lengths::<19>(&counts, LENGTH_CODE_BITS_MAX);
        let codes = codes(&code_lengths);
        let shown = LENGTH_ORDER
            .iter()
            .rposition(|symbol| code_lengths[*symbol] > 0)
            .map_or(4, |last| (last + 1).max(4));
        self.put((used - 257) as u64, 5);
        self.put(0, 5);
        self.put((shown - 4) as u64, 4);
        self.flush();
        for symbol in &LENGTH_ORDER[..shown] {
            self.put(code_lengths[*symbol].into(), 3);
            self.flush();
        }
        for (symbol, extra, extra_bits) in packed {
            let (code, bits) = codes[usize::from(symbol)];
            self.put(code.into(), bits);
            self.put(extra.into(), extra_bits);
            self.flush();
        }
    }

    fn codes(&mut self, parts: &Parts<'_>, codes: &[(u32, u32); SYMBOLS]) {
        // A code and its length in one word.
        let packed: [u32; 256] = std::array::from_fn(|byte| codes[byte].0 | (codes[byte].1 << 16));
        for (literals, run) in parts.stretches() {
            self.literals(literals, &packed);
            self.run(run * STEP, codes);
        }
        for byte in parts.rest {
            let (code, bits) = codes[usize::from(*byte)];
            self.put(code.into(), bits);
            self.flush();
        }
        let (code, bits) = codes[END];
        self.put(code.into(), bits);
        self.flush();
    }

    fn literals(&mut self, steps: &[[u8; STEP]], packed: &[u32; 256]) {
        // In registers meanwhile.
        let (mut bits, mut count, mut at) = (self.bits, self.count, self.at);
        for step in steps {
            let (fours, _) = step.as_chunks::<4>();
            for four in fours {
                for byte in four {
                    let code = packed[usize::from(*byte)];
                    bits |= u64::from(code & 0xffff) << count;
                    count += code >> 16;
                }
                self.out[at..at + 8].copy_from_slice(&bits.to_le_bytes());
                at += (count / 8) as usize;
                bits >>= count & !7;
                count %= 8;
            }
        }
        (self.bits, self.count, self.at) = (bits, count, at);
    }

    fn run(&mut self, bytes: usize, codes: &[(u32, u32); SYMBOLS]) {
        for length in run_lengths(bytes) {
            let (symbol, extra, extra_bits) = length_code(length);
            let (code, bits) = codes[symbol];
            self.put(code.into(), bits);
            // Distance 1 is the only one, of one bit.
            self.put(u64::from(extra), extra_bits + 1);
            self.flush();
        }
    }
}

#[cfg(test)]
mod tests;

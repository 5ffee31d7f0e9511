//! What a block of a DEFLATE stream is made of: bytes, and runs of the byte before.

use super::{END, SYMBOLS};

pub(super) const RUN_MIN: usize = 3;
pub(super) const RUN_MAX: usize = 258;

/// Bytes that are looked at together: runs are of whole steps.
pub(super) const STEP: usize = 8;

/// Cuts a run into lengths that have a code each.
pub(super) fn run_lengths(run: usize) -> impl Iterator<Item = usize> {
    let mut left = run;
    std::iter::from_fn(move || {
        let length = match left {
            0 => return None,
            // What is left must not be too short.
            left if left > RUN_MAX && left < RUN_MAX + RUN_MIN => RUN_MAX - RUN_MIN,
            left => left.min(RUN_MAX),
        };
        left -= length;
        Some(length)
    })
}

/// Symbol, extra bits and their number of a length.
pub(super) fn length_code(length: usize) -> (usize, u32, u32) {
    match length {
        RUN_MAX => (285, 0, 0),
        3..=10 => (254 + length, 0, 0),
        _ => {
            let above = length - 3;
            let extra_bits = above.ilog2() - 2;
            let symbol = 257 + 4 * extra_bits as usize + (above >> extra_bits);
            (symbol, (above & ((1 << extra_bits) - 1)) as u32, extra_bits)
        }
    }
}

/// What a block is made of.
pub(super) struct Parts<'a> {
    steps: &'a [[u8; STEP]],
    /// Steps that are written byte by byte, and those after them that are but the byte before.
    stretches: Vec<(usize, usize)>,
    /// The last bytes, which are no whole step.
    pub(super) rest: &'a [u8],
}

impl<'a> Parts<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        let (steps, rest) = bytes.as_chunks::<STEP>();
        let repeats_byte = |at: usize| {
            let step = u64::from_le_bytes(steps[at]);
            // Each byte beside the one before it.
            step == step << 8 | u64::from(steps[at - 1][STEP - 1])
        };
        let mut stretches = Vec::new();
        let mut begin = 0;
        while begin < steps.len() {
            let mut run = begin.max(1);
            while run < steps.len() && !repeats_byte(run) {
                run += 1;
            }
            let mut end = run;
            while end < steps.len() && repeats_byte(end) {
                end += 1;
            }
            stretches.push((run - begin, end - run));
            begin = end;
        }
        Self {
            steps,
            stretches,
            rest,
        }
    }

    /// Whether a byte is anywhere repeated for a step or more.
    pub(super) fn has_runs(&self) -> bool {
        self.stretches.iter().any(|&(_, run)| run > 0)
    }

    /// The literal steps of each stretch, and how many repeat the byte before.
    pub(super) fn stretches(&self) -> impl Iterator<Item = (&'a [[u8; STEP]], usize)> {
        let mut left = self.steps;
        self.stretches.iter().map(move |&(literals, run)| {
            let (own, next) = left.split_at(literals);
            left = &next[run..];
            (own, run)
        })
    }
}

/// How often each symbol comes. Literals in four tables, for the processor to count in at once.
pub(super) fn count(parts: &Parts<'_>) -> [u32; SYMBOLS] {
    let mut counts = [0; SYMBOLS];
    let mut literals = [[0_u32; 256]; 4];
    for (steps, run) in parts.stretches() {
        for four in steps.as_flattened().as_chunks::<4>().0 {
            for (table, byte) in literals.iter_mut().zip(four) {
                table[usize::from(*byte)] += 1;
            }
        }
        for length in run_lengths(run * STEP) {
            counts[length_code(length).0] += 1;
        }
    }
    for byte in parts.rest {
        literals[0][usize::from(*byte)] += 1;
    }
    for (byte, count) in counts[..256].iter_mut().enumerate() {
        *count = literals.iter().map(|table| table[byte]).sum();
    }
    counts[END] = 1;
    counts
}

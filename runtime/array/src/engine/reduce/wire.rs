//! Partial results as bytes, between ranks of one program.

use std::collections::BTreeMap;

use crate::engine::tree::Place;
use crate::ops::statistic::{Accumulator, Partial};

pub(super) fn encode<'a>(
    column: usize,
    place: Place,
    groups: impl ExactSizeIterator<Item = (&'a usize, &'a Vec<Partial>)>,
    bytes: &mut Vec<u8>,
) {
    for number in [column, place.level as usize, place.index, groups.len()] {
        bytes.extend_from_slice(&(number as u64).to_le_bytes());
    }
    for (group, partials) in groups {
        bytes.extend_from_slice(&(*group as u64).to_le_bytes());
        for partial in partials {
            let Partial {
                counts,
                first,
                second,
                third,
                fourth,
                ..
            } = partial;
            bytes.extend_from_slice(&(counts.len() as u64).to_le_bytes());
            bytes.extend(counts.iter().flat_map(|count| count.to_le_bytes()));
            for numbers in [first, second, third, fourth] {
                bytes.extend_from_slice(&(numbers.len() as u64).to_le_bytes());
                bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            }
        }
    }
}

/// A node: its column, its place, and its partials by group.
type Node = (usize, Place, BTreeMap<usize, Vec<Partial>>);

/// Takes one node off the front; `None` if the bytes are not one.
pub(super) fn decode(accumulators: &[Accumulator], rest: &mut &[u8]) -> Option<Node> {
    let column = number(rest)?;
    let place = Place {
        level: u32::try_from(number(rest)?).ok()?,
        index: number(rest)?,
    };
    let mut groups = BTreeMap::new();
    for _ in 0..number(rest)? {
        let group = number(rest)?;
        let partials = accumulators
            .iter()
            .map(|&accumulator| partial(accumulator, rest));
        groups.insert(group, partials.collect::<Option<_>>()?);
    }
    Some((column, place, groups))
}

fn partial(accumulator: Accumulator, rest: &mut &[u8]) -> Option<Partial> {
    let counts = number(rest)?;
    let counts = take(rest, counts.checked_mul(4)?)?.as_chunks::<4>().0;
    let counts = counts.iter().map(|bytes| u32::from_le_bytes(*bytes));
    Some(Partial {
        accumulator,
        counts: counts.collect(),
        first: doubles(rest)?,
        second: doubles(rest)?,
        third: doubles(rest)?,
        fourth: doubles(rest)?,
    })
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    Some(taken)
}

fn number(rest: &mut &[u8]) -> Option<usize> {
    let bytes = take(rest, 8)?.try_into().ok()?;
    usize::try_from(u64::from_le_bytes(bytes)).ok()
}

/// As many as a number before them says.
fn doubles(rest: &mut &[u8]) -> Option<Vec<f64>> {
    let count = number(rest)?;
    let bytes = take(rest, count.checked_mul(8)?)?.as_chunks::<8>().0;
    Some(
        bytes
            .iter()
            .map(|bytes| f64::from_le_bytes(*bytes))
            .collect(),
    )
}

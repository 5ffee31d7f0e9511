//! Marks on their way from a ring to the record: names get numbers, times are kept within
//! reason.

use std::collections::BTreeMap;

use mizar_api::ring::Ring;
use mizar_core::ids::{Rank, StepId};
use mizar_record::model::{MARK_FIGURE, MarkSample, Name};

use crate::number;

/// Names of marks of one job on one node.
const MAX_NAMES: usize = 1024;

/// Numbers of marks begin here; below are the calls.
const FIRST_NUMBER: u32 = 1 << 16;

/// Marks of one job taken at one sample.
const MAX_MARKS: usize = 8192;

/// A mark made longer before it is read has a wrong clock.
const MAX_AGE_NS: i64 = 3_600_000_000_000;

/// The names of a job's marks. A name's number follows from its letters, so that it stays the
/// same in the next segment of a record.
#[derive(Debug, Default)]
pub(super) struct MarkNames {
    numbers: BTreeMap<String, u32>,
}

/// What a ring's marks gave.
#[derive(Debug, Default)]
pub(super) struct Drained {
    pub(super) lost: u64,
    pub(super) names: Vec<Name>,
}

impl MarkNames {
    /// Takes the marks of a process after the first `seen`.
    pub(super) fn drain(
        &mut self,
        ring: &Ring,
        seen: &mut u64,
        (step, rank, now_ns): (StepId, Option<Rank>, i64),
        rows: &mut Vec<MarkSample>,
    ) -> Drained {
        let mut drained = Drained::default();
        let mut refused = 0;
        let (count, lost) = ring.marks_after(*seen, &mut |mark| {
            let number = ring
                .text(mark.name)
                .and_then(|name| self.number(name, &mut drained.names));
            let is_fit = mark.kind <= MARK_FIGURE && rows.len() < MAX_MARKS;
            let (Some(name), Some(rank), true) = (number, rank, is_fit) else {
                refused += 1;
                return;
            };
            rows.push(MarkSample {
                time_ns: mark.time_ns.clamp(now_ns - MAX_AGE_NS, now_ns),
                value: mark.value,
                step: step.0,
                rank: rank.0,
                name,
                kind: mark.kind,
            });
        });
        *seen = count;
        drained.lost = lost.saturating_add(refused);
        drained
    }

    fn number(&mut self, name: String, news: &mut Vec<Name>) -> Option<u32> {
        if let Some(number) = self.numbers.get(&name) {
            return Some(*number);
        }
        if self.numbers.len() >= MAX_NAMES || name.chars().any(char::is_control) {
            return None;
        }
        let mut number = number::of_names(&[&name]) | FIRST_NUMBER;
        while self.numbers.values().any(|taken| *taken == number) {
            number = number.wrapping_add(1) | FIRST_NUMBER;
        }
        news.push(Name {
            id: number,
            name: name.clone(),
        });
        self.numbers.insert(name, number);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_number_in_every_segment() {
        let (mut first, mut second) = (MarkNames::default(), MarkNames::default());
        let mut news = Vec::new();
        let epoch = first.number("epoch".to_owned(), &mut news).unwrap();
        assert!(epoch >= FIRST_NUMBER);
        assert_eq!(first.number("epoch".to_owned(), &mut news), Some(epoch));
        second.number("other".to_owned(), &mut news);
        assert_eq!(second.number("epoch".to_owned(), &mut news), Some(epoch));
        assert_eq!(news.len(), 3);
        assert_eq!(first.number("\u{1b}[2J".to_owned(), &mut news), None);
        for index in 0..2 * MAX_NAMES {
            first.number(index.to_string(), &mut news);
        }
        assert_eq!(first.numbers.len(), MAX_NAMES);
    }
}

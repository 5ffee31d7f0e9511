//! From counters to rates, and from rates to series on a grid that charts can share.
//!
//! A counter's rate exists between two readings and nowhere else. What lies between readings
//! that are too far apart is unobserved: neither zero nor interpolated.

use mizar_record::model::UNKNOWN;
use serde::Serialize;

/// Readings further apart than this many usual intervals leave the time between unobserved.
pub const GAP_INTERVALS: f64 = 3.0;
/// A series has at most this many cells; a longer job has longer cells.
pub const MAX_CELLS: usize = 240;

const NS_PER_S: f64 = 1e9;

/// A value that held between two readings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// From, Unix nanoseconds.
    pub from_ns: i64,
    /// To.
    pub to_ns: i64,
    /// The value.
    pub value: f64,
}

impl Span {
    /// How long it is.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        (self.to_ns - self.from_ns) as f64 / NS_PER_S
    }
}

/// A reading of a counter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// When it was read, Unix nanoseconds.
    pub time_ns: i64,
    /// Since the one before, by the monotonic clock; 0 for the first of a daemon.
    pub interval_ns: i64,
    /// What it showed; `None` if it could not be read.
    pub value: Option<f64>,
}

impl Reading {
    /// A reading of an integer counter.
    #[must_use]
    pub fn of(time_ns: i64, interval_ns: i64, counter: u64) -> Self {
        Self {
            time_ns,
            interval_ns,
            value: known(counter).map(|counter| counter as f64),
        }
    }
}

/// A number, unless it stands for "could not be read".
#[must_use]
pub fn known(number: u64) -> Option<u64> {
    (number != UNKNOWN).then_some(number)
}

/// The rates of a counter, per second of measured time.
///
/// `origin_ns` is when the counter stood at zero, if that is known: the first reading then has
/// a rate too. Nothing is said about an interval in which the counter fell, could not be read,
/// or that is longer than `longest_ns`.
#[must_use]
pub fn rates(readings: &[Reading], origin_ns: Option<i64>, longest_ns: i64) -> Vec<Span> {
    let origin = origin_ns.map(|time_ns| Reading {
        time_ns,
        interval_ns: 0,
        value: Some(0.0),
    });
    let first = origin.iter().zip(readings.first());
    let first = first.filter_map(|(origin, first)| {
        rate(origin, first, first.time_ns - origin.time_ns, longest_ns)
    });
    let others = readings.windows(2).filter_map(|pair| {
        // A restarted daemon has no monotonic interval to the reading before: a gap.
        rate(&pair[0], &pair[1], pair[1].interval_ns, longest_ns)
    });
    first.chain(others).collect()
}

fn rate(before: &Reading, after: &Reading, interval_ns: i64, longest_ns: i64) -> Option<Span> {
    let delta = after.value? - before.value?;
    let observed = interval_ns > 0 && interval_ns <= longest_ns && delta >= 0.0;
    observed.then(|| Span {
        from_ns: after.time_ns - interval_ns,
        to_ns: after.time_ns,
        value: delta * NS_PER_S / interval_ns as f64,
    })
}

/// A level (memory, power) held from the reading before, under the same rules of observation.
#[must_use]
pub fn levels(readings: &[Reading], origin_ns: Option<i64>, longest_ns: i64) -> Vec<Span> {
    let spans = readings.iter().enumerate().filter_map(|(index, reading)| {
        let interval_ns = match (index, origin_ns) {
            (0, Some(origin_ns)) => reading.time_ns - origin_ns,
            _ => reading.interval_ns,
        };
        let value = reading.value?;
        let from_ns = reading.time_ns - interval_ns;
        let observed = interval_ns > 0 && interval_ns <= longest_ns;
        observed.then_some(Span {
            from_ns,
            to_ns: reading.time_ns,
            value,
        })
    });
    spans.collect()
}

/// What a counter rose by over its readings, falls counted as a fresh start from zero.
/// `None` without readings.
#[must_use]
pub fn risen(values: impl IntoIterator<Item = Option<f64>>) -> Option<f64> {
    let mut values = values.into_iter().flatten();
    let mut before = values.next()?;
    let mut total = 0.0;
    for value in values {
        total += if value >= before {
            value - before
        } else {
            value
        };
        before = value;
    }
    Some(total)
}

/// The cells that all series of a report share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    start_ns: i64,
    cell_ns: i64,
    count: usize,
}

impl Grid {
    /// Covers `start_ns..end_ns` with cells no shorter than the usual interval.
    #[must_use]
    pub fn new(start_ns: i64, end_ns: i64, interval_ns: i64) -> Self {
        let length_ns = (end_ns - start_ns).max(1);
        let cell_ns = (length_ns / MAX_CELLS as i64 + 1).max(interval_ns).max(1);
        let count = usize::try_from((length_ns + cell_ns - 1) / cell_ns)
            .unwrap_or(1)
            .min(MAX_CELLS);
        Self {
            start_ns,
            cell_ns,
            count: count.max(1),
        }
    }

    /// The mean over the observed part of each cell.
    #[must_use]
    pub fn mean(&self, spans: &[Span]) -> Series {
        let mut weighted = vec![(0.0, 0.0); self.count];
        self.visit(spans, |cell, overlap_ns, value| {
            weighted[cell].0 += value * overlap_ns;
            weighted[cell].1 += overlap_ns;
        });
        self.series(
            weighted
                .into_iter()
                .map(|(sum, weight)| (weight > 0.0).then(|| sum / weight)),
        )
    }

    /// The largest value in each cell.
    #[must_use]
    pub fn max(&self, spans: &[Span]) -> Series {
        let mut largest: Vec<Option<f64>> = vec![None; self.count];
        self.visit(spans, |cell, _, value| {
            largest[cell] = Some(largest[cell].map_or(value, |before: f64| before.max(value)));
        });
        self.series(largest)
    }

    fn series(&self, values: impl IntoIterator<Item = Option<f64>>) -> Series {
        Series {
            cell_s: self.cell_ns as f64 / NS_PER_S,
            values: values.into_iter().collect(),
        }
    }

    /// Calls `with` for each cell that a span covers, with the nanoseconds that they share.
    fn visit(&self, spans: &[Span], mut with: impl FnMut(usize, f64, f64)) {
        for span in spans {
            let first = (span.from_ns - self.start_ns).max(0) / self.cell_ns;
            let last = (span.to_ns - 1 - self.start_ns).max(-1);
            if last < 0 {
                continue;
            }
            let last = (last / self.cell_ns).min(self.count as i64 - 1);
            for cell in first..=last {
                let begin_ns = self.start_ns + cell * self.cell_ns;
                let overlap_ns =
                    span.to_ns.min(begin_ns + self.cell_ns) - span.from_ns.max(begin_ns);
                if let (Ok(cell), true) = (usize::try_from(cell), overlap_ns > 0) {
                    with(cell, overlap_ns as f64, span.value);
                }
            }
        }
    }
}

/// Values on equal cells from the job's start; `null` where nothing was observed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Series {
    /// Seconds that a cell covers.
    pub cell_s: f64,
    /// One value a cell.
    pub values: Vec<Option<f64>>,
}

impl Series {
    /// The largest value.
    #[must_use]
    pub fn largest(&self) -> Option<f64> {
        self.values.iter().flatten().copied().reduce(f64::max)
    }

    /// Was anything observed at all?
    #[must_use]
    pub fn is_observed(&self) -> bool {
        self.values.iter().any(Option::is_some)
    }
}

/// The middle of some numbers; the lower of the two middle ones if they are even in number.
#[must_use]
pub fn median(mut numbers: Vec<f64>) -> Option<f64> {
    let middle = numbers.len().checked_sub(1)? / 2;
    // There may be millions: nothing but the middle need be in its place.
    let (_, middle, _) = numbers.select_nth_unstable_by(middle, f64::total_cmp);
    Some(*middle)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    fn reading(time_s: i64, interval_s: i64, value: u64) -> Reading {
        Reading::of(time_s * S, interval_s * S, value)
    }

    #[test]
    fn rates_divide_by_the_time_that_was_measured() {
        // Asked for 1 s, measured 2 s: the rate is half the difference.
        let spans = rates(&[reading(10, 0, 100), reading(12, 2, 200)], None, 3 * S);
        assert_eq!(
            spans,
            [Span {
                from_ns: 10 * S,
                to_ns: 12 * S,
                value: 50.0
            }]
        );
    }

    #[test]
    fn a_counter_that_began_at_zero_has_a_first_rate() {
        let spans = rates(&[reading(10, 0, 30)], Some(9 * S), 3 * S);
        assert_eq!(
            spans,
            [Span {
                from_ns: 9 * S,
                to_ns: 10 * S,
                value: 30.0
            }]
        );
    }

    #[test]
    fn nothing_is_said_of_gaps_restarts_falls_and_the_unknown() {
        for second in [
            reading(20, 10, 200),
            reading(11, 0, 200),
            reading(11, 1, 99),
            reading(11, 1, UNKNOWN),
        ] {
            assert_eq!(
                rates(&[reading(10, 0, 100), second], None, 3 * S),
                [],
                "{second:?}"
            );
        }
    }

    #[test]
    fn cells_hold_means_over_observed_time_and_nothing_elsewhere() {
        let grid = Grid::new(0, 4 * S, S);
        let spans = [
            Span {
                from_ns: 0,
                to_ns: 3 * S / 2,
                value: 2.0,
            },
            Span {
                from_ns: 3 * S / 2,
                to_ns: 2 * S,
                value: 4.0,
            },
            Span {
                from_ns: 3 * S + S / 2,
                to_ns: 4 * S,
                value: 8.0,
            },
        ];
        assert_eq!(
            grid.mean(&spans).values,
            [Some(2.0), Some(3.0), None, Some(8.0)]
        );
        assert_eq!(
            grid.max(&spans).values,
            [Some(2.0), Some(4.0), None, Some(8.0)]
        );
    }

    #[test]
    fn a_long_job_has_no_more_cells_than_the_limit() {
        let day_ns = 86_400 * S;
        let series = Grid::new(0, day_ns, S).mean(&[]);
        assert!(series.values.len() <= MAX_CELLS);
        assert!(series.cell_s * series.values.len() as f64 >= 86_400.0);
        assert_eq!(Grid::new(5, 5, S).mean(&[]).values, [None]);
    }

    #[test]
    fn counters_that_start_again_lose_nothing() {
        assert_eq!(
            risen([Some(5.0), Some(9.0), None, Some(2.0), Some(3.0)]),
            Some(7.0)
        );
        assert_eq!(risen([None]), None);
    }
}

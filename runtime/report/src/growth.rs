//! Memory that grows and grows: a leak, told apart from start-up, from one more array, and from
//! temporary ones that come and go.
//!
//! The time between a rank's start-up and its end is cut into equal windows. The least that each holds
//! is what the rank keeps; temporary arrays and a collector's rhythm are above it. Memory grows if what
//! is kept never falls and rises along a line to the end. Whether by enough to matter, the advice says.

use crate::schema::Growth;
use crate::series::Span;

/// The first share of a rank's life, in which programs load what they need.
const START_UP: f64 = 0.25;
/// The last share, in which they give back what they had.
const END: f64 = 0.03;
/// Windows of the rest.
const WINDOWS: usize = 12;
/// How much a window may lie below the one before, as a share of all growth: noise of counting.
const FALL_MAX: f64 = 0.01;
/// The share of the windows' variance that a line explains.
const LINE_MIN: f64 = 0.90;
/// The share of all growth that one step from window to window may have: one array more is no leak.
const STEP_MAX: f64 = 0.5;
/// The last third of the time has at least this share of the growth, or it has ended.
const LATE_MIN: f64 = 1.0 / 6.0;
/// Standard errors on each side of a rate.
const ERRORS: f64 = 2.0;

/// How the memory of a rank grew, if it grew all the time.
pub(crate) fn of(levels: &[Span]) -> Option<Growth> {
    let (first, last) = (levels.first()?.from_ns, levels.last()?.to_ns);
    let at = |share: f64| first + ((last - first) as f64 * share) as i64;
    let (begin, end) = (at(START_UP), at(1.0 - END));
    let window_ns = (end - begin) as f64 / WINDOWS as f64;
    let kept = kept(levels, begin, end, window_ns)?;
    let growth = kept[WINDOWS - 1] - kept[0];
    let mut steps = kept.windows(2).map(|pair| pair[1] - pair[0]);
    let is_steady = steps.all(|step| (-FALL_MAX * growth..=STEP_MAX * growth).contains(&step));
    let late = kept[WINDOWS - 1] - kept[WINDOWS - 1 - WINDOWS / 3];
    let line = Line::through(&kept);
    if growth <= 0.0 || !is_steady || late < LATE_MIN * growth || line.explained < LINE_MIN {
        return None;
    }
    let per_s = 1e9 / window_ns;
    Some(Growth {
        bytes_per_s: line.slope * per_s,
        bound_bytes_per_s: ERRORS * line.slope_error * per_s,
        bytes: growth,
        over_s: (end - begin) as f64 / 1e9,
        last_bytes: kept[WINDOWS - 1],
    })
}

/// The least of each window; `None` if one has no reading.
fn kept(levels: &[Span], begin: i64, end: i64, window_ns: f64) -> Option<[f64; WINDOWS]> {
    let mut least = [f64::INFINITY; WINDOWS];
    let looked_at = |level: &&Span| level.to_ns > begin && level.to_ns <= end;
    for level in levels.iter().filter(looked_at) {
        let window = ((level.to_ns - begin) as f64 / window_ns) as usize;
        let window = window.min(WINDOWS - 1);
        least[window] = least[window].min(level.value);
    }
    least.iter().all(|value| value.is_finite()).then_some(least)
}

/// A line by least squares over windows.
struct Line {
    slope: f64,
    slope_error: f64,
    /// The share of the variance that it explains.
    explained: f64,
}

impl Line {
    fn through(values: &[f64; WINDOWS]) -> Self {
        let count = WINDOWS as f64;
        let (mean_x, mean_y) = ((count - 1.0) / 2.0, values.iter().sum::<f64>() / count);
        let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
        for (index, value) in values.iter().enumerate() {
            let (x, y) = (index as f64 - mean_x, value - mean_y);
            (xx, xy, yy) = (xx + x * x, xy + x * y, yy + y * y);
        }
        let slope = xy / xx;
        let left = (yy - slope * xy).max(0.0);
        Self {
            slope,
            slope_error: (left / (count - 2.0) / xx).sqrt(),
            explained: if yy > 0.0 { 1.0 - left / yy } else { 0.0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = 1_048_576.0;

    /// A level a second.
    fn found(seconds: i64, mib: impl Fn(f64) -> f64) -> Option<Growth> {
        let level = |second: i64| Span {
            from_ns: (second - 1) * 1_000_000_000,
            to_ns: second * 1_000_000_000,
            value: mib(second as f64) * MIB,
        };
        let levels: Vec<Span> = (1..=seconds).map(level).collect();
        of(&levels)
    }

    #[test]
    fn a_leak_has_its_rate_whatever_lies_above_it() {
        for (name, above) in [
            ("nothing", (|_| 0.0) as fn(f64) -> f64),
            ("a temporary array each 7 s", |s| {
                if s as i64 % 7 == 0 { 900.0 } else { 0.0 }
            }),
            ("a collector that runs each 10 s", |s| (s % 10.0) * 30.0),
            ("much for the start, given back", |s| {
                if s < 60.0 { 4000.0 } else { 0.0 }
            }),
            ("an end that gives all back", |s| {
                if s > 590.0 { -1000.0 } else { 0.0 }
            }),
        ] {
            let growth =
                found(600, |s| 200.0 + 1.5 * s + above(s)).unwrap_or_else(|| panic!("{name}"));
            let rate = growth.bytes_per_s / MIB;
            let bound = growth.bound_bytes_per_s / MIB;
            assert!(
                (rate - 1.5).abs() <= bound.max(0.02),
                "{name}: {rate} ± {bound}"
            );
            assert!(
                (growth.over_s - 432.0).abs() < 1.5,
                "{name}: {}",
                growth.over_s
            );
        }
        // One epoch of 100 s leaves 200 MiB: stairs.
        let growth = found(600, |s| 200.0 + 200.0 * (s / 100.0).floor()).unwrap();
        let (rate, bound) = (growth.bytes_per_s / MIB, growth.bound_bytes_per_s / MIB);
        assert!((rate - 2.0).abs() <= bound, "{rate} ± {bound}");
    }

    #[test]
    fn what_is_no_leak_is_not_called_one() {
        for (name, mib) in [
            ("level", (|_| 500.0) as fn(f64) -> f64),
            ("loads for a third, then works", |s| {
                100.0 + s.min(200.0) * 10.0
            }),
            ("loads for two thirds, then works", |s| {
                100.0 + s.min(400.0) * 10.0
            }),
            ("one array more", |s| if s > 350.0 { 900.0 } else { 500.0 }),
            ("comes and goes", |s| 500.0 + 300.0 * (s / 20.0).sin()),
            ("grows and is given back", |s| 500.0 + (s % 300.0) * 3.0),
            ("falls", |s| 2000.0 - s),
            ("gives back at the end", |s| {
                if s > 550.0 { 10.0 } else { 200.0 + s }
            }),
        ] {
            assert_eq!(found(600, mib), None, "{name}");
        }
        assert_eq!(found(5, |s| 100.0 * s), None, "too few readings");
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn a_time_without_readings_proves_nothing() {
        let level = |second: i64| Span {
            from_ns: (second - 1) * 1_000_000_000,
            to_ns: second * 1_000_000_000,
            value: second as f64 * MIB,
        };
        let levels: Vec<Span> = (1..=600)
            .filter(|s| !(300..400).contains(s))
            .map(level)
            .collect();
        assert_eq!(of(&levels), None);
    }
}

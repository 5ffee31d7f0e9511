//! Runs of days: the longest, how many are long, and the days in them.
//!
//! A run that spans years (or months) counts in that of its last day, as ETCCDI has it for dry
//! spells; a year that lies wholly within a run that goes on has no value. CDO says the same in
//! its help but finds the end only on the day after, so a run up to 31 December counts in the
//! next year there.

use std::ops::Range;

use crate::ops::grouping::Group;

/// What is told of the runs of a span.
#[derive(Clone, Copy, Debug)]
pub(super) enum Measure {
    /// The length of the longest.
    Longest,
    /// How many have at least so many days: each where it becomes so long.
    CountOf(usize),
    /// The days of those that have at least so many.
    DaysOf(usize),
}

/// Measures the runs of days of one kind in each group; of days, `None` is missing and ends a
/// run.
pub(super) fn measure(
    days: &[Option<bool>],
    groups: &[Group],
    measure: Measure,
    ends_day_after: bool,
    out: &mut [f64],
) {
    let runs = runs(days);
    // Where the end of a run is found.
    let end = |run: &Range<usize>| match ends_day_after && run.end < days.len() {
        true => run.end,
        false => run.end - 1,
    };
    for (group, out) in groups.iter().zip(out) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            continue;
        };
        let span = first.start..last.end;
        *out = if days[span.clone()].iter().all(Option::is_none) {
            f64::NAN
        } else if let Measure::CountOf(least) = measure {
            let becomes_long = |run: &&Range<usize>| {
                run.len() >= least && span.contains(&(run.start + least.max(1) - 1))
            };
            runs.iter().filter(becomes_long).count() as f64
        } else {
            let ended: Vec<usize> = runs
                .iter()
                .filter(|run| span.contains(&end(run)))
                .map(Range::len)
                .collect();
            let goes_on = |run: &Range<usize>| {
                run.start <= span.start && span.end <= run.end && !span.contains(&end(run))
            };
            match measure {
                _ if ended.is_empty() && runs.iter().any(goes_on) => f64::NAN,
                Measure::DaysOf(least) => {
                    ended.iter().filter(|&&len| len >= least).sum::<usize>() as f64
                }
                _ => ended.iter().max().copied().unwrap_or(0) as f64,
            }
        };
    }
}

/// The runs of days that hold; one that is open at an end counts.
fn runs(days: &[Option<bool>]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (step, day) in days.iter().enumerate() {
        if *day != Some(true) {
            continue;
        }
        match runs.last_mut() {
            Some(run) if run.end == step => run.end += 1,
            _ => runs.push(step..step + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Days as letters: `x` one that counts, `.` one that does not, `?` a missing one; `|`
    /// parts the groups.
    fn check(text: &str, what: Measure, ends_day_after: bool, expected: &[f64]) {
        let mut groups: Vec<Group> = Vec::new();
        let mut days = Vec::new();
        for part in text.split('|') {
            let start = days.len();
            days.extend(part.chars().map(|letter| match letter {
                '?' => None,
                letter => Some(letter == 'x'),
            }));
            groups.push([start..days.len()].into());
        }
        let mut found = vec![-1.0; groups.len()];
        measure(&days, &groups, what, ends_day_after, &mut found);
        let same = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan());
        let is_same = found.iter().zip(expected).all(same);
        assert!(
            is_same && found.len() == expected.len(),
            "{text}: {found:?}"
        );
    }

    const NONE: f64 = f64::NAN;

    #[test]
    fn a_run_counts_where_its_last_day_lies() {
        check(".xx|x..|...", Measure::Longest, false, &[0.0, 3.0, 0.0]);
        check(".xx|xxx|x..", Measure::Longest, false, &[0.0, NONE, 6.0]);
        check("x.x|xxx|...", Measure::Longest, false, &[1.0, 4.0, 0.0]);
        check("...|.xx|xxx", Measure::Longest, false, &[0.0, 0.0, 5.0]);
        check(".xx|x.x|xx.", Measure::DaysOf(3), false, &[0.0, 3.0, 3.0]);
        check(".xx|.x.|xx.", Measure::DaysOf(2), false, &[2.0, 0.0, 2.0]);
    }

    #[test]
    fn cdo_finds_the_end_on_the_day_after() {
        check("x.x|...|...", Measure::Longest, true, &[1.0, 1.0, 0.0]);
        check("xxx|xxx|...", Measure::Longest, true, &[NONE, NONE, 6.0]);
        check("...|.xx|xxx", Measure::Longest, true, &[0.0, 0.0, 5.0]);
    }

    #[test]
    fn a_long_run_is_counted_where_it_becomes_long() {
        check(".xx|xx.|xxx", Measure::CountOf(2), false, &[1.0, 0.0, 1.0]);
        check(".xx|xx.|xxx", Measure::CountOf(3), false, &[0.0, 1.0, 1.0]);
    }

    #[test]
    fn a_missing_day_ends_a_run() {
        check("xx?xxx", Measure::Longest, false, &[3.0]);
        check("???|.xx", Measure::Longest, false, &[NONE, 2.0]);
        check("???", Measure::CountOf(1), false, &[NONE]);
    }
}

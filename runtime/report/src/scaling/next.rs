//! What to use or measure next: the most ranks that surely keep the target efficiency, those
//! with the least energy, and the fewest that keep a deadline.
//!
//! A size is one that was measured, or a whole number of nodes up to twice the largest that was:
//! no law is believed further. Only lower bounds decide; where the figure itself would do and
//! its bound does not, the advice is to measure.

use std::collections::BTreeSet;

use super::Options;
use super::fit::{Fit, Law};
use super::points::ratio;
use super::run::Run;
use super::schema::{Basis, Estimate, Next, Point};
use super::words::{estimate, ranks as ranks_word};
use crate::format;

/// No law is believed beyond this multiple of the largest size measured.
const FARTHEST: u32 = 2;
/// Candidates that are looked at.
const MAX_CANDIDATES: u32 = 100_000;

/// What is known of a size.
struct Size {
    ranks: u32,
    measured: bool,
    time_s: Estimate,
    efficiency: Option<Estimate>,
}

/// Advice on one strategy: its points by ranks, its laws, its runs.
pub(super) fn advise(points: &[&Point], fits: &[Fit], runs: &[&Run], options: &Options) -> Next {
    let mut next = Next::default();
    let Some(largest) = points.iter().map(|point| point.ranks).max() else {
        return next;
    };
    let per_node = ranks_per_node(points, runs, options, &mut next.text);
    let sizes = sizes(points, fits, per_node, largest, options);
    efficient(&mut next, &sizes, points, fits, per_node, largest, options);
    least_energy(&mut next, points);
    in_time(&mut next, &sizes, options);
    next
}

/// Ranks on a full node: told, or the most that any run had; else what all sizes are multiples
/// of.
fn ranks_per_node(
    points: &[&Point],
    runs: &[&Run],
    options: &Options,
    text: &mut Vec<String>,
) -> u32 {
    let of_run = |run: &&Run| {
        let nodes = run.nodes.filter(|&nodes| nodes > 0)?;
        Some(run.ranks.div_ceil(nodes))
    };
    if let Some(told) = options
        .ranks_per_node
        .or(runs.iter().filter_map(of_run).max())
    {
        return told.max(1);
    }
    let divisor = points
        .iter()
        .fold(0, |divisor, point| gcd(divisor, point.ranks))
        .max(1);
    text.push(format!(
        "Ranks on a node are not known; multiples of {divisor} are taken for whole nodes \
         (--ranks-per-node says otherwise)."
    ));
    divisor
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn sizes(
    points: &[&Point],
    fits: &[Fit],
    per_node: u32,
    largest: u32,
    options: &Options,
) -> Vec<Size> {
    let farthest = largest.saturating_mul(FARTHEST);
    let whole_nodes = (1..=(farthest / per_node).min(MAX_CANDIDATES)).map(|nodes| nodes * per_node);
    let candidates: BTreeSet<u32> = points
        .iter()
        .map(|point| point.ranks)
        .chain(whole_nodes)
        .collect();
    let law = fits.iter().find(|fit| fit.law == Law::Usl).or(fits.first());
    let base = points.iter().find(|point| {
        point
            .speedup
            .is_some_and(|speedup| speedup.basis == Basis::Baseline)
    });
    let size = |ranks: u32| {
        let point = points.iter().find(|point| point.ranks == ranks);
        let surely = |point: &&&Point| point.epoch_time_s.low.is_some();
        // A measured size without an interval borrows that of the law.
        if let Some(point) = point.filter(|point| surely(point) || law.is_none()) {
            return Some(Size {
                ranks,
                measured: true,
                time_s: point.epoch_time_s,
                efficiency: point.efficiency,
            });
        }
        let time_s = predicted(law?, ranks)?;
        let base_time = base.map(|base| {
            if base.epoch_time_s.low.is_some() {
                Some(base.epoch_time_s)
            } else {
                predicted(law?, base.ranks)
            }
        });
        let efficiency = base.zip(base_time.flatten()).map(|(base, base_time)| {
            let share = if options.weak {
                1.0
            } else {
                f64::from(base.ranks) / f64::from(ranks)
            };
            ratio(&base_time, &time_s, share)
        });
        Some(Size {
            ranks,
            measured: point.is_some(),
            time_s,
            efficiency,
        })
    };
    candidates.into_iter().filter_map(size).collect()
}

fn predicted(law: &Fit, ranks: u32) -> Option<Estimate> {
    let (value, half) = law.predict(f64::from(ranks));
    (value > 0.0).then(|| Estimate::around(value, half))
}

fn efficient(
    next: &mut Next,
    sizes: &[Size],
    points: &[&Point],
    fits: &[Fit],
    per_node: u32,
    largest: u32,
    options: &Options,
) {
    let target = options.target_efficiency;
    let words = |e: &Estimate| estimate(Some(e), |share| format::share(Some(share)));
    let known = || {
        sizes
            .iter()
            .filter_map(|size| Some((size, size.efficiency?)))
    };
    let sure = known().rfind(|(_, e)| e.low.is_some_and(|low| low >= target));
    let hoped = known().rfind(|(_, e)| e.value >= target);
    // The baseline itself is no finding while there is something larger.
    let only_baseline = sure
        .as_ref()
        .is_some_and(|(_, e)| e.basis == Basis::Baseline);
    if let Some((size, efficiency)) = &sure {
        next.ranks = Some(size.ranks);
        next.measured = size.measured;
        let how = if size.measured {
            "measured"
        } else {
            "predicted"
        };
        next.text.push(if only_baseline {
            format!(
                "No size above the baseline of {} surely keeps an efficiency of {}.",
                ranks_word(size.ranks),
                format::share(Some(target))
            )
        } else {
            format!(
                "Use {}: the most that surely keep an efficiency of {}; there it is {}, {how}.",
                ranks_word(size.ranks),
                format::share(Some(target)),
                words(efficiency)
            )
        });
    }
    if let Some((size, efficiency)) = hoped
        && next.ranks.is_none_or(|ranks| size.ranks > ranks)
    {
        next.measure.push(size.ranks);
        let again = if size.measured { "again" } else { "first" };
        next.text.push(format!(
            "Measure N={} {again}: efficiency may be {}, which is too uncertain to use it.",
            size.ranks,
            words(&efficiency)
        ));
    }
    if fits.is_empty() {
        let more = largest.saturating_mul(2).next_multiple_of(per_node);
        if !next.measure.contains(&more) {
            next.measure.push(more);
        }
        next.text.push(format!(
            "{} size{} measured: too few for a law; measure N={more} too.",
            points.len(),
            if points.len() == 1 { "" } else { "s" }
        ));
    }
}

fn least_energy(next: &mut Next, points: &[&Point]) {
    let energy = |point: &&Point| {
        let figure = point.gpu_energy.as_ref().or(point.node_energy.as_ref())?;
        let (wh, of) = match figure.epoch_wh {
            Some(wh) => (wh, "an epoch"),
            None => (figure.total_wh, "a run"),
        };
        Some((point.ranks, wh, of, point.gpu_energy.is_some()))
    };
    let Some(all) = points.iter().map(energy).collect::<Option<Vec<_>>>() else {
        return;
    };
    // GPUs of one size against nodes of another would be no comparison.
    let alike = all
        .windows(2)
        .all(|pair| (pair[0].2, pair[0].3) == (pair[1].2, pair[1].3));
    let least = all.iter().min_by(|a, b| a.1.value.total_cmp(&b.1.value));
    let Some(&(ranks, wh, of, is_gpu)) = least.filter(|_| alike && all.len() > 1) else {
        return;
    };
    next.energy_ranks = Some(ranks);
    let near: Vec<String> = all
        .iter()
        .filter(|other| other.0 != ranks)
        .filter(|other| match (wh.high, other.1.low) {
            (Some(high), Some(low)) => low <= high,
            _ => false,
        })
        .map(|other| other.0.to_string())
        .collect();
    let what = if is_gpu { "GPU" } else { "node" };
    let told_apart = match (wh.high, near.is_empty()) {
        (None, _) => " (one run: no interval)".to_owned(),
        (_, true) => String::new(),
        (_, false) => format!(", not told apart from {} ranks", near.join(", ")),
    };
    next.text.push(format!(
        "Least {what} energy at {}: {} {of}{told_apart}.",
        ranks_word(ranks),
        format::energy(Some(wh.value * 3600.0))
    ));
}

fn in_time(next: &mut Next, sizes: &[Size], options: &Options) {
    let Some(deadline_s) = options.deadline_s else {
        return;
    };
    let work = |time_s: f64| time_s * options.epochs;
    let surely = |size: &&Size| {
        size.time_s
            .high
            .is_some_and(|high| work(high) <= deadline_s)
    };
    let within = format::duration(deadline_s);
    match sizes.iter().find(surely) {
        Some(size) => {
            next.deadline_ranks = Some(size.ranks);
            let how = if size.measured {
                "measured"
            } else {
                "predicted"
            };
            next.text.push(format!(
                "The fewest that surely end within {within}: {}, {how}, at most {}.",
                ranks_word(size.ranks),
                format::duration(work(size.time_s.high.unwrap_or(size.time_s.value)))
            ));
        }
        None => {
            let hoped = sizes
                .iter()
                .find(|size| work(size.time_s.value) <= deadline_s);
            next.text.push(match hoped {
                Some(size) => {
                    if !next.measure.contains(&size.ranks) {
                        next.measure.push(size.ranks);
                    }
                    format!(
                        "No size surely ends within {within}; measure N={}, which may.",
                        size.ranks
                    )
                }
                None => format!("No size up to twice the largest measured ends within {within}."),
            });
        }
    }
}

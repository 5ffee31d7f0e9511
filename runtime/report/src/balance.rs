//! How evenly the ranks of a step work, and which of them the others wait for.

use crate::ranks::MeasuredRank;
use crate::schema::Balance;
use crate::series::{Grid, median};

/// Makes the MAD of normally distributed numbers an estimate of their standard deviation.
const MAD_TO_SIGMA: f64 = 1.4826;
/// Sigmas above the median that set a rank apart.
const STRAGGLER_SIGMAS: f64 = 3.0;
/// The share of windows in which it must be so.
const STRAGGLER_SHARE: f64 = 0.8;
/// Fewer windows prove nothing.
const MIN_WINDOWS: usize = 5;
/// Fewer ranks have no meaningful deviation.
const MIN_RANKS: usize = 3;
/// A rank this little above the median is none, however equal the others are.
const MIN_EXCESS: f64 = 1.10;

/// The balance of the ranks of one step; `None` for fewer than two measured ranks or no work.
pub(crate) fn of_step(ranks: &[&MeasuredRank], grid: Grid) -> Option<Balance> {
    let times: Vec<(u32, f64)> = ranks
        .iter()
        .filter_map(|rank| Some((rank.shown.rank, rank.shown.cpu_s?)))
        .collect();
    if times.len() < 2 {
        return None;
    }
    let mean_cpu_s = times.iter().map(|time| time.1).sum::<f64>() / times.len() as f64;
    let busiest = times
        .iter()
        .copied()
        .reduce(|a, b| if b.1 > a.1 { b } else { a })?;
    (mean_cpu_s > 0.0).then(|| Balance {
        max_over_mean: busiest.1 / mean_cpu_s,
        mean_cpu_s,
        busiest_rank: busiest.0,
        stragglers: stragglers(ranks, grid),
    })
}

/// Ranks above median + 3 sigma (by MAD) of their step in nearly all windows.
fn stragglers(ranks: &[&MeasuredRank], grid: Grid) -> Vec<u32> {
    if ranks.len() < MIN_RANKS {
        return Vec::new();
    }
    let series: Vec<_> = ranks
        .iter()
        .map(|rank| grid.mean(&rank.cpu_rates).values)
        .collect();
    let windows = series.first().map_or(0, Vec::len);
    let mut above = vec![0_usize; ranks.len()];
    let mut counted = 0;
    for window in 0..windows {
        let values: Option<Vec<f64>> = series.iter().map(|values| values[window]).collect();
        let Some(values) = values else { continue };
        counted += 1;
        let Some(limit) = limit(&values) else {
            continue;
        };
        for (rank, value) in values.iter().enumerate() {
            above[rank] += usize::from(*value > limit);
        }
    }
    if counted < MIN_WINDOWS {
        return Vec::new();
    }
    let needed = STRAGGLER_SHARE * counted as f64;
    let straggles = |(rank, count): (&&MeasuredRank, usize)| {
        (count as f64 >= needed).then_some(rank.shown.rank)
    };
    ranks.iter().zip(above).filter_map(straggles).collect()
}

fn limit(values: &[f64]) -> Option<f64> {
    let middle = median(values.to_vec())?;
    let deviation = median(values.iter().map(|value| (value - middle).abs()).collect())?;
    Some((middle + STRAGGLER_SIGMAS * MAD_TO_SIGMA * deviation).max(middle * MIN_EXCESS))
}

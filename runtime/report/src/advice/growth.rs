//! Advice on memory that grows all the time: one piece for each step, with the rank that grows
//! fastest.

use crate::format;
use crate::schema::{Advice, Growth, Rank, Report, Severity};

pub(super) fn of(report: &Report) -> Vec<Advice> {
    let steps = report.steps.iter().map(|step| step.step.as_str());
    steps.filter_map(|step| of_step(report, step)).collect()
}

fn of_step(report: &Report, step: &str) -> Option<Advice> {
    let limits = &report.thresholds;
    let matters = |growth: &Growth| {
        growth.bytes >= limits.growth_bytes as f64
            && growth.bytes >= limits.growth_share * growth.last_bytes
    };
    let ranks = report.ranks.iter().filter(|rank| rank.step == step);
    let growing: Vec<(&Rank, Growth)> = ranks
        .filter_map(|rank| Some((rank, rank.memory_growth.filter(matters)?)))
        .collect();
    let faster = |a, b| match f64::total_cmp(&rate(&a), &rate(&b)).is_lt() {
        true => b,
        false => a,
    };
    let (rank, growth) = growing.iter().copied().reduce(faster)?;
    let more = match growing.len() - 1 {
        0 => String::new(),
        1 => " One more rank did so too.".to_owned(),
        more => format!(" {more} more ranks did so too."),
    };
    Some(Advice {
        kind: "memory_growth",
        severity: Severity::Warning,
        message: format!(
            "Step {step}: the memory of rank {} grew all the time, by {} (± {}), to {} after {}.{more}",
            rank.rank,
            format::byte_rate(Some(growth.bytes_per_s)),
            format::byte_rate(Some(growth.bound_bytes_per_s)),
            format::bytes(Some(growth.last_bytes as u64)),
            format::duration(rank.elapsed_s),
        ),
        action: format!(
            "Look for what is kept from step to step (a list that only grows, a cache without a \
             limit, results that still hold their graph).{}",
            left(report, &growing)
        ),
        directive: None,
    })
}

fn rate(growing: &(&Rank, Growth)) -> f64 {
    growing.1.bytes_per_s
}

/// When the memory of the fastest node ends, if it has a limit.
fn left(report: &Report, growing: &[(&Rank, Growth)]) -> String {
    let end = report.nodes.iter().filter_map(|node| {
        let free = node
            .memory_limit_bytes?
            .checked_sub(node.memory_peak_bytes?)?;
        let own = growing.iter().filter(|(rank, _)| rank.node == node.node);
        let per_s: f64 = own.map(rate).sum();
        (per_s > 0.0).then(|| free as f64 / per_s)
    });
    let words = |seconds: f64| {
        let time = format::duration(seconds);
        format!(" At that rate the job's memory lasts {time} more.")
    };
    end.reduce(f64::min).map_or_else(String::new, words)
}

//! Advice on communication and waiting.

use crate::advice::Thresholds;
use crate::format;
use crate::schema::{Advice, Severity};
use crate::split::{Communication, RankSplit};

/// Whatever the length of the run: a hang is a failure.
pub(crate) fn on_hangs(found: &Communication) -> Vec<Advice> {
    let advice = |hang: &crate::split::HangVerdict| Advice {
        kind: "hang",
        severity: Severity::Critical,
        message: format!("Step {}: {}.", hang.step, hang.text),
        action: "Ranks must make the same collectives in the same order: look at what the rank \
                 that is elsewhere does."
            .to_owned(),
        directive: None,
    };
    found.hangs.iter().map(advice).collect()
}

/// What takes too much of the ranks' time.
pub(crate) fn on_time(found: &Communication, limits: &Thresholds) -> Vec<Advice> {
    let all_s = found.total.watched_s;
    if all_s <= 0.0 {
        return Vec::new();
    }
    let mut advice = Vec::new();
    if found.total.exposed_s / all_s > limits.exposed {
        advice.push(exposed(found, limits));
    }
    let io = found.total.io_s / all_s;
    if io > limits.data_wait {
        advice.push(Advice {
            kind: "data_wait",
            severity: Severity::Warning,
            message: format!("The ranks waited for files {} of their time.", share(io)),
            action: "Read ahead while computing, in larger pieces, or from node-local storage."
                .to_owned(),
            directive: None,
        });
    }
    advice
}

fn exposed(found: &Communication, limits: &Thresholds) -> Advice {
    let total = found.total;
    let mut message = format!(
        "Communication that nothing hides took {} of the ranks' time",
        share(total.exposed_s / total.watched_s)
    );
    if let Some(call) = found
        .calls
        .iter()
        .max_by(|a, b| a.time_s.total_cmp(&b.time_s))
    {
        let each = call.bytes / call.count.max(1);
        message += &format!(
            ", most of it in {} ({} calls of {} each)",
            call.call,
            call.count,
            format::bytes(Some(each))
        );
    }
    let action = match late_rank(&found.ranks, limits.imbalance) {
        Some(rank) => format!(
            "Rank {} of step {} computes longest and waits least: the others wait for it. Divide \
             the work more evenly.",
            rank.rank, rank.step
        ),
        None => "Begin transfers early and complete them late (non-blocking calls), send fewer \
                 and larger messages, or use fewer ranks."
            .to_owned(),
    };
    Advice {
        kind: "exposed_communication",
        severity: Severity::Warning,
        message: message + ".",
        action,
        directive: None,
    }
}

/// The rank that computes longest, if it is set apart and waits less than the others on average.
fn late_rank(ranks: &[RankSplit], imbalance: f64) -> Option<&RankSplit> {
    let count = ranks.len() as f64;
    let mean = |of: fn(&RankSplit) -> f64| ranks.iter().map(of).sum::<f64>() / count;
    let longest = ranks
        .iter()
        .max_by(|a, b| a.time.compute_s.total_cmp(&b.time.compute_s))?;
    let stands_out = longest.time.compute_s > imbalance * mean(|rank| rank.time.compute_s)
        && longest.time.exposed_s < mean(|rank| rank.time.exposed_s);
    (ranks.len() > 1 && stands_out).then_some(longest)
}

fn share(share: f64) -> String {
    format::share(Some(share))
}

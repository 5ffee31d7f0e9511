//! Figures of a scalability report as people read them; text and page share these, so that they
//! agree.

use super::fit::{Fit, Law};
use super::schema::{Basis, Estimate, RunSummary};
use crate::format;

/// `1 rank`, `4 ranks`.
#[must_use]
pub fn ranks(count: u32) -> String {
    format!("{count} rank{}", if count == 1 { "" } else { "s" })
}

/// A law's name.
#[must_use]
pub fn law(law: Law) -> &'static str {
    match law {
        Law::Amdahl => "Amdahl",
        Law::Usl => "USL",
    }
}

/// `10.2 s (9.8 to 10.6)`, with a mark where the interval is of one run's epochs alone.
#[must_use]
pub fn estimate(estimate: Option<&Estimate>, show: impl Fn(f64) -> String) -> String {
    let Some(found) = estimate else {
        return "-".to_owned();
    };
    let mark = if found.basis == Basis::WithinRun {
        "*"
    } else {
        ""
    };
    match (found.low, found.high) {
        _ if found.basis == Basis::Baseline => show(found.value),
        (Some(low), Some(high)) => {
            let (value, low, high) = (show(found.value), show(low), show(high));
            // The unit once is enough, if it is the same.
            match [&value, &low, &high].map(|figure| figure.rsplit_once(' ')) {
                [Some((_, unit)), Some((low, of_low)), Some((high, of_high))]
                    if unit == of_low && unit == of_high =>
                {
                    format!("{value} ({low} to {high}){mark}")
                }
                _ => format!("{value} ({low} to {high}){mark}"),
            }
        }
        _ => format!("{} (no interval)", show(found.value)),
    }
}

/// Seconds with as many digits as say something.
#[must_use]
pub fn seconds(value: f64) -> String {
    if value < 1.0 {
        format!("{value:.4} s")
    } else {
        format!("{} s", format::number(value))
    }
}

/// `4.20 x`.
#[must_use]
pub fn times_word(value: f64) -> String {
    format!("{value:.2} x")
}

/// Watt-hours with as many digits as say something.
#[must_use]
pub fn watt_hours(value: f64) -> String {
    if value.abs() < 0.1 {
        format!("{value:.4} Wh")
    } else {
        format!("{} Wh", format::number(value))
    }
}

/// A law's parameters in one line.
#[must_use]
pub fn law_words(fit: &Fit) -> String {
    let mut parts: Vec<String> = fit
        .parameters
        .iter()
        .map(|parameter| {
            let name = match parameter.name {
                "T1_s" => "T1",
                "lambda" => "\u{3bb}",
                "sigma" => "\u{3c3}",
                "kappa" => "\u{3ba}",
                other => other,
            };
            let number = |value: f64| {
                if value != 0.0 && value.abs() < 1e-3 {
                    format!("{value:.2e}")
                } else {
                    format!("{value:.4}")
                }
            };
            let interval = match (parameter.low, parameter.high) {
                (Some(low), Some(high)) => format!(" ({} to {})", number(low), number(high)),
                _ => " (no interval)".to_owned(),
            };
            let held = if parameter.at_bound {
                ", held at its bound"
            } else {
                ""
            };
            format!("{name} = {}{interval}{held}", number(parameter.value))
        })
        .collect();
    if let Some(peak) = fit.peak_ranks {
        // Crosstalk that may be none leaves throughput without a peak.
        let perhaps = fit
            .parameter("kappa")
            .is_some_and(|kappa| kappa.low.is_none_or(|low| low <= 0.0));
        let or_none = if perhaps { ", or none" } else { "" };
        parts.push(format!("peak at {peak:.0} ranks{or_none}"));
    }
    parts.push(format!(
        "residuals {:.2} % RMS, {} degree{} of freedom",
        fit.residual_rms * 100.0,
        fit.degrees_of_freedom,
        if fit.degrees_of_freedom == 1 { "" } else { "s" }
    ));
    parts.join("; ")
}

/// What measuring cost a run.
#[must_use]
pub fn own_cost(run: &RunSummary) -> String {
    match (run.own_cpu_s, run.own_cpu_share) {
        (Some(cpu_s), Some(share)) => format!("{cpu_s:.2} CPU s, {:.3} % of a CPU", share * 100.0),
        _ => "not measured".to_owned(),
    }
}

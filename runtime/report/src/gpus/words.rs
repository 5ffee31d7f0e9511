//! The GPUs of a job as text for a terminal.

use comfy_table::Table;

use super::{Gpu, Gpus};
use crate::format;
use crate::text::{printable, table};

/// Rows of a table; the JSON has all.
const MAX_ROWS: usize = 16;

/// The figures of all GPUs: name, figure, method.
pub(crate) fn figures(gpus: &Gpus) -> Vec<(&'static str, String, String)> {
    let energy = match (gpus.joules, gpus.bound_joules) {
        (Some(_), Some(_)) => energy_words(gpus.joules, gpus.bound_joules, false),
        _ => format::NOT_MEASURED.to_owned(),
    };
    vec![
        (
            "GPUs",
            format!(
                "{}, busy {} of the time",
                gpus.count,
                format::share(gpus.mean_busy)
            ),
            gpus.replayed.clone().unwrap_or_default(),
        ),
        (
            "GPU energy",
            energy,
            if gpus.joules.is_some() {
                gpus.method.clone()
            } else {
                String::new()
            },
        ),
    ]
}

/// `4.92 ± 0.01 Wh`.
pub(crate) fn energy_words(joules: Option<f64>, bound: Option<f64>, estimated: bool) -> String {
    let Some(joules) = joules else {
        return format::NOT_MEASURED.to_owned();
    };
    // Both in the unit of the figure.
    let (unit, name) = match joules.abs() {
        large if large >= 3.6e6 => (3.6e6, "kWh"),
        middle if middle >= 3.6e3 => (3.6e3, "Wh"),
        _ => (1.0, "J"),
    };
    let bound = bound.map_or_else(String::new, |bound| format!(" ± {:.2}", bound / unit));
    let mark = if estimated { " (estimated)" } else { "" };
    format!("{:.2}{bound} {name}{mark}", joules / unit)
}

fn place(gpu: &Gpu) -> String {
    let whole = if gpu.is_context { " (whole GPU)" } else { "" };
    format!("{}:{}{whole}", gpu.node, gpu.gpu)
}

/// A mean and the largest: `43.0 % / 98.0 %`.
fn pair(mean: Option<f64>, largest: Option<f64>, say: impl Fn(f64) -> String) -> String {
    match (mean, largest) {
        (None, None) => format::NOT_MEASURED.to_owned(),
        (mean, largest) => {
            let part = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), &say);
            format!("{} / {}", part(mean), part(largest))
        }
    }
}

/// One row a GPU.
pub(crate) fn devices(gpus: &Gpus) -> (Table, usize) {
    let header = [
        "GPU",
        "model",
        "busy mean/max",
        "memory peak",
        "power mean/max",
        "°C",
        "energy",
        "throttled",
        "ECC",
    ];
    let mut rows = table(&header, 2);
    for gpu in gpus.devices.iter().take(MAX_ROWS) {
        let busy = match gpu.mean_busy {
            Some(_) => pair(gpu.mean_busy, gpu.max_busy, |share| {
                format::share(Some(share))
            }),
            None => match gpu.mean_sm_active {
                Some(share) => format!("{} (SM)", format::share(Some(share))),
                None => format::NOT_MEASURED.to_owned(),
            },
        };
        let memory = match gpu.peak_memory_share {
            Some(share) => format!(
                "{} ({})",
                format::bytes(gpu.peak_memory_bytes),
                format::share(Some(share))
            ),
            None => format::bytes(gpu.peak_memory_bytes),
        };
        let errors = match (gpu.ecc_corrected, gpu.ecc_uncorrected) {
            (None, None) => "-".to_owned(),
            (corrected, uncorrected) => {
                format!("{}+{}", corrected.unwrap_or(0), uncorrected.unwrap_or(0))
            }
        };
        rows.add_row([
            printable(&place(gpu)),
            printable(&gpu.name),
            busy,
            memory,
            pair(gpu.mean_watts, gpu.max_watts, |watts| {
                format::power(Some(watts))
            }),
            gpu.max_temperature_c
                .map_or_else(|| "-".to_owned(), |degrees| format!("{degrees:.0}")),
            energy_words(
                gpu.energy.joules,
                gpu.energy.bound_joules,
                gpu.energy.estimated,
            ),
            format::share(gpu.throttled_share),
            errors,
        ]);
    }
    (rows, gpus.devices.len())
}

/// One row for each rank and GPU.
pub(crate) fn ranks(gpus: &Gpus) -> (Table, usize) {
    let mut rows = table(&["step", "rank", "node", "GPU", "busy", "GPU memory"], 4);
    for rank in gpus.ranks.iter().take(MAX_ROWS) {
        rows.add_row([
            rank.step.clone(),
            rank.rank.to_string(),
            printable(&rank.node),
            rank.gpu.to_string(),
            format::share(rank.mean_busy),
            format::bytes(rank.peak_memory_bytes),
        ]);
    }
    (rows, gpus.ranks.len())
}

/// One line for each thing that befell a GPU.
pub(crate) fn events(gpus: &Gpus) -> (Table, usize) {
    let mut rows = table(&["after", "GPU", "what"], 3);
    for event in gpus.events.iter().take(MAX_ROWS) {
        rows.add_row([
            format::duration(event.time_s),
            printable(&format!("{}:{}", event.node, event.gpu)),
            printable(&event.text),
        ]);
    }
    (rows, gpus.events.len())
}

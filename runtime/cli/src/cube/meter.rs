//! How far a run is: a bar on a terminal, now and then a line in the log of a batch job.
//!
//! Called from the threads that compute; a run that is over soon shows nothing.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use mizar_array::engine::Progress;

/// Shorter runs show no bar.
const BAR_AFTER: Duration = Duration::from_secs(2);

/// Between lines in a log, and before the first.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Shows progress.
pub(super) struct Meter {
    /// `None` where nobody wants to know.
    shown: Option<Mutex<Shown>>,
}

struct Shown {
    is_terminal: bool,
    bar: Option<ProgressBar>,
    /// The variable at hand, and since when.
    variable: String,
    since: Instant,
    begun: Instant,
    last_line: Instant,
}

impl Meter {
    /// Shows nothing unless `wanted`.
    pub(super) fn new(wanted: bool) -> Self {
        let now = Instant::now();
        let shown = Shown {
            is_terminal: std::io::stderr().is_terminal(),
            bar: None,
            variable: String::new(),
            since: now,
            begun: now,
            last_line: now,
        };
        Self {
            shown: wanted.then(|| Mutex::new(shown)),
        }
    }

    /// Takes note.
    pub(super) fn show(&self, progress: Progress<'_>) {
        // Who finds it taken leaves the telling to the other.
        if let Some(Ok(mut shown)) = self.shown.as_ref().map(Mutex::try_lock) {
            shown.show(progress, Instant::now());
        }
    }

    /// Takes the bar away.
    pub(super) fn clear(&self) {
        if let Some(Ok(mut shown)) = self.shown.as_ref().map(Mutex::lock)
            && let Some(bar) = shown.bar.take()
        {
            bar.finish_and_clear();
        }
    }
}

impl Shown {
    fn show(&mut self, progress: Progress<'_>, now: Instant) {
        if self.variable != progress.variable {
            progress.variable.clone_into(&mut self.variable);
            self.since = now;
        }
        let spent = now - self.since;
        if !self.is_terminal {
            if now - self.last_line >= LINE_EVERY {
                self.last_line = now;
                eprintln!("mizar cube: {}", line(progress, spent));
            }
            return;
        }
        if now - self.begun < BAR_AFTER {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("{prefix} {wide_bar} {msg}");
            ProgressBar::no_length()
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        bar.set_prefix(progress.variable.to_owned());
        bar.set_message(figures(progress, spent));
    }
}

fn line(progress: Progress<'_>, spent: Duration) -> String {
    format!("{}: {}", progress.variable, figures(progress, spent))
}

/// How much is done, at what rate this rank reads, and how long it will take.
fn figures(progress: Progress<'_>, spent: Duration) -> String {
    let share = progress.done as f64 / progress.total.max(1) as f64;
    let seconds = spent.as_secs_f64().max(1e-3);
    let rate = progress.read_bytes as f64 / seconds / 1e6;
    let left = seconds * (1.0 - share).max(0.0) / share.max(1e-9);
    format!(
        "{:.0} %, {rate:.0} MB/s, {} left",
        100.0 * share,
        duration(left)
    )
}

fn duration(seconds: f64) -> String {
    let seconds = seconds.min(1e9) as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_share_rate_and_time_left() {
        let progress = Progress {
            variable: "tas",
            done: 25,
            total: 100,
            read_bytes: 4_000_000_000,
        };
        assert_eq!(
            line(progress, Duration::from_secs(40)),
            "tas: 25 %, 100 MB/s, 2 min 00 s left"
        );
        assert_eq!(duration(7300.0), "2 h 01 min");
    }
}

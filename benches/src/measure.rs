//! Measures a child process, and summarises repeated measurements.
//!
//! Called by the `bench_*` programs. CPU seconds come from the kernel's account of finished
//! children, so they include every thread and grandchild that was waited for; measure one child
//! at a time.

use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// What one run of a program cost.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// How the program ended.
    pub status: ExitStatus,
    /// Seconds on the clock.
    pub wall_s: f64,
    /// Seconds of processor time, user and system, of the child and its own children.
    pub cpu_s: f64,
}

/// Runs `command` to its end and returns what it cost.
///
/// # Errors
/// If the program cannot be started or waited for.
pub fn run(command: &mut Command) -> io::Result<Usage> {
    let before_s = children_cpu_s()?;
    let start = Instant::now();
    let status = command.status()?;
    let wall_s = start.elapsed().as_secs_f64();
    Ok(Usage {
        status,
        wall_s,
        cpu_s: children_cpu_s()? - before_s,
    })
}

/// How often the peak of memory is read while a program runs.
const MEMORY_POLL: Duration = Duration::from_millis(5);

/// What one run of a program, or of several side by side, cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Seconds on the clock until the last one ended.
    pub wall_s: f64,
    /// Seconds of processor time, user and system, of all.
    pub cpu_s: f64,
    /// The largest resident memory of one of them, in megabytes; not of their own children.
    pub peak_mb: f64,
}

/// Runs programs side by side to their end. What they print is thrown away.
///
/// # Errors
/// If one cannot be started, or fails.
pub fn watch(commands: &mut [Command]) -> io::Result<Cost> {
    let before_s = children_cpu_s()?;
    let start = Instant::now();
    let mut children = commands
        .iter_mut()
        .map(|command| {
            let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
            quiet.spawn()
        })
        .collect::<io::Result<Vec<Child>>>()?;
    let mut peak_kb = 0.0_f64;
    let mut running: Vec<usize> = (0..children.len()).collect();
    while !running.is_empty() {
        let mut still = Vec::new();
        for index in running {
            match children[index].try_wait()? {
                None => {
                    peak_kb = peak_kb.max(peak_kb_of(children[index].id()));
                    still.push(index);
                }
                Some(status) if status.success() => {}
                Some(status) => {
                    let failed = format!("{:?}: {status}", commands[index]);
                    return Err(io::Error::other(failed));
                }
            }
        }
        running = still;
        std::thread::sleep(MEMORY_POLL);
    }
    Ok(Cost {
        wall_s: start.elapsed().as_secs_f64(),
        cpu_s: children_cpu_s()? - before_s,
        peak_mb: peak_kb / 1e3,
    })
}

/// The kernel's own account of the most that a process ever held; 0 once it has ended.
fn peak_kb_of(process: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let value = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    value.unwrap_or(0.0)
}

/// Returns the median, or NaN of nothing.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// Returns the smallest value that at least `percent` % of the values do not exceed, or NaN of
/// nothing.
#[must_use]
pub fn percentile(values: &[f64], percent: f64) -> f64 {
    let sorted = sorted(values);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted
        .get(rank.min(sorted.len()).wrapping_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Processor seconds, user and system, of all children that have ended.
///
/// # Errors
/// If the kernel does not tell.
pub fn children_cpu_s() -> io::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok((usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_percentiles_of_known_values() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&hundred, 99.0), 99.0);
        assert_eq!(percentile(&hundred, 100.0), 100.0);
        assert_eq!(percentile(&hundred, 0.0), 1.0);
        assert!(percentile(&[], 50.0).is_nan());
    }

    #[test]
    fn a_busy_child_has_cpu_seconds() {
        let mut command = Command::new("sh");
        command.args(["-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"]);
        let usage = run(&mut command).expect("sh exists everywhere");
        assert!(usage.status.success());
        assert!(usage.cpu_s > 0.0 && usage.wall_s > 0.0);
    }

    #[test]
    fn programs_side_by_side_take_as_long_as_the_longest() {
        let sleep = |seconds: &str| {
            let mut command = Command::new("sleep");
            command.arg(seconds);
            command
        };
        let cost = watch(&mut [sleep("0.1"), sleep("0.2")]).expect("sleep exists everywhere");
        assert!(cost.wall_s >= 0.2 && cost.peak_mb > 0.0);
        assert!(watch(&mut [Command::new("false")]).is_err());
    }
}

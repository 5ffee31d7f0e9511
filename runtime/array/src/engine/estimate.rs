//! What a plan will read, hold, move and write, before any of it is done: `mizar cube --plan`.
//!
//! Figures of bytes follow from the structure of the files; memory and time are estimates from
//! the rates below, meant for the lines that a batch script asks Slurm with.

use std::path::PathBuf;

use super::reduce::{self, Joint};
use super::{stream, units};
use crate::cube::Content;
use crate::plan::Plan;
use crate::plan::expr::{Expr, TimeReduction};
use crate::plan::region::{self, Region};
use crate::plan::series::Series;
use crate::write::Format;

/// Decoded bytes of 32-bit floats that one core reads, inflates and reduces in a second: a third
/// of what `make bench-arrays` shows for its deflated files (benches/README.md), for there are
/// slower machines.
const DECODED_BYTES_PER_SECOND: f64 = 250e6;

/// Bytes of results that one core deflates and writes in a second.
const WRITTEN_BYTES_PER_SECOND: f64 = 60e6;

/// The program itself, its libraries and MPI.
const PROGRAM_BYTES: u64 = 60 << 20;

/// Partial results of one batch exist this many times at most: in the trees of units that wait
/// for their neighbours, and once more while they are finished.
const PARTIAL_COPIES: u64 = 4;

/// What a plan will do.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// Files that are read, with their sizes.
    pub inputs: Vec<(PathBuf, u64)>,
    /// Files that are written, with the size of their data before compression.
    pub outputs: Vec<(PathBuf, u64)>,
    /// What is computed, in order.
    pub steps: Vec<Step>,
    /// Bytes of files that are read, all ranks together.
    pub read_bytes: u64,
    /// Bytes that travel from other ranks to rank 0, at most: results are sent compressed.
    pub moved_bytes: u64,
    /// Memory of the largest rank, rank 0.
    pub memory_bytes: u64,
    /// CPU seconds of all ranks.
    pub cpu_seconds: f64,
    /// Seconds from start to end.
    pub wall_seconds: f64,
    /// For how many ranks.
    pub ranks: usize,
    /// Threads of each.
    pub threads: usize,
}

/// One pass over data.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The variables that it computes, or computes a part of.
    pub variables: Vec<String>,
    /// `reduce over time`, `read whole series`, `hold in memory`, `stream`.
    pub what: &'static str,
    /// Into how many units the work is cut.
    pub units: usize,
    /// Bytes of files.
    pub read_bytes: u64,
    /// Bytes once decoded.
    pub decoded_bytes: u64,
    /// Bytes kept in memory: partial results, or results that later steps use.
    pub held_bytes: u64,
    /// Bytes of blocks in flight on all threads of a rank.
    pub flight_bytes: u64,
}

/// Estimates a plan for so many ranks with so many threads each.
#[must_use]
pub fn estimate(plan: &Plan, ranks: usize, threads: usize) -> Estimate {
    let mut steps = Vec::new();
    let mut outputs = Vec::new();
    // For Zarr every rank writes what it computed.
    let mut sent_bytes = 0;
    for output in &plan.outputs {
        let dataset = &output.cube.dataset;
        let mut jobs: Vec<(&str, &Expr)> = Vec::new();
        let mut bytes = 0;
        for (index, variable) in dataset.variables.iter().enumerate() {
            let cells: usize = dataset.shape(index).iter().product();
            bytes += (cells * variable.dtype.size_bytes()) as u64;
            if let Content::Lazy(expr) = &output.cube.contents[index] {
                jobs.push((&variable.name, expr));
            }
        }
        outputs.push((output.path.clone(), bytes));
        if output.format == Format::NetCdf4 {
            sent_bytes += bytes;
        }
        while !jobs.is_empty() {
            let (name, expr) = jobs.remove(0);
            for stage in stages(expr) {
                steps.push(stage_step(stage, name, plan, ranks, threads));
            }
            let joins = |(_, other): &(&str, &Expr)| match (expr, other) {
                (Expr::Time(first), Expr::Time(other)) => other.reads_as(first),
                (Expr::Series(first), Expr::Series(other)) => other.reads_as(first),
                _ => false,
            };
            let (same, later): (Vec<_>, Vec<_>) = jobs.into_iter().partition(joins);
            jobs = later;
            let together: Vec<_> = std::iter::once((name, expr)).chain(same).collect();
            steps.push(match expr {
                Expr::Time(first) => reduce_step(first, &together, threads),
                Expr::Series(first) => {
                    series_step(first, &together, plan.options.memory_bytes(), ranks)
                }
                _ => stream_step(expr, name, threads),
            });
        }
    }
    sum(plan, steps, outputs, sent_bytes, (ranks, threads))
}

fn sum(
    plan: &Plan,
    steps: Vec<Step>,
    outputs: Vec<(PathBuf, u64)>,
    sent_bytes: u64,
    (ranks, threads): (usize, usize),
) -> Estimate {
    let sources = plan.sources.iter();
    let inputs = sources.map(|source| (source.path().to_owned(), source.size_bytes()));
    let read_bytes = steps.iter().map(|step| step.read_bytes).sum();
    let decoded: u64 = steps.iter().map(|step| step.decoded_bytes).sum();
    let written: u64 = outputs.iter().map(|(_, bytes)| bytes).sum();
    let held: u64 = steps.iter().map(|step| step.held_bytes).sum();
    let flight = steps
        .iter()
        .map(|step| step.flight_bytes)
        .max()
        .unwrap_or(0);
    let decode_seconds = decoded as f64 / DECODED_BYTES_PER_SECOND;
    let write_seconds = written as f64 / WRITTEN_BYTES_PER_SECOND;
    let others = ranks.saturating_sub(1) as u64;
    let moved_bytes = match others {
        0 => 0,
        _ => (sent_bytes + held) * others / ranks as u64,
    };
    Estimate {
        inputs: inputs.collect(),
        outputs,
        read_bytes,
        moved_bytes,
        memory_bytes: PROGRAM_BYTES + held + flight,
        cpu_seconds: decode_seconds + write_seconds,
        wall_seconds: (decode_seconds + write_seconds) / (ranks * threads).max(1) as f64,
        steps,
        ranks,
        threads,
    }
}

/// The stages inside an expression, innermost first, without itself.
fn stages(expr: &Expr) -> Vec<&Expr> {
    let mut found = Vec::new();
    for child in expr.children() {
        found.extend(stages(child));
        if child.is_stage() {
            found.push(child);
        }
    }
    found
}

fn whole(expr: &Expr) -> Region {
    expr.shape().iter().map(|&len| 0..len).collect()
}

fn sample_bytes(expr: &Expr) -> u64 {
    if expr.is_single() { 4 } else { 8 }
}

fn stage_step(stage: &Expr, name: &str, plan: &Plan, ranks: usize, threads: usize) -> Step {
    let together = [(name, stage)];
    let mut step = match stage {
        Expr::Time(reduction) => reduce_step(reduction, &together, threads),
        Expr::Series(series) => series_step(series, &together, plan.options.memory_bytes(), ranks),
        _ => Step {
            what: "hold in memory",
            units: 1,
            ..stream_step(stage, name, threads)
        },
    };
    step.held_bytes += 8 * region::cells(&whole(stage)) as u64;
    step
}

fn reduce_step(first: &TimeReduction, together: &[(&str, &Expr)], threads: usize) -> Step {
    let statistics = together.iter().filter_map(|(_, expr)| match expr {
        Expr::Time(reduction) => Some(reduction.statistic),
        _ => None,
    });
    let joint = Joint::new(&first.child, first, statistics.collect());
    let region = whole(&first.child);
    let cells = region::cells(&region) * first.child.pulled_per_cell();
    Step {
        variables: names(together),
        what: "reduce over time",
        units: reduce::unit_count(&joint),
        read_bytes: first.child.stored_bytes(&region),
        decoded_bytes: cells as u64 * sample_bytes(&first.child),
        held_bytes: PARTIAL_COPIES * reduce::batch_bytes(&joint),
        flight_bytes: threads as u64 * units::UNIT_CELLS_MAX as u64 * sample_bytes(&first.child),
    }
}

/// Of functions of whole series: chunks that span several bands are read for each.
fn series_step(first: &Series, together: &[(&str, &Expr)], memory: u64, ranks: usize) -> Step {
    let bands = first.bands(together.len(), memory, ranks);
    let mut step = Step {
        variables: names(together),
        what: "read whole series",
        units: bands.len(),
        read_bytes: 0,
        decoded_bytes: 0,
        held_bytes: 0,
        flight_bytes: 0,
    };
    for band in &bands {
        for child in &first.children {
            let mut region = band.clone();
            region[first.axis] = 0..child.shape()[first.axis];
            step.read_bytes += child.stored_bytes(&region);
            step.decoded_bytes +=
                (region::cells(&region) * child.pulled_per_cell()) as u64 * sample_bytes(child);
        }
        let others = band
            .iter()
            .enumerate()
            .filter(|(dim, _)| *dim != first.axis);
        let cells: usize = others.map(|(_, range)| range.len()).product();
        let bytes = (cells * first.bytes_per_cell(together.len())) as u64;
        step.flight_bytes = step.flight_bytes.max(bytes);
    }
    step
}

fn stream_step(expr: &Expr, name: &str, threads: usize) -> Step {
    let region = whole(expr);
    let blocks = stream::blocks(expr);
    let widest = stream::widest(&blocks);
    let pulled = widest * expr.pulled_per_cell();
    let wave = stream::blocks_per_wave(threads, widest) as u64;
    Step {
        variables: vec![name.to_owned()],
        what: "stream",
        units: blocks.len(),
        read_bytes: expr.stored_bytes(&region),
        decoded_bytes: (region::cells(&region) * expr.pulled_per_cell()) as u64
            * sample_bytes(expr),
        held_bytes: 0,
        flight_bytes: wave * 2 * widest as u64 * 8 + threads as u64 * pulled as u64 * 8,
    }
}

fn names(together: &[(&str, &Expr)]) -> Vec<String> {
    together
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect()
}

impl std::fmt::Display for Estimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "Read")?;
        for (path, bytes) in &self.inputs {
            writeln!(f, "  {}  {}", size(*bytes), path.display())?;
        }
        writeln!(f, "Steps")?;
        for step in &self.steps {
            writeln!(
                f,
                "  {} {}: reads {}, {} decoded, in {} units; holds {}",
                step.what,
                step.variables.join(", "),
                size(step.read_bytes).trim_start(),
                size(step.decoded_bytes).trim_start(),
                step.units,
                size(step.held_bytes).trim_start(),
            )?;
        }
        writeln!(f, "Write (before compression)")?;
        for (path, bytes) in &self.outputs {
            writeln!(f, "  {}  {}", size(*bytes), path.display())?;
        }
        let (ranks, threads) = (self.ranks, self.threads);
        writeln!(f, "With {ranks} rank(s) of {threads} thread(s), estimated")?;
        writeln!(f, "  {}  read from files", size(self.read_bytes))?;
        writeln!(f, "  {}  moved between ranks", size(self.moved_bytes))?;
        writeln!(f, "  {}  memory of a rank", size(self.memory_bytes))?;
        writeln!(f, "  {:>10.1} s  CPU time of all ranks", self.cpu_seconds)?;
        writeln!(f, "  {:>10.1} s  from start to end", self.wall_seconds)?;
        writeln!(f, "Ask Slurm for (twice the estimate)")?;
        let mebibytes =
            (2 * self.memory_bytes).div_ceil((ranks as u64).max(1) << 20) * ranks as u64;
        let per_cpu = mebibytes.div_ceil((ranks * threads).max(1) as u64);
        let minutes = (2.0 * self.wall_seconds / 60.0).ceil().max(1.0) as u64;
        writeln!(f, "  #SBATCH --ntasks={ranks} --cpus-per-task={threads}")?;
        writeln!(f, "  #SBATCH --mem-per-cpu={per_cpu}M")?;
        writeln!(
            f,
            "  #SBATCH --time={:02}:{:02}:00",
            minutes / 60,
            minutes % 60
        )
    }
}

/// A size in words, in ten columns.
fn size(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "B");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    let digits = usize::from(unit != "B");
    format!("{:>10} {unit:<3}", format!("{value:.digits$}"))
}

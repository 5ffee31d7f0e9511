//! `mizar comm-bench`: how fast the ranks of a job speak to each other, in nccl-tests' columns
//! and JSON, and whether that is what the site expects.
//!
//! Left out: measuring ([`mizar_comm::bench`]).

use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use mizar_comm::bench::{self, Peer, Plan, Row, Timing};
use mizar_comm::collective::{Collective, DataType, Group};
use mizar_comm::{Communicator, Launch, ReduceOperation, Single};
use serde_json::json;

use crate::stdout;

/// The bus is slower than the site expects.
const EXIT_SLOW: u8 = 3;

/// The share of the expected bandwidth that must be reached.
const EXPECTED_SHARE: f64 = 0.8;

const EXAMPLES: &str = "\
Examples:
  srun -n 8 mizar comm-bench                          all_reduce of floats, 8 B to 128 MiB
  srun -n 8 mizar comm-bench all_gather -b 1K -e 1G --type bfloat16
  mpirun -n 2 mizar comm-bench --compare-mpi          beside MPI_Allreduce, in the same run
  srun -N 2 mizar comm-bench --expect 20 -b 64M -e 64M
                                                      before a long run: exit 3 if the largest
                                                      size is below 80 % of 20 GB/s
Sizes are of the largest array of a rank; bandwidths are in units of 10^9 bytes a second.";

/// Arguments of `mizar comm-bench`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What to measure
    #[arg(value_enum, default_value = "all_reduce")]
    what: What,
    /// The smallest array
    #[arg(short = 'b', long, value_name = "SIZE", default_value = "8", value_parser = size)]
    min_bytes: usize,
    /// The largest array
    #[arg(short = 'e', long, value_name = "SIZE", default_value = "128M", value_parser = size)]
    max_bytes: usize,
    /// From one size to the next
    #[arg(short = 'f', long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..))]
    step_factor: u32,
    /// Calls that count
    #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    iters: u32,
    /// Calls before them that do not
    #[arg(short = 'w', long, default_value_t = 5)]
    warmup_iters: u32,
    /// The type of the numbers
    #[arg(short = 't', long = "type", value_enum, default_value = "float")]
    kind: Kind,
    /// How they are folded
    #[arg(short = 'o', long = "op", value_enum, default_value = "sum")]
    operation: Operation,
    /// Do not look whether results are right
    #[arg(long)]
    no_check: bool,
    /// Measure MPI_Allreduce too (all_reduce of floats, under MPI)
    #[arg(long)]
    compare_mpi: bool,
    /// Give up if a rank does not come within so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    time_limit: u64,
    /// Fail unless the largest size reaches 80 % of this bus bandwidth
    #[arg(long, value_name = "GB/s")]
    expect: Option<f64>,
    /// Print JSON, laid out as that of nccl-tests
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum What {
    AllReduce,
    ReduceScatter,
    AllGather,
    Broadcast,
    AllToAll,
    Barrier,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Float,
    Double,
    Half,
    Bfloat16,
}

#[derive(Clone, Copy, ValueEnum)]
enum Operation {
    Sum,
    Min,
    Max,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Min => "min",
            Self::Max => "max",
        }
    }
}

impl Args {
    fn plan(&self) -> Plan {
        Plan {
            what: match self.what {
                What::AllReduce => Collective::AllReduce,
                What::ReduceScatter => Collective::ReduceScatter,
                What::AllGather => Collective::AllGather,
                What::Broadcast => Collective::Broadcast,
                What::AllToAll => Collective::AllToAll,
                What::Barrier => Collective::Barrier,
            },
            kind: match self.kind {
                Kind::Float => DataType::F32,
                Kind::Double => DataType::F64,
                Kind::Half => DataType::F16,
                Kind::Bfloat16 => DataType::Bf16,
            },
            operation: match self.operation {
                Operation::Sum => ReduceOperation::Sum,
                Operation::Min => ReduceOperation::Minimum,
                Operation::Max => ReduceOperation::Maximum,
            },
            min_bytes: self.min_bytes,
            max_bytes: self.max_bytes,
            factor: self.step_factor as usize,
            warm_up: self.warmup_iters,
            iterations: self.iters,
            check: !self.no_check,
        }
    }
}

/// `64`, `4K`, `128M`, `1G`.
fn size(text: &str) -> Result<usize, String> {
    let wrong = || format!("`{text}` is no size: give a number, perhaps with K, M or G");
    let (number, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: usize = number.parse().map_err(|_| wrong())?;
    number
        .checked_mul(1 << shift)
        .filter(|bytes| (1..=1 << 36).contains(bytes))
        .ok_or_else(wrong)
}

/// Runs `mizar comm-bench`.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match Launch::detect(|name| std::env::var(name).ok())? {
        Launch::Alone => measure(&args, Single, None),
        Launch::Mpi => {
            let comm = mizar_comm::Mpi::open()?;
            let by_mpi: Peer<'_, mizar_comm::Mpi> = &|comm, from, to| comm.sum_by_mpi(from, to);
            let peer = args.compare_mpi.then_some(by_mpi);
            measure(&args, comm, peer)
        }
    }
}

fn measure<C: Communicator>(
    args: &Args,
    comm: C,
    peer: Option<Peer<'_, C>>,
) -> anyhow::Result<ExitCode> {
    let plan = args.plan();
    let mut group = Group::new(comm, Duration::from_secs(args.time_limit))?;
    let speaks = group.rank() == 0;
    let start = time_now();
    if speaks && !args.json {
        stdout::print(&head(args, &group))?;
    }
    let mut rows = Vec::new();
    bench::run(&mut group, &plan, peer, &mut |row| {
        if speaks && !args.json {
            // A reader that left does not stop the other ranks.
            let _ = stdout::print(&line(args, row));
        }
        rows.push(*row);
    })?;
    let mean = rows
        .iter()
        .map(|row| f64::midpoint(row.out_of_place.bus_gb_s, row.in_place.bus_gb_s))
        .sum::<f64>()
        / rows.len().max(1) as f64;
    let wrong: u64 = rows.iter().filter_map(|row| row.in_place.wrong).sum();
    if speaks && args.json {
        let text = serde_json::to_string_pretty(&as_json(args, &group, &rows, mean, &start))?;
        stdout::print(&format!("{text}\n"))?;
    } else if speaks {
        stdout::print(&format!(
            "# Out of bounds values : {wrong} {}\n# Avg bus bandwidth    : {mean:.4}\n",
            if wrong == 0 { "OK" } else { "FAILED" }
        ))?;
    }
    if wrong > 0 {
        return Ok(ExitCode::FAILURE);
    }
    let reached = rows.last().map_or(0.0, |row| row.in_place.bus_gb_s);
    if let Some(expected) = args.expect.filter(|gb_s| reached < EXPECTED_SHARE * gb_s) {
        if speaks {
            eprintln!(
                "mizar: {reached:.2} GB/s over the bus, expected {expected:.2}: look for a slow \
                 link, a shared node or a wrong binding before a long run"
            );
        }
        return Ok(ExitCode::from(EXIT_SLOW));
    }
    Ok(ExitCode::SUCCESS)
}

fn head<C: Communicator>(args: &Args, group: &Group<C>) -> String {
    let peer = if args.compare_mpi {
        "   MPI us  ratio"
    } else {
        ""
    };
    format!(
        "# mizar {} comm-bench {}: {} ranks on {} nodes; {} calls after {}; slowest rank\n\
         #{:>12} {:>12} {:>9} {:>6} {:>5} {:>9} {:>7} {:>7} {:>6} {:>9} {:>7} {:>7} {:>6}{peer}\n\
         #{:>12} {:>12} {:>9} {:>6} {:>5} {:>9} {:>7} {:>7} {:>6} {:>9} {:>7} {:>7} {:>6}\n",
        env!("CARGO_PKG_VERSION"),
        args.plan().what.name(),
        group.size(),
        group.node_count(),
        args.iters,
        args.warmup_iters,
        "size",
        "count",
        "type",
        "redop",
        "root",
        "time",
        "algbw",
        "busbw",
        "#wrong",
        "time",
        "algbw",
        "busbw",
        "#wrong",
        "(B)",
        "(elements)",
        "",
        "",
        "",
        "(us)",
        "(GB/s)",
        "(GB/s)",
        "",
        "(us)",
        "(GB/s)",
        "(GB/s)",
        "",
    )
}

fn line(args: &Args, row: &Row) -> String {
    let (operation, root) = folded_and_root(args);
    let timing = |timing: &Timing| {
        let wrong = timing
            .wrong
            .map_or("N/A".to_owned(), |count| count.to_string());
        format!(
            " {:>9.2} {:>7.2} {:>7.2} {wrong:>6}",
            timing.time_us, timing.algorithm_gb_s, timing.bus_gb_s
        )
    };
    let peer = row.mpi_us.map_or(String::new(), |mpi_us| {
        format!(" {mpi_us:>8.2} {:>6.2}", row.in_place.time_us / mpi_us)
    });
    format!(
        " {:>12} {:>12} {:>9} {operation:>6} {root:>5}{}{}{peer}\n",
        row.bytes,
        row.count,
        args.plan().kind.name(),
        timing(&row.out_of_place),
        timing(&row.in_place),
    )
}

fn folded_and_root(args: &Args) -> (&'static str, i32) {
    match args.what {
        What::AllReduce | What::ReduceScatter => (args.operation.name(), -1),
        What::Broadcast => ("none", 0),
        What::AllGather | What::AllToAll | What::Barrier => ("none", -1),
    }
}

fn as_json<C: Communicator>(
    args: &Args,
    group: &Group<C>,
    rows: &[Row],
    mean: f64,
    start: &str,
) -> serde_json::Value {
    let timing = |timing: &Timing| {
        json!({
            "time": timing.time_us,
            "alg_bw": timing.algorithm_gb_s,
            "bus_bw": timing.bus_gb_s,
            "nwrong": timing.wrong,
        })
    };
    let (operation, root) = folded_and_root(args);
    let results: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "size": row.bytes,
                "count": row.count,
                "type": args.plan().kind.name(),
                "redop": operation,
                "root": root,
                "out_of_place": timing(&row.out_of_place),
                "in_place": timing(&row.in_place),
                "mpi_allreduce_us": row.mpi_us,
                "actual_iterations": args.iters,
                "experiment_name": args.plan().what.name(),
            })
        })
        .collect();
    let wrong: u64 = rows.iter().filter_map(|row| row.in_place.wrong).sum();
    json!({
        "version": 1,
        "start_time": start,
        "mizar_version": env!("CARGO_PKG_VERSION"),
        "config": {
            "ranks": group.size(),
            "nodes": group.node_count(),
            "warmup_iters": args.warmup_iters,
            "iters": args.iters,
            "minimum_bytes": args.min_bytes,
            "maximum_bytes": args.max_bytes,
            "step_factor": args.step_factor,
            "data_check": !args.no_check,
            "devices": [],
        },
        "results": results,
        "out_of_bounds": { "count": wrong, "okay": wrong == 0 },
        "average_bus_bandwidth": { "bandwidth": mean },
        "errors": [],
        "end_time": time_now(),
    })
}

fn time_now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!("{:.3}", since.unwrap_or_default().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_or_refused() {
        assert_eq!(size("8"), Ok(8));
        assert_eq!(size("4K"), Ok(4096));
        assert_eq!(size("1G"), Ok(1 << 30));
        for bad in ["", "0", "K", "-1", "1.5M", "9999999999999G", "1T", "é"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}

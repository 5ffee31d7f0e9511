//! The `mizar` command: one subcommand a module, each a thin edge over its library.
//!
//! Exit codes: 0 done, 1 failed (one message on stderr says what), 2 the command line is wrong.
//! Left out: any logic that a library could hold.

mod comm_bench;
mod cube;
mod doctor;
mod generate;
mod infer;
mod interrupt;
mod memory;
mod plot;
mod ps;
mod record_dir;
mod report;
mod stdout;
mod top;
mod train;
mod tune;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What a failed command answers; a wrong command line answers 2.
const EXIT_FAILED: u8 = 1;

const EXAMPLES: &str = "\
Examples:
  srun --mizar -n 4 mizar cube -ymonmean in.nc out.nc   compute, watched
  srun -n 4 mizar infer risk.onnx -i in.nc -o out.nc    run a model over fields
  mizar ps                                              what runs, with its live use
  mizar top 1234                                        one job live, rank by rank
  mizar report 1234 --html report.html                  what job 1234 did
  srun -n 4 mizar train unet.yaml                       train a model on cubes
  mizar plot out.nc tas -o map.svg                      look at a result
  mizar man report | man -l -                           the manual of a subcommand

Exit codes: 0 done, 1 failed, 2 wrong command line.";

/// Analyse arrays, watch jobs and read their records on an HPC site.
#[derive(Parser)]
#[command(name = "mizar", version, propagate_version = true)]
#[command(after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run CDO operators on NetCDF files and Zarr stores, over any number of MPI ranks and threads
    Cube(cube::Args),
    /// Run a model over fields and arrays on any number of MPI ranks, or keep it warm for requests
    Infer(Box<infer::Args>),
    /// Show running jobs with their live use
    Ps(ps::Args),
    /// Show a running job live, rank by rank
    Top(top::Args),
    /// Show the report of a job, or how a program scales
    Report(Box<report::Args>),
    /// Draw a variable of a NetCDF file or Zarr store as a map or a line
    Plot(plot::Args),
    /// Measure how fast the ranks of a job speak to each other
    CommBench(comm_bench::Args),
    /// Search for hyperparameters: random, ASHA or TPE, over a Slurm array
    Tune(tune::Args),
    /// Examine this node and its environment before a distributed run
    Doctor(doctor::Args),
    /// Train a model on cubes or arrays, over any number of ranks
    Train(Box<train::Args>),
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or that of a subcommand
    Man {
        /// The subcommand
        #[arg(value_name = "COMMAND")]
        command: Option<String>,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Cube(args) => cube::run(args),
        Command::Infer(args) => infer::run(*args),
        Command::Ps(args) => ps::run(args),
        Command::Top(args) => top::run(args),
        Command::Report(args) => report::run(&args),
        Command::Plot(args) => plot::run(args),
        Command::CommBench(args) => comm_bench::run(args),
        Command::Tune(args) => tune::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Completions { shell } => generate::completions(shell),
        Command::Man { command } => generate::manual(command.as_deref()),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("mizar: {error:#}");
        ExitCode::from(EXIT_FAILED)
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}

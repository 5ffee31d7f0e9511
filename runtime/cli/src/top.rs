//! `mizar top`: a live view of a job, rank by rank, over all its nodes.
//!
//! [`gather`] asks the `mizard` of this machine and reads the records that other nodes still
//! write; [`view`] holds what was found; [`screen`] turns that and what the user pressed
//! ([`keys`]) into lines, pure; [`terminal`] owns the terminal and gives it back. Without a
//! terminal the view is printed once.

mod gather;
mod keys;
mod screen;
mod terminal;
mod view;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use mizar_core::ids::JobId;

use crate::record_dir::RecordDir;
use crate::stdout;
use gather::Gatherer;
use keys::{Sort, State};

const EXAMPLES: &str = "\
Examples:
  mizar top 1234                     rank by rank, again every 2 seconds
  mizar top                          every job that you may see
  mizar top 1234 --sort memory       the ranks with most memory first
  mizar top 1234 --once              once, as text
  mizar top 1234 --json | jq '.nodes[].ranks[]'

Keys: c CPU, m memory, i I/O, g GPU, e communication exposed, r rank, n node: sort; R reverse;
arrows, Page Up and Page Down: move; p or space: pause; + and -: refresh faster or slower;
h: help; q: quit.

Ranks on this node are as fresh as mizard's last sample; those of other nodes are read from their
records, which are some seconds old, and say so. GPUs and the split of time appear where they
are measured. A dash is what is not known yet.";

/// Arguments of `mizar top`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only this job
    #[arg(value_name = "JOB")]
    job: Option<JobId>,
    /// Seconds between refreshes
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    interval: f64,
    /// What comes first
    #[arg(long, value_name = "KEY", value_enum, default_value_t = Sort::Cpu)]
    sort: Sort,
    /// Print once, as text
    #[arg(long)]
    once: bool,
    /// Print once, as JSON (schema mizar-top/1)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    records: RecordDir,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if keys::INTERVALS_S.contains(&seconds) => Ok(seconds),
        _ => Err(format!(
            "expected {} to {} seconds",
            keys::INTERVALS_S.start(),
            keys::INTERVALS_S.end()
        )),
    }
}

/// Runs `mizar top`.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut gatherer = Gatherer::new(args.job, args.records);
    let mut state = State::new(args.sort, args.interval);
    if args.json || args.once || !std::io::stdout().is_terminal() {
        let view = gatherer.view();
        if !view.reached {
            bail!("{}", view.looked.join("\n"));
        }
        let text = if args.json {
            serde_json::to_string_pretty(&view)? + "\n"
        } else {
            screen::plain(&view, &state)
        };
        stdout::print(&text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut terminal = terminal::Terminal::take()?;
    let mut view = gatherer.view();
    loop {
        let size = terminal.size();
        state.fit(screen::room(&view, size), view.rank_count());
        terminal.draw(&screen::lines(&view, &state, size))?;
        let before = state.clone();
        let interval = Duration::from_secs_f64(state.interval_s);
        terminal.wait(&mut state, interval)?;
        if state.quit {
            return Ok(ExitCode::SUCCESS);
        }
        // A key changes what is shown at once; only time asks anew.
        if state == before && !state.paused {
            view = gatherer.view();
        }
    }
}

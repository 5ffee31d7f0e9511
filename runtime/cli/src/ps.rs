//! `mizar ps`.

use std::process::ExitCode;

/// Arguments of `mizar ps`.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Runs `mizar ps`.
pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not here yet")
}

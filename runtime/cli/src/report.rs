//! `mizar report`.

use std::process::ExitCode;

/// Arguments of `mizar report`.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Runs `mizar report`.
pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not here yet")
}

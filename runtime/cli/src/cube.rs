//! `mizar cube`: the edge over `mizar_array`'s command line.

use std::ffi::OsString;
use std::process::ExitCode;

/// Arguments of `mizar cube`: CDO's own command line, which the array engine parses.
#[derive(clap::Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub(crate) struct Args {
    /// CDO's command line: options, operators, inputs and the output
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CDO ARGUMENTS")]
    arguments: Vec<OsString>,
}

/// Runs `mizar cube`.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    drop(args.arguments);
    anyhow::bail!("not here yet")
}

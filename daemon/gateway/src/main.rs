//! The `mizar-gateway` command; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    mizar_gateway::cli::main()
}

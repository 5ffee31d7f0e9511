//! `mizar infer --warm`: the model is on a server; fields and arrays are here.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use mizar_infer::client;
use mizar_infer::cube::Options;

use super::{Told, end_without, over_file, say};
use crate::interrupt;

/// Has the server load the model and, if there are files, runs it over them.
pub(super) fn run(
    socket: &Path,
    model: &Path,
    files: Option<(&Path, &Path)>,
    options: &Options,
    is_quiet: bool,
) -> anyhow::Result<ExitCode> {
    let Some((input, output)) = files else {
        let loaded = client::load(socket, model)?;
        if !is_quiet {
            let (name, backend) = (&loaded.file_name, loaded.model.backend());
            say(&format!("mizar infer: {name} is ready: {backend}"));
        }
        return Ok(ExitCode::SUCCESS);
    };
    interrupt::leave_nothing_half_made().context("cannot wait for signals")?;
    let world = mizar_comm::world().context("cannot join the other ranks")?;
    let watch = mizar_comm::Watch::start(world.as_ref(), end_without)
        .context("cannot join the other ranks")?;
    let open = || Ok(client::load(socket, model)?);
    let told = Told {
        is_quiet,
        is_json: false,
    };
    let code = over_file(world.as_ref(), input, output, options, told, open);
    drop(watch);
    Ok(code)
}

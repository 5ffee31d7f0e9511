//! `mizar infer` over NumPy's arrays: whatever the model, loaded here or on a server.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use mizar_comm::Communicator;
use mizar_infer::npy::{self, Arrays};
use mizar_infer::{Loaded, Model, Tensor};

use super::{How, introduce, say};

/// Runs a model over the rows of arrays.
pub(super) fn run(
    comm: &dyn Communicator,
    input: &Path,
    output: &Path,
    batch: Option<usize>,
    how: &How,
    open: impl Fn() -> anyhow::Result<Loaded>,
) -> ExitCode {
    match try_run(comm, input, output, batch, how, open) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if comm.rank() == 0 {
                say(&format!("mizar infer: {error:#}"));
            }
            ExitCode::from(crate::EXIT_FAILED)
        }
    }
}

fn try_run(
    comm: &dyn Communicator,
    input: &Path,
    output: &Path,
    batch: Option<usize>,
    how: &How,
    open: impl Fn() -> anyhow::Result<Loaded>,
) -> anyhow::Result<()> {
    if !(npy::is_arrays(input) && npy::is_arrays(output)) {
        bail!("arrays become arrays: both --input and --output must be .npy or .npz");
    }
    if comm.size() > 1 {
        bail!("arrays (.npy, .npz) are for one rank; put them in a NetCDF file to share them");
    }
    let mut loaded = open()?;
    if !how.is_quiet {
        introduce(&loaded);
    }
    let model = loaded.model.as_mut();
    let names: Vec<String> = model
        .outputs()
        .iter()
        .map(|port| port.name.clone())
        .collect();
    if names.len() > 1 && !npy::is_npz(output) {
        bail!(
            "{}: the model has the outputs {}: write them to a .npz file",
            output.display(),
            names.join(", ")
        );
    }
    let arrays = of_model(model, npy::read(input)?).with_context(|| input.display().to_string())?;
    let rows = arrays
        .first()
        .and_then(|array| array.shape().first().copied());
    let results = mizar_infer::run_rows(model, arrays, batch)?;
    let named = names.iter().map(String::as_str).zip(&results);
    npy::write(output, &named.collect::<Vec<_>>())?;
    if how.is_json {
        let text = serde_json::json!({
            "model": loaded.file_name,
            "digest": loaded.digest,
            "backend": loaded.model.backend(),
            "output": output,
            "rows": rows,
        });
        crate::cube::print(&format!("{text}\n"));
    }
    Ok(())
}

/// The arrays that the model takes, in its order.
fn of_model(model: &dyn Model, arrays: Arrays) -> anyhow::Result<Vec<Tensor>> {
    let ports = model.inputs();
    let needs = || {
        let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
        format!("the model takes {}", ports.join("; "))
    };
    let mut named = match (arrays, ports) {
        (Arrays::One(array), [_]) => return Ok(vec![array]),
        (Arrays::One(_), _) => bail!("{}: give them by name in a .npz file", needs()),
        (Arrays::Named(named), _) => named,
    };
    let mut taken = Vec::new();
    for port in ports {
        let place = named.iter().position(|(name, _)| *name == port.name);
        let place =
            place.with_context(|| format!("there is no array `{}`: {}", port.name, needs()))?;
        taken.push(named.swap_remove(place).1);
    }
    // What is left may be targets, or whatever else belongs to the samples.
    Ok(taken)
}

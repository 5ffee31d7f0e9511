//! `mizar infer`: the edge over `mizar_infer` and `mizar_models`. Opens the model and the world of
//! ranks, chooses the way by model and files, and tells mizard what was read and written.
//!
//! Only rank 0 prints. A failure on any rank ends all with exit code 1 and one message.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use mizar_array::write::Compression;
use mizar_infer::onnx_runtime::{LIBRARY_VARIABLE, OnnxRuntime};
use mizar_infer::{Loaded, Loader, Provider, client, npy};
use mizar_infer_native::Native;

use crate::cube::{date_now, default_threads, tell_daemon};
use crate::interrupt;

mod arrays;
mod forecast;
mod onnx;
mod serve;

/// Between lines about progress.
const LINE_EVERY: Duration = Duration::from_secs(30);

const EXAMPLES: &str = "\
Examples:
  srun -n 4 mizar infer unet.safetensors -i ta.nc -o forecast.nc --plot last.png
      a model of `mizar train` over all steps, those past the end too, with a map of the last;
      how good it is beside persistence is on stderr, and with --json on stdout
  srun -n 4 mizar infer risk.onnx -i tas.nc -o risk.nc
      a model of [N, C, H, W] over all steps; the variables are its channels
  mizar infer unet.onnx -i in.nc -o out.zarr --variables tas,pr --tile 256x256 --halo 16 --wrap
      tiles that overlap by twice the halo, blended, around the globe
  mizar infer lstm.onnx -i in.nc -o runoff.nc --layout NTC --steps 30 --missing mask \\
      --normalise 280:15,3e-5:6e-5 --outputs runoff:mm
      every cell a series of 30 steps
  mizar infer fire.onnx -i in.nc -o risk.nc --feed x=tas,pr --feed z=orog --outputs risk:1
      a model of two inputs, x and z; without --feed each takes the variable of its name. A variable
      without time (orog) is the same at every step; `mizar cube -merge` brings files together
  mizar infer mlp.onnx -i x.npy -o y.npy
      arrays that are no cubes; several inputs or outputs by name in a .npz file
  mizar infer unet.safetensors -i samples.npz -o forecasts.npz
      samples in physical units: of each variable an array (samples, history, rows, columns)
  mizar infer --serve $TMPDIR/models.sock risk.onnx &
  mizar infer --warm $TMPDIR/models.sock risk.onnx -i x.npy -o y.npy
      a server that keeps models ready, and a request to it
  mizar infer --serve $TMPDIR/models.sock unet.safetensors &
  mizar infer --warm $TMPDIR/models.sock unet.safetensors -i ta.nc -o forecast.nc
      the same for a model of `mizar train`; GET /v2/models/unet tells what it takes. Clients of
      gRPC reach unix:$TMPDIR/models.sock with the option grpc.default_authority=localhost

A safetensors file of `mizar train` says all itself: variables, window, normalisation, lead. On arrays
and on the server physical units go in and come out too; a model with anomalies also takes the months
of the steps (month), that of the forecast (forecast_month), and of cells their number (cell). An ONNX
model file may hold what flags say, in its metadata: mizar.variables, mizar.feed
(x=tas,pr; z=orog), mizar.layout, mizar.output_layout, mizar.margin, mizar.normalise,
mizar.denormalise, mizar.outputs (NAME:UNITS,...).

A model that gives fewer cells than it sees, as convolutions without padding do, leaves a margin of
each tile to its neighbours; at the edges of the grid, where there are none, the output is missing.

ONNX Runtime is used if it is installed (ORT_DYLIB_PATH names its library), else a slower back end
that needs no library. Which one ran is on stderr and in the attribute mizar_backend.

Exit codes: 0 done, 1 failed, 2 wrong command line, 3 done but some items failed: they are named,
and missing in the output.";

/// Arguments of `mizar infer`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The model: an ONNX file, or a safetensors file of `mizar train`; with --serve several
    #[arg(value_name = "MODEL", required_unless_present = "serve")]
    models: Vec<PathBuf>,
    /// NetCDF file or Zarr store with the fields, a NumPy array (.npy), or several by name (.npz)
    #[arg(short, long, value_name = "FILE", requires = "output")]
    input: Option<PathBuf>,
    /// What is written: .nc, .zarr, .npy or .npz
    #[arg(short, long, value_name = "FILE", requires = "input")]
    output: Option<PathBuf>,
    /// Compression of a cube that is written: none, zip_1 to zip_9 (deflate), zstd_1 to zstd_22
    /// [default: zip_1 for .nc, zstd_3 for .zarr]
    #[arg(short = 'z', long, value_name = "WHAT", requires = "output", value_parser = Compression::from_str)]
    compress: Option<Compression>,
    #[command(flatten)]
    window: onnx::Window,
    #[command(flatten)]
    runner: Runner,
    /// Draw a map of one step of the output: FILE.png or FILE.svg
    #[arg(
        long,
        value_name = "FILE",
        requires = "output",
        conflicts_with = "warm"
    )]
    plot: Option<PathBuf>,
    /// Which step is drawn, from 1 [default: the last that a safetensors model forecasts, else the
    /// first]
    #[arg(long, value_name = "N", requires = "plot", value_parser = clap::value_parser!(u32).range(1..))]
    plot_step: Option<u32>,
    /// Print a summary as JSON
    #[arg(long, requires = "output", conflicts_with = "warm")]
    json: bool,
    /// Keep models ready and answer requests (KServe's protocol, version 2, over HTTP and gRPC) at a
    /// socket's path, or at 127.0.0.1:PORT
    #[arg(long, value_name = "SOCKET|ADDRESS", conflicts_with_all = ["input", "warm"])]
    serve: Option<String>,
    #[command(flatten)]
    server: serve::Limits,
    /// Ask the server at this socket instead of loading the model here; without --input it only
    /// loads the model there
    #[arg(long, value_name = "SOCKET")]
    warm: Option<PathBuf>,
}

/// What runs a model.
#[derive(clap::Args)]
struct Runner {
    /// Only this back end for ONNX models: onnxruntime or tract [default: the first that works]
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// The device: cpu, cuda, rocm or migraphx (ONNX models only)
    #[arg(long, value_name = "NAME", value_parser = provider, default_value = "cpu")]
    provider: Provider,
    /// Threads of each rank [default: those that Slurm gave, or all]
    #[arg(long, value_name = "COUNT")]
    threads: Option<usize>,
    /// The library of ONNX Runtime
    #[arg(long, value_name = "FILE", env = LIBRARY_VARIABLE, hide_env_values = true)]
    onnxruntime: Option<PathBuf>,
    /// No progress, no note of the back end
    #[arg(short, long)]
    quiet: bool,
}

/// What a run is told besides its files.
struct How {
    threads: usize,
    is_quiet: bool,
    is_json: bool,
    compression: Option<Compression>,
}

/// Runs `mizar infer`.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let threads = args.runner.threads.unwrap_or_else(default_threads).max(1);
    let loader = loader(&args.runner, threads)?;
    if let Some(address) = &args.serve {
        return serve::run(address, &args.models, &args.server, loader);
    }
    let [model] = args.models.as_slice() else {
        bail!("give one model; several only with --serve");
    };
    check(&args, model)?;
    let warm = args.warm.as_deref();
    let open = || match warm {
        Some(socket) => Ok(client::load(socket, model)?),
        None => Ok::<Loaded, anyhow::Error>(loader.open(model)?),
    };
    let (Some(input), Some(output)) = (&args.input, &args.output) else {
        if warm.is_some() {
            return make_ready(open()?, args.runner.quiet);
        }
        bail!("say what goes in and what comes out: --input FILE --output FILE");
    };
    interrupt::leave_nothing_half_made().context("cannot wait for signals")?;
    let world = mizar_comm::world().context("cannot join the other ranks")?;
    let watch = mizar_comm::Watch::start(world.as_ref(), end_without)
        .context("cannot join the other ranks")?;
    let comm = world.as_ref();
    let how = How {
        threads,
        is_quiet: args.runner.quiet,
        is_json: args.json,
        compression: args.compress,
    };
    let mut last_step = 1;
    let code = if has_arrays(&args) {
        arrays::run(comm, input, output, args.window.batch, &how, open)
    } else if forecast::is_ours(model) {
        match forecast::run(comm, model, warm, [input, output], &how) {
            Ok(steps) => {
                last_step = steps;
                ExitCode::SUCCESS
            }
            Err(code) => code,
        }
    } else {
        onnx::over_cube(comm, input, output, &args.window, &how, open)
    };
    let mut drawn = Ok(());
    if code == ExitCode::SUCCESS && comm.rank() == 0 {
        let inputs = [model.as_path(), input.as_path()];
        tell_daemon(inputs.into_iter(), std::iter::once(output.as_path()));
        if let Some(picture) = &args.plot {
            let last = u32::try_from(last_step).unwrap_or(u32::MAX);
            drawn = forecast::draw(output, picture, args.plot_step.unwrap_or(last));
        }
    }
    drop(watch);
    drawn.map(|()| code)
}

/// What can be told to be wrong before anything starts.
fn check(args: &Args, model: &Path) -> anyhow::Result<()> {
    if args.compress.is_some() && has_arrays(args) {
        bail!("--compress is for cubes (.nc, .zarr): leave it out for arrays");
    }
    if let Some(picture) = &args.plot {
        if has_arrays(args) {
            bail!("--plot draws maps of cubes (.nc, .zarr), not of arrays: leave it out");
        }
        crate::plot::check_name(picture)?;
    }
    match forecast::is_ours(model) {
        true => only_for_onnx(args),
        false => Ok(()),
    }
}

fn has_arrays(args: &Args) -> bool {
    let mut files = args.input.iter().chain(&args.output);
    files.any(|path| npy::is_arrays(path))
}

/// What a model of ours says itself cannot be said again.
fn only_for_onnx(args: &Args) -> anyhow::Result<()> {
    /// The flags of a window alone.
    #[derive(clap::Parser)]
    struct Defaults {
        #[command(flatten)]
        window: onnx::Window,
    }
    let Defaults { mut window } = clap::Parser::try_parse_from(["mizar"])?;
    if has_arrays(args) {
        window.batch = args.window.batch;
    }
    if args.window != window {
        bail!(
            "a safetensors model says itself what it sees: leave out --variables, --layout, \
             --tile, --steps and their like (they are for ONNX models)"
        );
    }
    let runner = &args.runner;
    if let Some(name) = runner
        .backend
        .as_deref()
        .filter(|name| *name != mizar_infer_native::NAME)
    {
        bail!(
            "a safetensors model is run by {} alone, not by {name}: leave out --backend (it is for \
             ONNX models)",
            mizar_infer_native::NAME
        );
    }
    if runner.provider != Provider::Cpu {
        bail!(
            "a safetensors model runs on processors alone, not on {}: leave out --provider (it is \
             for ONNX models)",
            runner.provider.name()
        );
    }
    Ok(())
}

/// Says that a server has the model.
fn make_ready(loaded: Loaded, is_quiet: bool) -> anyhow::Result<ExitCode> {
    if !is_quiet {
        let (name, backend) = (&loaded.file_name, loaded.model.backend());
        say(&format!("mizar infer: {name} is ready: {backend}"));
        loaded.model.notes().iter().for_each(|text| note(text));
    }
    Ok(ExitCode::SUCCESS)
}

/// Says which model runs, by what, and what should be known of it.
fn introduce(loaded: &Loaded) {
    let notes = loaded.passed_over.iter().chain(loaded.model.notes());
    notes.for_each(|text| note(text));
    let (name, backend) = (&loaded.file_name, loaded.model.backend());
    say(&format!("mizar infer: {name} by {backend}"));
}

fn note(text: &str) {
    say(&format!("mizar infer: note: {text}"));
}

/// A line for the attribute `history`.
fn history() -> String {
    let words: Vec<String> = std::env::args().skip(1).collect();
    format!("{} mizar {}", date_now(), words.join(" "))
}

/// All back ends of this build, best first.
fn loader(runner: &Runner, threads: usize) -> anyhow::Result<Loader> {
    let runtime = OnnxRuntime::new(runner.onnxruntime.clone());
    let loader = Loader::new(threads, runner.provider).with(runtime);
    #[cfg(feature = "tract")]
    let loader = loader.with(mizar_infer_tract::Tract);
    let loader = loader.with(Native);
    Ok(match &runner.backend {
        Some(name) => loader.only(name)?,
        None => loader,
    })
}

/// Ends this rank because another is gone: the result would not be whole.
fn end_without(lost: mizar_comm::LostRank) {
    mizar_core::durable::abandon_all();
    if lost.tells {
        say(&format!(
            "mizar infer: rank {} on {} was lost (killed, out of memory, or its node is gone): \
             the run ends, no output is written",
            lost.rank, lost.host
        ));
    }
    mizar_comm::end_process(i32::from(crate::EXIT_FAILED));
}

/// One write to standard error: a launcher joins what its ranks write piece by piece.
fn say(line: &str) {
    use std::io::Write as _;
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

fn provider(text: &str) -> Result<Provider, String> {
    let all = [
        Provider::Cpu,
        Provider::Cuda,
        Provider::Rocm,
        Provider::MiGraphX,
    ];
    let known = all.into_iter().find(|provider| provider.name() == text);
    known.ok_or_else(|| format!("`{text}` is not cpu, cuda, rocm or migraphx"))
}

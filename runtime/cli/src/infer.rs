//! `mizar infer`: the edge over `mizar_infer`. Opens the model and the world of ranks, shows
//! progress, and tells mizard what was read and written.
//!
//! Only rank 0 prints. A failure on any rank ends all with exit code 1 and one message.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use mizar_comm::Communicator;
use mizar_infer::cube::{self, Align, InferError, Layout, Missing, Options, Outcome};
use mizar_infer::onnx_runtime::{LIBRARY_VARIABLE, OnnxRuntime};
use mizar_infer::{Loaded, Loader, Provider, Scaling, npy};

use crate::cube::{date_now, default_threads, tell_daemon};
use crate::interrupt;

mod forecast;
mod serve;
mod warm;

/// Done, but some items gave nothing sound.
const EXIT_ITEMS_FAILED: u8 = 3;

/// Failed items that are named; all are counted.
const FAILURES_SHOWN: usize = 10;

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
  mizar infer mlp.onnx -i x.npy -o y.npy
      arrays that are no cubes
  mizar infer --serve $TMPDIR/models.sock risk.onnx &
  mizar infer --warm $TMPDIR/models.sock risk.onnx -i x.npy -o y.npy
      a server that keeps models ready, and a request to it

A safetensors file of `mizar train` says all itself: variables, window, normalisation, lead. An ONNX
model file may hold what flags say, in its metadata: mizar.variables, mizar.layout,
mizar.output_layout, mizar.normalise, mizar.denormalise, mizar.outputs (NAME:UNITS,...).

ONNX Runtime is used if it is installed (ORT_DYLIB_PATH names its library), else a slower back end
that needs no library. Which one ran is on stderr and in the attribute mizar_backend.

Exit codes: 0 done, 1 failed, 2 wrong command line, 3 done but some items failed: they are named,
and missing in the output.";

/// Arguments of `mizar infer`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The model: an ONNX file, or a safetensors file of `mizar train` (of cubes); with --serve several
    /// ONNX files
    #[arg(value_name = "MODEL", required_unless_present = "serve")]
    models: Vec<PathBuf>,
    /// NetCDF file or Zarr store with the fields, or a NumPy array (.npy)
    #[arg(short, long, value_name = "FILE", requires = "output")]
    input: Option<PathBuf>,
    /// What is written: .nc, .zarr or .npy
    #[arg(short, long, value_name = "FILE", requires = "input")]
    output: Option<PathBuf>,
    #[command(flatten)]
    window: Window,
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
    /// Keep models ready and answer requests (KServe's protocol, version 2) at a socket's path, or
    /// at 127.0.0.1:PORT
    #[arg(long, value_name = "SOCKET|ADDRESS", conflicts_with_all = ["input", "warm"])]
    serve: Option<String>,
    #[command(flatten)]
    server: serve::Limits,
    /// Ask the server at this socket instead of loading the model here; without --input it only
    /// loads the model there
    #[arg(long, value_name = "SOCKET")]
    warm: Option<PathBuf>,
}

/// How a model sees fields.
#[derive(Debug, PartialEq, clap::Args)]
struct Window {
    /// Variables that are the channels, in this order [default: all data variables]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    variables: Vec<String>,
    /// Names of the variables that come out, with units
    #[arg(long, value_name = "NAME[:UNITS],...", value_delimiter = ',')]
    outputs: Vec<String>,
    /// What the dimensions of the input are: N items, T steps, C channels, H rows, W columns
    /// [default: NC, NTC, NCHW or NCTHW]
    #[arg(long, value_name = "LETTERS", value_parser = layout)]
    layout: Option<Layout>,
    /// The same of the output [default: as the input, without T or C if there are fewer]
    #[arg(long, value_name = "LETTERS", value_parser = layout)]
    output_layout: Option<Layout>,
    /// Rows and columns of a tile [default: the model's, or the whole field]
    #[arg(long, value_name = "ROWSxCOLUMNS", value_parser = pair)]
    tile: Option<(usize, usize)>,
    /// Cells that a tile shares with each neighbour; the overlap is blended
    #[arg(long, value_name = "CELLS[xCELLS]", value_parser = pair, default_value = "0")]
    halo: (usize, usize),
    /// The last column lies beside the first, as around the globe
    #[arg(long)]
    wrap: bool,
    /// Steps of a window [default: the model's, or 1]
    #[arg(long, value_name = "COUNT")]
    steps: Option<usize>,
    /// Steps from one window to the next [default: as many as come out]
    #[arg(long, value_name = "COUNT")]
    stride: Option<usize>,
    /// Which steps of a window its output is of, if there are fewer
    #[arg(long, value_name = "first|center|last", value_parser = align, default_value = "last")]
    align: Align,
    /// Items that run at once [default: the model's, or what suits a processor's cache]
    #[arg(long, value_name = "COUNT")]
    batch: Option<usize>,
    /// Missing values of the input: refuse, fill=VALUE, or mask (the mean stands for them, and
    /// the output is missing there)
    #[arg(long, value_name = "WHAT", value_parser = missing, default_value = "refuse")]
    missing: Missing,
    /// Mean and spread of each channel, or one for all: (x - mean) / spread goes in
    #[arg(long, value_name = "MEAN:SPREAD,...", allow_hyphen_values = true)]
    normalise: Option<String>,
    /// Mean and spread of each output: y * spread + mean comes out
    #[arg(long, value_name = "MEAN:SPREAD,...", allow_hyphen_values = true)]
    denormalise: Option<String>,
}

/// What runs a model.
#[derive(clap::Args)]
struct Runner {
    /// Only this back end: onnxruntime or tract [default: the first that works]
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// The device: cpu, cuda, rocm or migraphx
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
    if let Some(picture) = &args.plot {
        crate::plot::check_name(picture)?;
    }
    let is_ours = forecast::is_ours(model);
    if is_ours {
        only_for_onnx(&args)?;
    }
    let options = options(&args.window, threads)?;
    if let Some(socket) = &args.warm {
        let files = args.input.as_deref().zip(args.output.as_deref());
        return warm::run(socket, model, files, &options, args.runner.quiet);
    }
    let (Some(input), Some(output)) = (&args.input, &args.output) else {
        bail!("say what goes in and what comes out: --input FILE --output FILE");
    };
    interrupt::leave_nothing_half_made().context("cannot wait for signals")?;
    let world = mizar_comm::world().context("cannot join the other ranks")?;
    let watch = mizar_comm::Watch::start(world.as_ref(), end_without)
        .context("cannot join the other ranks")?;
    let (is_quiet, is_json) = (args.runner.quiet, args.json);
    let (code, steps) = if is_ours {
        let how = forecast::How {
            threads,
            is_quiet,
            is_json,
        };
        match forecast::run(world.as_ref(), model, input, output, &how) {
            Ok(steps) => (ExitCode::SUCCESS, steps),
            Err(code) => (code, 1),
        }
    } else {
        let open = || Ok(loader.open(model)?);
        let told = Told { is_quiet, is_json };
        let code = over_file(world.as_ref(), input, output, &options, told, open);
        (code, 1)
    };
    let mut drawn = Ok(());
    if code == ExitCode::SUCCESS && world.rank() == 0 {
        let inputs = [model.as_path(), input.as_path()];
        tell_daemon(inputs.into_iter(), std::iter::once(output.as_path()));
        if let Some(picture) = &args.plot {
            let last = u32::try_from(steps).unwrap_or(u32::MAX);
            drawn = forecast::draw(output, picture, args.plot_step.unwrap_or(last));
        }
    }
    drop(watch);
    drawn.map(|()| code)
}

/// What a model of ours says itself cannot be said again.
fn only_for_onnx(args: &Args) -> anyhow::Result<()> {
    /// The flags of a window alone.
    #[derive(clap::Parser)]
    struct Defaults {
        #[command(flatten)]
        window: Window,
    }
    let Defaults { window } = clap::Parser::try_parse_from(["mizar"])?;
    if args.window != window {
        bail!(
            "a safetensors model says itself what it sees: leave out --variables, --layout, \
             --tile, --steps and their like (they are for ONNX models)"
        );
    }
    if args.warm.is_some() {
        bail!("--warm is for ONNX models; a safetensors model is loaded here: leave it out");
    }
    let files = args.input.iter().chain(&args.output);
    if let Some(array) = files.into_iter().find(|path| is_array(path)) {
        bail!(
            "{}: a safetensors model forecasts cubes: give NetCDF files or Zarr stores",
            array.display()
        );
    }
    Ok(())
}

/// What is said on the way.
#[derive(Clone, Copy)]
struct Told {
    is_quiet: bool,
    is_json: bool,
}

/// Opens the model on every rank and runs it over one file.
fn over_file(
    comm: &dyn Communicator,
    input: &Path,
    output: &Path,
    options: &Options,
    told: Told,
    open: impl Fn() -> anyhow::Result<Loaded>,
) -> ExitCode {
    let is_first = comm.rank() == 0;
    let is_quiet = told.is_quiet;
    let failed = |message: String| {
        if is_first {
            say(&format!("mizar infer: {message}"));
        }
        ExitCode::from(crate::EXIT_FAILED)
    };
    let opened = open().map_err(|error| InferError::Unfit(format!("{error:#}")));
    let mut loaded = match mizar_comm::agree(comm, opened) {
        Ok(loaded) => loaded,
        Err(error) => return failed(error.chain()),
    };
    if is_first && !is_quiet {
        for note in &loaded.passed_over {
            say(&format!("mizar infer: note: {note}"));
        }
        say(&format!(
            "mizar infer: {} by {}",
            loaded.file_name,
            loaded.model.backend()
        ));
    }
    if is_array(input) || is_array(output) {
        return match over_array(comm, input, output, &mut loaded, options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(format!("{error:#}")),
        };
    }
    let started = Instant::now();
    let last = std::sync::Mutex::new(started);
    let progress = |done: usize, all: usize| {
        let Ok(mut last) = last.lock() else { return };
        if is_first && !is_quiet && last.elapsed() >= LINE_EVERY {
            *last = Instant::now();
            let share = 100 * done / all.max(1);
            let seconds = started.elapsed().as_secs();
            say(&format!("mizar infer: {share} % after {seconds} s"));
        }
    };
    match cube::infer(comm, input, output, &mut loaded, options, &progress) {
        Ok(outcome) => {
            if is_first && told.is_json {
                crate::cube::print(&format!("{}\n", summary(&loaded, &outcome, output)));
            }
            tell(&outcome, is_first)
        }
        Err(error) => failed(error.chain()),
    }
}

/// What `--json` tells.
fn summary(loaded: &Loaded, outcome: &Outcome, output: &Path) -> serde_json::Value {
    serde_json::json!({
        "model": loaded.file_name,
        "digest": loaded.digest,
        "backend": loaded.model.backend(),
        "output": output,
        "items": outcome.items,
        "failed": outcome.failed,
        "failures": outcome.failures,
        "window": outcome.window,
        "batch": outcome.batch,
    })
}

/// Names the items that failed.
fn tell(outcome: &Outcome, is_first: bool) -> ExitCode {
    if outcome.failed == 0 {
        return ExitCode::SUCCESS;
    }
    if is_first {
        for failure in outcome.failures.iter().take(FAILURES_SHOWN) {
            let (steps, rows, columns) = (&failure.steps, &failure.rows, failure.columns);
            say(&format!(
                "mizar infer: failed: steps {}..{}, rows {}..{}, columns {}..{}: {}",
                steps.start, steps.end, rows.start, rows.end, columns.0, columns.1, failure.reason
            ));
        }
        say(&format!(
            "mizar infer: {} of {} items failed; their values are missing in the output",
            outcome.failed, outcome.items
        ));
    }
    ExitCode::from(EXIT_ITEMS_FAILED)
}

/// An array goes through the model as it is, row by row of its first dimension.
fn over_array(
    comm: &dyn Communicator,
    input: &Path,
    output: &Path,
    loaded: &mut Loaded,
    options: &Options,
) -> anyhow::Result<()> {
    if !(is_array(input) && is_array(output)) {
        bail!("arrays (.npy) become arrays: both --input and --output must be .npy");
    }
    if comm.size() > 1 {
        bail!("arrays (.npy) are for one rank; put them in a NetCDF file to share them");
    }
    let array = npy::read(input)?;
    let result = mizar_infer::run_rows(&mut *loaded.model, &array, options.batch)?;
    npy::write(output, &result)?;
    Ok(())
}

fn is_array(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "npy")
}

/// All back ends of this build, best first.
fn loader(runner: &Runner, threads: usize) -> anyhow::Result<Loader> {
    let runtime = OnnxRuntime::new(runner.onnxruntime.clone());
    let loader = Loader::new(threads, runner.provider).with(runtime);
    #[cfg(feature = "tract")]
    let loader = loader.with(mizar_infer_tract::Tract);
    Ok(match &runner.backend {
        Some(name) => loader.only(name)?,
        None => loader,
    })
}

fn options(window: &Window, threads: usize) -> anyhow::Result<Options> {
    let scaling = |text: &Option<String>, flag| {
        let text = text.as_ref();
        text.map(|text| Scaling::parse(text, flag)).transpose()
    };
    let words: Vec<String> = std::env::args().skip(1).collect();
    Ok(Options {
        variables: window.variables.clone(),
        layout: window.layout.clone(),
        output_layout: window.output_layout.clone(),
        tile: window.tile,
        halo: window.halo,
        wrap: window.wrap,
        steps: window.steps,
        stride: window.stride,
        align: window.align,
        batch: window.batch,
        missing: window.missing,
        normalise: scaling(&window.normalise, "--normalise")?,
        denormalise: scaling(&window.denormalise, "--denormalise")?,
        outputs: window.outputs.clone(),
        threads,
        history: format!("{} mizar {}", date_now(), words.join(" ")),
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

fn layout(text: &str) -> Result<Layout, String> {
    Layout::parse(text).map_err(|error| error.to_string())
}

fn pair(text: &str) -> Result<(usize, usize), String> {
    let refuse = || format!("`{text}` is not CELLS or ROWSxCOLUMNS");
    let number = |text: &str| text.parse().map_err(|_| refuse());
    match text.split_once('x') {
        Some((rows, columns)) => Ok((number(rows)?, number(columns)?)),
        None => number(text).map(|both| (both, both)),
    }
}

fn align(text: &str) -> Result<Align, String> {
    match text {
        "first" => Ok(Align::First),
        "center" => Ok(Align::Center),
        "last" => Ok(Align::Last),
        other => Err(format!("`{other}` is not first, center or last")),
    }
}

fn missing(text: &str) -> Result<Missing, String> {
    let value = text.strip_prefix("fill=");
    match (text, value.and_then(|value| value.parse().ok())) {
        ("refuse", _) => Ok(Missing::Refuse),
        ("mask", _) => Ok(Missing::Mask),
        (_, Some(value)) => Ok(Missing::Fill(value)),
        _ => Err(format!("`{text}` is not refuse, fill=VALUE or mask")),
    }
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

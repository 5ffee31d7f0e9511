//! `mizar infer` of ONNX models over cubes: flags say how the model sees fields, failed items are
//! named.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use mizar_comm::Communicator;
use mizar_infer::cube::{self, Align, Feed, InferError, Layout, Missing, Options, Outcome};
use mizar_infer::{Loaded, Scaling};

use super::{How, LINE_EVERY, history, introduce, say};

/// Done, but some items gave nothing sound.
const EXIT_ITEMS_FAILED: u8 = 3;

/// Failed items that are named; all are counted.
const FAILURES_SHOWN: usize = 10;

/// How a model sees fields.
#[derive(Debug, PartialEq, clap::Args)]
pub(super) struct Window {
    /// Variables that are the channels, in this order [default: all data variables]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    variables: Vec<String>,
    /// Variables of one input of a model of several; once for each input, LETTERS as --layout's
    /// [default: the variable of the input's name]
    #[arg(long, value_name = "INPUT[:LETTERS]=NAME,...", value_parser = feed)]
    feed: Vec<Feed>,
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
    /// Cells at each edge of a tile that do not come out of the model, where that is not plain from
    /// its output
    #[arg(long, value_name = "CELLS[xCELLS]", value_parser = pair)]
    margin: Option<(usize, usize)>,
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
    pub(super) batch: Option<usize>,
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

/// Opens the model on every rank and runs it over one file.
pub(super) fn over_cube(
    comm: &dyn Communicator,
    input: &Path,
    output: &Path,
    window: &Window,
    how: &How,
    open: impl Fn() -> anyhow::Result<Loaded>,
) -> ExitCode {
    let is_first = comm.rank() == 0;
    let is_quiet = how.is_quiet;
    let failed = |message: String| {
        if is_first {
            say(&format!("mizar infer: {message}"));
        }
        ExitCode::from(crate::EXIT_FAILED)
    };
    let options = match options(window, how) {
        Ok(options) => options,
        Err(error) => return failed(format!("{error:#}")),
    };
    let opened = open().map_err(|error| InferError::Unfit(format!("{error:#}")));
    let mut loaded = match mizar_comm::agree(comm, opened) {
        Ok(loaded) => loaded,
        Err(error) => return failed(error.chain()),
    };
    if is_first && !is_quiet {
        introduce(&loaded);
    }
    crate::memory::keep_freed();
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
    match cube::infer(comm, input, output, &mut loaded, &options, &progress) {
        Ok(outcome) => {
            if is_first && how.is_json {
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

fn options(window: &Window, how: &How) -> anyhow::Result<Options> {
    let scaling = |text: &Option<String>, flag| {
        let text = text.as_ref();
        text.map(|text| Scaling::parse(text, flag)).transpose()
    };
    Ok(Options {
        variables: window.variables.clone(),
        feeds: window.feed.clone(),
        layout: window.layout.clone(),
        output_layout: window.output_layout.clone(),
        tile: window.tile,
        halo: window.halo,
        margin: window.margin,
        wrap: window.wrap,
        steps: window.steps,
        stride: window.stride,
        align: window.align,
        batch: window.batch,
        missing: window.missing,
        normalise: scaling(&window.normalise, "--normalise")?,
        denormalise: scaling(&window.denormalise, "--denormalise")?,
        outputs: window.outputs.clone(),
        threads: how.threads,
        history: history(),
        compression: how.compression,
    })
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

fn feed(text: &str) -> Result<Feed, String> {
    Feed::parse(text).map_err(|error| error.to_string())
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

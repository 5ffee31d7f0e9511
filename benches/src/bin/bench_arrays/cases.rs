//! The promises of the array engine, one case a row.
//!
//! Read by the program's `main`. A case is one operator on one file, with the programs that it
//! is run in beside `mizar cube` and what is promised against each.

/// How the field is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// A chunk a day, shuffled and deflated.
    Slab,
    /// A chunk a year of a sixteenth of the globe, shuffled and deflated.
    Block,
    /// In one piece, not compressed.
    Raw,
}

impl Layout {
    /// The file's name without its ending.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Slab => "slab",
            Self::Block => "block",
            Self::Raw => "raw",
        }
    }
}

/// What is promised; the number is the ratio of ours to the peer's, at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Promise {
    /// Processor time of one thread.
    CdoCpu(f64),
    /// Wall time of two threads.
    CdoWall(f64),
    /// Wall time of two threads.
    XarrayWall(f64),
    /// Peak memory of two threads.
    XarrayMemory(f64),
    /// Processor time of one thread.
    LoopCpu(f64),
    /// Processor time of one thread, against that of `timmean` alone.
    MeanCpu(f64),
}

/// What the result's accumulators hold, for the promise about memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Accumulators {
    /// So many bytes a cell of the field.
    PerCell(usize),
    /// Nothing is kept: memory is the window alone.
    None,
}

/// One operator on one file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// Of the operator, and of `--case` before the dash.
    pub(crate) name: &'static str,
    /// How the file is stored.
    pub(crate) layout: Layout,
    /// Must exist, else the case is not available.
    pub(crate) operators: &'static [&'static str],
    /// For `mizar cube` and `cdo`; `{in}` is the file.
    pub(crate) chain: &'static [&'static str],
    /// Whether CDO has the same.
    pub(crate) in_cdo: bool,
    /// Whether the Python script has it.
    pub(crate) in_xarray: bool,
    /// Whether the C loop has it.
    pub(crate) in_loop: bool,
    /// What is promised.
    pub(crate) promises: &'static [Promise],
    /// What must be held in any case.
    pub(crate) accumulators: Accumulators,
}

/// Days of the year, each with a field of its own.
const YEAR: usize = 365;

/// A sum and a count.
const MEAN_BYTES: usize = 12;

/// Five statistics in one pass.
pub(crate) const FIVE: &str = "-timmean,timmin,timmax,timstd,timsum";

use Accumulators::PerCell;
use Promise::{CdoCpu, CdoWall, LoopCpu, MeanCpu, XarrayMemory, XarrayWall};

/// What is promised of compressed files.
const PACKED: &[Promise] = &[CdoCpu(0.5), CdoWall(0.29), LoopCpu(1.3)];

/// Of plain ones.
const PLAIN: &[Promise] = &[CdoCpu(0.5), CdoWall(0.34), LoopCpu(1.3)];

const fn simple(
    name: &'static str,
    layout: Layout,
    operators: &'static [&'static str],
    chain: &'static [&'static str],
    promises: &'static [Promise],
    accumulators: Accumulators,
) -> Case {
    Case {
        name,
        layout,
        operators,
        chain,
        in_cdo: true,
        in_xarray: true,
        in_loop: true,
        promises,
        accumulators,
    }
}

const fn basic(layout: Layout, promises: &'static [Promise]) -> [Case; 4] {
    [
        simple(
            "timmean",
            layout,
            &["timmean"],
            &["-timmean", "{in}"],
            promises,
            PerCell(MEAN_BYTES),
        ),
        simple(
            "timmax",
            layout,
            &["timmax"],
            &["-timmax", "{in}"],
            promises,
            PerCell(8),
        ),
        simple(
            "monmean",
            layout,
            &["monmean"],
            &["-monmean", "{in}"],
            promises,
            PerCell(MEAN_BYTES),
        ),
        simple(
            "fldmean",
            layout,
            &["fldmean"],
            &["-fldmean", "{in}"],
            promises,
            Accumulators::None,
        ),
    ]
}

/// Every case, in the order that they run.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(basic(Layout::Slab, PACKED));
    cases.extend(basic(Layout::Raw, PLAIN));
    cases.push(simple(
        "timmean",
        Layout::Block,
        &["timmean"],
        &["-timmean", "{in}"],
        &[CdoCpu(0.5), LoopCpu(1.3)],
        PerCell(MEAN_BYTES),
    ));
    cases.push(Case {
        in_cdo: false,
        in_xarray: false,
        ..simple(
            "five",
            Layout::Slab,
            &["timmean", "timmin", "timmax", "timstd", "timsum"],
            &[FIVE, "{in}"],
            &[MeanCpu(1.2), LoopCpu(1.3)],
            PerCell(5 * 8 + 2 * 4),
        )
    });
    cases.push(simple(
        "ydaymean",
        Layout::Slab,
        &["ydaymean"],
        &["-ydaymean", "{in}"],
        &[XarrayWall(0.125), XarrayMemory(0.1), LoopCpu(1.3)],
        PerCell(YEAR * MEAN_BYTES),
    ));
    cases.push(Case {
        in_loop: false,
        ..simple(
            "anomaly",
            Layout::Slab,
            &["ydaymean", "ydaysub"],
            &["-ydaysub", "{in}", "-ydaymean", "{in}"],
            &[XarrayWall(0.125), XarrayMemory(0.1)],
            PerCell(YEAR * MEAN_BYTES),
        )
    });
    for (name, operators, chain) in [
        (
            "remapbil",
            &["remapbil"] as &[_],
            &["-remapbil,r180x90", "{in}"] as &[_],
        ),
        // CDO makes new weights for each field whose missing values differ: of the whole file it
        // would make them for longer than all other cases take together.
        (
            "remapcon",
            &["remapcon"],
            &["-remapcon,r180x90", "-seltimestep,1/100", "{in}"],
        ),
    ] {
        cases.push(Case {
            in_xarray: false,
            in_loop: false,
            ..simple(
                name,
                Layout::Slab,
                operators,
                chain,
                &[CdoWall(0.7)],
                Accumulators::None,
            )
        });
    }
    cases
}

//! Runs a plan over ranks and threads.
//!
//! Every rank compiles the same plan. Variables are computed one after the other: first the
//! stages inside (reductions over time whose result is used by another operator), which end
//! in memory on every rank, then the variable itself, which is written. Reductions of the
//! same data over the same groups are computed together, in one pass.
//!
//! **Invariant:** the bits of a result depend on the inputs and the command alone. Units of
//! work follow the files' chunks, never the number of ranks or threads, and partial results
//! merge by a fixed tree over the units.
//!
//! **Invariant:** ranks agree on success before each next step, so one that fails ends all,
//! and no output appears.

mod deliver;
mod estimate;
mod reduce;
mod series;
mod shared;
mod stream;
mod tree;
mod units;

use std::collections::BTreeMap;
use std::sync::Arc;

use mizar_comm::{Communicator, agree};

use crate::cube::{Content, Cube};
use crate::dataset::DType;
use crate::error::CubeError;
use crate::plan::expr::{Expr, Held};
use crate::plan::region;
use crate::plan::{Output, Plan};
use crate::write::{WriteOptions, Writer};

/// Files that are written side by side, so that what they have in common is computed once. An
/// operator that splits makes more: those follow.
const OUTPUTS_AT_ONCE: usize = 8;

pub use estimate::{Estimate, Step, estimate};
pub use shared::SharedWriter;

/// How far a run is: units of work done and, of the variable at hand, all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The variable at hand.
    pub variable: &'a str,
    /// Units done on this rank.
    pub done: u64,
    /// Units of this rank.
    pub total: u64,
    /// Bytes of files that the units done lie in.
    pub read_bytes: u64,
}

/// Who is told of progress; may be called from any thread.
pub type ProgressSink<'a> = dyn Fn(Progress<'_>) + Sync + 'a;

/// Computes a plan and writes its outputs. Collective over `comm`; every rank brings a plan of
/// the same command. Returns on all ranks once the outputs are on disk; on rank 0 with the text
/// of an operator that prints.
///
/// # Errors
/// [`CubeError`] on all ranks if one fails: its own error where it failed, elsewhere
/// [`CubeError::Peer`] with its message. No output appears that is not whole.
pub fn execute(
    plan: &Plan,
    comm: &dyn Communicator,
    threads: usize,
    progress: &ProgressSink<'_>,
) -> Result<Option<String>, CubeError> {
    let pool = pool(comm, threads)?;
    let run = Run {
        plan,
        comm,
        pool: &pool,
        progress,
        threads,
    };
    if let Some(render) = &plan.render {
        let cube = run.to_memory(&plan.outputs[0].cube)?;
        run.check_inputs()?;
        return agree(comm, render(&cube)).map(Some);
    }
    for outputs in plan.outputs.chunks(OUTPUTS_AT_ONCE) {
        run.write(outputs)?;
    }
    Ok(None)
}

/// Computes the first output of a plan into memory, on every rank. Collective over `comm`.
///
/// # Errors
/// As [`execute`].
pub(crate) fn compute(
    plan: &Plan,
    comm: &dyn Communicator,
    threads: usize,
    progress: &ProgressSink<'_>,
) -> Result<Cube, CubeError> {
    let pool = pool(comm, threads)?;
    let run = Run {
        plan,
        comm,
        pool: &pool,
        progress,
        threads,
    };
    let cube = run.to_memory(&plan.outputs[0].cube)?;
    run.check_inputs()?;
    Ok(cube)
}

fn pool(comm: &dyn Communicator, threads: usize) -> Result<rayon::ThreadPool, CubeError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let failed = |source| CubeError::Threads {
        count: threads,
        source,
    };
    agree(comm, pool.map_err(failed))
}

/// A run of a plan on one rank.
struct Run<'a> {
    plan: &'a Plan,
    comm: &'a dyn Communicator,
    pool: &'a rayon::ThreadPool,
    progress: &'a ProgressSink<'a>,
    threads: usize,
}

/// A variable to be computed and written.
struct Job<'a> {
    /// Its writer, among those of the outputs at hand.
    writer: usize,
    /// Its index in the output.
    variable: usize,
    name: &'a str,
    dtype: DType,
    expr: &'a Expr,
}

/// The writers of the outputs at hand, on every rank.
type Writers = Vec<Writer>;

impl Run<'_> {
    /// Computes some outputs and makes them appear.
    fn write(&self, outputs: &[Output]) -> Result<(), CubeError> {
        let mut writers = self.start(outputs)?;
        let mut jobs: Vec<Job<'_>> = Vec::new();
        for (writer, output) in outputs.iter().enumerate() {
            let variables = output.cube.dataset.variables.iter();
            for (index, (variable, content)) in variables.zip(&output.cube.contents).enumerate() {
                if let Content::Lazy(expr) = content {
                    jobs.push(Job {
                        writer,
                        variable: index,
                        name: &variable.name,
                        dtype: variable.dtype,
                        expr,
                    });
                }
            }
        }
        while !jobs.is_empty() {
            let first = jobs.remove(0);
            match first.expr {
                Expr::Time(reduction) => {
                    let (together, later): (Vec<_>, Vec<_>) = jobs.into_iter().partition(
                        |job| matches!(job.expr, Expr::Time(other) if other.reads_as(reduction)),
                    );
                    jobs = later;
                    let together: Vec<Job<'_>> = std::iter::once(first).chain(together).collect();
                    self.reduce_to_files(&together, &mut writers)?;
                }
                Expr::Series(series) => {
                    let (together, later): (Vec<_>, Vec<_>) = jobs.into_iter().partition(
                        |job| matches!(job.expr, Expr::Series(other) if other.reads_as(series)),
                    );
                    jobs = later;
                    let together: Vec<Job<'_>> = std::iter::once(first).chain(together).collect();
                    self.series_to_files(&together, &mut writers)?;
                }
                expr => {
                    let expr = self.hold_stages(expr, first.name)?;
                    self.stream(&first, &expr, &mut writers)?;
                }
            }
        }
        self.check_inputs()?;
        self.commit(writers)
    }

    /// How an output is stored: the same on all ranks. Collective.
    fn write_options(&self, output: &Output) -> Result<WriteOptions, CubeError> {
        let options = &self.plan.options;
        let mut chunks = self.chunks_of_bands(&output.cube)?;
        // What the user chose comes last: it wins.
        chunks.extend(output.chunks.clone());
        Ok(WriteOptions {
            format: output.format,
            compression: options.compression,
            chunks,
            ..WriteOptions::default()
        })
    }

    /// Chunk shapes for results that come by bands of cells: those of whole fields would be
    /// written again with every band.
    fn chunks_of_bands(&self, cube: &Cube) -> Result<BTreeMap<usize, Vec<usize>>, CubeError> {
        let mut chunks = BTreeMap::new();
        for (index, content) in cube.contents.iter().enumerate() {
            let Content::Lazy(Expr::Series(series)) = content else {
                continue;
            };
            let bands = self.bands(series, 1)?;
            let element_bytes = cube.dataset.variables[index].dtype.size_bytes();
            let chunk =
                crate::write::chunk_of_bands(&series.shape(), series.axis, &bands, element_bytes);
            chunks.extend(chunk.map(|chunk| (index, chunk)));
        }
        Ok(chunks)
    }

    /// Checks that inputs stayed as they were: a rank that finds a change stops the others
    /// before any file appears.
    fn check_inputs(&self) -> Result<(), CubeError> {
        let mut unchanged = self.plan.sources.iter();
        let result = unchanged.try_for_each(|source| source.check_unchanged());
        agree(self.comm, result.map_err(CubeError::from))
    }

    /// The cube with all its data computed, on every rank.
    fn to_memory(&self, cube: &Cube) -> Result<Cube, CubeError> {
        let mut cube = cube.clone();
        for (index, variable) in cube.dataset.variables.iter().enumerate() {
            if let Content::Lazy(expr) = &cube.contents[index] {
                let whole = Expr::Hold(Arc::new(expr.clone()));
                let Expr::Held(held) = self.hold_stages(&whole, &variable.name)? else {
                    continue;
                };
                cube.contents[index] = Content::Numbers(held.values);
            }
        }
        Ok(cube)
    }

    /// Computes all stages of an expression, innermost first, and puts their results in their
    /// place.
    fn hold_stages(&self, expr: &Expr, name: &str) -> Result<Expr, CubeError> {
        let mut expr = expr.clone();
        loop {
            let stages = expr.innermost_stages();
            let pairs = match stages.first() {
                None => return Ok(expr),
                Some(Expr::Time(first)) => {
                    let of_time = |stage: &&Expr| match stage {
                        Expr::Time(other) if other.reads_as(first) => Some(Arc::clone(other)),
                        _ => None,
                    };
                    let together: Vec<_> = stages.iter().filter_map(of_time).collect();
                    let results = self.reduce_to_memory(&together, name)?;
                    let from = together.into_iter().map(Expr::Time);
                    from.zip(results.into_iter().map(Expr::Held)).collect()
                }
                Some(Expr::Series(first)) => {
                    let of_series = |stage: &&Expr| match stage {
                        Expr::Series(other) if other.reads_as(first) => Some(Arc::clone(other)),
                        _ => None,
                    };
                    let together: Vec<_> = stages.iter().filter_map(of_series).collect();
                    let results = self.series_to_memory(&together, name)?;
                    let from = together.into_iter().map(Expr::Series);
                    from.zip(results.into_iter().map(Expr::Held)).collect()
                }
                Some(stage) => vec![((*stage).clone(), self.hold(stage)?)],
            };
            expr = expr.replace(&pairs);
        }
    }

    /// Computes an expression without stages as a whole, on every rank.
    fn hold(&self, stage: &Expr) -> Result<Expr, CubeError> {
        let expr = match stage {
            Expr::Hold(child) => child,
            other => other,
        };
        if let Expr::Held(_) = expr {
            return Ok(expr.clone());
        }
        let shape = expr.shape();
        let whole: region::Region = shape.iter().map(|&len| 0..len).collect();
        let mut values = vec![0.0; region::cells(&whole)];
        let filled = self.pool.install(|| expr.fill(&whole, &mut values));
        agree(self.comm, filled)?;
        Ok(Expr::Held(Held {
            shape,
            values: Arc::new(values),
        }))
    }

    /// Computes and writes a variable block by block.
    fn stream(&self, job: &Job<'_>, expr: &Expr, writers: &mut Writers) -> Result<(), CubeError> {
        if job.dtype == DType::F32 && expr.is_single() {
            self.stream_to_file::<f32>(expr, job, writers)
        } else {
            self.stream_to_file::<f64>(expr, job, writers)
        }
    }
}

//! Runs a plan over ranks and threads.
//!
//! Every rank compiles the same plan. Variables are computed one after the other: first the
//! stages inside (reductions over time whose result is used by another operator), which end
//! in memory on every rank, then the variable itself, which rank 0 writes.
//!
//! **Invariant:** the bits of a result depend on the inputs and the command alone. Units of
//! work follow the files' chunks, never the number of ranks or threads, and partial results
//! merge by a fixed tree over the units.
//!
//! **Invariant:** ranks agree on success before each next step, so one that fails ends all,
//! and no output appears.

mod agree;
mod reduce;
mod stream;
mod tree;
mod units;

use std::sync::Arc;

use mizar_comm::Communicator;

use crate::cube::Content;
use crate::dataset::DType;
use crate::error::CubeError;
use crate::ops::field::FieldMean;
use crate::plan::Plan;
use crate::plan::expr::{Expr, Held, TimeReduction};
use crate::plan::region;
use crate::write::{WriteOptions, Writer};

pub use agree::agree;

/// How far a run is: units of work done and, of the variable at hand, all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The variable at hand.
    pub variable: &'a str,
    /// Units done on this rank.
    pub done: u64,
    /// Units of this rank.
    pub total: u64,
}

/// Who is told of progress; may be called from any thread.
pub type ProgressSink<'a> = dyn Fn(Progress<'_>) + Sync + 'a;

/// Computes a plan and writes its output. Collective over `comm`; every rank brings a plan of
/// the same command. Returns on all ranks once the output is on disk.
///
/// # Errors
/// [`CubeError`] on all ranks if one fails: its own error where it failed, elsewhere
/// [`CubeError::Peer`] with its message. No output appears.
pub fn execute(
    plan: &Plan,
    comm: &dyn Communicator,
    threads: usize,
    progress: &ProgressSink<'_>,
) -> Result<(), CubeError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = agree(
        comm,
        pool.map_err(|source| CubeError::Threads {
            count: threads,
            source,
        }),
    )?;
    let mut run = Run {
        plan,
        comm,
        pool: &pool,
        progress,
        threads,
        writer: None,
    };
    let started = run.start();
    run.writer = agree(comm, started)?;
    let names = plan
        .cube
        .dataset
        .variables
        .iter()
        .map(|variable| variable.name.as_str());
    for (index, name) in names.enumerate() {
        if let Content::Lazy(expr) = &plan.cube.contents[index] {
            let expr = run.hold_stages(expr, name)?;
            run.write_lazy(index, name, &expr)?;
        }
    }
    let finished = run.finish();
    agree(comm, finished)
}

/// A run of a plan on one rank.
struct Run<'a> {
    plan: &'a Plan,
    comm: &'a dyn Communicator,
    pool: &'a rayon::ThreadPool,
    progress: &'a ProgressSink<'a>,
    threads: usize,
    /// On rank 0.
    writer: Option<Writer>,
}

impl Run<'_> {
    /// On rank 0, begins the output and writes what is in memory.
    fn start(&self) -> Result<Option<Writer>, CubeError> {
        if self.comm.rank() != 0 {
            return Ok(None);
        }
        let defaults = WriteOptions::default();
        let options = match self.plan.options.deflate_level {
            None => defaults,
            Some(0) => WriteOptions {
                deflate_level: None,
                ..defaults
            },
            Some(level) => WriteOptions {
                deflate_level: Some(level),
                ..defaults
            },
        };
        let cube = &self.plan.cube;
        let mut writer = Writer::create(&self.plan.output, &cube.dataset, &options)?;
        for (index, content) in cube.contents.iter().enumerate() {
            match content {
                Content::Numbers(values) => {
                    writer.write_f64(index, &cube.dataset.whole(index), values)?;
                }
                Content::Texts(texts) => writer.write_text(index, texts)?,
                Content::Lazy(_) => {}
            }
        }
        Ok(Some(writer))
    }

    /// On rank 0, makes the output appear; everywhere, checks that inputs stayed as they were.
    fn finish(&mut self) -> Result<(), CubeError> {
        for source in &self.plan.sources {
            source.check_unchanged()?;
        }
        // A rank that finds a change must stop the others before the file appears.
        agree(self.comm, Ok(()))?;
        Ok(self.writer.take().map_or(Ok(()), Writer::commit)?)
    }

    /// Computes the stages inside an expression, innermost first, and puts their results in
    /// their place; the expression itself may remain a reduction over time.
    fn hold_stages(&self, expr: &Expr, name: &str) -> Result<Expr, CubeError> {
        Ok(match expr {
            Expr::Source(_) | Expr::Held(_) => expr.clone(),
            Expr::Select { child, picks } => {
                let child = Arc::new(self.hold(child, name)?);
                Expr::Select {
                    child,
                    picks: picks.clone(),
                }
            }
            Expr::Field(field) => {
                let child = self.hold(&field.child, name)?;
                let mut held = FieldMean::clone(field);
                held.child = child;
                Expr::Field(Arc::new(held))
            }
            Expr::Pair(pairing) => {
                Expr::Pair(Arc::new(pairing.map(|operand| self.hold(operand, name))?))
            }
            Expr::Time(reduction) => {
                let mut held = TimeReduction::clone(reduction);
                held.child = self.hold(&reduction.child, name)?;
                Expr::Time(Arc::new(held))
            }
            Expr::Hold(child) => self.hold_stages(child, name)?,
        })
    }

    /// As [`hold_stages`](Self::hold_stages), and the expression itself if it is a stage.
    fn hold(&self, expr: &Expr, name: &str) -> Result<Expr, CubeError> {
        match self.hold_stages(expr, name)? {
            Expr::Time(reduction) => {
                let shape = Expr::Time(Arc::clone(&reduction)).shape();
                let values = self.reduce_to_memory(&reduction, name)?;
                Ok(Expr::Held(Held {
                    shape,
                    values: Arc::new(values),
                }))
            }
            held @ Expr::Held(_) => Ok(held),
            other if matches!(expr, Expr::Hold(_)) => {
                let shape = other.shape();
                let whole: region::Region = shape.iter().map(|&len| 0..len).collect();
                let mut values = vec![0.0; region::cells(&whole)];
                let filled = self.pool.install(|| other.fill(&whole, &mut values));
                agree(self.comm, filled)?;
                Ok(Expr::Held(Held {
                    shape,
                    values: Arc::new(values),
                }))
            }
            other => Ok(other),
        }
    }

    fn write_lazy(&mut self, index: usize, name: &str, expr: &Expr) -> Result<(), CubeError> {
        let single = self.plan.cube.dataset.variables[index].dtype == DType::F32;
        match expr {
            Expr::Time(reduction) => self.reduce_to_file(reduction, index, name),
            _ if single && expr.is_single() => self.stream_to_file::<f32>(expr, index, name),
            _ => self.stream_to_file::<f64>(expr, index, name),
        }
    }
}

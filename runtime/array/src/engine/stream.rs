//! Results whose blocks can be computed one by one: pulled in waves, written in order.

use rayon::prelude::*;

use super::{Job, Progress, Run, Writers, agree, units};
use crate::error::CubeError;
use crate::plan::expr::{Expr, Readable};
use crate::plan::region::{self, Region};
use crate::write::Writer;

/// Units of each thread in one wave: enough to even out their lengths; all blocks of a wave are
/// in memory at once.
pub(super) const UNITS_PER_THREAD: usize = 2;

/// A sample that can be sent and written.
pub(super) trait Streamed: Readable {
    fn to_bytes(values: &[Self]) -> Vec<u8>;
    fn from_bytes(bytes: &[u8]) -> Vec<Self>;
    fn write(
        writer: &mut Writer,
        variable: usize,
        region: &Region,
        values: &[Self],
    ) -> Result<(), CubeError>;
}

/// One implementation a sample type: they differ in nothing but its name and width.
macro_rules! streamed {
    ($sample:ty, $write:ident) => {
        impl Streamed for $sample {
            fn to_bytes(values: &[Self]) -> Vec<u8> {
                values
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect()
            }
            fn from_bytes(bytes: &[u8]) -> Vec<Self> {
                let (samples, _) = bytes.as_chunks::<{ size_of::<Self>() }>();
                samples
                    .iter()
                    .map(|sample| Self::from_le_bytes(*sample))
                    .collect()
            }
            fn write(
                writer: &mut Writer,
                variable: usize,
                region: &Region,
                values: &[Self],
            ) -> Result<(), CubeError> {
                Ok(writer.$write(variable, region, values)?)
            }
        }
    };
}

streamed!(f32, write_f32);
streamed!(f64, write_f64);

impl Run<'_> {
    /// Computes an expression without stages block by block; rank 0 writes.
    pub(super) fn stream_to_file<T: Streamed>(
        &self,
        expr: &Expr,
        job: &Job<'_>,
        writers: &mut Writers,
    ) -> Result<(), CubeError> {
        let blocks = blocks(expr);
        let (rank, ranks) = (self.comm.rank(), self.comm.size());
        let per_wave = (self.threads * UNITS_PER_THREAD).max(1);
        // Threads of ranks may differ: the width of a wave must not.
        let mut width = (per_wave as u64).to_le_bytes().to_vec();
        self.comm.broadcast(0, &mut width)?;
        let width = width.as_slice().try_into().map_or(1, u64::from_le_bytes) as usize;
        let mut read_bytes = 0;
        for (number, wave) in blocks.chunks(width * ranks).enumerate() {
            let own = wave.iter().skip(rank * width).take(width);
            read_bytes += own
                .clone()
                .map(|region| expr.stored_bytes(region))
                .sum::<u64>();
            let computed = self.pool.install(|| {
                let pull = |region: &Region| {
                    let mut values = vec![T::default(); region::cells(region)];
                    expr.fill(region, &mut values).map(|()| values)
                };
                own.collect::<Vec<_>>()
                    .into_par_iter()
                    .map(pull)
                    .collect::<Result<Vec<_>, _>>()
            });
            let computed = agree(self.comm, computed)?;
            let mut writer = writers.get_mut(job.writer).map(|writer| Target {
                writer,
                variable: job.variable,
                pool: self.pool,
            });
            let written = self.write_wave(&mut writer, wave, width, computed);
            agree(self.comm, written)?;
            let (done, total) = (
                (number * width * ranks + wave.len()) as u64,
                blocks.len() as u64,
            );
            (self.progress)(Progress {
                variable: job.name,
                done,
                total,
                read_bytes,
            });
        }
        Ok(())
    }

    /// Brings a wave's blocks to rank 0 and writes them in order.
    fn write_wave<T: Streamed>(
        &self,
        target: &mut Option<Target<'_>>,
        wave: &[Region],
        width: usize,
        own: Vec<Vec<T>>,
    ) -> Result<(), CubeError> {
        if self.comm.size() == 1 {
            let Some(target) = target else {
                return Ok(());
            };
            let mut pairs = wave.iter().zip(own);
            return pairs.try_for_each(|(region, values)| target.write(region, &values));
        }
        let Some(parts) = self.comm.gather(0, &T::to_bytes(&own.concat()))? else {
            return Ok(());
        };
        let Some(target) = target else {
            return Ok(());
        };
        for (rank, (regions, part)) in wave.chunks(width).zip(&parts).enumerate() {
            let values = T::from_bytes(part);
            let mut rest = values.as_slice();
            for region in regions {
                let Some((values, tail)) = rest.split_at_checked(region::cells(region)) else {
                    return Err(CubeError::Protocol { rank });
                };
                target.write(region, values)?;
                rest = tail;
            }
        }
        Ok(())
    }
}

/// A variable of a file that is being written.
struct Target<'a> {
    writer: &'a mut Writer,
    variable: usize,
    /// Chunks are encoded by the threads of the run, not by all of the machine.
    pool: &'a rayon::ThreadPool,
}

impl Target<'_> {
    fn write<T: Streamed>(&mut self, region: &Region, values: &[T]) -> Result<(), CubeError> {
        let (writer, variable) = (&mut *self.writer, self.variable);
        self.pool
            .install(|| T::write(writer, variable, region, values))
    }
}

/// The blocks of an expression, in an order that goes along the slowest dimension.
pub(super) fn blocks(expr: &Expr) -> Vec<Region> {
    if expr.shape().is_empty() {
        return vec![Region::new()];
    }
    let cutting = units::cut(expr, 0, units::UNIT_CELLS_MAX);
    let with = |range: &std::ops::Range<usize>| {
        let range = range.clone();
        cutting.columns.iter().map(move |column| {
            let mut region = column.clone();
            region[0] = range.clone();
            region
        })
    };
    cutting.blocks.iter().flat_map(with).collect()
}

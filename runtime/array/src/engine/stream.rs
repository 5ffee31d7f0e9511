//! Results whose blocks can be computed one by one: pulled and encoded in waves, written in order.

use std::sync::{Mutex, PoisonError};

use mizar_comm::agree;
use rayon::prelude::*;

use super::{Job, Progress, Run, Writers, deliver, units};
use crate::error::CubeError;
use crate::plan::expr::{Expr, Readable};
use crate::plan::region::{self, Region};
use crate::write::{Input, Piece};

/// Cells of a block, unless one storage chunk has more: a thread's few arrays of them stay in its
/// cache, and the last block of a wave does not keep the others waiting for long.
const BLOCK_CELLS_MAX: usize = units::UNIT_CELLS_MAX / 8;

/// Cells of each thread in one wave; all blocks of a wave are in memory at once, encoded.
const WAVE_CELLS_PER_THREAD: usize = 2 * units::UNIT_CELLS_MAX;

/// Few threads have waves as long as those of so many.
const WAVE_THREADS_MIN: usize = 8;

/// Blocks of each thread in one wave, at least.
const BLOCKS_PER_THREAD: usize = 2;

/// How many blocks of at most so many cells are computed before they are delivered.
pub(super) fn blocks_per_wave(threads: usize, widest_cells: usize) -> usize {
    let threads = threads.max(WAVE_THREADS_MIN);
    let by_cells = threads * WAVE_CELLS_PER_THREAD / widest_cells.max(1);
    by_cells.max(threads * BLOCKS_PER_THREAD)
}

/// The most cells of a block.
pub(super) fn widest(blocks: &[Region]) -> usize {
    blocks
        .iter()
        .map(|block| region::cells(block))
        .max()
        .unwrap_or(0)
}

impl Run<'_> {
    /// Computes an expression without stages block by block. Every rank encodes its blocks.
    pub(super) fn stream_to_file<T: Readable + Input>(
        &self,
        expr: &Expr,
        job: &Job<'_>,
        writers: &Writers,
    ) -> Result<(), CubeError> {
        let blocks = blocks(expr);
        let (rank, ranks) = (self.comm.rank(), self.comm.size());
        let per_wave = blocks_per_wave(self.threads, widest(&blocks));
        // Threads of ranks may differ: the width of a wave must not.
        let mut width = (per_wave as u64).to_le_bytes().to_vec();
        self.comm.broadcast(0, &mut width)?;
        let width = width.as_slice().try_into().map_or(1, u64::from_le_bytes) as usize;
        // Blocks take turns in a few buffers: new memory for each costs as much as reading it.
        let buffers: Mutex<Vec<Vec<T>>> = Mutex::default();
        let lock = || buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let writer = &writers[job.writer];
        let pull = |region: &Region| {
            let mut values = lock().pop().unwrap_or_default();
            if !expr.writes_all() {
                values.clear();
            }
            values.resize(region::cells(region), T::default());
            expr.fill(region, &mut values)?;
            let pieces = writer.cut(job.variable, region, &values)?;
            lock().push(values);
            Ok(pieces)
        };
        let mut read_bytes = 0;
        // A wave is stored while the next is computed: a thread that only stores leaves others
        // waiting.
        let mut computed_before = Vec::new();
        for (number, wave) in blocks.chunks(width * ranks).enumerate() {
            let own: Vec<&Region> = wave.iter().skip(rank * width).take(width).collect();
            read_bytes += own
                .iter()
                .map(|region| expr.stored_bytes(region))
                .sum::<u64>();
            let before = std::mem::take(&mut computed_before);
            let (computed, stored) = self.pool.install(|| {
                let compute = || own.into_par_iter().map(pull).collect();
                rayon::join(compute, || deliver::store(writer, job.variable, before))
            });
            let computed: Result<Vec<Vec<Piece>>, CubeError> = computed;
            let pieces = agree(self.comm, stored.and(computed))?;
            let pieces = pieces.into_iter().flatten().collect();
            computed_before = agree(self.comm, deliver::collect(self.comm, pieces))?;
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
        let store = || deliver::store(writer, job.variable, computed_before);
        agree(self.comm, self.pool.install(store))
    }
}

/// The blocks of an expression, in an order that goes along the slowest dimension.
pub(super) fn blocks(expr: &Expr) -> Vec<Region> {
    if expr.shape().is_empty() {
        return vec![Region::new()];
    }
    let cutting = units::cut(expr, 0, BLOCK_CELLS_MAX);
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

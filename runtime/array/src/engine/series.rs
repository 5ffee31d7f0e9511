//! Functions of whole series: bands of cells, all steps of each, are read once into memory and
//! computed cell by cell.
//!
//! Bands are dealt to ranks, wave by wave, and written in order. A cell's result does not
//! depend on its band, so neither ranks nor memory change a bit. Chunks of a file that span
//! several bands are decoded for each of them.

use std::ops::Range;
use std::sync::Arc;

use mizar_comm::agree;
use rayon::prelude::*;

use super::{Job, Progress, Run, Writers, units};
use crate::error::CubeError;
use crate::plan::expr::{Expr, Held, Readable};
use crate::plan::region::{self, Region};
use crate::plan::series::Series;
use crate::write::Writer;

/// Bytes of series that are turned from steps by cells to cells by steps at once: they stay in
/// the cache.
const TILE_BYTES: usize = 256 << 10;

/// Cells of a tile: whole cache lines are read of each step.
const TILE_CELLS: std::ops::RangeInclusive<usize> = 16..=256;

/// Bytes of a result that ranks send at once.
const SENT_BYTES_MAX: usize = 16 << 20;

/// Where results of a wave go: index of the series, the bands of all ranks, the values of this
/// rank's. Collective.
type Sink<'a> = dyn FnMut(usize, &[Region], &[f64]) -> Result<(), CubeError> + 'a;

/// Who gets regions on rank 0.
type RegionSink<'a> = dyn FnMut(&Region, &[f64]) -> Result<(), CubeError> + 'a;

/// One child of a band in memory.
enum Block {
    Single(Vec<Part<f32>>),
    Double(Vec<Part<f64>>),
}

/// Some steps of a band, in the order of the file.
struct Part<T> {
    steps: Range<usize>,
    values: Vec<T>,
}

/// The shape of a band around time.
#[derive(Clone, Copy)]
struct Shape {
    outer: usize,
    inner: usize,
}

impl Shape {
    fn of(band: &Region, axis: usize) -> Self {
        let cells = |ranges: &[Range<usize>]| ranges.iter().map(Range::len).product();
        Self {
            outer: cells(&band[..axis]),
            inner: cells(&band[axis + 1..]),
        }
    }
}

impl Run<'_> {
    /// Computes variables that one reading gives. Every rank encodes its bands.
    pub(super) fn series_to_files(
        &self,
        jobs: &[Job<'_>],
        writers: &mut Writers,
    ) -> Result<(), CubeError> {
        let of_series = |job: &Job<'_>| match job.expr {
            Expr::Series(series) => Some(Arc::clone(series)),
            _ => None,
        };
        let all: Vec<Arc<Series>> = jobs.iter().filter_map(of_series).collect();
        let (Some(first), Some(job)) = (all.first(), jobs.first()) else {
            return Ok(());
        };
        let children = first.children.iter();
        let children = children.map(|child| self.hold_stages(child, job.name));
        let children: Vec<Expr> = children.collect::<Result<_, _>>()?;
        self.series(&children, &all, job.name, &mut |index, bands, values| {
            let job = &jobs[index];
            self.write_bands(&mut writers[job.writer], job.variable, bands, values)
        })
    }

    /// Computes into memory, on every rank.
    pub(super) fn series_to_memory(
        &self,
        all: &[Arc<Series>],
        name: &str,
    ) -> Result<Vec<Held>, CubeError> {
        let Some(first) = all.first() else {
            return Ok(Vec::new());
        };
        let shapes: Vec<Vec<usize>> = all.iter().map(|series| series.shape()).collect();
        let mut results: Vec<Vec<f64>> = shapes
            .iter()
            .map(|shape| vec![f64::NAN; shape.iter().product()])
            .collect();
        self.series(&first.children, all, name, &mut |index, bands, values| {
            let given = self.give(bands, values, &mut |region, values| {
                place(&mut results[index], &shapes[index], region, values);
                Ok(())
            });
            agree(self.comm, given)
        })?;
        let held = results.into_iter().zip(shapes).map(|(values, shape)| {
            let values = Arc::new(self.share(values)?);
            Ok(Held { shape, values })
        });
        held.collect()
    }

    /// What this run cuts a series into: the same on all ranks, as rank 0 decides.
    pub(super) fn bands(&self, series: &Series, together: usize) -> Result<Vec<Region>, CubeError> {
        let memory = self.plan.options.memory_bytes();
        let mut bytes = memory.to_le_bytes().to_vec();
        self.comm.broadcast(0, &mut bytes)?;
        let memory = bytes
            .as_slice()
            .try_into()
            .map_or(memory, u64::from_le_bytes);
        Ok(series.bands(together, memory, self.comm.size()))
    }

    fn series(
        &self,
        children: &[Expr],
        all: &[Arc<Series>],
        name: &str,
        sink: &mut Sink<'_>,
    ) -> Result<(), CubeError> {
        let axis = all[0].axis;
        let bands = self.bands(&all[0], all.len())?;
        let (rank, ranks) = (self.comm.rank(), self.comm.size());
        let mut read_bytes = 0;
        for (number, wave) in bands.chunks(ranks).enumerate() {
            let computed = match wave.get(rank) {
                Some(band) => self.pool.install(|| compute_band(children, all, band)),
                None => Ok(vec![Vec::new(); all.len()]),
            };
            let computed = agree(self.comm, computed)?;
            if let Some(band) = wave.get(rank) {
                let bytes = children.iter().map(|child| {
                    let mut band = band.clone();
                    band[axis] = 0..child.shape()[axis];
                    child.stored_bytes(&band)
                });
                read_bytes += bytes.sum::<u64>();
            }
            for (index, values) in computed.iter().enumerate() {
                let regions: Vec<Region> = wave
                    .iter()
                    .map(|band| with_steps(band, axis, 0..all[index].steps))
                    .collect();
                sink(index, &regions, values)?;
            }
            (self.progress)(Progress {
                variable: name,
                done: (number * ranks + wave.len()) as u64,
                total: bands.len() as u64,
                read_bytes,
            });
        }
        Ok(())
    }

    /// Writes each rank's band of a wave, some at a time. Collective.
    fn write_bands(
        &self,
        writer: &mut Writer,
        variable: usize,
        bands: &[Region],
        own: &[f64],
    ) -> Result<(), CubeError> {
        let chunk = writer.chunk_shape(variable).and_then(<[usize]>::first);
        let chunk = chunk.copied().unwrap_or(1);
        let pieces_of = |band: &Region| pieces(band, chunk);
        let count = bands.iter().map(|band| pieces_of(band).len()).max();
        let own_pieces = bands.get(self.comm.rank()).map(pieces_of);
        let mut own_pieces = own_pieces.unwrap_or_default().into_iter();
        let mut rest = own;
        for _ in 0..count.unwrap_or(0) {
            let cut = match own_pieces.next() {
                Some(region) => {
                    let (values, tail) = rest.split_at(region::cells(&region).min(rest.len()));
                    rest = tail;
                    let cut = || writer.cut(variable, &region, values);
                    self.pool.install(cut).map_err(CubeError::from)
                }
                None => Ok(Vec::new()),
            };
            let cut = agree(self.comm, cut)?;
            let delivered = self.deliver(writer, variable, cut);
            agree(self.comm, delivered)?;
        }
        Ok(())
    }

    /// Brings each rank's region of a wave to rank 0, some at a time, which hands them on in
    /// order.
    fn give(
        &self,
        regions: &[Region],
        own: &[f64],
        sink: &mut RegionSink<'_>,
    ) -> Result<(), CubeError> {
        if self.comm.size() == 1 {
            return match regions.first() {
                Some(region) => sink(region, own),
                None => Ok(()),
            };
        }
        let pieces_of = |region: &Region| pieces(region, 1);
        let count = regions.iter().map(|region| pieces_of(region).len()).max();
        let mut rest = own;
        for number in 0..count.unwrap_or(0) {
            let piece = |rank: usize| {
                let pieces = regions.get(rank).map(&pieces_of).unwrap_or_default();
                pieces.get(number).cloned()
            };
            let cells = piece(self.comm.rank()).map_or(0, |piece| region::cells(&piece));
            let (sent, tail) = rest.split_at(cells.min(rest.len()));
            rest = tail;
            let Some(parts) = self.comm.gather(0, &to_bytes(sent))? else {
                continue;
            };
            for (rank, part) in parts.iter().enumerate() {
                if let Some(piece) = piece(rank) {
                    let values = from_bytes(part);
                    if values.len() != region::cells(&piece) {
                        return Err(CubeError::Protocol { rank });
                    }
                    sink(&piece, &values)?;
                }
            }
        }
        Ok(())
    }
}

fn to_bytes(values: &[f64]) -> Vec<u8> {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes());
    bytes.collect()
}

fn from_bytes(bytes: &[u8]) -> Vec<f64> {
    let values = bytes.as_chunks::<8>().0.iter();
    values.map(|value| f64::from_le_bytes(*value)).collect()
}

/// The pieces of a region that are sent: contiguous in it, cut along its slowest dimension, where
/// it can be after `chunk` indexes or a multiple of them.
fn pieces(region: &Region, chunk: usize) -> Vec<Region> {
    let Some(first) = region.first() else {
        return vec![region.clone()];
    };
    let per_index = 8 * region::cells(&region[1..]);
    let count = (SENT_BYTES_MAX / per_index.max(1)).max(1);
    let count = if count > chunk {
        count - count % chunk
    } else {
        count
    };
    let starts = first.clone().step_by(count);
    starts
        .map(|start| with_steps(region, 0, start..first.end.min(start + count)))
        .collect()
}

fn with_steps(region: &Region, axis: usize, steps: Range<usize>) -> Region {
    let mut region = region.clone();
    region[axis] = steps;
    region
}

/// Copies a region's values into the whole.
fn place(whole: &mut [f64], shape: &[usize], region: &Region, values: &[f64]) {
    let strides = region::strides(shape);
    let origin: Vec<usize> = region.iter().map(|range| range.start).collect();
    let start = region::place(&origin, &strides);
    let lens = region::lens(region);
    let row = lens.last().copied().unwrap_or(1);
    let mut rows = values.chunks(row.max(1));
    let outer = &lens[..lens.len().saturating_sub(1)];
    let Ok(()) = region::for_each_index(outer, |index| {
        let to = start + region::place(index, &strides);
        if let Some(values) = rows.next() {
            whole[to..to + row].copy_from_slice(values);
        }
        Ok::<(), std::convert::Infallible>(())
    });
}

/// The results of all series for a band, each in the order of the file.
fn compute_band(
    children: &[Expr],
    all: &[Arc<Series>],
    band: &Region,
) -> Result<Vec<Vec<f64>>, CubeError> {
    let axis = all[0].axis;
    let blocks = children.iter().map(|child| read(child, axis, band));
    let blocks: Vec<Block> = blocks.collect::<Result<_, _>>()?;
    let lens: Vec<usize> = children.iter().map(|child| child.shape()[axis]).collect();
    let shape = Shape::of(band, axis);
    let width = tile_width(&lens, shape.inner);
    let per_row = shape.inner.div_ceil(width.max(1));
    let tiles: Vec<Vec<Vec<f64>>> = (0..shape.outer * per_row)
        .into_par_iter()
        .map(|tile| {
            let start = tile % per_row * width;
            let cells = start..shape.inner.min(start + width);
            compute_tile(&blocks, &lens, all, shape, tile / per_row, &cells)
        })
        .collect();
    let order = |(index, series): (usize, &Arc<Series>)| {
        let mut out = vec![f64::NAN; shape.outer * series.steps * shape.inner];
        let rows = out.par_chunks_mut(shape.inner.max(1)).enumerate();
        rows.for_each(|(row, out)| {
            let (outer, step) = (row / series.steps, row % series.steps);
            let of_row = &tiles[outer * per_row..(outer + 1) * per_row];
            for (out, tile) in out.chunks_mut(width).zip(of_row) {
                let series = tile[index].chunks(series.steps);
                out.iter_mut().zip(series).for_each(|(o, s)| *o = s[step]);
            }
        });
        out
    };
    Ok(all.iter().enumerate().map(order).collect())
}

fn tile_width(lens: &[usize], inner: usize) -> usize {
    let bytes = 8 * lens.iter().sum::<usize>().max(1);
    (TILE_BYTES / bytes)
        .clamp(*TILE_CELLS.start(), *TILE_CELLS.end())
        .min(inner.max(1))
}

/// The results of some cells of one row, cell by cell.
fn compute_tile(
    blocks: &[Block],
    lens: &[usize],
    all: &[Arc<Series>],
    shape: Shape,
    outer: usize,
    cells: &Range<usize>,
) -> Vec<Vec<f64>> {
    let turned: Vec<Vec<f64>> = blocks
        .iter()
        .zip(lens)
        .map(|(block, &len)| match block {
            Block::Single(parts) => turn(parts, len, shape, outer, cells),
            Block::Double(parts) => turn(parts, len, shape, outer, cells),
        })
        .collect();
    let compute = |series: &Arc<Series>| {
        let mut out = vec![f64::NAN; cells.len() * series.steps];
        for (cell, out) in out.chunks_mut(series.steps.max(1)).enumerate() {
            let inputs = turned.iter().zip(lens);
            let inputs: Vec<&[f64]> = inputs
                .map(|(values, len)| &values[cell * len..(cell + 1) * len])
                .collect();
            series.kernel.apply(&inputs, out);
        }
        out
    };
    all.iter().map(compute).collect()
}

/// From steps by cells to cells by steps.
fn turn<T: Readable>(
    parts: &[Part<T>],
    len: usize,
    shape: Shape,
    outer: usize,
    cells: &Range<usize>,
) -> Vec<f64> {
    let mut turned = vec![f64::NAN; cells.len() * len];
    for part in parts {
        for (index, step) in part.steps.clone().enumerate() {
            let start = (outer * part.steps.len() + index) * shape.inner;
            let values = &part.values[start + cells.start..start + cells.end];
            for (cell, value) in values.iter().enumerate() {
                turned[cell * len + step] = value.to_f64();
            }
        }
    }
    turned
}

/// Reads a band, in parallel over blocks of steps.
fn read(child: &Expr, axis: usize, band: &Region) -> Result<Block, CubeError> {
    Ok(match child.is_single() {
        true => Block::Single(read_as(child, axis, band)?),
        false => Block::Double(read_as(child, axis, band)?),
    })
}

fn read_as<T: Readable>(
    child: &Expr,
    axis: usize,
    band: &Region,
) -> Result<Vec<Part<T>>, CubeError> {
    let len = child.shape()[axis];
    let cells_per_step = region::cells(&with_steps(band, axis, 0..1));
    let len_max = (units::UNIT_CELLS_MAX / cells_per_step.max(1)).max(1);
    // Whole chunks, but enough blocks for all threads.
    let len_max = len_max.min(len.div_ceil(4 * rayon::current_num_threads()).max(1));
    region::blocks(&child.cuts(axis), len_max)
        .into_par_iter()
        .map(|steps| {
            let region = with_steps(band, axis, steps.clone());
            let mut values = vec![T::default(); region::cells(&region)];
            child.fill(&region, &mut values)?;
            Ok(Part { steps, values })
        })
        .collect()
}

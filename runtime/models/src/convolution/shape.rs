//! Where the cells of a convolution lie: fields, planes, rows, and the copies between them.
//!
//! Fields have three dimensions here; those with fewer have extents of 1 in front.

use std::ops::Range;

use super::with_room;
use crate::layers::Edges;

/// A convolution's extents.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// How many fields, one after the other.
    pub(crate) samples: usize,
    /// Channels of the field.
    pub(crate) inputs: usize,
    /// Channels of the coarse field.
    pub(crate) outputs: usize,
    field: [usize; 3],
    coarse: [usize; 3],
    kernel: [usize; 3],
    stride: [usize; 3],
    /// Cells beyond each edge.
    reach: [usize; 3],
    /// The extent of a plane: of the cells that are a stride apart.
    plane: [usize; 3],
    edges: Edges,
}

/// A weight of the kernel: which plane it reads, and how far behind the result's cell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    pub(super) phase: usize,
    pub(super) offset: usize,
}

/// `list` with `fill` in front.
fn three(list: &[usize], fill: usize) -> [usize; 3] {
    let mut all = [fill; 3];
    all[3 - list.len()..].copy_from_slice(list);
    all
}

fn product(list: &[usize]) -> usize {
    list.iter().product()
}

impl Shape {
    /// That of fields `(samples, inputs, extents…)` and weights `(outputs, inputs, kernel…)`.
    /// Where the kernel does not fit, the coarse field has no cells.
    pub(crate) fn new(
        field: &[usize],
        weight: &[usize],
        stride: usize,
        reach: usize,
        edges: Edges,
    ) -> Self {
        let reach = three(&vec![reach; field.len() - 2], 0);
        let stride = three(&vec![stride; field.len() - 2], 1);
        let kernel = three(&weight[2..], 1);
        let (samples, inputs, outputs) = (field[0], weight[1], weight[0]);
        let field = three(&field[2..], 1);
        let padded: [usize; 3] = std::array::from_fn(|dim| field[dim] + 2 * reach[dim]);
        let coarse = |dim: usize| match padded[dim].checked_sub(kernel[dim]) {
            Some(more) => more / stride[dim] + 1,
            None => 0,
        };
        Self {
            samples,
            inputs,
            outputs,
            field,
            coarse: std::array::from_fn(coarse),
            kernel,
            stride,
            reach,
            plane: std::array::from_fn(|dim| padded[dim].div_ceil(stride[dim])),
            edges,
        }
    }

    /// That of the transposed convolution of coarse fields `(samples, outputs, extents…)` whose
    /// kernel has the extent of its stride.
    pub(crate) fn doubled(coarse: &[usize], weight: &[usize]) -> Self {
        let mut field = coarse.to_vec();
        for (extent, kernel) in field[2..].iter_mut().zip(&weight[2..]) {
            *extent *= kernel;
        }
        Self::new(&field, weight, weight[2], 0, Edges::Zero)
    }

    /// The shape of a field in a tensor of `rank` dimensions of space.
    pub(crate) fn field_shape(&self, rank: usize) -> Vec<usize> {
        [&[self.samples, self.inputs], &self.field[3 - rank..]].concat()
    }

    /// The shape of a coarse field in a tensor of `rank` dimensions of space.
    pub(crate) fn coarse_shape(&self, rank: usize) -> Vec<usize> {
        [&[self.samples, self.outputs], &self.coarse[3 - rank..]].concat()
    }

    /// Cells of a field's channel.
    pub(crate) fn field_len(&self) -> usize {
        product(&self.field)
    }

    /// Cells of a coarse field's channel.
    pub(crate) fn coarse_len(&self) -> usize {
        product(&self.coarse)
    }

    pub(super) fn plane_len(&self) -> usize {
        product(&self.plane)
    }

    /// Planes of a channel.
    pub(super) fn phases(&self) -> usize {
        product(&self.stride)
    }

    /// All planes of a sample, with room.
    pub(super) fn planes_len(&self) -> usize {
        with_room(self.inputs * self.phases() * self.plane_len())
    }

    /// Cells from the first of a coarse field to its last, with the planes' pitch.
    pub(super) fn row_len(&self) -> usize {
        match self.coarse.contains(&0) {
            true => 0,
            false => self.flat(std::array::from_fn(|dim| self.coarse[dim] - 1)) + 1,
        }
    }

    /// Where in a plane.
    fn flat(&self, at: [usize; 3]) -> usize {
        (at[0] * self.plane[1] + at[1]) * self.plane[2] + at[2]
    }

    /// The kernel's weights in their order.
    pub(super) fn taps(&self) -> Vec<Tap> {
        let mut taps = Vec::with_capacity(product(&self.kernel));
        for z in 0..self.kernel[0] {
            for y in 0..self.kernel[1] {
                for x in 0..self.kernel[2] {
                    let at = [z, y, x];
                    taps.push(Tap {
                        phase: (0..3).fold(0, |phase, dim| {
                            phase * self.stride[dim] + at[dim] % self.stride[dim]
                        }),
                        offset: self.flat(std::array::from_fn(|dim| at[dim] / self.stride[dim])),
                    });
                }
            }
        }
        taps
    }

    /// Where in the planes of a sample each weight of `(inputs, kernel…)` begins to read.
    pub(super) fn places(&self) -> Vec<usize> {
        let taps = self.taps();
        let place = |input: usize, tap: &Tap| {
            (input * self.phases() + tap.phase) * self.plane_len() + tap.offset
        };
        (0..self.inputs)
            .flat_map(|input| taps.iter().map(move |tap| place(input, tap)))
            .collect()
    }

    /// Copies a sample's field into its planes. What is beyond zero edges is left as it is: 0.
    pub(super) fn pack(&self, field: &[f32], planes: &mut [f32]) {
        let channels = field.chunks(self.field_len().max(1));
        let planes = planes.chunks_mut(self.phases() * self.plane_len().max(1));
        for (field, planes) in channels.zip(planes) {
            for (phase, plane) in planes.chunks_mut(self.plane_len().max(1)).enumerate() {
                self.rows(phase, |row, cells| {
                    let (plane, field) = (&mut plane[row], &field[cells]);
                    self.columns(phase, |run| match run {
                        Columns::Run {
                            plane: at,
                            field: from,
                            len,
                        } => {
                            plane[at..at + len].copy_from_slice(&field[from..from + len]);
                        }
                        Columns::Cell {
                            plane: at,
                            field: from,
                        } => plane[at] = field[from],
                    });
                });
            }
        }
    }

    /// Adds a plane to the channel whose cells it has.
    pub(super) fn unpack(&self, phase: usize, plane: &[f32], field: &mut [f32]) {
        self.rows(phase, |row, cells| {
            let (plane, field) = (&plane[row], &mut field[cells]);
            self.columns(phase, |run| match run {
                Columns::Run {
                    plane: at,
                    field: to,
                    len,
                } => {
                    let plane = &plane[at..at + len];
                    for (field, plane) in field[to..to + len].iter_mut().zip(plane) {
                        *field += plane;
                    }
                }
                Columns::Cell {
                    plane: at,
                    field: to,
                } => field[to] += plane[at],
            });
        });
    }

    /// The rows of a plane that lie in the field, and of the field.
    fn rows(&self, phase: usize, mut each: impl FnMut(Range<usize>, Range<usize>)) {
        let [_, height, width] = self.field;
        let first = [
            phase / (self.stride[1] * self.stride[2]),
            phase / self.stride[2] % self.stride[1],
        ];
        let inside = |dim: usize, at: usize| {
            let at = at * self.stride[dim] + first[dim];
            at.checked_sub(self.reach[dim])
                .filter(|at| *at < self.field[dim])
        };
        for (z, of_field) in (0..self.plane[0]).filter_map(|z| Some((z, inside(0, z)?))) {
            for (y, row) in (0..self.plane[1]).filter_map(|y| Some((y, inside(1, y)?))) {
                let plane = self.flat([z, y, 0]);
                let field = (of_field * height + row) * width;
                each(plane..plane + self.plane[2], field..field + width);
            }
        }
    }

    /// Which columns of a plane are which of the field.
    fn columns(&self, phase: usize, mut each: impl FnMut(Columns)) {
        let (stride, reach, width) = (self.stride[2], self.reach[2], self.field[2]);
        if stride == 1 {
            each(Columns::Run {
                plane: reach,
                field: 0,
                len: width,
            });
        }
        for plane in 0..self.plane[2] {
            let at = plane * stride + phase % stride;
            let inside = (reach..reach + width).contains(&at);
            if inside && stride > 1 {
                each(Columns::Cell {
                    plane,
                    field: at - reach,
                });
            }
            let beyond = !inside && at < width + 2 * reach;
            if beyond && self.edges == Edges::Globe {
                // East of the last column comes the first.
                let field = (at + width * reach.div_ceil(width) - reach) % width;
                each(Columns::Cell { plane, field });
            }
        }
    }

    /// Lays a channel of the coarse field out with the planes' pitch. The cells between are left
    /// as they are: 0.
    pub(super) fn lay_row(&self, coarse: &[f32], row: &mut [f32]) {
        let width = self.coarse[2].max(1);
        for (at, coarse) in self.lines().zip(coarse.chunks(width)) {
            row[at..at + width].copy_from_slice(coarse);
        }
    }

    /// Takes a channel of the coarse field out of a row with the planes' pitch.
    pub(super) fn take_row(&self, row: &[f32], coarse: &mut [f32]) {
        let width = self.coarse[2].max(1);
        for (at, coarse) in self.lines().zip(coarse.chunks_mut(width)) {
            coarse.copy_from_slice(&row[at..at + width]);
        }
    }

    /// Where the lines of the coarse field begin.
    fn lines(&self) -> impl Iterator<Item = usize> {
        let [depth, height, _] = self.coarse;
        (0..depth).flat_map(move |z| (0..height).map(move |y| self.flat([z, y, 0])))
    }
}

/// Columns that a plane and a field share.
enum Columns {
    /// Side by side in both.
    Run {
        plane: usize,
        field: usize,
        len: usize,
    },
    /// One.
    Cell { plane: usize, field: usize },
}

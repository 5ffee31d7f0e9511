//! Convolutions of fields of one to three dimensions on the CPU, with their gradients.
//!
//! A field is copied once into planes with room for what is beyond its edges. Seen as one long
//! row, such a plane makes each weight of the kernel an offset: all cells of the result are sums
//! of the same row at different offsets, for any kernel, without a matrix of windows in memory.
//! Results get the planes' pitch; the few cells between two of their rows are computed and
//! dropped. With a stride, the cells that are a stride apart make a plane of their own.
//!
//! Three operations are enough ([`Shape`] says between which extents):
//! - [`gather`]: a convolution, from a field to a coarse field;
//! - [`spread`]: from a coarse field to a field, which is the gradient of a convolution by its
//!   field and also what is called a transposed convolution;
//! - [`correlate`]: from both to the gradient of the kernel.
//!
//! Left out: dilation, groups. Samples are dealt to the threads of rayon's pool; results are the
//! same bits for any number of threads.

mod kernel;
mod shape;

use rayon::prelude::*;

use kernel::{BLOCK, Dots, Products, ROWS, STRETCH, Sum, Widest, packed};
pub(crate) use shape::Shape;

use crate::vectors;

/// Parts in which samples are summed by [`correlate`], whatever the number of threads.
const PARTS: usize = 16;

/// Cells, with room to read and write whole blocks past the last.
fn with_room(cells: usize) -> usize {
    cells.next_multiple_of(BLOCK) + BLOCK
}

/// Makes the `out` of each sample of its `input`, of which each has so many numbers. What a thread
/// needs for that is made once for many samples.
fn each_sample<T>(
    out: &mut [f32],
    input: &[f32],
    (of_out, of_input): (usize, usize),
    scratch: impl Fn() -> T + Sync + Send,
    make: impl Fn(&mut T, &mut [f32], &[f32]) + Sync + Send,
) {
    let (of_out, of_input) = (of_out.max(1), of_input.max(1));
    let threads = rayon::current_num_threads();
    if threads == 1 {
        // Without the way to the pool's thread and back.
        let mut own = scratch();
        for (out, input) in out.chunks_mut(of_out).zip(input.chunks(of_input)) {
            make(&mut own, out, input);
        }
        return;
    }
    let samples = input.len() / of_input;
    out.par_chunks_mut(of_out)
        .zip(input.par_chunks(of_input))
        .with_min_len(samples.div_ceil(4 * threads))
        .for_each_init(scratch, |own, (out, input)| make(own, out, input));
}

/// `(samples, inputs, field…)` to `(samples, outputs, coarse…)`: with `weight`
/// `(outputs, inputs, kernel…)`, and of each output its `bias`.
pub(crate) fn gather(field: &[f32], weight: &[f32], bias: &[f32], shape: &Shape) -> Vec<f32> {
    let places = shape.places();
    let weights = packed(shape.outputs, places.len(), |row, place| {
        weight[row * places.len() + place]
    });
    let pitch = shape.row_len().next_multiple_of(BLOCK);
    let rows = shape.outputs.next_multiple_of(ROWS);
    let mut starts = bias.to_vec();
    starts.resize(rows, 0.0);
    let (field_len, coarse_len) = (shape.field_len(), shape.coarse_len());
    let mut out = vec![0.0; shape.samples * shape.outputs * coarse_len];
    let scratch = || (vec![0.0; shape.planes_len()], vec![0.0; rows * pitch]);
    let of_samples = (shape.outputs * coarse_len, shape.inputs * field_len);
    each_sample(
        &mut out,
        field,
        of_samples,
        scratch,
        |(planes, sums), out, field| {
            shape.pack(field, planes);
            vectors::run(Widest(Products {
                weights: &weights,
                places: &places,
                starts: &starts,
                field: planes,
                sums,
                pitch,
            }));
            for (out, sums) in out.chunks_mut(coarse_len).zip(sums.chunks(pitch)) {
                shape.take_row(sums, out);
            }
        },
    );
    out
}

/// `(samples, outputs, coarse…)` to `(samples, inputs, field…)`: each cell of the coarse field is
/// laid out over the cells that [`gather`] would make it of. Each input begins at its `bias`.
pub(crate) fn spread(
    coarse: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    shape: &Shape,
) -> Vec<f32> {
    let taps = shape.taps();
    let (plane_len, coarse_len) = (shape.plane_len(), shape.coarse_len());
    let pitch = plane_len.next_multiple_of(BLOCK);
    let rows = shape.inputs.next_multiple_of(ROWS);
    // Before each row of the coarse field lies room for the farthest weight.
    let room = taps.iter().map(|tap| tap.offset).max().unwrap_or(0);
    let row_len = with_room(room + plane_len);
    let phases: Vec<(usize, Vec<f32>, Vec<usize>)> = (0..shape.phases())
        .map(|phase| {
            let own: Vec<usize> = (0..taps.len())
                .filter(|&tap| taps[tap].phase == phase)
                .collect();
            let places = (0..shape.outputs)
                .flat_map(|output| own.iter().map(move |tap| (output, *tap)))
                .map(|(output, tap)| output * row_len + room - taps[tap].offset)
                .collect();
            let weights = packed(shape.inputs, shape.outputs * own.len(), |row, place| {
                let (output, tap) = (place / own.len(), own[place % own.len()]);
                weight[(output * shape.inputs + row) * taps.len() + tap]
            });
            (phase, weights, places)
        })
        .collect();
    let starts = vec![0.0; rows];
    let field_len = shape.field_len();
    let mut out = vec![0.0; shape.samples * shape.inputs * field_len];
    let scratch = || {
        let coarse = vec![0.0; shape.outputs * row_len];
        (coarse, vec![0.0; rows * pitch])
    };
    let of_samples = (shape.inputs * field_len, shape.outputs * coarse_len);
    each_sample(
        &mut out,
        coarse,
        of_samples,
        scratch,
        |(lines, sums), out, coarse| {
            for (line, coarse) in lines.chunks_mut(row_len).zip(coarse.chunks(coarse_len)) {
                shape.lay_row(coarse, &mut line[room..]);
            }
            if let Some(bias) = bias {
                for (out, bias) in out.chunks_mut(field_len).zip(bias) {
                    out.fill(*bias);
                }
            }
            for (phase, weights, places) in &phases {
                vectors::run(Widest(Products {
                    weights,
                    places,
                    starts: &starts,
                    field: lines,
                    sums,
                    pitch,
                }));
                for (out, sums) in out.chunks_mut(field_len).zip(sums.chunks(pitch)) {
                    shape.unpack(*phase, sums, out);
                }
            }
        },
    );
    out
}

/// The gradient of the kernel, `(outputs, inputs, kernel…)`: of each weight, the sum over the
/// coarse field's cells times the field's cells that it takes to them.
pub(crate) fn correlate(field: &[f32], coarse: &[f32], shape: &Shape) -> Vec<f32> {
    let places = shape.places();
    let (field_len, coarse_len) = (shape.field_len(), shape.coarse_len());
    let row_len = with_room(shape.row_len());
    let rows = shape.outputs.next_multiple_of(ROWS);
    // Small fields are taken several at once, so that sums stay in registers for longer.
    let at_once = (STRETCH / row_len).clamp(1, shape.samples.max(1));
    let per_part = shape.samples.div_ceil(PARTS).next_multiple_of(at_once);
    let (of_field, of_coarse) = (shape.inputs * field_len, shape.outputs * coarse_len);
    let planes_len = shape.planes_len();
    let part = |(field, coarse): (&[f32], &[f32])| {
        let mut planes = vec![0.0; at_once * planes_len];
        let mut lines = vec![0.0; at_once * rows * row_len];
        let mut sums = vec![0.0; rows * places.len()];
        let together = field
            .chunks(at_once * of_field)
            .zip(coarse.chunks(at_once * of_coarse));
        for (field, coarse) in together {
            let samples = field.chunks(of_field).zip(planes.chunks_mut(planes_len));
            let count = samples.len();
            samples.for_each(|(field, planes)| shape.pack(field, planes));
            let samples = coarse
                .chunks(of_coarse)
                .zip(lines.chunks_mut(rows * row_len));
            for (coarse, lines) in samples {
                let lines = lines.chunks_mut(row_len);
                for (line, coarse) in lines.zip(coarse.chunks(coarse_len)) {
                    shape.lay_row(coarse, line);
                }
            }
            vectors::run(Widest(Dots {
                lines: &lines[..count * rows * row_len],
                line_len: row_len,
                len: shape.row_len(),
                places: &places,
                field: &planes,
                field_len: planes_len,
                sums: &mut sums,
            }));
        }
        sums
    };
    let parts = field
        .chunks((per_part * of_field).max(1))
        .zip(coarse.chunks((per_part * of_coarse).max(1)));
    let parts: Vec<Vec<f32>> = match rayon::current_num_threads() {
        1 => parts.map(part).collect(),
        _ => parts
            .collect::<Vec<_>>()
            .into_par_iter()
            .map(part)
            .collect(),
    };
    let mut sums = vec![0.0; shape.outputs * places.len()];
    for part in parts {
        for (sum, part) in sums.iter_mut().zip(part) {
            *sum += part;
        }
    }
    sums
}

/// The gradient of the bias: of each channel of `(samples, channels, cells)`, its sum.
pub(crate) fn sum_of_channels(values: &[f32], channels: usize, cells: usize) -> Vec<f32> {
    let mut sums = vec![0.0_f64; channels];
    if cells > 0 {
        for (row, values) in values.chunks(cells).enumerate() {
            sums[row % channels] += f64::from(vectors::run(Sum(values)));
        }
    }
    #[allow(clippy::cast_possible_truncation, reason = "single precision is meant")]
    let sums = sums.into_iter().map(|sum| sum as f32).collect();
    sums
}

#[cfg(test)]
mod tests;

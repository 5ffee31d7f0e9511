//! Each operation beside its definition, summed one cell at a time in double precision.
#![allow(clippy::cast_possible_truncation, reason = "single precision is meant")]
#![allow(clippy::cast_precision_loss, reason = "small numbers")]

use super::{Shape, correlate, gather, spread, sum_of_channels};
use crate::layers::Edges;

struct Case {
    samples: usize,
    inputs: usize,
    outputs: usize,
    field: Vec<usize>,
    kernel: Vec<usize>,
    stride: usize,
    reach: usize,
    edges: Edges,
}

fn wave(count: usize, scale: f64) -> Vec<f32> {
    (0..count)
        .map(|index| ((index as f64 + 0.5) * scale).sin() as f32)
        .collect()
}

impl Case {
    fn shape(&self) -> Shape {
        let field = [&[self.samples, self.inputs], &self.field[..]].concat();
        let weight = [&[self.outputs, self.inputs], &self.kernel[..]].concat();
        Shape::new(&field, &weight, self.stride, self.reach, self.edges)
    }

    /// Calls with the index of each weight, cell of the field and cell of the coarse field that
    /// meet.
    fn each(&self, mut meet: impl FnMut(usize, usize, usize)) {
        let fill = |list: &[usize], fill: usize| {
            let mut all = vec![fill; 3 - list.len()];
            all.extend(list);
            all
        };
        let rank = self.field.len();
        let field = fill(&self.field, 1);
        let kernel = fill(&self.kernel, 1);
        let reach = fill(&vec![self.reach; rank], 0);
        let stride = fill(&vec![self.stride; rank], 1);
        let coarse: Vec<usize> = (0..3)
            .map(|dim| (field[dim] + 2 * reach[dim] - kernel[dim]) / stride[dim] + 1)
            .collect();
        let cells = |extent: &[usize]| -> Vec<[usize; 3]> {
            let index = |at: usize| {
                let (z, rest) = (at / (extent[1] * extent[2]), at % (extent[1] * extent[2]));
                [z, rest / extent[2], rest % extent[2]]
            };
            (0..extent.iter().product()).map(index).collect()
        };
        let (field_len, kernel_len): (usize, usize) =
            (field.iter().product(), kernel.iter().product());
        let coarse_cells = cells(&coarse);
        for sample in 0..self.samples {
            for output in 0..self.outputs {
                for (to, at) in coarse_cells.iter().enumerate() {
                    for input in 0..self.inputs {
                        for (tap, weight) in cells(&kernel).iter().enumerate() {
                            let place = |dim: usize| {
                                let place = at[dim] * stride[dim] + weight[dim];
                                let place = place as isize - reach[dim] as isize;
                                let extent = field[dim] as isize;
                                match dim == 2 && self.edges == Edges::Globe {
                                    true => Some(place.rem_euclid(extent) as usize),
                                    false => (0..extent).contains(&place).then_some(place as usize),
                                }
                            };
                            let (Some(z), Some(y), Some(x)) = (place(0), place(1), place(2)) else {
                                continue;
                            };
                            let from = (z * field[1] + y) * field[2] + x;
                            meet(
                                (output * self.inputs + input) * kernel_len + tap,
                                (sample * self.inputs + input) * field_len + from,
                                (sample * self.outputs + output) * coarse_cells.len() + to,
                            );
                        }
                    }
                }
            }
        }
    }

    fn check(&self) {
        let shape = self.shape();
        let weights = wave(
            self.outputs * self.inputs * self.kernel.iter().product::<usize>(),
            0.7,
        );
        let field = wave(self.samples * self.inputs * shape.field_len(), 0.31);
        let coarse = wave(self.samples * self.outputs * shape.coarse_len(), 0.17);
        let bias = wave(self.outputs, 1.3);
        let mut gathered: Vec<f64> = (0..coarse.len())
            .map(|at| f64::from(bias[at / shape.coarse_len() % self.outputs]))
            .collect();
        let mut laid = vec![0.0; field.len()];
        let mut of_kernel = vec![0.0; weights.len()];
        self.each(|weight, from, to| {
            gathered[to] += f64::from(weights[weight]) * f64::from(field[from]);
            laid[from] += f64::from(weights[weight]) * f64::from(coarse[to]);
            of_kernel[weight] += f64::from(field[from]) * f64::from(coarse[to]);
        });
        close(&gather(&field, &weights, &bias, &shape), &gathered);
        close(&spread(&coarse, &weights, None, &shape), &laid);
        close(&correlate(&field, &coarse, &shape), &of_kernel);
    }
}

fn close(own: &[f32], expected: &[f64]) {
    assert_eq!(own.len(), expected.len());
    for (index, (own, expected)) in own.iter().zip(expected).enumerate() {
        let limit = 1e-5 * (1.0 + expected.abs());
        assert!(
            (f64::from(*own) - expected).abs() < limit,
            "{index}: {own} {expected}"
        );
    }
}

#[test]
fn planes_of_any_extent() {
    for (field, kernel, reach) in [
        (vec![1, 1], vec![1, 1], 0),
        (vec![2, 3], vec![3, 3], 1),
        (vec![9, 17], vec![3, 3], 1),
        (vec![5, 40], vec![5, 5], 2),
        (vec![33, 64], vec![3, 3], 1),
        (vec![4, 6], vec![1, 1], 0),
    ] {
        for edges in [Edges::Zero, Edges::Globe] {
            for (samples, inputs, outputs) in [(1, 1, 1), (3, 2, 5), (2, 7, 4)] {
                Case {
                    samples,
                    inputs,
                    outputs,
                    field: field.clone(),
                    kernel: kernel.clone(),
                    stride: 1,
                    reach,
                    edges,
                }
                .check();
            }
        }
    }
}

#[test]
fn steps_and_volumes() {
    for (field, kernel, stride, reach) in [
        (vec![13], vec![3], 1, 1),
        (vec![13], vec![3], 2, 1),
        (vec![8, 10], vec![3, 3], 2, 1),
        (vec![7, 11], vec![3, 3], 2, 1),
        (vec![9, 12], vec![5, 5], 3, 2),
        (vec![4, 6, 8], vec![3, 3, 3], 1, 1),
        (vec![5, 6, 7], vec![3, 3, 3], 2, 1),
        (vec![6, 4, 8], vec![2, 2, 2], 2, 0),
    ] {
        for edges in [Edges::Zero, Edges::Globe] {
            Case {
                samples: 2,
                inputs: 3,
                outputs: 6,
                field: field.clone(),
                kernel: kernel.clone(),
                stride,
                reach,
                edges,
            }
            .check();
        }
    }
}

/// A globe that is narrower than the kernel's reach goes round more than once.
#[test]
fn a_narrow_globe() {
    for width in 1..4 {
        Case {
            samples: 1,
            inputs: 2,
            outputs: 2,
            field: vec![4, width],
            kernel: vec![9, 9],
            stride: 1,
            reach: 4,
            edges: Edges::Globe,
        }
        .check();
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let shape = Case {
        samples: 37,
        inputs: 3,
        outputs: 5,
        field: vec![6, 9],
        kernel: vec![3, 3],
        stride: 1,
        reach: 1,
        edges: Edges::Zero,
    }
    .shape();
    let field = wave(37 * 3 * 54, 0.3);
    let coarse = wave(37 * 5 * 54, 0.2);
    let by = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let made = pool.unwrap().install(|| correlate(&field, &coarse, &shape));
        made.into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    assert_eq!(by(1), by(3));
}

#[test]
fn channels_are_summed() {
    let values: Vec<f32> = (0..2 * 3 * 101).map(|index| index as f32).collect();
    let expected: Vec<f64> = (0..3)
        .map(|channel| {
            let of = |row: usize| (0..101).map(|cell| (row * 101 + cell) as f64).sum::<f64>();
            of(channel) + of(channel + 3)
        })
        .collect();
    close(&sum_of_channels(&values, 3, 101), &expected);
}

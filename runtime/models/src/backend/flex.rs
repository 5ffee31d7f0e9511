//! Convolutions and activations on Burn's CPU back end.

use std::borrow::Cow;

use burn_flex::{Flex, FlexTensor};
use burn_tensor::{TensorData, TensorMetadata as _};

use super::{Backend, Differentiable, Window};
use crate::activation::Pointwise;
use crate::convolution::{self, Shape};
use crate::pooling;

/// A tensor's numbers in their order. Networks are in single precision.
fn values(tensor: &FlexTensor) -> Cow<'_, [f32]> {
    match tensor.as_slice::<f32>() {
        Some(values) => Cow::Borrowed(values),
        None => Cow::Owned(tensor.to_contiguous().storage::<f32>().to_vec()),
    }
}

fn tensor(values: Vec<f32>, shape: Vec<usize>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

fn extents(tensor: &FlexTensor) -> Vec<usize> {
    tensor.shape().to_vec()
}

fn window(field: &FlexTensor, weight: &FlexTensor, how: Window) -> Shape {
    let Window {
        stride,
        reach,
        edges,
    } = how;
    Shape::new(&extents(field), &extents(weight), stride, reach, edges)
}

impl Backend for Flex {
    fn gather(field: FlexTensor, weight: FlexTensor, bias: FlexTensor, how: Window) -> FlexTensor {
        let shape = window(&field, &weight, how);
        let (numbers, weights) = (values(&field), values(&weight));
        let made = convolution::gather(&numbers, &weights, &values(&bias), &shape);
        tensor(made, shape.coarse_shape(extents(&field).len() - 2))
    }

    fn spread(coarse: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        let shape = Shape::doubled(&extents(&coarse), &extents(&weight));
        let (numbers, weights) = (values(&coarse), values(&weight));
        let made = convolution::spread(&numbers, &weights, Some(&values(&bias)), &shape);
        tensor(made, shape.field_shape(extents(&coarse).len() - 2))
    }

    fn halve(field: FlexTensor) -> FlexTensor {
        let mut extent = extents(&field);
        let made = pooling::halve(&values(&field), extent[3]);
        extent[2] /= 2;
        extent[3] /= 2;
        tensor(made, extent)
    }

    fn join(fields: [FlexTensor; 2]) -> FlexTensor {
        let mut extent = extents(&fields[0]);
        let of_sample = [0, 1].map(|field| extents(&fields[field])[1..].iter().product::<usize>());
        let [first, second] = [0, 1].map(|field| values(&fields[field]));
        let mut all = Vec::with_capacity(first.len() + second.len());
        let samples = first.chunks(of_sample[0].max(1));
        for (first, second) in samples.zip(second.chunks(of_sample[1].max(1))) {
            all.extend_from_slice(first);
            all.extend_from_slice(second);
        }
        extent[1] += extents(&fields[1])[1];
        tensor(all, extent)
    }

    fn pointwise(input: FlexTensor, how: Pointwise) -> FlexTensor {
        tensor(how.apply(&values(&input)), extents(&input))
    }
}

impl Differentiable for Flex {
    fn gather_backward(
        field: FlexTensor,
        weight: FlexTensor,
        how: Window,
        gradient: FlexTensor,
        [of_field, of_weight, of_bias]: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let shape = window(&field, &weight, how);
        let gradient = values(&gradient);
        [
            of_field.then(|| {
                let made = convolution::spread(&gradient, &values(&weight), None, &shape);
                tensor(made, extents(&field))
            }),
            of_weight.then(|| {
                let made = convolution::correlate(&values(&field), &gradient, &shape);
                tensor(made, extents(&weight))
            }),
            of_bias.then(|| {
                let cells = shape.coarse_len();
                let made = convolution::sum_of_channels(&gradient, shape.outputs, cells);
                tensor(made, vec![shape.outputs])
            }),
        ]
    }

    fn spread_backward(
        coarse: FlexTensor,
        weight: FlexTensor,
        gradient: FlexTensor,
        [of_coarse, of_weight, of_bias]: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let shape = Shape::doubled(&extents(&coarse), &extents(&weight));
        let gradient = values(&gradient);
        [
            of_coarse.then(|| {
                let none = vec![0.0; shape.outputs];
                let made = convolution::gather(&gradient, &values(&weight), &none, &shape);
                tensor(made, extents(&coarse))
            }),
            of_weight.then(|| {
                let made = convolution::correlate(&gradient, &values(&coarse), &shape);
                tensor(made, extents(&weight))
            }),
            of_bias.then(|| {
                let cells = shape.field_len();
                let made = convolution::sum_of_channels(&gradient, shape.inputs, cells);
                tensor(made, vec![shape.inputs])
            }),
        ]
    }

    fn halve_backward(field: FlexTensor, gradient: FlexTensor) -> FlexTensor {
        let extent = extents(&field);
        let made = pooling::double(&values(&field), &values(&gradient), extent[3]);
        tensor(made, extent)
    }

    fn part(joined: FlexTensor, channels: usize) -> [FlexTensor; 2] {
        let extent = extents(&joined);
        let cells: usize = extent[2..].iter().product();
        let (all, of_sample) = (values(&joined), extent[1] * cells);
        let ranges = [0..channels, channels..extent[1]];
        ranges.map(|range| {
            let mut part = Vec::with_capacity(extent[0] * range.len() * cells);
            for sample in all.chunks(of_sample.max(1)) {
                part.extend_from_slice(&sample[range.start * cells..range.end * cells]);
            }
            let mut extent = extent.clone();
            extent[1] = range.len();
            tensor(part, extent)
        })
    }

    fn pointwise_backward(input: FlexTensor, how: Pointwise, gradient: FlexTensor) -> FlexTensor {
        let made = how.slope(&values(&input), &values(&gradient));
        tensor(made, extents(&input))
    }
}

//! The order of numbers, and that samples do not touch each other.

use super::*;
use crate::layers::Activation;
use crate::{ArrayShapes, Loss, Lstm, Mlp, Reference};

fn channel(variable: &str, channel: usize, mean: f64, std: f64) -> Channel {
    Channel {
        variable: variable.to_owned(),
        channel,
        units: "K".to_owned(),
        mean,
        std,
    }
}

/// A network of one layer with these weights, `(output, input)`, and no bias.
fn linear(inputs: usize, outputs: usize, weights: &dyn Fn(usize, usize) -> f32) -> Model {
    let architecture = Architecture::Mlp(Mlp {
        inputs,
        outputs,
        hidden: Vec::new(),
        activation: Activation::Tanh,
        starts_at_zero: false,
    });
    let learner = architecture.learner(Loss::Mse, 0);
    let mut parameters = vec![0.0; learner.layout().len()];
    for tensor in learner
        .layout()
        .tensors()
        .iter()
        .filter(|t| t.shape.len() == 2)
    {
        for (place, value) in parameters[tensor.range()].iter_mut().enumerate() {
            *value = weights(place / inputs, place % inputs);
        }
    }
    Model {
        header: Header::new(architecture),
        parameters,
        climatology: Climatology::new(),
    }
}

/// Two levels of `a` and one of `b` over two steps: each output is one of the six inputs.
#[test]
fn levels_of_variables_lie_beside_each_other_step_by_step() {
    // `a` of the first step and second level; `b` of the second; nothing.
    let chosen = [1, 5];
    let weights = |out: usize, input: usize| match chosen.get(out) {
        Some(choice) if *choice == input => 1.0,
        _ => 0.0,
    };
    let mut model = linear(6, 3, &weights);
    model.header.sample = Sample::Cell;
    model.header.history = 2;
    let a = |level| channel("a", level, 10.0, 2.0);
    model.header.inputs = vec![a(0), a(1), channel("b", 0, 0.0, 1.0)];
    model.header.outputs = vec![channel("c", 0, 1.0, 4.0), a(0), a(1)];
    model.header.relative_to = Reference::Persistence;
    let mut predictor = Predictor::new(&model).unwrap();
    let shapes = |ports: Vec<Port>| ports.into_iter().map(|port| port.shape).collect::<Vec<_>>();
    let inputs = [vec![None, Some(2), Some(2)], vec![None, Some(2)]];
    assert_eq!(shapes(predictor.inputs()), inputs);
    assert_eq!(
        shapes(predictor.outputs()),
        [vec![None], vec![None, Some(2)]]
    );
    let samples = Samples {
        count: 2,
        values: vec![
            vec![1.0, 12.0, 3.0, 4.0, 1.0, 16.0, 3.0, f32::NAN],
            vec![5.0, 6.0, 7.0, 8.0],
        ],
        ..Samples::default()
    };
    model.header.missing = Missing::Mask;
    assert!(predictor.predict(&samples).is_err(), "a missing value");
    let mut predictor = Predictor::new(&model).unwrap();
    let out = predictor.predict(&samples).unwrap();
    // (12 - 10) / 2 * 4 + 1, and the same of 16; `c` is no input, so nothing is added.
    assert_eq!(out[0], [5.0, 13.0]);
    // `b` of the newest step * 2 + 10 and the newest `a`; the last has no newest value.
    assert_eq!(
        out[1][..3],
        [6.0 * 2.0 + 10.0 + 3.0, 10.0 + 4.0, 8.0 * 2.0 + 10.0 + 3.0]
    );
    assert!(out[1][3].is_nan());
}

#[test]
fn bits_of_a_sample_do_not_depend_on_its_company() {
    let mlp = |hidden: Vec<usize>, outputs| {
        Architecture::Mlp(Mlp {
            inputs: 6,
            outputs,
            hidden,
            activation: Activation::Tanh,
            starts_at_zero: false,
        })
    };
    let lstm = Architecture::Lstm(Lstm {
        inputs: 2,
        outputs: 1,
        hidden: 5,
        layers: 1,
        starts_at_zero: false,
    });
    for (architecture, input, outputs) in [
        (mlp(vec![7], 2), vec![6], 2),
        (mlp(vec![40, 3], 9), vec![2, 3], 9),
        (lstm, vec![3, 2], 1),
    ] {
        let parameters = architecture.learner(Loss::Mse, 3).initial();
        let mut header = Header::new(architecture);
        header.arrays = Some(ArrayShapes {
            input,
            output: vec![outputs],
        });
        header.inputs = vec![channel("inputs", 0, 0.0, 1.0)];
        header.outputs = vec![channel("targets", 0, 0.0, 1.0)];
        let model = Model {
            header,
            parameters,
            climatology: Climatology::new(),
        };
        let mut predictor = Predictor::new(&model).unwrap();
        let value = |i: usize| (i * 37 % 101) as f32 / 50.0 - 1.0;
        let all: Vec<f32> = (0..300 * 6).map(value).collect();
        let mut run = |range: Range<usize>| {
            let samples = Samples {
                count: range.len(),
                values: vec![all[range.start * 6..range.end * 6].to_vec()],
                ..Samples::default()
            };
            let out = predictor.predict(&samples).unwrap().remove(0);
            out.iter()
                .map(|value| value.to_bits())
                .collect::<Vec<u32>>()
        };
        let whole = run(0..300);
        assert_eq!(whole.len(), 300 * outputs);
        for (start, count) in [(0, 1), (7, 2), (100, 9), (3, 64), (40, 129), (11, 257)] {
            let part = run(start..start + count);
            let expected = &whole[start * outputs..(start + count) * outputs];
            assert_eq!(part, expected, "{start} {count}");
        }
    }
}

#[test]
fn a_header_that_contradicts_its_network_is_refused() {
    let mut model = linear(6, 1, &|_, _| 0.0);
    model.header.inputs = vec![channel("inputs", 0, 0.0, 1.0)];
    model.header.outputs = vec![channel("targets", 0, 0.0, 1.0)];
    let error = Predictor::new(&model).err().unwrap().to_string();
    assert!(error.contains("train it again"), "{error}");
    model.header.outputs.clear();
    let error = Predictor::new(&model).err().unwrap().to_string();
    assert!(error.contains("names no inputs, outputs"), "{error}");
}

//! Forward passes and gradients of the library's networks beside NumPy's (golden.py).
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]
#![allow(clippy::cast_possible_truncation, reason = "single precision is meant")]
#![allow(clippy::cast_precision_loss, reason = "small numbers")]

use burn_flex::Flex;
use mizar_models::layers::{Activation, Edges};
use mizar_models::{Loss, Lstm, Mlp, Network, Resnet, Supervised, Unet};
use mizar_train::{Array, Batch, Learner};
use serde_json::Value;

fn golden(name: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("golden.json")).unwrap();
    all[name].clone()
}

fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().unwrap();
    list.iter().map(|value| value.as_f64().unwrap()).collect()
}

fn wave(count: usize, scale: f64, function: impl Fn(f64) -> f64) -> Vec<f32> {
    let value = |index: usize| (scale * function(index as f64)) as f32;
    (0..count).map(value).collect()
}

fn check<N: Network<I, O>, const I: usize, const O: usize>(
    name: &str,
    network: N,
    input_shape: &[usize],
) {
    let golden = golden(name);
    let mut learner = Supervised::<N, Flex, I, O>::new(network, Loss::Mse, 1, Default::default());
    let count = learner.layout().len();
    assert_eq!(count as u64, golden["parameters"].as_u64().unwrap());
    learner.load(&wave(count, 0.3, |i| (0.37 * i).sin()));
    let inputs = Array {
        shape: input_shape.to_vec(),
        values: wave(input_shape.iter().product(), 1.0, |i| (0.11 * i).cos()),
    };

    let output = learner.predict(&inputs).unwrap();
    let shape: Vec<f64> = output.shape.iter().map(|&len| len as f64).collect();
    assert_eq!(shape, numbers(&golden["shape"]));
    for (own, expected) in output.values.iter().zip(numbers(&golden["output"])) {
        assert!(
            (f64::from(*own) - expected).abs() < 1e-5,
            "{own} {expected}"
        );
    }

    let targets = Array {
        values: wave(output.values.len(), 1.0, |i| (0.05 * i).sin()),
        shape: output.shape,
    };
    let batch = Batch { inputs, targets };
    let mut gradient = vec![f32::NAN; count];
    let mut order = Vec::new();
    let layout = learner.layout().clone();
    let mut ready = |tensor: usize, values: &[f32]| {
        order.push(tensor);
        gradient[layout.tensors()[tensor].range()].copy_from_slice(values);
    };
    let loss = learner.gradients(0, &batch, 0, &mut ready).unwrap();
    let expected = golden["loss"].as_f64().unwrap();
    assert!((loss - expected).abs() < 1e-5, "{loss} {expected}");
    assert!((learner.evaluate(&batch).unwrap() - expected).abs() < 1e-5);
    for pair in golden["gradient"].as_array().unwrap() {
        let (index, expected) = (
            pair[0].as_u64().unwrap() as usize,
            pair[1].as_f64().unwrap(),
        );
        let own = f64::from(gradient[index]);
        assert!((own - expected).abs() < 2e-5, "{index}: {own} {expected}");
    }

    // Each tensor once, and those of the last layer first: they can travel meanwhile.
    let mut sorted = order.clone();
    sorted.sort_unstable();
    let all: Vec<usize> = (0..layout.tensors().len()).collect();
    assert_eq!(sorted, all);
    let last = layout.tensors().len() - 2;
    assert!(order[..2].iter().all(|&tensor| tensor >= last), "{order:?}");
}

#[test]
fn mlp_is_numpys() {
    let network = Mlp {
        inputs: 6,
        outputs: 2,
        hidden: vec![7, 5],
        activation: Activation::Tanh,
        starts_at_zero: false,
    };
    check("mlp", network, &[4, 2, 3]);
}

#[test]
fn lstm_is_numpys() {
    let network = Lstm {
        inputs: 3,
        outputs: 3,
        hidden: 4,
        layers: 2,
        starts_at_zero: false,
    };
    check("lstm", network, &[2, 5, 3]);
}

#[test]
fn unet_is_numpys() {
    let network = Unet {
        inputs: 3,
        outputs: 2,
        width: 3,
        depth: 2,
        edges: Edges::Globe,
        activation: Activation::Tanh,
        starts_at_zero: false,
    };
    check("unet", network, &[2, 3, 6, 9]);
}

#[test]
fn resnet_is_numpys() {
    let network = Resnet {
        inputs: 3,
        outputs: 2,
        width: 4,
        blocks: 2,
        edges: Edges::Zero,
        activation: Activation::Tanh,
        starts_at_zero: false,
    };
    check("resnet", network, &[2, 3, 5, 6]);
}

/// Backward passes on several threads add in the same order: a run can be repeated to the bit.
#[test]
fn gradients_are_the_same_to_the_bit() {
    let network = || Unet {
        inputs: 1,
        outputs: 1,
        width: 8,
        depth: 2,
        edges: Edges::Globe,
        activation: Activation::Relu,
        starts_at_zero: false,
    };
    let field = |scale: f64| Array {
        shape: vec![4, 1, 24, 40],
        values: wave(4 * 24 * 40, 1.0, |i| (scale * i).sin()),
    };
    let batch = Batch {
        inputs: field(0.3),
        targets: field(0.2),
    };
    let run = || {
        let device = Default::default();
        let mut learner = Supervised::<_, Flex, 4, 4>::new(network(), Loss::Mse, 5, device);
        let mut told = Vec::new();
        let mut ready = |tensor: usize, values: &[f32]| told.push((tensor, values.to_vec()));
        let loss = learner.gradients(0, &batch, 0, &mut ready).unwrap();
        (loss.to_bits(), told)
    };
    let first = run();
    for _ in 0..3 {
        assert_eq!(run(), first);
    }
}

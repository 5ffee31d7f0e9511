//! Showers of particles in a calorimeter, made from nothing but their energy and noise.
//!
//! Two networks learn from each other: the discriminator to tell made showers from true ones,
//! the generator to make such that it cannot. A step has a phase for each. The generator is also
//! drawn towards the mean energy of each layer over a batch, which keeps it from the collapse
//! that small adversaries are prone to.
//!
//! Source: 3DGAN of Khattak et al. (2022); least squares, Mao et al. (2017).

use std::sync::mpsc::channel;

use crate::backend::{Backend, Differentiable};
use burn_autodiff::Autodiff;
use burn_tensor::{ElementConversion as _, Tensor, activation};
use mizar_train::{Array, Batch, Layout, LearnError, Learner, Phase};
use serde::{Deserialize, Serialize};

use crate::layers::{Activation, Conv3d, Double3d, Linear};
use crate::learner::{Weights, array, backward, tensor};
use crate::network::{Parameter, Parameters, Random};

/// Hyperparameters of the pair.
///
/// A batch's inputs are showers `(samples, depth, height, width)` in the unit of the energies,
/// its targets the energies of their particles `(samples, 1)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gan {
    /// Depth, height and width of a shower: multiples of 4. The depth is along the particle.
    pub extent: [usize; 3],
    /// Numbers of noise for a shower.
    pub latent: usize,
    /// Channels of the last layers of the generator and the first of the discriminator.
    pub width: usize,
    /// The energy at which the condition is 0; it grows with the logarithm.
    #[serde(default = "one")]
    pub reference_energy: f32,
    /// How much the layers' mean energies count beside the discriminator's word.
    #[serde(default = "one")]
    pub profile_weight: f32,
}

fn one() -> f32 {
    1.0
}

impl Gan {
    /// What is wrong with the extent, if anything.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let is_good = |len: &usize| *len > 0 && len.is_multiple_of(4);
        let found = self.extent;
        (!found.iter().all(is_good))
            .then(|| format!("model.extent = {found:?}: expected multiples of 4"))
    }

    fn cells(&self) -> usize {
        self.extent.iter().product()
    }

    fn seed_layer(&self) -> Linear {
        Linear {
            name: "generator.seed".to_owned(),
            inputs: self.latent + 1,
            outputs: 4 * self.width * self.cells() / 64,
            activation: Activation::Relu,
            starts_at_zero: false,
        }
    }

    fn doubles(&self) -> [Double3d; 2] {
        [(0, 4, 2), (1, 2, 1)].map(|(index, inputs, outputs)| Double3d {
            name: format!("generator.double.{index}"),
            inputs: inputs * self.width,
            outputs: outputs * self.width,
            activation: Activation::Relu,
        })
    }

    fn last(&self) -> Conv3d {
        Conv3d {
            name: "generator.last".to_owned(),
            inputs: self.width,
            outputs: 1,
            stride: 1,
            activation: Activation::None,
        }
    }

    fn convs(&self) -> [Conv3d; 2] {
        let sizes = [(0, 1, self.width), (1, self.width, 2 * self.width)];
        sizes.map(|(index, inputs, outputs)| Conv3d {
            name: format!("discriminator.conv.{index}"),
            inputs,
            outputs,
            stride: 2,
            activation: Activation::Leaky,
        })
    }

    fn judges(&self) -> [Linear; 2] {
        let seen = 2 * self.width * self.cells() / 64 + self.extent[0] + 1;
        let layer = |name: &str, inputs, outputs, activation| Linear {
            name: format!("discriminator.{name}"),
            inputs,
            outputs,
            activation,
            starts_at_zero: false,
        };
        [
            layer("judge", seen, 4 * self.width, Activation::Leaky),
            layer("verdict", 4 * self.width, 1, Activation::None),
        ]
    }

    fn generator(&self) -> Vec<Parameter> {
        let mut list = self.seed_layer().parameters();
        list.extend(self.doubles().iter().flat_map(Double3d::parameters));
        list.extend(self.last().parameters());
        list
    }

    fn discriminator(&self) -> Vec<Parameter> {
        let mut list: Vec<Parameter> = self.convs().iter().flat_map(Conv3d::parameters).collect();
        list.extend(self.judges().iter().flat_map(Linear::parameters));
        list
    }

    /// Showers as shares of the energy times the number of cells: near 1 on average.
    fn make<B: Backend>(&self, all: &Parameters<B>, code: Tensor<B, 2>) -> Tensor<B, 5> {
        let samples = code.dims()[0];
        let [depth, height, width] = self.extent.map(|len| len / 4);
        let mut flow = self.seed_layer().forward(all, code).reshape([
            samples,
            4 * self.width,
            depth,
            height,
            width,
        ]);
        for double in self.doubles() {
            flow = double.forward(all, flow);
        }
        activation::softplus(self.last().forward(all, flow), 1.0)
    }

    /// How true showers look to the discriminator, `(samples, 1)`.
    fn judge<B: Backend>(
        &self,
        all: &Parameters<B>,
        showers: Tensor<B, 5>,
        condition: Tensor<B, 2>,
    ) -> Tensor<B, 2> {
        let samples = showers.dims()[0];
        let layers = self.profile(showers.clone());
        let mut flow = showers;
        for conv in self.convs() {
            flow = conv.forward(all, flow);
        }
        let seen = flow.reshape([samples, 2 * self.width * self.cells() / 64]);
        let mut flow = Tensor::cat(vec![seen, layers, condition], 1);
        for layer in self.judges() {
            flow = layer.forward(all, flow);
        }
        flow
    }

    /// The mean of each layer, `(samples, depth)`.
    fn profile<B: Backend>(&self, showers: Tensor<B, 5>) -> Tensor<B, 2> {
        let [samples, ..] = showers.dims();
        let [depth, height, width] = self.extent;
        let layers = showers.reshape([samples, depth, height * width]);
        layers.mean_dim(2).reshape([samples, depth])
    }
}

/// The pair as a learner.
pub struct GanLearner<B: Differentiable> {
    gan: Gan,
    weights: Weights<B>,
    /// How many of the tensors are the generator's.
    split: usize,
}

impl<B: Differentiable> GanLearner<B> {
    /// A learner on a device, with parameters drawn by `seed`.
    pub fn new(gan: Gan, seed: u64, device: B::Device) -> Self {
        let mut list = gan.generator();
        let split = list.len();
        list.extend(gan.discriminator());
        let weights = Weights::new(&list, seed, device);
        Self {
            gan,
            weights,
            split,
        }
    }

    /// Showers as the networks see them, and their conditions.
    fn seen(&self, batch: &Batch) -> Result<(Vec<f32>, Vec<f32>), LearnError> {
        let cells = self.gan.cells();
        let energies = &batch.targets.values;
        let refuse = |what, expected: String, found: &Array| {
            Err(LearnError::Shape {
                what,
                expected,
                found: found.shape.clone(),
            })
        };
        let samples = batch.inputs.shape.first().copied().unwrap_or(0);
        if batch.inputs.values.len() != samples * cells || samples == 0 {
            let [d, h, w] = self.gan.extent;
            return refuse("inputs", format!("(samples, {d}, {h}, {w})"), &batch.inputs);
        }
        if energies.len() != samples {
            return refuse("targets", "(samples, 1)".to_owned(), &batch.targets);
        }
        let showers = batch.inputs.values.chunks(cells).zip(energies);
        #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^24 cells")]
        let shares = showers.flat_map(|(shower, energy)| {
            shower.iter().map(move |cell| cell * cells as f32 / energy)
        });
        Ok((shares.collect(), self.conditions(energies)))
    }

    fn conditions(&self, energies: &[f32]) -> Vec<f32> {
        let condition = |energy: &f32| (energy / self.gan.reference_energy).ln();
        energies.iter().map(condition).collect()
    }

    /// Condition and noise beside each other.
    fn codes(&self, conditions: &[f32], random: u64) -> Vec<f32> {
        let mut random = Random::new(random);
        let mut codes = Vec::with_capacity(conditions.len() * (self.gan.latent + 1));
        for condition in conditions {
            codes.push(*condition);
            codes.extend((0..self.gan.latent).map(|_| random.normal()));
        }
        codes
    }

    fn codes_tensor<A: Backend<Device = B::Device>>(
        &self,
        conditions: &[f32],
        random: u64,
    ) -> Tensor<A, 2> {
        let shape = [conditions.len(), self.gan.latent + 1];
        tensor(self.codes(conditions, random), shape, &self.weights.device)
    }

    fn showers_tensor<A: Backend<Device = B::Device>>(&self, shares: Vec<f32>) -> Tensor<A, 5> {
        let [depth, height, width] = self.gan.extent;
        let samples = shares.len() / self.gan.cells();
        tensor(
            shares,
            [samples, 1, depth, height, width],
            &self.weights.device,
        )
    }

    fn conditions_tensor<A: Backend<Device = B::Device>>(
        &self,
        conditions: Vec<f32>,
    ) -> Tensor<A, 2> {
        let shape = [conditions.len(), 1];
        tensor(conditions, shape, &self.weights.device)
    }

    /// The discriminator should say 1 of true showers and 0 of made ones.
    fn discriminator_loss(
        &self,
        parameters: &Parameters<Autodiff<B>>,
        shares: Vec<f32>,
        conditions: &[f32],
        random: u64,
    ) -> Tensor<Autodiff<B>, 1> {
        let made = self.gan.make(
            &self.weights.plain(),
            self.codes_tensor::<B>(conditions, random),
        );
        let made = Tensor::from_inner(made);
        let both = Tensor::cat(vec![self.showers_tensor(shares), made], 0);
        let conditions = [conditions, conditions].concat();
        let samples = conditions.len() / 2;
        let verdicts = self
            .gan
            .judge(parameters, both, self.conditions_tensor(conditions));
        let of_true = verdicts.clone().narrow(0, 0, samples) - 1.0;
        let of_made = verdicts.narrow(0, samples, samples);
        (of_true.clone() * of_true).mean() + (of_made.clone() * of_made).mean()
    }

    /// The discriminator should say 1 of made showers, whose layers should have the energy of
    /// true ones.
    fn generator_loss(
        &self,
        parameters: &Parameters<Autodiff<B>>,
        shares: Vec<f32>,
        conditions: &[f32],
        random: u64,
    ) -> Tensor<Autodiff<B>, 1> {
        let codes = self.codes_tensor(conditions, random);
        let made = self.gan.make(parameters, codes);
        let condition = self.conditions_tensor(conditions.to_vec());
        let verdict = self.gan.judge(parameters, made.clone(), condition) - 1.0;
        let truth = self.gan.profile(self.showers_tensor::<Autodiff<B>>(shares));
        let off = self.gan.profile(made).mean_dim(0) - truth.mean_dim(0);
        (verdict.clone() * verdict).mean() + (off.clone() * off).mean() * self.gan.profile_weight
    }
}

impl<B: Differentiable> Learner for GanLearner<B> {
    fn layout(&self) -> &Layout {
        &self.weights.layout
    }

    fn phases(&self) -> Vec<Phase> {
        let phase = |name: &str, tensors| Phase {
            name: name.to_owned(),
            tensors,
        };
        vec![
            phase(
                "discriminator",
                self.split..self.weights.layout.tensors().len(),
            ),
            phase("generator", 0..self.split),
        ]
    }

    fn initial(&self) -> Vec<f32> {
        self.weights.initial()
    }

    fn load(&mut self, parameters: &[f32]) {
        self.weights.load(parameters);
    }

    fn gradients(
        &mut self,
        phase: usize,
        batch: &Batch,
        random: u64,
        ready: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<f64, LearnError> {
        let (shares, conditions) = self.seen(batch)?;
        let tensors = self.phases()[phase].tensors.clone();
        let (sender, receiver) = channel();
        let parameters = self.weights.tracked(&sender, tensors.clone());
        let loss = match phase {
            0 => self.discriminator_loss(&parameters, shares, &conditions, random),
            _ => self.generator_loss(&parameters, shares, &conditions, random),
        };
        drop(parameters);
        let layout = &self.weights.layout;
        Ok(backward(loss, (sender, receiver), layout, tensors, ready))
    }

    /// How far the mean energies of the layers are from the truth, as a share of it.
    fn evaluate(&mut self, batch: &Batch) -> Result<f64, LearnError> {
        let (shares, conditions) = self.seen(batch)?;
        let made = self.gan.make(
            &self.weights.plain(),
            self.codes_tensor::<B>(&conditions, conditions.len() as u64),
        );
        let truth = self
            .gan
            .profile(self.showers_tensor::<B>(shares))
            .mean_dim(0);
        let off = (self.gan.profile(made).mean_dim(0) - truth.clone()).abs();
        let (off, truth): (f64, f64) = (
            off.sum().into_scalar().elem(),
            truth.sum().into_scalar().elem(),
        );
        Ok(off / truth.max(f64::MIN_POSITIVE))
    }

    /// Showers of energies `(samples, 1)`; the noise of a sample is that of its number.
    fn predict(&mut self, inputs: &Array) -> Result<Array, LearnError> {
        let energies = &inputs.values;
        if inputs.shape.iter().product::<usize>() != energies.len()
            || inputs.shape.first() != Some(&energies.len())
        {
            return Err(LearnError::Shape {
                what: "inputs",
                expected: "(samples, 1): energies".to_owned(),
                found: inputs.shape.clone(),
            });
        }
        let codes = self.codes_tensor::<B>(&self.conditions(energies), 0);
        let mut made = array(self.gan.make(&self.weights.plain(), codes));
        let cells = self.gan.cells();
        for (shower, energy) in made.values.chunks_mut(cells).zip(energies) {
            #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^24 cells")]
            shower
                .iter_mut()
                .for_each(|cell| *cell *= energy / cells as f32);
        }
        let [depth, height, width] = self.gan.extent;
        made.shape = vec![energies.len(), depth, height, width];
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use burn_flex::Flex;

    use super::*;

    fn gan() -> Gan {
        Gan {
            extent: [8, 4, 4],
            latent: 4,
            width: 2,
            reference_energy: 50.0,
            profile_weight: 1.0,
        }
    }

    /// Layers whose energy rises, then falls.
    fn batch(samples: usize) -> Batch {
        let layers = [0.05, 0.15, 0.3, 0.2, 0.12, 0.09, 0.06, 0.03];
        let mut random = Random::new(1);
        let mut batch = Batch::default();
        batch.inputs.shape = vec![samples, 8, 4, 4];
        batch.targets.shape = vec![samples, 1];
        for _ in 0..samples {
            let energy = random.between(20.0, 100.0);
            batch.targets.values.push(energy);
            for layer in layers {
                let cells = (0..16).map(|_| energy * layer / 16.0 * random.between(0.5, 1.5));
                batch.inputs.values.extend(cells);
            }
        }
        batch
    }

    #[test]
    fn each_phase_tells_its_own_tensors_once_and_the_gradient_is_the_slope() {
        let mut learner = GanLearner::<Flex>::new(gan(), 3, Default::default());
        let batch = batch(6);
        let layout = learner.layout().clone();
        // Away from the kinks of the activations: at the start many of their inputs are 0.
        let mut random = Random::new(2);
        let mut start = learner.initial();
        start
            .iter_mut()
            .for_each(|value| *value += random.between(-0.2, 0.2));
        learner.load(&start);
        for (index, phase) in learner.phases().into_iter().enumerate() {
            let mut told = Vec::new();
            let mut gradient = vec![0.0; layout.len()];
            let mut ready = |tensor: usize, values: &[f32]| {
                told.push(tensor);
                gradient[layout.tensors()[tensor].range()].copy_from_slice(values);
            };
            learner.gradients(index, &batch, 9, &mut ready).unwrap();
            told.sort_unstable();
            assert_eq!(told, phase.tensors.clone().collect::<Vec<_>>());
            let mut at = |tensor: usize, step: f32| {
                let mut moved = start.clone();
                moved[layout.tensors()[tensor].start] += step;
                learner.load(&moved);
                learner.gradients(index, &batch, 9, &mut |_, _| {}).unwrap()
            };
            for tensor in phase.tensors {
                let slope = (at(tensor, 1e-3) - at(tensor, -1e-3)) / 2e-3;
                let own = f64::from(gradient[layout.tensors()[tensor].start]);
                assert!(
                    (own - slope).abs() < 2e-3 + 0.05 * slope.abs(),
                    "{tensor}: {own} {slope}"
                );
            }
            learner.load(&start);
        }
    }

    #[test]
    fn a_few_hundred_steps_bring_the_profile_close() {
        let mut learner = GanLearner::<Flex>::new(gan(), 3, Default::default());
        let batch = batch(64);
        let layout = learner.layout().clone();
        let mut parameters = learner.initial();
        let before = learner.evaluate(&batch).unwrap();
        let mut squares = vec![0.0_f32; parameters.len()];
        for step in 0..300 {
            for phase in 0..2 {
                let mut gradient = vec![0.0; parameters.len()];
                let mut ready = |tensor: usize, values: &[f32]| {
                    gradient[layout.tensors()[tensor].range()].copy_from_slice(values);
                };
                learner.gradients(phase, &batch, step, &mut ready).unwrap();
                // RMSprop: the trainer's optimizers are tested where they are.
                for ((value, square), slope) in
                    parameters.iter_mut().zip(&mut squares).zip(&gradient)
                {
                    *square = 0.9 * *square + 0.1 * slope * slope;
                    *value -= 2e-3 * slope / (square.sqrt() + 1e-6);
                }
                learner.load(&parameters);
            }
        }
        let after = learner.evaluate(&batch).unwrap();
        assert!(after < 0.2 && after < before / 3.0, "{before} to {after}");
    }
}

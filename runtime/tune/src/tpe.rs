//! The tree-structured Parzen estimator: values are drawn near good trials, and of several draws
//! the one is taken that good trials explain best against the others (Bergstra and others, 2011).
//! Each parameter by itself; the places of values in [0, 1) are what densities are over.

use std::collections::BTreeMap;

use crate::ledger::Trial;
use crate::random::Random;
use crate::space::{Parameter, Value};
use crate::study::Study;

/// Trials before the first estimate: until then draws are even.
const TRIALS_MIN: usize = 8;

/// The share of trials that counts as good.
const GOOD_SHARE: f64 = 0.25;

/// Draws of which the best is taken.
const DRAWS: usize = 24;

/// The narrowest bell: more would only repeat what was tried.
const WIDTH_MIN: f64 = 0.05;

/// Values for the next trial; `None` while too few are measured.
pub(crate) fn propose(
    study: &Study,
    trials: &[Trial],
    random: &mut Random,
) -> Option<BTreeMap<String, Value>> {
    let mut measured: Vec<(&Trial, f64)> = trials
        .iter()
        .filter_map(|trial| Some((trial, trial.metric(0)?)))
        .collect();
    if measured.len() < TRIALS_MIN {
        return None;
    }
    measured.sort_by(|(_, a), (_, b)| study.compare(*a, *b));
    let good = ((measured.len() as f64 * GOOD_SHARE).ceil() as usize).max(2);
    let (good, others) = measured.split_at(good);
    let choose = |(name, parameter): (&String, &Parameter)| {
        let places = |trials: &[(&Trial, f64)]| -> Vec<f64> {
            let place = |(trial, _): &(&Trial, f64)| parameter.place(trial.values.get(name)?);
            trials.iter().filter_map(place).collect()
        };
        let (good, others) = (Density::of(places(good)), Density::of(places(others)));
        let draws = (0..DRAWS).map(|_| good.draw(random));
        let best = draws.max_by(|a, b| {
            let score = |place: f64| good.at(place) / others.at(place);
            score(*a).total_cmp(&score(*b))
        });
        (name.clone(), parameter.at(best.unwrap_or(0.5)))
    };
    Some(study.space.iter().map(choose).collect())
}

/// Bells around places, and an even share for the whole of [0, 1).
struct Density {
    places: Vec<f64>,
    width: f64,
}

impl Density {
    fn of(places: Vec<f64>) -> Self {
        let width = (1.0 / (places.len() as f64 + 1.0)).max(WIDTH_MIN);
        Self { places, width }
    }

    fn at(&self, place: f64) -> f64 {
        let bell = |centre: &f64| {
            let z = (place - centre) / self.width;
            (-0.5 * z * z).exp() / (self.width * std::f64::consts::TAU.sqrt())
        };
        let sum: f64 = self.places.iter().map(bell).sum();
        (sum + 1.0) / (self.places.len() as f64 + 1.0)
    }

    fn draw(&self, random: &mut Random) -> f64 {
        let index = (random.unit() * (self.places.len() as f64 + 1.0)) as usize;
        let Some(centre) = self.places.get(index) else {
            return random.unit();
        };
        let place = centre + self.width * random.normal();
        // What falls outside is folded back.
        let folded = place.rem_euclid(2.0);
        if folded < 1.0 { folded } else { 2.0 - folded }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{Next, next};
    use crate::ledger::{Ending, Run};
    use crate::study::tests::{STUDY, study};

    /// A bowl over the logarithm of the rate with its least at 0.01.
    fn best_of(method: &str, seed: u32) -> f64 {
        let text = STUDY
            .replacen(
                "seed = 3",
                &format!("seed = {seed}\nmethod = '{method}'"),
                1,
            )
            .replacen("trials = 9", "trials = 40", 1);
        let study = study(&text).unwrap();
        let mut trials: Vec<Trial> = Vec::new();
        while let Next::Run { values, .. } = next(&study, &trials) {
            let Value::Number(rate) = values["rate"] else {
                panic!()
            };
            let metric = (rate.log10() + 2.0).powi(2);
            let run = Run {
                ending: Some(Ending::Measured { metric }),
                worker: String::new(),
                elapsed_s: 1.0,
                gpu_hours: 0.0,
                energy_joules: None,
            };
            trials.push(Trial {
                values,
                runs: BTreeMap::from([(0, run)]),
                lost_count: 0,
            });
        }
        let late = trials[20..].iter().filter_map(|t| t.metric(0));
        late.sum::<f64>() / 20.0
    }

    #[test]
    fn later_trials_lie_nearer_to_the_best_than_even_draws() {
        let sum = |method| (0..10).map(|seed| best_of(method, seed)).sum::<f64>() / 10.0;
        let (tpe, even) = (sum("tpe"), sum("random"));
        assert!(tpe < 0.5 * even, "{tpe} {even}");
    }
}

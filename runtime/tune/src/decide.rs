//! What to do next, from the ledger alone. Pure.

use std::collections::BTreeMap;

use crate::ledger::{Ending, Trial};
use crate::random::Random;
use crate::space::Value;
use crate::study::{Method, Study};
use crate::tpe;

/// A trial whose run was lost so often is given up: it may be what kills workers.
const LOST_MAX: usize = 3;

/// What a worker should do.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Run this rung of this trial.
    Run {
        /// The trial: a new one if it is the next number.
        trial: u32,
        /// The rung.
        rung: usize,
        /// The values.
        values: BTreeMap<String, Value>,
    },
    /// Nothing can be begun until a run that is going on has ended.
    Wait,
    /// All is spent or done.
    End {
        /// Which limit, in words.
        reason: String,
    },
}

/// Decides.
#[must_use]
pub fn next(study: &Study, trials: &[Trial]) -> Next {
    let rungs = study.rungs().len();
    let mut runs = trials.iter().flat_map(|trial| trial.runs.values());
    let is_running = runs.any(|run| run.ending.is_none());
    if let Some(reason) = spent(study, trials) {
        return Next::End { reason };
    }
    if let Some((trial, rung)) = lost(trials) {
        return run(trials, trial, rung);
    }
    if study.method == Method::Asha
        && let Some((trial, rung)) = promotion(study, trials, rungs)
    {
        return run(trials, trial, rung);
    }
    let limit = study.budget.trials.unwrap_or(u32::MAX);
    if (trials.len() as u32) < limit {
        let trial = trials.len() as u32;
        let values = propose(study, trials, trial);
        return Next::Run {
            trial,
            rung: 0,
            values,
        };
    }
    match is_running {
        true => Next::Wait,
        false => Next::End {
            reason: format!("all {limit} trials are done"),
        },
    }
}

fn run(trials: &[Trial], trial: usize, rung: usize) -> Next {
    Next::Run {
        trial: trial as u32,
        rung,
        values: trials[trial].values.clone(),
    }
}

/// A run that was lost with its worker, and is not given up.
fn lost(trials: &[Trial]) -> Option<(usize, usize)> {
    trials.iter().enumerate().find_map(|(number, trial)| {
        let is_lost = |(rung, run): (&usize, &crate::ledger::Run)| {
            let again = run.ending == Some(Ending::Lost) && trial.lost_count < LOST_MAX;
            again.then_some((number, *rung))
        };
        trial.runs.iter().find_map(is_lost)
    })
}

/// Why nothing more may be begun, if so. A run that would probably exceed what is left is not
/// begun.
fn spent(study: &Study, trials: &[Trial]) -> Option<String> {
    let runs = || trials.iter().flat_map(|trial| trial.runs.values());
    let ended = runs().filter(|run| run.ending.is_some()).count();
    let running = runs().count() - ended;
    let check = |limit: Option<f64>, used: f64, unit: &str| {
        let limit = limit?;
        let mean = if ended == 0 { 0.0 } else { used / ended as f64 };
        let expected = used + mean * (running as f64 + 1.0);
        (expected > limit).then(|| {
            format!(
                "{used:.3} of {limit} {unit} are spent, and another run would take about {mean:.3}"
            )
        })
    };
    let gpu_hours: f64 = runs().map(|run| run.gpu_hours).sum();
    let joules: f64 = runs().filter_map(|run| run.energy_joules).sum();
    let energy_wh = joules / 3600.0;
    check(study.budget.gpu_hours, gpu_hours, "GPU hours")
        .or_else(|| check(study.budget.energy_wh, energy_wh, "Wh"))
}

/// The best trial that is among the best of its rung and has not gone on; of the highest rung
/// that has one.
fn promotion(study: &Study, trials: &[Trial], rungs: usize) -> Option<(usize, usize)> {
    (0..rungs.saturating_sub(1)).rev().find_map(|rung| {
        let mut measured: Vec<(usize, f64)> = trials
            .iter()
            .enumerate()
            .filter_map(|(number, trial)| Some((number, trial.metric(rung)?)))
            .collect();
        measured.sort_by(|(left, a), (right, b)| study.compare(*a, *b).then(left.cmp(right)));
        let best = measured.len() / study.asha.factor as usize;
        let mut candidates = measured[..best].iter().map(|(number, _)| *number);
        let goes_on = |number: &usize| !trials[*number].runs.contains_key(&(rung + 1));
        candidates.find(goes_on).map(|number| (number, rung + 1))
    })
}

fn propose(study: &Study, trials: &[Trial], trial: u32) -> BTreeMap<String, Value> {
    let mut random = Random::of(study.seed, trial.into());
    if study.method == Method::Tpe
        && let Some(values) = tpe::propose(study, trials, &mut random)
    {
        return values;
    }
    let draw = |(name, parameter): (&String, &crate::Parameter)| {
        (name.clone(), parameter.at(random.unit()))
    };
    study.space.iter().map(draw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Run;
    use crate::study::tests::{STUDY, study};

    fn trial(metrics: &[Option<f64>]) -> Trial {
        let runs = metrics.iter().enumerate().map(|(rung, metric)| {
            let ending = metric.map(|metric| Ending::Measured { metric });
            let run = Run {
                ending,
                worker: String::new(),
                elapsed_s: 1.0,
                gpu_hours: 1.0,
                energy_joules: Some(3600.0),
            };
            (rung, run)
        });
        Trial {
            values: BTreeMap::from([("rate".to_owned(), Value::Number(0.01))]),
            runs: runs.collect(),
            lost_count: 0,
        }
    }

    fn asha() -> Study {
        let text = STUDY.replacen(
            "seed = 3",
            "method = 'asha'\nasha = {min = 1, max = 9, factor = 3}",
            1,
        );
        study(&text).unwrap()
    }

    #[test]
    fn the_best_third_of_a_rung_goes_on_once() {
        let study = asha();
        let mut trials: Vec<Trial> = [5.0, 3.0, 4.0].map(|m| trial(&[Some(m)])).to_vec();
        let Next::Run {
            trial: chosen,
            rung,
            ..
        } = next(&study, &trials)
        else {
            panic!()
        };
        assert_eq!((chosen, rung), (1, 1));
        trials[1] = trial(&[Some(3.0), None]);
        let Next::Run {
            trial: chosen,
            rung,
            ..
        } = next(&study, &trials)
        else {
            panic!()
        };
        assert_eq!((chosen, rung), (3, 0), "a new one while nothing can go on");
        // Three in rung 1: the best of them goes to rung 2, before any of rung 0.
        let mut many: Vec<Trial> = (0..9).map(|n| trial(&[Some(f64::from(n))])).collect();
        for (number, metric) in [(0, 9.0), (1, 7.0), (2, 8.0)] {
            many[number] = trial(&[Some(number as f64), Some(metric)]);
        }
        let Next::Run {
            trial: chosen,
            rung,
            ..
        } = next(&study, &many)
        else {
            panic!()
        };
        assert_eq!((chosen, rung), (1, 2));
    }

    #[test]
    fn a_search_waits_for_what_may_go_on_and_then_ends() {
        let study = asha();
        let mut trials: Vec<Trial> = (0..9).map(|n| trial(&[Some(f64::from(n))])).collect();
        for (number, up) in trials.iter_mut().take(3).enumerate() {
            *up = trial(&[Some(number as f64), None]);
        }
        assert_eq!(next(&study, &trials), Next::Wait);
        trials[0] = trial(&[Some(0.0), Some(1.0), Some(1.0)]);
        trials[1] = trial(&[Some(1.0), Some(2.0)]);
        trials[2] = trial(&[Some(2.0), Some(3.0)]);
        assert!(matches!(next(&study, &trials), Next::End { .. }));
    }

    #[test]
    fn no_run_is_begun_that_would_exceed_the_budget() {
        for limit in ["gpu_hours = 3.5", "energy_wh = 3.5"] {
            let study = study(&STUDY.replacen("trials = 9", limit, 1)).unwrap();
            let two = [trial(&[Some(1.0)]), trial(&[Some(2.0)])];
            assert!(matches!(next(&study, &two), Next::Run { .. }), "{limit}");
            let three = [
                trial(&[Some(1.0)]),
                trial(&[Some(2.0)]),
                trial(&[Some(2.0)]),
            ];
            assert!(matches!(next(&study, &three), Next::End { .. }), "{limit}");
            // What runs will be spent too.
            let mut one_runs = three.clone();
            one_runs[2] = trial(&[None]);
            one_runs[2].runs.get_mut(&0).unwrap().gpu_hours = 0.0;
            one_runs[2].runs.get_mut(&0).unwrap().energy_joules = None;
            assert!(
                matches!(next(&study, &one_runs), Next::End { .. }),
                "{limit}"
            );
        }
    }

    #[test]
    fn a_lost_run_is_begun_again_with_its_values_but_not_for_ever() {
        let study = study(STUDY).unwrap();
        let mut trials = vec![trial(&[Some(1.0)]), trial(&[None])];
        trials[1].runs.get_mut(&0).unwrap().ending = Some(Ending::Lost);
        trials[1].lost_count = 1;
        let again = next(&study, &trials);
        let values = trials[1].values.clone();
        assert_eq!(
            again,
            Next::Run {
                trial: 1,
                rung: 0,
                values
            }
        );
        trials[1].lost_count = LOST_MAX;
        assert!(matches!(next(&study, &trials), Next::Run { trial: 2, .. }));
    }

    #[test]
    fn a_lost_run_is_not_begun_again_beyond_the_budget() {
        let study = study(&STUDY.replacen("trials = 9", "gpu_hours = 1.5", 1)).unwrap();
        let mut trials = vec![trial(&[Some(1.0)]), trial(&[None])];
        let lost = trials[1].runs.get_mut(&0).unwrap();
        (lost.ending, lost.gpu_hours) = (Some(Ending::Lost), 0.0);
        trials[1].lost_count = 1;
        assert!(matches!(next(&study, &trials), Next::Run { trial: 1, .. }));
        trials[0].runs.get_mut(&0).unwrap().gpu_hours = 1.4;
        assert!(matches!(next(&study, &trials), Next::End { .. }));
    }

    #[test]
    fn the_same_ledger_gives_the_same_decision() {
        let study = study(STUDY).unwrap();
        assert_eq!(next(&study, &[]), next(&study, &[]));
        let other = crate::study::tests::study(&STUDY.replacen("seed = 3", "seed = 4", 1)).unwrap();
        assert_ne!(next(&study, &[]), next(&other, &[]));
    }
}

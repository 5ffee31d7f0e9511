//! Amdahl's law and the universal scalability law fitted to measured times.
//!
//! Both are linear in coefficients of the time, so that no iteration or start value is needed:
//! Amdahl `T = a + b/N`, USL `T = (a + b(N-1) + cN(N-1))/N`. Residuals are relative to the
//! measured time, since noise grows with it. Every run is an observation of its own.

use serde::Serialize;

use super::least_squares::{Solution, solve};
use super::statistics::student_t;

/// Different rank counts that Amdahl's law needs.
pub const MIN_AMDAHL_SIZES: usize = 3;
/// Different rank counts that the universal scalability law needs.
pub const MIN_USL_SIZES: usize = 4;

/// A part of the time that is smaller than this share of it is rounding.
const NEGLIGIBLE: f64 = 1e-12;

/// A measured time: ranks and seconds.
pub type Observation = (f64, f64);

/// Which law.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Law {
    /// A serial share, and a rest that divides evenly.
    Amdahl,
    /// Contention σ and crosstalk κ.
    Usl,
}

/// A parameter with its interval.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parameter {
    /// `T1_s`, `s`, `lambda`, `sigma`, `kappa`.
    pub name: &'static str,
    /// Its value.
    pub value: f64,
    /// The interval's lower end; `None` if no degree of freedom is left to tell.
    pub low: Option<f64>,
    /// Its upper end.
    pub high: Option<f64>,
    /// Would the data have it beyond what the law allows? Then it is held there.
    pub at_bound: bool,
}

/// How far a run lies from the curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Residual {
    /// Ranks of the run.
    pub ranks: f64,
    /// Its time.
    pub measured_s: f64,
    /// The law's.
    pub fitted_s: f64,
    /// (measured - fitted) / measured.
    pub relative: f64,
}

/// A fitted law.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fit {
    /// Which.
    pub law: Law,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// Of the USL: the ranks with the highest throughput, if it has a peak.
    pub peak_ranks: Option<f64>,
    /// Root of the mean square of the relative residuals.
    pub residual_rms: f64,
    /// One a run.
    pub residuals: Vec<Residual>,
    /// Observations less coefficients.
    pub degrees_of_freedom: usize,
    #[serde(skip)]
    curve: Curve,
}

/// Coefficients in force, over the whole basis of the law; those held at zero are left out.
#[derive(Clone, Debug, PartialEq)]
struct Curve {
    law: Law,
    weak: bool,
    used: Vec<usize>,
    solution: Solution,
}

impl Fit {
    /// A parameter by its name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|found| found.name == name)
    }

    /// The time at so many ranks, and half the width of its interval (of the curve, not of one
    /// more run); `None` where that cannot be told.
    #[must_use]
    pub fn predict(&self, ranks: f64) -> (f64, Option<f64>) {
        let basis = basis(self.law, self.curve.weak, ranks);
        let row: Vec<f64> = self.curve.used.iter().map(|&term| basis[term]).collect();
        let solution = &self.curve.solution;
        let half = self.t().map(|t| t * solution.variance_of(&row).sqrt());
        (solution.value_of(&row), half)
    }

    fn t(&self) -> Option<f64> {
        (self.degrees_of_freedom > 0).then(|| student_t(self.degrees_of_freedom as f64))
    }
}

/// The time of so many ranks is the sum of these, each times its coefficient. In weak scaling
/// the work grows with the ranks, so the USL's time is not divided by them.
fn basis(law: Law, weak: bool, ranks: f64) -> Vec<f64> {
    match law {
        Law::Amdahl => vec![1.0, 1.0 / ranks],
        Law::Usl => {
            let share = if weak { 1.0 } else { 1.0 / ranks };
            vec![share, share * (ranks - 1.0), share * ranks * (ranks - 1.0)]
        }
    }
}

fn size_count(observations: &[Observation]) -> usize {
    let mut sizes: Vec<u64> = observations.iter().map(|o| o.0.to_bits()).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes.len()
}

/// Fits a law; `None` with too few different sizes. `weak` tells that the work grew with the
/// ranks, for which Amdahl's law does not speak.
#[must_use]
pub fn fit(law: Law, weak: bool, observations: &[Observation]) -> Option<Fit> {
    let (needed, terms) = match law {
        Law::Amdahl if weak => return None,
        Law::Amdahl => (MIN_AMDAHL_SIZES, 2),
        Law::Usl => (MIN_USL_SIZES, 3),
    };
    if size_count(observations) < needed {
        return None;
    }
    let free = curve(law, weak, observations, (0..terms).collect())?;
    let mut held = free.clone();
    // A negative share of anything is noise, or caches that fit better on more ranks: the law
    // has no place for it. The most negative is held at zero first. What rounding leaves of a
    // share that is not there would give the USL a peak at billions of ranks.
    let largest = observations.iter().map(|o| o.0).fold(1.0, f64::max);
    let slowest = observations.iter().map(|o| o.1).fold(0.0, f64::max);
    let most = basis(law, weak, largest);
    while held.used.len() > 1 {
        let most_negative = held
            .used
            .iter()
            .zip(&held.solution.coefficients)
            .filter(|(term, value)| {
                let negligible = (**value * most[**term]).abs() < NEGLIGIBLE * slowest;
                (law == Law::Amdahl || **term > 0) && (**value < 0.0 || negligible)
            })
            .min_by(|a, b| a.1.total_cmp(b.1))
            .map(|(term, _)| *term);
        let Some(term) = most_negative else { break };
        let rest = held.used.iter().copied().filter(|&used| used != term);
        held = curve(law, weak, observations, rest.collect())?;
    }
    finish(law, observations, &free, held)
}

fn curve(law: Law, weak: bool, observations: &[Observation], used: Vec<usize>) -> Option<Curve> {
    let rows: Vec<Vec<f64>> = observations
        .iter()
        .map(|&(ranks, _)| {
            let basis = basis(law, weak, ranks);
            used.iter().map(|&term| basis[term]).collect()
        })
        .collect();
    let times: Vec<f64> = observations.iter().map(|o| o.1).collect();
    let weights: Vec<f64> = times.iter().map(|time| 1.0 / time).collect();
    let solution = solve(&rows, &times, &weights)?;
    Some(Curve {
        law,
        weak,
        used,
        solution,
    })
}

fn finish(law: Law, observations: &[Observation], free: &Curve, held: Curve) -> Option<Fit> {
    let residuals: Vec<Residual> = observations
        .iter()
        .map(|&(ranks, measured_s)| {
            let basis = basis(law, held.weak, ranks);
            let row: Vec<f64> = held.used.iter().map(|&term| basis[term]).collect();
            let fitted_s = held.solution.value_of(&row);
            Residual {
                ranks,
                measured_s,
                fitted_s,
                relative: (measured_s - fitted_s) / measured_s,
            }
        })
        .collect();
    let square = |residual: &Residual| residual.relative.powi(2);
    let parameters = parameters(law, free, &held)?;
    let value = |name: &str| Some(parameters.iter().find(|p| p.name == name)?.value);
    let peak_ranks = value("kappa")
        .zip(value("sigma"))
        .filter(|&(kappa, sigma)| kappa > 0.0 && sigma < 1.0)
        .map(|(kappa, sigma)| ((1.0 - sigma) / kappa).sqrt());
    Some(Fit {
        law,
        residual_rms: (residuals.iter().map(square).sum::<f64>() / residuals.len() as f64).sqrt(),
        residuals,
        degrees_of_freedom: held.solution.degrees_of_freedom,
        peak_ranks,
        parameters,
        curve: held,
    })
}

/// The coefficients in the order of the basis; what is held is zero.
fn coefficients(curve: &Curve, terms: usize) -> Vec<f64> {
    let mut all = vec![0.0; terms];
    for (&term, &value) in curve.used.iter().zip(&curve.solution.coefficients) {
        all[term] = value;
    }
    all
}

/// A parameter and its gradient over the coefficients.
type ParameterOf<'f> = dyn Fn(&[f64]) -> (f64, Vec<f64>) + 'f;

/// Parameters from coefficients; their intervals from the free fit by the delta method, cut at
/// what the law allows.
fn parameters(law: Law, free: &Curve, held: &Curve) -> Option<Vec<Parameter>> {
    let terms = free.used.len();
    let (free_values, values) = (coefficients(free, terms), coefficients(held, terms));
    let degrees = free.solution.degrees_of_freedom;
    let t = (degrees > 0).then(|| student_t(degrees as f64));
    let parameter = |name, of: &ParameterOf<'_>, range: (f64, f64)| {
        let (free_value, gradient) = of(&free_values);
        let half = t.map(|t| t * free.solution.variance_of(&gradient).sqrt());
        let within = |value: f64| value.clamp(range.0, range.1);
        Parameter {
            name,
            value: of(&values).0,
            low: half.map(|half| within(free_value - half)),
            high: half.map(|half| within(free_value + half)),
            at_bound: free_value < range.0 || free_value > range.1,
        }
    };
    let share = (0.0, 1.0);
    let amount = (0.0, f64::INFINITY);
    match law {
        Law::Amdahl => {
            let total = values[0] + values[1];
            (total > 0.0).then_some(())?;
            let t1 = |v: &[f64]| (v[0] + v[1], vec![1.0, 1.0]);
            let serial = |v: &[f64]| {
                let total = v[0] + v[1];
                let square = total * total;
                (v[0] / total, vec![v[1] / square, -v[0] / square])
            };
            Some(vec![
                parameter("T1_s", &t1, amount),
                parameter("s", &serial, share),
            ])
        }
        Law::Usl => {
            (values[0] > 0.0 && free_values[0] > 0.0).then_some(())?;
            let lambda = |v: &[f64]| (1.0 / v[0], vec![-1.0 / (v[0] * v[0]), 0.0, 0.0]);
            let ratio = |term: usize| {
                move |v: &[f64]| {
                    let mut gradient = vec![-v[term] / (v[0] * v[0]), 0.0, 0.0];
                    gradient[term] = 1.0 / v[0];
                    (v[term] / v[0], gradient)
                }
            };
            Some(vec![
                parameter("lambda", &lambda, amount),
                parameter("sigma", &ratio(1), amount),
                parameter("kappa", &ratio(2), amount),
            ])
        }
    }
}

//! How good forecasts are, beside those that take no model.

use mizar_comm::{Communicator, ReduceOperation};
use serde::Serialize;

use super::ForecastError;
use super::plan::Plan;

/// Root-mean-square errors of a variable over all cells and steps of which the input has what
/// came; each counts alike.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Skill {
    /// The variable.
    pub variable: String,
    /// Its units.
    pub units: String,
    /// Values that were compared.
    pub values: u64,
    /// Of whom, and how large; the model first.
    pub rmse: Vec<Score>,
}

/// One error.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// `model`, `persistence` or `climatology`.
    pub forecast: &'static str,
    /// In the variable's units.
    pub rmse: f64,
}

/// Sums of squares.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sum {
    count: f64,
    model: f64,
    persistence: f64,
    climatology: f64,
}

impl Sum {
    /// Adds one value, if all that is compared is there.
    pub(super) fn add(&mut self, forecast: f32, truth: f32, before: f32, usual: Option<f32>) {
        let off = |value: f32| (f64::from(value) - f64::from(truth)).powi(2);
        let errors = [forecast, before, usual.unwrap_or(truth)].map(off);
        if errors.iter().all(|error| error.is_finite()) {
            self.count += 1.0;
            self.model += errors[0];
            self.persistence += errors[1];
            self.climatology += errors[2];
        }
    }
}

/// Those of all outputs.
pub(super) struct Sums(Vec<Sum>);

impl Sums {
    pub(super) fn new(plan: &Plan) -> Self {
        Self(vec![Sum::default(); plan.outputs.len()])
    }

    pub(super) fn add(&mut self, of_block: &[Sum]) {
        for (all, own) in self.0.iter_mut().zip(of_block) {
            all.count += own.count;
            all.model += own.model;
            all.persistence += own.persistence;
            all.climatology += own.climatology;
        }
    }

    /// Over all ranks. Collective.
    pub(super) fn finish(
        self,
        comm: &dyn Communicator,
        plan: &Plan,
    ) -> Result<Vec<Skill>, ForecastError> {
        let numbers = |sum: &Sum| [sum.count, sum.model, sum.persistence, sum.climatology];
        let mut sums: Vec<f64> = self.0.iter().flat_map(numbers).collect();
        comm.all_reduce(&mut sums, ReduceOperation::Sum)?;
        let (sums, _) = sums.as_chunks::<4>();
        let measured = sums
            .iter()
            .zip(&plan.outputs)
            .filter(|(sum, _)| sum[0] > 0.0);
        Ok(measured
            .map(|([count, model, persistence, climatology], group)| {
                let score = |forecast, sum: f64| Score {
                    forecast,
                    rmse: (sum / count).sqrt(),
                };
                let mut rmse = vec![score("model", *model)];
                if plan.lead > 0 {
                    rmse.push(score("persistence", *persistence));
                }
                if plan.has_climatology(&group.name) {
                    rmse.push(score("climatology", *climatology));
                }
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a count"
                )]
                let values = *count as u64;
                Skill {
                    variable: group.name.clone(),
                    units: group.channels[0].units.clone(),
                    values,
                    rmse,
                }
            })
            .collect())
    }
}

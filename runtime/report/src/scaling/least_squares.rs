//! Weighted linear least squares with a handful of coefficients.
//!
//! Used by [`super::fit`]. Solved by orthogonalisation (modified Gram-Schmidt, columns scaled
//! first) rather than normal equations, which would square the condition of terms in N and N².

/// Coefficients and what is needed to tell how sure they are.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Solution {
    /// One a column.
    pub(super) coefficients: Vec<f64>,
    /// Rows less columns.
    pub(super) degrees_of_freedom: usize,
    /// Covariance of the coefficients; meaningless without a degree of freedom.
    covariance: Vec<Vec<f64>>,
}

impl Solution {
    /// The combination of coefficients that `row` weighs.
    pub(super) fn value_of(&self, row: &[f64]) -> f64 {
        row.iter().zip(&self.coefficients).map(|(x, c)| x * c).sum()
    }

    /// The variance of that combination.
    pub(super) fn variance_of(&self, row: &[f64]) -> f64 {
        let mut total = 0.0;
        for (x, line) in row.iter().zip(&self.covariance) {
            total += x * row.iter().zip(line).map(|(y, c)| y * c).sum::<f64>();
        }
        total.max(0.0)
    }
}

/// Columns this close to depending on each other have no answer.
const DEPENDENT: f64 = 1e-12;

/// The coefficients that make `sum((weight * (row·c - value))²)` least; `None` if there are
/// fewer rows than columns, columns depend on each other, or something is not finite.
pub(super) fn solve(rows: &[Vec<f64>], values: &[f64], weights: &[f64]) -> Option<Solution> {
    let (count, terms) = (rows.len(), rows.first()?.len());
    if count < terms {
        return None;
    }
    let column = |term: usize| -> Vec<f64> {
        rows.iter()
            .zip(weights)
            .map(|(row, weight)| row[term] * weight)
            .collect()
    };
    let mut columns: Vec<Vec<f64>> = (0..terms).map(column).collect();
    let scales: Vec<f64> = columns.iter().map(|column| norm(column)).collect();
    if scales
        .iter()
        .any(|scale| !scale.is_finite() || *scale == 0.0)
    {
        return None;
    }
    for (column, scale) in columns.iter_mut().zip(&scales) {
        column.iter_mut().for_each(|x| *x /= scale);
    }
    let mut rest: Vec<f64> = values.iter().zip(weights).map(|(v, w)| v * w).collect();
    let mut upper = vec![vec![0.0; terms]; terms];
    let mut projected = vec![0.0; terms];
    for term in 0..terms {
        let length = norm(&columns[term]);
        if length < DEPENDENT {
            return None;
        }
        upper[term][term] = length;
        let unit: Vec<f64> = columns[term].iter().map(|x| x / length).collect();
        for later in term + 1..terms {
            upper[term][later] = dot(&unit, &columns[later]);
            subtract(&mut columns[later], &unit, upper[term][later]);
        }
        projected[term] = dot(&unit, &rest);
        subtract(&mut rest, &unit, projected[term]);
    }
    let inverse = inverse_of_upper(&upper);
    let degrees_of_freedom = count - terms;
    let variance = dot(&rest, &rest) / degrees_of_freedom.max(1) as f64;
    let coefficients: Vec<f64> = (0..terms)
        .map(|term| dot(&inverse[term], &projected) / scales[term])
        .collect();
    let covariance = (0..terms)
        .map(|a| {
            (0..terms)
                .map(|b| variance * dot(&inverse[a], &inverse[b]) / (scales[a] * scales[b]))
                .collect()
        })
        .collect();
    let finite = coefficients.iter().all(|c| c.is_finite());
    finite.then_some(Solution {
        coefficients,
        degrees_of_freedom,
        covariance,
    })
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn norm(column: &[f64]) -> f64 {
    dot(column, column).sqrt()
}

fn subtract(from: &mut [f64], unit: &[f64], factor: f64) {
    for (x, u) in from.iter_mut().zip(unit) {
        *x -= factor * u;
    }
}

fn inverse_of_upper(upper: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let terms = upper.len();
    let mut inverse = vec![vec![0.0; terms]; terms];
    // From the last row up, each from those below it.
    for row in (0..terms).rev() {
        let below = inverse.split_off(row + 1);
        for (column, entry) in inverse[row].iter_mut().enumerate().skip(row) {
            let unit = if row == column { 1.0 } else { 0.0 };
            let pairs = upper[row][row + 1..].iter().zip(&below);
            let known: f64 = pairs.map(|(factor, line)| factor * line[column]).sum();
            *entry = (unit - known) / upper[row][row];
        }
        inverse.extend(below);
    }
    inverse
}

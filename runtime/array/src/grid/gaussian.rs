//! Gaussian latitudes: the zeros of Legendre polynomials.

/// The sines of the latitudes from north to south and their quadrature weights, which sum to 2.
///
/// Source: Newton's method from the usual cosine estimate; Abramowitz and Stegun, 22.16.6 and
/// 25.4.29.
pub(super) fn nodes(count: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut nodes, mut weights) = (vec![0.0; count], vec![0.0; count]);
    for i in 0..count.div_ceil(2) {
        let estimate = std::f64::consts::PI * (i as f64 + 0.75) / (count as f64 + 0.5);
        let mut x = estimate.cos();
        let mut slope = 1.0;
        for _ in 0..ITERATIONS_MAX {
            let (value, derivative) = legendre(count, x);
            slope = derivative;
            let step = value / derivative;
            x -= step;
            if step.abs() <= f64::EPSILON {
                break;
            }
        }
        let weight = 2.0 / ((1.0 - x * x) * slope * slope);
        (nodes[i], nodes[count - 1 - i]) = (x, -x);
        (weights[i], weights[count - 1 - i]) = (weight, weight);
    }
    if count % 2 == 1 {
        nodes[count / 2] = 0.0;
    }
    (nodes, weights)
}

/// Newton's method doubles the digits each time, from three.
const ITERATIONS_MAX: usize = 10;

/// The Legendre polynomial of a degree and its derivative, inside (-1, 1).
fn legendre(degree: usize, x: f64) -> (f64, f64) {
    let (mut before, mut value) = (0.0, 1.0);
    for n in 1..=degree {
        let n = n as f64;
        let next = ((2.0 * n - 1.0) * x * value - (n - 1.0) * before) / n;
        (before, value) = (value, next);
    }
    let degree = degree as f64;
    (value, degree * (x * value - before) / (x * x - 1.0))
}

/// Latitudes in degrees, from north to south.
pub(super) fn latitudes(count: usize) -> Vec<f64> {
    let (nodes, _) = nodes(count);
    nodes.iter().map(|x| x.asin().to_degrees()).collect()
}

/// The edges of rows whose areas are the quadrature weights, from north to south.
pub(super) fn weight_bounds(count: usize) -> Vec<[f64; 2]> {
    let (_, weights) = nodes(count);
    let half = count / 2;
    // From both poles to the equator, so that rounding does not add up across it.
    let mut edge = 1.0;
    let mut edges = vec![90.0];
    for weight in &weights[..half] {
        edge -= weight;
        edges.push(f64::asin(edge).to_degrees());
    }
    if count.is_multiple_of(2) {
        edges[half] = 0.0;
    }
    let mut bounds: Vec<[f64; 2]> = edges.windows(2).map(|pair| [pair[1], pair[0]]).collect();
    let southern: Vec<[f64; 2]> = bounds.iter().rev().map(|[s, n]| [-n, -s]).collect();
    if count % 2 == 1 {
        bounds.push([-edges[half], edges[half]]);
    }
    bounds.extend(southern);
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_latitudes_are_those_of_the_handbook() {
        // Abramowitz and Stegun, table 25.4, n = 4.
        let (nodes, weights) = nodes(4);
        let expected = [
            (0.861_136_311_594_053, 0.347_854_845_137_454),
            (0.339_981_043_584_856, 0.652_145_154_862_546),
        ];
        for (i, (node, weight)) in expected.into_iter().enumerate() {
            assert!((nodes[i] - node).abs() < 1e-14);
            assert!((weights[i] - weight).abs() < 1e-14);
        }
    }

    #[test]
    fn weights_cover_the_globe() {
        for count in [1, 2, 5, 64, 640, 1281] {
            let (nodes, weights) = nodes(count);
            assert!((weights.iter().sum::<f64>() - 2.0).abs() < 1e-12, "{count}");
            assert!(nodes.is_sorted_by(|a, b| a > b), "{count}");
            let bounds = weight_bounds(count);
            assert_eq!(bounds.len(), count);
            assert!((bounds[count - 1][0] + 90.0).abs() < 1e-12, "{count}");
        }
    }
}

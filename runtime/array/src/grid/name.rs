//! Grids that have a name: `r360x180`, `global_1`, `n32`, `t63grid`, `lon=10_lat=50`.

use super::{Axis, Grid, GridError, Kind, gaussian};

/// More cells than any grid of the Earth has; a typing error must not fill the memory.
const CELLS_MAX: f64 = 1e9;

impl Grid {
    /// The grid of that name, as CDO has it:
    ///
    /// - `r<X>x<Y>`: regular, from 0 degrees east and from the south;
    /// - `global_<D>`: regular with cells of so many degrees, from the date line and the south;
    /// - `n<N>`, `F<N>`: Gaussian, N latitudes between a pole and the equator, from the north;
    /// - `t<T>grid`: Gaussian for a spectral truncation, rows bounded by quadrature weights;
    /// - `lon=<X>_lat=<Y>` (or `/` between): one point.
    ///
    /// # Errors
    /// [`GridError::Name`] for a name of one of these forms with numbers that make no grid, and
    /// for any other name.
    pub fn from_name(name: &str) -> Result<Self, GridError> {
        let wrong = |problem| GridError::Name {
            name: name.to_owned(),
            problem,
        };
        let found = regular(name)
            .or_else(|| global(name))
            .or_else(|| gaussian_grid(name))
            .or_else(|| spectral_grid(name))
            .or_else(|| one_point(name));
        match found {
            Some(Some(grid)) => Ok(grid),
            Some(None) => Err(wrong("its numbers make no grid")),
            None => Err(wrong(
                "expected a file, or a name like r360x180, global_1, n80, t63grid or lon=10_lat=50",
            )),
        }
    }
}

/// `None` where the name is of another form, `Some(None)` where its numbers are bad.
type Found = Option<Option<Grid>>;

fn regular(name: &str) -> Found {
    let (x, y) = name.strip_prefix('r')?.split_once('x')?;
    let (x, y): (usize, usize) = (x.parse().ok()?, y.parse().ok()?);
    let is_sane = x > 0 && y > 0 && x as f64 * y as f64 <= CELLS_MAX;
    Some(is_sane.then(|| {
        let lons = (0..x).map(|i| i as f64 * (360.0 / x as f64)).collect();
        let lats = match y {
            // An odd number of rows has one at the equator and one at each pole.
            y if y > 1 && y % 2 == 1 => {
                let step = 180.0 / (y - 1) as f64;
                Axis::of((0..y).map(|i| -90.0 + i as f64 * step).collect())
            }
            y => centred(y, -90.0, 180.0 / y as f64),
        };
        Grid::from_axes(whole_if_one(lons), lats)
    }))
}

/// One column or row reaches around: it cannot be told from a single centre.
fn whole_if_one(lons: Vec<f64>) -> Axis {
    let bounds = (lons.len() == 1).then(|| vec![[lons[0] - 180.0, lons[0] + 180.0]]);
    Axis {
        centres: lons,
        bounds,
    }
}

/// Middles of equal steps from an edge on.
fn centred(count: usize, edge: f64, step: f64) -> Axis {
    let centre = |i: usize| edge + step / 2.0 + i as f64 * step;
    let bounds = (count == 1).then(|| vec![[edge, edge + step]]);
    Axis {
        centres: (0..count).map(centre).collect(),
        bounds,
    }
}

fn global(name: &str) -> Found {
    let step: f64 = name.strip_prefix("global_")?.parse().ok()?;
    let columns = (360.0 / step).round();
    let rows = (180.0 / step).round();
    let is_sane = step > 0.0 && rows >= 1.0 && columns * rows <= CELLS_MAX;
    Some(is_sane.then(|| {
        let lons = centred(columns as usize, -180.0, step);
        Grid::from_axes(lons, centred(rows as usize, -90.0, step))
    }))
}

fn gaussian_grid(name: &str) -> Found {
    let digits = name.strip_prefix(['n', 'N', 'f', 'F'])?;
    let half: usize = digits.parse().ok()?;
    Some(is_sane_half(half).then(|| of_latitudes(2 * half, 4 * half)))
}

fn is_sane_half(half: usize) -> bool {
    half > 0 && 8.0 * half as f64 * half as f64 <= CELLS_MAX
}

fn spectral_grid(name: &str) -> Found {
    let truncation: usize = name.strip_prefix('t')?.strip_suffix("grid")?.parse().ok()?;
    // Enough latitudes for a quadratic term, an even number.
    let rows = (truncation.saturating_mul(3).saturating_add(2) / 2).next_multiple_of(2);
    Some((truncation > 0 && is_sane_half(rows / 2)).then(|| {
        let columns = (2 * rows..).step_by(2).find(|&count| is_round(count));
        let mut grid = of_latitudes(rows, columns.unwrap_or(2 * rows));
        if let super::Cells::Axes { lat, .. } = &mut grid.cells {
            lat.bounds = Some(gaussian::weight_bounds(rows));
        }
        grid
    }))
}

/// Whether a Fourier transform of this length is quick.
fn is_round(mut count: usize) -> bool {
    for factor in [2, 3, 5] {
        while count.is_multiple_of(factor) {
            count /= factor;
        }
    }
    count == 1
}

fn of_latitudes(rows: usize, columns: usize) -> Grid {
    let step = 360.0 / columns as f64;
    let lons = (0..columns).map(|i| i as f64 * step).collect();
    let mut grid = Grid::from_axes(Axis::of(lons), Axis::of(gaussian::latitudes(rows)));
    grid.kind = Kind::Gaussian(rows / 2);
    grid
}

fn one_point(name: &str) -> Found {
    let (lon, lat) = name
        .strip_prefix("lon=")?
        .split_once(['_', '/', ','])
        .and_then(|(lon, lat)| Some((lon, lat.strip_prefix("lat=")?)))?;
    let (lon, lat): (f64, f64) = (lon.parse().ok()?, lat.parse().ok()?);
    let is_sane = lon.is_finite() && (-90.0..=90.0).contains(&lat);
    Some(is_sane.then(|| Grid::from_axes(Axis::of(vec![lon]), Axis::of(vec![lat]))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::Cells;

    fn check(name: &str, shape: [usize; 2], lons: [f64; 2], lats: [f64; 2]) {
        let grid = Grid::from_name(name).unwrap();
        assert_eq!(grid.shape(), shape, "{name}");
        let Cells::Axes { lon, lat } = grid.cells else {
            panic!("{name}: no axes");
        };
        let ends = |axis: &Axis| [axis.centres[0], axis.centres[axis.centres.len() - 1]];
        for (found, expected) in [(ends(&lon), lons), (ends(&lat), lats)] {
            let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-9;
            assert!(found.iter().zip(&expected).all(close), "{name}: {found:?}");
        }
    }

    #[test]
    fn names_are_those_of_cdo() {
        check("r360x180", [180, 360], [0.0, 359.0], [-89.5, 89.5]);
        check("r20x11", [11, 20], [0.0, 342.0], [-90.0, 90.0]);
        check("global_1", [180, 360], [-179.5, 179.5], [-89.5, 89.5]);
        check("global_2.5", [72, 144], [-178.75, 178.75], [-88.75, 88.75]);
        let last = 87.863_798_839_232_6;
        check("n32", [64, 128], [0.0, 357.1875], [last, -last]);
        check("F32", [64, 128], [0.0, 357.1875], [last, -last]);
        let last = 88.572_168_514_007_3;
        check("t63grid", [96, 192], [0.0, 358.125], [last, -last]);
        check("lon=10_lat=50", [1, 1], [10.0, 10.0], [50.0, 50.0]);
        check("lon=10/lat=50", [1, 1], [10.0, 10.0], [50.0, 50.0]);
    }

    #[test]
    fn other_words_are_refused() {
        for name in [
            "",
            "r",
            "r0x5",
            "r360x",
            "global_0",
            "n0",
            "n99999999",
            "t0grid",
            "lon=1",
            "x",
        ] {
            assert!(Grid::from_name(name).is_err(), "{name}");
        }
    }
}

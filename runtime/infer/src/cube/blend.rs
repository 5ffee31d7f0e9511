//! Values of one channel of a unit while items are added to them: sums in double precision where
//! tiles or windows overlap, the model's own values where each cell is filled once. Pure.

/// Cells of a channel, by step, row and column.
#[derive(Clone, Debug)]
pub(crate) enum Blend {
    /// Sums of weighted values.
    Sums(Vec<f64>),
    /// Values as they are: no weight would change them.
    Values(Vec<f32>),
}

impl Blend {
    /// Nothing yet.
    pub(crate) fn new(cells: usize, is_disjoint: bool) -> Self {
        match is_disjoint {
            true => Self::Values(vec![0.0; cells]),
            false => Self::Sums(vec![0.0; cells]),
        }
    }

    /// Adds a value, or makes the cell missing; 1 if the value is to blame.
    #[inline(always)]
    pub(crate) fn add(&mut self, cell: usize, value: f32, weight: f64, is_masked: bool) -> usize {
        match self {
            Self::Sums(sums) => add_cell(&mut sums[cell], value, weight, is_masked),
            Self::Values(values) => put_cell(&mut values[cell], value, is_masked),
        }
    }

    /// Adds cells side by side, which count as much as all of the row and each itself; how many
    /// were not finite.
    pub(crate) fn add_row(
        &mut self,
        start: usize,
        row: &[f32],
        (weight, weights): (f64, &[f64]),
        mask: Option<&[bool]>,
    ) -> usize {
        let cells = start..start + row.len();
        match (self, mask) {
            (Self::Values(values), None) if row.iter().fold(true, |all, v| all & v.is_finite()) => {
                values[cells].copy_from_slice(row);
                0
            }
            (Self::Values(values), mask) => {
                let is_masked = |cell: usize| mask.is_some_and(|mask| mask[cell]);
                let cells = values[cells].iter_mut().zip(row).enumerate();
                cells
                    .map(|(cell, (own, &value))| put_cell(own, value, is_masked(cell)))
                    .sum()
            }
            (Self::Sums(sums), None) => {
                let cells = sums[cells].iter_mut().zip(row).zip(weights);
                cells
                    .map(|((sum, &value), own)| add_cell(sum, value, weight * own, false))
                    .sum()
            }
            (Self::Sums(sums), Some(mask)) => {
                let cells = sums[cells].iter_mut().zip(row).zip(weights).zip(mask);
                cells
                    .map(|(((sum, &value), own), &mask)| add_cell(sum, value, weight * own, mask))
                    .sum()
            }
        }
    }

    /// Makes a cell missing.
    pub(crate) fn lose(&mut self, cell: usize) {
        match self {
            Self::Sums(sums) => sums[cell] = f64::NAN,
            Self::Values(values) => values[cell] = f32::NAN,
        }
    }

    /// Divides by the weights, one for each row and one for each column, and brings values back to
    /// their units.
    pub(crate) fn finish(
        self,
        rows: &[f64],
        columns: &[f64],
        (mean, spread): (f64, f64),
    ) -> Vec<f32> {
        let is_plain = mean == 0.0 && spread == 1.0;
        match self {
            Self::Values(values) if is_plain => values,
            Self::Values(mut values) => {
                for value in &mut values {
                    *value = (f64::from(*value) * spread + mean) as f32;
                }
                values
            }
            Self::Sums(sums) => {
                let mut values = Vec::with_capacity(sums.len());
                for (row, weight) in sums.chunks_exact(columns.len()).zip(rows) {
                    values.extend(row.iter().zip(columns).map(|(sum, of_column)| {
                        let mean_of_tiles = sum / (weight * of_column);
                        match is_plain {
                            true => mean_of_tiles as f32,
                            false => (mean_of_tiles * spread + mean) as f32,
                        }
                    }));
                }
                values
            }
        }
    }
}

#[inline(always)]
fn add_cell(sum: &mut f64, value: f32, weight: f64, is_masked: bool) -> usize {
    let is_sound = value.is_finite();
    *sum += match is_sound && !is_masked {
        true => weight * f64::from(value),
        false => f64::NAN,
    };
    usize::from(!is_sound && !is_masked)
}

#[inline(always)]
fn put_cell(own: &mut f32, value: f32, is_masked: bool) -> usize {
    let is_sound = value.is_finite();
    *own = match is_sound && !is_masked {
        true => value,
        false => f32::NAN,
    };
    usize::from(!is_sound && !is_masked)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that were put are those that sums come to, to the bit.
    #[test]
    fn cells_that_are_filled_once_need_no_sums() {
        let row = [1.5_f32, f32::NAN, -0.1, f32::INFINITY, 1e-40, 7.25];
        let mask = [false, true, false, false, true, false];
        for mask in [None, Some(&mask[..])] {
            for scale in [(0.0, 1.0), (273.15, 0.3)] {
                let found = [true, false].map(|is_disjoint| {
                    let mut blend = Blend::new(8, is_disjoint);
                    let weights = [1.0, 2.0, 3.0, 3.0, 2.0, 1.0];
                    let odd = blend.add_row(0, &row, (2.0, &weights), mask);
                    let odd = odd + blend.add(6, 0.7, 3.0, false);
                    blend.lose(7);
                    let columns = [1.0, 2.0, 3.0, 3.0, 2.0, 1.0, 1.5, 1.0];
                    let values = blend.finish(&[2.0], &columns, scale);
                    (
                        odd,
                        values.into_iter().map(f32::to_bits).collect::<Vec<_>>(),
                    )
                });
                let is_nan = |bits: &u32| f32::from_bits(*bits).is_nan();
                let same =
                    |(one, other): (&u32, &u32)| one == other || is_nan(one) && is_nan(other);
                assert_eq!(found[0].0, found[1].0);
                assert!(found[0].1.iter().zip(&found[1].1).all(same), "{found:?}");
            }
        }
    }
}

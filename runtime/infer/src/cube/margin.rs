//! How many cells fewer a model gives at each edge of a tile than it sees, as valid convolutions
//! do. Pure: the caller runs the model.
//!
//! Half as many cells may be a margin or a coarser grid. That is told apart by a tile of another
//! size, never guessed. Coarser grids are not written.

/// Rows and columns.
pub(crate) type Cells = [usize; 2];

/// The margin of rows and of columns, or what is wrong.
///
/// `larger` runs the model on a tile with so many cells more, where it takes one, and says of
/// what size the tile was and what came out.
pub(crate) fn margin(
    tile: Cells,
    found: Cells,
    asked: Option<Cells>,
    larger: impl FnOnce(Cells) -> Option<(Cells, Cells)>,
) -> Result<Cells, String> {
    if let Some(asked) = asked {
        let fits = (0..2).all(|axis| found[axis] + 2 * asked[axis] == tile[axis]);
        return match fits {
            true => Ok(asked),
            false => Err(format!(
                "it is not what a margin of {} leaves of the tiles of {}",
                text(asked),
                text(tile)
            )),
        };
    }
    if found == tile {
        return Ok([0, 0]);
    }
    let each = |of: fn(usize, usize) -> Option<usize>| -> Option<Cells> {
        Some([of(tile[0], found[0])?, of(tile[1], found[1])?])
    };
    let cut = each(|tile, found| {
        let cut = tile.checked_sub(found).filter(|_| found > 0)?;
        (cut % 2 == 0).then_some(cut / 2)
    });
    let factor = each(|tile, found| {
        let factor = tile.checked_div(found)?;
        (factor > 0 && factor * found == tile).then_some(factor)
    });
    let coarser = |factor: Cells| {
        format!(
            "tiles of {} come out {} times coarser, which is no grid of the input: let the model \
             bring it back to the size of its tiles",
            text(tile),
            text(factor)
        )
    };
    match (cut, factor) {
        (Some(cut), None) => Ok(cut),
        (None, Some(factor)) => Err(coarser(factor)),
        (None, None) => Err(format!(
            "it must keep the tiles of {} that go in, or lack as many cells at one side as at the \
             other",
            text(tile)
        )),
        (Some(cut), Some(factor)) => match larger(factor) {
            Some((tile, found)) if (0..2).all(|axis| found[axis] + 2 * cut[axis] == tile[axis]) => {
                Ok(cut)
            }
            Some(_) => Err(coarser(factor)),
            None => Err(format!(
                "tiles of {} may have lost a margin of {} or have come out {} times coarser: if \
                 it is the margin, say --margin {}",
                text(tile),
                text(cut),
                text(factor),
                text(cut)
            )),
        },
    }
}

fn text([rows, columns]: Cells) -> String {
    format!("{rows}x{columns}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(tile: Cells, found: Cells, asked: Option<Cells>) -> Result<Cells, String> {
        margin(tile, found, asked, |_| None)
    }

    #[test]
    fn what_can_only_be_a_margin_is_one() {
        assert_eq!(fixed([16, 16], [16, 16], None), Ok([0, 0]));
        assert_eq!(fixed([16, 16], [14, 14], None), Ok([1, 1]));
        assert_eq!(fixed([16, 17], [16, 13], None), Ok([0, 2]));
        assert_eq!(fixed([16, 16], [8, 8], Some([4, 4])), Ok([4, 4]));
        let wrong = fixed([16, 16], [14, 14], Some([2, 2])).unwrap_err();
        assert_eq!(
            wrong,
            "it is not what a margin of 2x2 leaves of the tiles of 16x16"
        );
    }

    #[test]
    fn a_margin_and_a_coarser_grid_are_told_apart_by_another_tile() {
        let as_margin = |more: Cells| Some(([16 + more[0]; 2], [8 + more[0]; 2]));
        assert_eq!(margin([16, 16], [8, 8], None, as_margin), Ok([4, 4]));
        let as_factor = |more: Cells| Some(([16 + more[0]; 2], [9, 9]));
        let coarser = margin([16, 16], [8, 8], None, as_factor).unwrap_err();
        assert!(coarser.contains("2x2 times coarser"), "{coarser}");
        let unknown = fixed([16, 16], [8, 8], None).unwrap_err();
        assert!(unknown.ends_with("say --margin 4x4"), "{unknown}");
    }

    #[test]
    fn what_is_neither_is_refused() {
        for found in [[15, 15], [32, 32], [16, 13], [0, 0]] {
            let error = fixed([16, 16], found, None).unwrap_err();
            assert!(
                error.contains("as many cells at one side"),
                "{found:?} {error}"
            );
        }
        assert!(fixed([15, 15], [5, 3], None).is_err_and(|e| e.contains("may have lost")));
        assert!(fixed([16, 16], [1, 1], None).is_err_and(|e| e.contains("16x16 times coarser")));
    }
}

//! Why a field cannot be remapped.

/// Why a field cannot be remapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemapError {
    /// A grid has no cells, or too many.
    #[error("the grids have {source_size} and {target_size} cells: expected 1 to 4294967295")]
    Size {
        /// Cells of the source.
        source_size: usize,
        /// Cells of the target.
        target_size: usize,
    },
    /// Bilinear interpolation needs rows and columns.
    #[error(
        "the source grid has no rows and columns to interpolate between: use remapdis or remapnn"
    )]
    NoRows,
    /// Conservative remapping needs outlines.
    #[error(
        "the {side} grid's cells have no bounds, which conservative remapping needs: use remapbil, remapdis or remapnn"
    )]
    NoOutlines {
        /// `source` or `target`.
        side: &'static str,
    },
    /// A file of weights is not one.
    #[error("the file of weights: {problem}")]
    Weights {
        /// What is wrong.
        problem: String,
    },
}

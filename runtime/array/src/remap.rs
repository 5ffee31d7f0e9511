//! Remapping: sparse weights from the cells of one grid to those of another.
//!
//! [`Weights::new`] finds them for a [`Method`], [`Weights::apply`] uses them on fields of
//! which any cells may be missing, [`scrip`] turns them into the file that CDO reads and back.
//! No files are touched here. The operators are in [`crate::ops`].
//!
//! **Invariant:** weights and results have the same bits for any number of threads: every
//! target cell is computed by itself, its links in the order of the source.

mod bilinear;
mod clip;
mod conservative;
mod error;
mod nearest;
pub mod scrip;
mod tree;

pub use error::RemapError;

use crate::grid::Grid;

/// How target cells get their values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Of the nearest source cell.
    Nearest,
    /// The mean of so many nearest source cells, weighted by the inverse of their distance.
    Distance(usize),
    /// Bilinear between the four source cells around.
    Bilinear,
    /// The mean of the source cells that it overlaps, weighted by area.
    Conservative,
}

/// What a target cell gets when some of its sources are missing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MissingRule {
    /// It is missing.
    Strict,
    /// The weighted mean of the others; missing where the weights of these sum to less than
    /// `fraction_min`.
    Renormalise {
        /// Of the target cell's area, for conservative remapping.
        fraction_min: f64,
    },
    /// The weighted sum of the others; missing where their weights sum to less than
    /// `fraction_min`.
    Sum {
        /// Of the target cell's area.
        fraction_min: f64,
    },
}

const SKIP: MissingRule = MissingRule::Renormalise { fraction_min: 0.0 };

/// Choices that CDO takes from the environment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Settings {
    /// `REMAP_EXTRAPOLATE`: whether target cells outside the source grid get values; without
    /// it, nearest and distance remapping extrapolate and bilinear does around the globe only.
    pub extrapolate: Option<bool>,
}

/// For each target cell the source cells it depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// What they are for.
    pub method: Method,
    source_size: usize,
    /// Where the links of each target cell begin, and the end of the last.
    starts: Vec<usize>,
    /// The source cell of each link.
    sources: Vec<u32>,
    weights: Vec<f64>,
    /// Target cells outside of what bilinear interpolation reaches: missing sources are skipped
    /// there. Empty for none, else one a target cell.
    outside: Vec<bool>,
    /// Areas on the unit sphere and overlapped shares, for conservative remapping.
    areas: Option<Areas>,
}

/// What conservative remapping knows of the cells of both grids.
#[derive(Clone, Debug, PartialEq)]
pub struct Areas {
    /// Of source cells, on the unit sphere.
    pub source: Vec<f64>,
    /// Of target cells.
    pub target: Vec<f64>,
    /// The share of each source cell that target cells cover.
    pub source_fraction: Vec<f64>,
    /// The share of each target cell that source cells cover.
    pub target_fraction: Vec<f64>,
}

/// A source cell and its weight.
type Link = (u32, f64);

impl Weights {
    /// Finds the weights between two grids. Uses the threads of the pool it is called in.
    ///
    /// # Errors
    /// [`RemapError`] if the grids do not have what the method needs.
    pub fn new(
        method: Method,
        source: &Grid,
        target: &Grid,
        settings: Settings,
    ) -> Result<Self, RemapError> {
        if u32::try_from(source.size()).is_err() || source.size() == 0 || target.size() == 0 {
            return Err(RemapError::Size {
                source_size: source.size(),
                target_size: target.size(),
            });
        }
        match method {
            Method::Nearest => Ok(nearest::weights(method, 1, source, target, settings)),
            Method::Distance(count) => Ok(nearest::weights(
                method,
                count.max(1),
                source,
                target,
                settings,
            )),
            Method::Bilinear => bilinear::weights(source, target, settings),
            Method::Conservative => conservative::weights(source, target),
        }
    }

    fn from_links(method: Method, source_size: usize, links: Vec<Vec<Link>>) -> Self {
        let mut starts = Vec::with_capacity(links.len() + 1);
        starts.push(0);
        let count = links.iter().map(Vec::len).sum();
        let (mut sources, mut weights) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for mut of_cell in links {
            of_cell.sort_by_key(|(source, _)| *source);
            sources.extend(of_cell.iter().map(|(source, _)| *source));
            weights.extend(of_cell.iter().map(|(_, weight)| *weight));
            starts.push(sources.len());
        }
        Self {
            method,
            source_size,
            starts,
            sources,
            weights,
            outside: Vec::new(),
            areas: None,
        }
    }

    /// How many cells the source has.
    #[must_use]
    pub fn source_size(&self) -> usize {
        self.source_size
    }

    /// How many cells the target has.
    #[must_use]
    pub fn target_size(&self) -> usize {
        self.starts.len() - 1
    }

    /// The areas, for conservative remapping.
    #[must_use]
    pub fn areas(&self) -> Option<&Areas> {
        self.areas.as_ref()
    }

    /// The links of a target cell: source cells and weights.
    pub fn links(&self, target: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        let range = self.starts[target]..self.starts[target + 1];
        let sources = self.sources[range.clone()].iter();
        let pairs = sources.zip(&self.weights[range]);
        pairs.map(|(&source, &weight)| (source as usize, weight))
    }

    /// The rule that CDO has for the method.
    #[must_use]
    pub fn default_rule(&self) -> MissingRule {
        match self.method {
            Method::Nearest | Method::Bilinear => MissingRule::Strict,
            Method::Distance(_) | Method::Conservative => SKIP,
        }
    }

    /// Remaps a whole field. Missing values are NaN, on both sides.
    ///
    /// # Panics
    /// If the slices are not as long as the grids.
    pub fn apply<T: Copy + Into<f64>>(&self, source: &[T], target: &mut [f64], rule: MissingRule) {
        assert_eq!(target.len(), self.target_size(), "the target grid's size");
        self.apply_from(source, 0, target, rule);
    }

    /// Remaps a field to the target cells from `first` on, as many as `target` has.
    pub(crate) fn apply_from<T: Copy + Into<f64>>(
        &self,
        source: &[T],
        first: usize,
        target: &mut [f64],
        rule: MissingRule,
    ) {
        assert_eq!(source.len(), self.source_size, "the source grid's size");
        let starts = &self.starts[first..=first + target.len()];
        for (i, (out, ends)) in target.iter_mut().zip(starts.windows(2)).enumerate() {
            let is_outside = self.outside.get(first + i).copied().unwrap_or(false);
            let rule = if is_outside { SKIP } else { rule };
            let sources = &self.sources[ends[0]..ends[1]];
            let weights = &self.weights[ends[0]..ends[1]];
            // Almost all cells have all their sources: NaN tells of the others.
            let (mut sum, mut total) = (0.0, 0.0);
            for (&source_index, &weight) in sources.iter().zip(weights) {
                let value: f64 = source[source_index as usize].into();
                sum += weight * value;
                total += weight;
            }
            if sum.is_nan() && rule != MissingRule::Strict {
                (sum, total) = (0.0, 0.0);
                for (&source_index, &weight) in sources.iter().zip(weights) {
                    let value: f64 = source[source_index as usize].into();
                    if !value.is_nan() {
                        sum += weight * value;
                        total += weight;
                    }
                }
            }
            *out = match rule {
                _ if sources.is_empty() => f64::NAN,
                MissingRule::Strict => sum,
                MissingRule::Renormalise { fraction_min } | MissingRule::Sum { fraction_min }
                    if total <= 0.0 || total < fraction_min =>
                {
                    f64::NAN
                }
                MissingRule::Renormalise { .. } => sum / total,
                MissingRule::Sum { .. } => sum,
            };
        }
    }
}

//! Weights as a SCRIP file, which CDO and others read and write.
//!
//! Only the structure and the numbers: the caller reads and writes the file.

use super::{Areas, Link, Method, MissingRule, RemapError, Weights};
use crate::dataset::{AttrValue, Attributes, DType, Dataset, Dimension, Variable};
use crate::grid::{Grid, Kind};

/// The file's structure and the values of its variables, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct ScripFile {
    /// Dimensions, variables and attributes.
    pub dataset: Dataset,
    /// As many as variables.
    pub values: Vec<Vec<f64>>,
}

/// The names of the dimensions, in the order of the file.
const DIMENSIONS: [&str; 6] = [
    "src_grid_size",
    "dst_grid_size",
    "src_grid_rank",
    "dst_grid_rank",
    "num_links",
    "num_wgts",
];

const LINKS: usize = 4;

impl Weights {
    /// The weights as a file that CDO's `remap` takes.
    #[must_use]
    pub fn to_scrip(&self, source: &Grid, target: &Grid, rule: MissingRule) -> ScripFile {
        let mut file = Builder::default();
        let sizes = [
            self.source_size,
            self.target_size(),
            source.shape().len(),
            target.shape().len(),
            self.sources.len(),
            1,
        ];
        let dimension = |(name, &len): (&&str, &usize)| Dimension {
            name: (*name).to_owned(),
            len,
            unlimited: false,
        };
        file.dataset.dimensions = DIMENSIONS.iter().zip(&sizes).map(dimension).collect();
        let fractions = self.fractions();
        let sides = [
            (0, "src", source, &fractions.0),
            (1, "dst", target, &fractions.1),
        ];
        for (side, prefix, grid, fraction) in sides {
            let name = |what: &str| format!("{prefix}_grid_{what}");
            let sizes = grid.shape().into_iter().rev().map(|len| len as f64);
            file.push(name("dims"), DType::I32, &[side + 2], "", sizes.collect());
            let (lons, lats) = grid.centres();
            for (what, degrees) in [("center_lat", lats), ("center_lon", lons)] {
                let radians = degrees.iter().map(|degrees| degrees.to_radians());
                file.push(
                    name(what),
                    DType::F64,
                    &[side],
                    "radians",
                    radians.collect(),
                );
            }
            let mask = vec![1.0; grid.size()];
            file.push(name("imask"), DType::I32, &[side], "unitless", mask);
            if let Some(areas) = &self.areas {
                let areas = if side == 0 {
                    &areas.source
                } else {
                    &areas.target
                };
                file.push(
                    name("area"),
                    DType::F64,
                    &[side],
                    "square radians",
                    areas.clone(),
                );
            }
            file.push(
                name("frac"),
                DType::F64,
                &[side],
                "unitless",
                fraction.clone(),
            );
        }
        let addresses = self.sources.iter().map(|&source| f64::from(source) + 1.0);
        file.push(
            "src_address".to_owned(),
            DType::I32,
            &[LINKS],
            "",
            addresses.collect(),
        );
        let per_target = |target: usize| self.starts[target + 1] - self.starts[target];
        let targets = (0..self.target_size())
            .flat_map(|target| std::iter::repeat_n((target + 1) as f64, per_target(target)));
        file.push(
            "dst_address".to_owned(),
            DType::I32,
            &[LINKS],
            "",
            targets.collect(),
        );
        let normalization = match (self.method, rule) {
            (Method::Conservative, MissingRule::Sum { .. }) => "destarea",
            (Method::Conservative, _) => "fracarea",
            _ => "none",
        };
        let matrix = (0..self.target_size()).flat_map(|target| {
            let divisor = match normalization {
                "fracarea" => fractions.1[target],
                _ => 1.0,
            };
            self.links(target).map(move |(_, weight)| weight / divisor)
        });
        let matrix = matrix.collect();
        file.push(
            "remap_matrix".to_owned(),
            DType::F64,
            &[LINKS, LINKS + 1],
            "",
            matrix,
        );
        file.dataset.attributes = self.attributes(normalization, source, target);
        ScripFile {
            dataset: file.dataset,
            values: file.values,
        }
    }

    fn attributes(&self, normalization: &str, source: &Grid, target: &Grid) -> Attributes {
        let pairs = [
            ("title", "Mizar remapping"),
            ("normalization", normalization),
            ("map_method", map_method(self.method)),
            ("conventions", "SCRIP"),
            ("source_grid", grid_name(source)),
            ("dest_grid", grid_name(target)),
        ];
        let pairs = pairs.map(|(name, text)| (name.to_owned(), AttrValue::from(text)));
        Attributes::from_iter(pairs)
    }

    /// The shares of source and target cells that take part.
    fn fractions(&self) -> (Vec<f64>, Vec<f64>) {
        if let Some(areas) = &self.areas {
            return (areas.source_fraction.clone(), areas.target_fraction.clone());
        }
        let mut of_source = vec![0.0; self.source_size];
        self.sources
            .iter()
            .for_each(|&source| of_source[source as usize] = 1.0);
        let linked = self.starts.windows(2).map(|pair| pair[0] < pair[1]);
        let of_target = linked.map(|linked| f64::from(u8::from(linked))).collect();
        (of_source, of_target)
    }

    /// The weights in a SCRIP file, and the rule for missing values that it stands for.
    /// `numbers` gives the values of a variable, `text` a global attribute.
    ///
    /// # Errors
    /// [`RemapError::Weights`] if it is not such a file.
    pub fn from_scrip(
        numbers: impl Fn(&str) -> Option<Vec<f64>>,
        text: impl Fn(&str) -> Option<String>,
    ) -> Result<(Self, MissingRule), RemapError> {
        let wrong = |problem: String| RemapError::Weights { problem };
        let need = |name: &str| numbers(name).ok_or_else(|| wrong(format!("no variable `{name}`")));
        let size = |side: &str| -> Result<usize, RemapError> {
            let dims = need(&format!("{side}_grid_dims"))?;
            let size = dims.iter().product::<f64>();
            let is_sane = size >= 1.0 && size <= f64::from(u32::MAX);
            is_sane
                .then_some(size as usize)
                .ok_or_else(|| wrong(format!("{side}_grid_dims is {dims:?}")))
        };
        let (source_size, target_size) = (size("src")?, size("dst")?);
        let method = text("map_method").unwrap_or_default();
        let method = method_of(&method)
            .ok_or_else(|| wrong(format!("map_method `{method}` is not supported")))?;
        let (sources, targets) = (need("src_address")?, need("dst_address")?);
        let matrix = need("remap_matrix")?;
        if sources.len() != targets.len() || sources.is_empty() != matrix.is_empty() {
            return Err(wrong("its lists of links differ in length".to_owned()));
        }
        // Later columns are for gradients, which first-order remapping has none of.
        let columns = matrix.len() / sources.len().max(1);
        let fracarea = text("normalization").as_deref() == Some("fracarea");
        let fraction = numbers("dst_grid_frac").filter(|fraction| fraction.len() == target_size);
        let mut links: Vec<Vec<Link>> = vec![Vec::new(); target_size];
        for (i, (&source, &target)) in sources.iter().zip(&targets).enumerate() {
            let is_cell = |address: f64, size: usize| address >= 1.0 && address <= size as f64;
            if !is_cell(source, source_size) || !is_cell(target, target_size) {
                return Err(wrong(format!(
                    "link {} is from {source} to {target}",
                    i + 1
                )));
            }
            let target = target as usize - 1;
            let factor = match &fraction {
                Some(fraction) if fracarea => fraction[target],
                _ => 1.0,
            };
            links[target].push((source as u32 - 1, matrix[i * columns] * factor));
        }
        let mut weights = Self::from_links(method, source_size, links);
        weights.areas = areas_of(&numbers, source_size, target_size);
        let rule = match weights.default_rule() {
            MissingRule::Renormalise { fraction_min }
                if !fracarea && method == Method::Conservative =>
            {
                MissingRule::Sum { fraction_min }
            }
            rule => rule,
        };
        Ok((weights, rule))
    }
}

fn areas_of(
    numbers: impl Fn(&str) -> Option<Vec<f64>>,
    source_size: usize,
    target_size: usize,
) -> Option<Areas> {
    let of = |name: &str, size: usize| numbers(name).filter(|values| values.len() == size);
    Some(Areas {
        source: of("src_grid_area", source_size)?,
        target: of("dst_grid_area", target_size)?,
        source_fraction: of("src_grid_frac", source_size)?,
        target_fraction: of("dst_grid_frac", target_size)?,
    })
}

fn map_method(method: Method) -> &'static str {
    match method {
        Method::Nearest => "Nearest neighbor",
        Method::Distance(_) => "Distance weighted avg of nearest neighbors",
        Method::Bilinear => "Bilinear remapping",
        Method::Conservative => "Conservative remapping using clipping on sphere",
    }
}

fn method_of(text: &str) -> Option<Method> {
    let text = text.to_ascii_lowercase();
    if text.starts_with("nearest") {
        Some(Method::Nearest)
    } else if text.starts_with("distance") {
        Some(Method::Distance(4))
    } else if text.starts_with("bilinear") {
        Some(Method::Bilinear)
    } else if text.starts_with("conservative") {
        Some(Method::Conservative)
    } else {
        None
    }
}

fn grid_name(grid: &Grid) -> &'static str {
    match grid.kind {
        Kind::LonLat => "lonlat",
        Kind::Gaussian(_) => "gaussian",
        Kind::Curvilinear => "curvilinear",
        Kind::Unstructured => "unstructured",
    }
}

#[derive(Default)]
struct Builder {
    dataset: Dataset,
    values: Vec<Vec<f64>>,
}

impl Builder {
    fn push(&mut self, name: String, dtype: DType, dims: &[usize], units: &str, values: Vec<f64>) {
        let mut attributes = Attributes::default();
        if !units.is_empty() {
            attributes.set("units", units);
        }
        self.dataset.variables.push(Variable {
            name,
            dtype,
            dims: dims.to_vec(),
            attributes,
        });
        self.values.push(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remap::Settings;

    #[test]
    fn weights_come_back_from_a_file() {
        let (source, target) = (
            Grid::from_name("r36x18").unwrap(),
            Grid::from_name("n4").unwrap(),
        );
        for method in [
            Method::Nearest,
            Method::Distance(4),
            Method::Bilinear,
            Method::Conservative,
        ] {
            let weights = Weights::new(method, &source, &target, Settings::default()).unwrap();
            let file = weights.to_scrip(&source, &target, weights.default_rule());
            let numbers = |name: &str| {
                let index = file.dataset.variable_index(name)?;
                Some(file.values[index].clone())
            };
            let text = |name: &str| file.dataset.attributes.get_text(name).map(str::to_owned);
            let (read, rule) = Weights::from_scrip(numbers, text).unwrap();
            assert_eq!(rule, weights.default_rule());
            assert_eq!(read.sources, weights.sources);
            for (a, b) in read.weights.iter().zip(&weights.weights) {
                assert!((a - b).abs() < 1e-15, "{method:?}");
            }
        }
    }

    #[test]
    fn a_broken_file_is_refused() {
        let text = |_: &str| Some("Bilinear remapping".to_owned());
        let check = |source: f64, target: f64| {
            let numbers = move |name: &str| match name {
                "src_grid_dims" | "dst_grid_dims" => Some(vec![3.0, 2.0]),
                "src_address" => Some(vec![source]),
                "dst_address" => Some(vec![target]),
                "remap_matrix" => Some(vec![1.0]),
                _ => None,
            };
            Weights::from_scrip(numbers, text).map(|(weights, _)| weights.target_size())
        };
        assert_eq!(check(6.0, 6.0).unwrap(), 6);
        for (source, target) in [(0.0, 1.0), (7.0, 1.0), (1.0, f64::NAN), (1.0, -4.0)] {
            assert!(check(source, target).is_err(), "{source} {target}");
        }
        assert!(Weights::from_scrip(|_| None, text).is_err());
    }
}

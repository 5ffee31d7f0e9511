//! Operators that put fields on another grid: `remapbil`, `gencon`, `remap`, and `griddes`.
//!
//! Weights are found once for each source grid, when the plan is made; [`Remapped`] applies
//! them field by field.

mod operation;
mod table;
mod target;
mod weights_file;

pub(crate) use table::table;

use std::sync::Arc;

use super::horizontal::Horizontal;
use super::{Context, Outcome};
use crate::cube::{Content, Cube};
use crate::dataset::Axis;
use crate::error::CubeError;
use crate::grid::Grid;
use crate::plan::expr::Expr;
use crate::remap::{Method, MissingRule, RemapError, Settings, Weights};
use operation::Remapped;

/// What CDO takes from the environment, read when an operator is applied.
struct Environment {
    settings: Settings,
    /// `CDO_REMAP_NORM=destarea`.
    by_target_area: bool,
    /// `REMAP_AREA_MIN`.
    fraction_min: f64,
}

impl Environment {
    fn read() -> Self {
        let text = |name: &str| std::env::var(name).unwrap_or_default();
        let extrapolate = match text("REMAP_EXTRAPOLATE").to_ascii_lowercase().as_str() {
            "on" => Some(true),
            "off" => Some(false),
            _ => None,
        };
        Self {
            settings: Settings { extrapolate },
            by_target_area: text("CDO_REMAP_NORM") == "destarea",
            fraction_min: text("REMAP_AREA_MIN").parse().unwrap_or(0.0),
        }
    }

    fn rule(&self, rule: MissingRule, method: Method) -> MissingRule {
        let fraction_min = self.fraction_min;
        match rule {
            _ if method != Method::Conservative => rule,
            MissingRule::Renormalise { .. } if !self.by_target_area => {
                MissingRule::Renormalise { fraction_min }
            }
            MissingRule::Renormalise { .. } | MissingRule::Sum { .. } => {
                MissingRule::Sum { fraction_min }
            }
            MissingRule::Strict => rule,
        }
    }
}

/// How weights come to be.
enum From {
    Method(Method),
    /// A file of them, and the rule that it stands for.
    File(Arc<Weights>, MissingRule),
}

/// Weights for one source grid.
struct Known {
    source: Horizontal,
    weights: Arc<Weights>,
    rule: MissingRule,
}

/// The horizontal grids of the data variables, one a set of dimensions.
fn sources(cube: &Cube, operator: &'static str) -> Result<Vec<Horizontal>, CubeError> {
    let mut found: Vec<Horizontal> = Vec::new();
    for variable in cube.dataset.data_variables() {
        if let Some(source) = Horizontal::of(cube, variable)
            && !found.iter().any(|known| known.dims == source.dims)
        {
            found.push(source);
        }
    }
    if found.is_empty() {
        return Err(CubeError::NoAxis {
            operator,
            axis: Axis::Longitude,
        });
    }
    Ok(found)
}

fn failed(operator: &'static str) -> impl Fn(RemapError) -> CubeError {
    move |source| CubeError::Remap { operator, source }
}

/// Puts every variable that has a horizontal grid on another.
fn remap(
    mut cube: Cube,
    context: &mut Context<'_>,
    from: &From,
    target: &Grid,
) -> Result<Cube, CubeError> {
    let environment = Environment::read();
    let operator = context.name();
    let known = sources(&cube, operator)?
        .into_iter()
        .map(|source| {
            let (weights, rule) = match from {
                From::Method(method) => {
                    let settings = environment.settings;
                    let weights = Weights::new(*method, &source.grid, target, settings);
                    let weights = weights.map_err(failed(operator))?;
                    let rule = weights.default_rule();
                    (Arc::new(weights), rule)
                }
                From::File(weights, rule) => (Arc::clone(weights), *rule),
            };
            let sizes = [weights.source_size(), weights.target_size()];
            if sizes != [source.grid.size(), target.size()] {
                let problem = format!(
                    "it is for {} to {} cells, the grids have {} and {}",
                    sizes[0],
                    sizes[1],
                    source.grid.size(),
                    target.size()
                );
                return Err(failed(operator)(RemapError::Weights { problem }));
            }
            let rule = environment.rule(rule, weights.method);
            Ok(Known {
                source,
                weights,
                rule,
            })
        })
        .collect::<Result<Vec<_>, CubeError>>()?;
    let target_dims = target::dimensions(&mut cube, target, &known);
    let drops = replace(&mut cube, &known, target, &target_dims);
    let dropped: Vec<String> = (0..drops.len())
        .filter(|&index| drops[index])
        .map(|index| cube.dataset.variables[index].name.clone())
        .collect();
    target::forget(&mut cube, &dropped);
    target::add_coordinates(&mut cube, target, &target_dims, &drops);
    cube.retain(|index| !drops.get(index).copied().unwrap_or(false));
    Ok(cube)
}

/// Replaces data on known grids; tells which variables served those grids and must go.
fn replace(cube: &mut Cube, known: &[Known], target: &Grid, target_dims: &[usize]) -> Vec<bool> {
    let data = cube.dataset.data_variables();
    let mut drops = vec![false; cube.contents.len()];
    for (index, drop) in drops.iter_mut().enumerate() {
        let dims = cube.dataset.variables[index].dims.clone();
        let touched = |known: &&Known| known.source.dims.iter().any(|dim| dims.contains(dim));
        let Some(known) = known.iter().find(touched) else {
            continue;
        };
        let places: Option<Vec<usize>> = known
            .source
            .dims
            .iter()
            .map(|dim| dims.iter().position(|own| own == dim))
            .collect();
        let child = match (&cube.contents[index], places) {
            (Content::Lazy(child), Some(places)) if data.contains(&index) => {
                Some((child.clone(), places))
            }
            _ => None,
        };
        let Some((child, places)) = child else {
            *drop = true;
            continue;
        };
        let outer = (0..dims.len()).filter(|place| !places.contains(place));
        let outer: Vec<usize> = outer.collect();
        let variable = &mut cube.dataset.variables[index];
        variable.dims = outer.iter().map(|&place| dims[place]).collect();
        variable.dims.extend(target_dims);
        for name in [
            "cell_measures",
            "grid_mapping",
            "CDI_grid_type",
            "CDI_grid_num_LPE",
        ] {
            variable.attributes.remove(name);
        }
        cube.contents[index] = Content::Lazy(Expr::Operation(Arc::new(Remapped {
            child,
            places,
            outer,
            weights: Arc::clone(&known.weights),
            target: target.shape(),
            rule: known.rule,
        })));
    }
    // What belongs to the old grid without having its dimensions.
    for known in known {
        for coordinate in [known.source.lon, known.source.lat] {
            drops[coordinate] = true;
            if let Some(bounds) = cube.dataset.bounds(coordinate) {
                drops[bounds] = true;
            }
        }
    }
    for (index, variable) in cube.dataset.variables.iter().enumerate() {
        if variable.attributes.get("grid_mapping_name").is_some() {
            drops[index] = true;
        }
    }
    drops
}

/// Writes the weights for the first grid to a file that `remap` takes.
fn generate(
    cube: &Cube,
    context: &mut Context<'_>,
    method: Method,
    target: &Grid,
) -> Result<Cube, CubeError> {
    let operator = context.name();
    let environment = Environment::read();
    let sources = sources(cube, operator)?;
    let source = &sources[0];
    let weights = Weights::new(method, &source.grid, target, environment.settings);
    let weights = weights.map_err(failed(operator))?;
    let rule = environment.rule(weights.default_rule(), method);
    let file = weights.to_scrip(&source.grid, target, rule);
    let contents = file.values.into_iter();
    Ok(Cube {
        dataset: file.dataset,
        contents: contents
            .map(|values| Content::Numbers(Arc::new(values)))
            .collect(),
    })
}

/// Prints the grids of the data.
fn describe(cube: &Cube, context: &Context<'_>) -> Result<Outcome, CubeError> {
    let mut text = String::new();
    for (number, source) in sources(cube, context.name())?.into_iter().enumerate() {
        let described = source.grid.describe();
        text.push_str(&format!("#\n# gridID {}\n#\n{described}", number + 1));
    }
    let nothing = Cube {
        dataset: crate::dataset::Dataset::default(),
        contents: Vec::new(),
    };
    Ok(Outcome::Text(
        Box::new(nothing),
        Box::new(move |_| Ok(text.clone())),
    ))
}

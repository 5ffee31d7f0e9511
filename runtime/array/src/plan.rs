//! From a command line to a plan: files opened, operators applied to their structure, every
//! check made that needs no data.
//!
//! The result knows the whole structure of the output before a block is read. Run it with
//! [`crate::engine::execute`].

pub(crate) mod expr;
pub(crate) mod picks;
pub(crate) mod region;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::command::{Command, Node, Options, Precision};
use crate::cube::{self, Content, Cube};
use crate::dataset::{AttrValue, DType, Variable};
use crate::error::CubeError;
use crate::ops::{self, Kernel, Parameters};
use crate::storage::Source;

/// `_FillValue` of variables that have none (NetCDF's default for floats).
const FILL_VALUE: f64 = 9.969_209_968_386_869e36;

/// The conventions that are claimed where the input claims none.
const CONVENTIONS: &str = "CF-1.8";

/// What to compute and where to write it.
#[derive(Debug)]
pub struct Plan {
    pub(crate) cube: Cube,
    pub(crate) sources: Vec<Arc<Source>>,
    pub(crate) output: PathBuf,
    pub(crate) options: Options,
    /// What the user should know although it can be done.
    pub warnings: Vec<String>,
}

impl Plan {
    /// The files that are read.
    pub fn inputs(&self) -> impl Iterator<Item = &Path> {
        self.sources.iter().map(|source| source.path())
    }

    /// The file that is written.
    #[must_use]
    pub fn output(&self) -> &Path {
        &self.output
    }
}

/// Opens the inputs and applies the operators to their structure. `history` is the line that
/// is put before the output's `history`.
///
/// # Errors
/// [`CubeError`] if an input cannot be read or the operators do not fit it.
pub fn compile(command: &Command, history: &str) -> Result<Plan, CubeError> {
    let mut compiler = Compiler {
        options: &command.options,
        sources: Vec::new(),
        warnings: Vec::new(),
    };
    let mut cube = compiler.node(&command.tree)?;
    keep_inputs(&compiler.sources, &command.output)?;
    if cube.dataset.data_variables().is_empty() {
        compiler
            .warnings
            .push("the result has no data variables".to_owned());
    }
    finish_variables(&mut cube, command.options.precision);
    finish_globals(&mut cube, history);
    Ok(Plan {
        cube,
        sources: compiler.sources,
        output: command.output.clone(),
        options: command.options.clone(),
        warnings: compiler.warnings,
    })
}

/// Refuses an output that is one of the inputs, by whatever name: it would be lost.
fn keep_inputs(sources: &[Arc<Source>], output: &Path) -> Result<(), CubeError> {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |path: &Path| {
        let status = std::fs::metadata(path).ok()?;
        Some((status.dev(), status.ino()))
    };
    let Some(taken) = identity(output) else {
        return Ok(());
    };
    if sources
        .iter()
        .any(|source| identity(source.path()) == Some(taken))
    {
        return Err(CubeError::OutputIsInput {
            path: output.display().to_string(),
        });
    }
    Ok(())
}

struct Compiler<'a> {
    options: &'a Options,
    sources: Vec<Arc<Source>>,
    warnings: Vec<String>,
}

impl Compiler<'_> {
    fn node(&mut self, node: &Node) -> Result<Cube, CubeError> {
        match node {
            Node::Input(path) => Cube::from_source(&self.open(path)?),
            Node::Operator {
                operator,
                arguments,
                inputs,
            } => {
                let mut cubes = inputs
                    .iter()
                    .map(|input| self.node(input))
                    .collect::<Result<Vec<_>, _>>()?;
                let mut next = || cubes.remove(0);
                let name = operator.name;
                match operator.kernel {
                    Kernel::Select(select) => {
                        let mut cube = next();
                        if operator.name == "selname" {
                            self.warn_unknown(&cube, arguments);
                        }
                        select(
                            &mut cube,
                            &Parameters {
                                operator: name,
                                values: arguments,
                            },
                        )?;
                        Ok(cube)
                    }
                    Kernel::Time(grouping, statistic) => {
                        let stamp = self.options.time_stamp;
                        ops::time::reduce(next(), name, grouping, statistic, stamp)
                    }
                    Kernel::FieldMean(axes) => {
                        ops::field::reduce(next(), name, axes, &mut self.warnings)
                    }
                    Kernel::Pair(matching, arithmetic) => {
                        let (left, right) = (next(), next());
                        ops::pair::combine(left, &right, name, matching, arithmetic)
                    }
                }
            }
        }
    }

    /// One file is opened once, however often it is named.
    fn open(&mut self, path: &Path) -> Result<Arc<Source>, CubeError> {
        if let Some(source) = self.sources.iter().find(|source| source.path() == path) {
            return Ok(Arc::clone(source));
        }
        let source = Arc::new(Source::open(path)?);
        for note in source.notes() {
            self.warnings.push(format!("{}: {note}", path.display()));
        }
        self.sources.push(Arc::clone(&source));
        Ok(source)
    }

    fn warn_unknown(&mut self, cube: &Cube, names: &[String]) {
        for name in ops::select::unknown_names(cube, names) {
            self.warnings.push(format!(
                "operator `selname`: the input has no variable `{name}`"
            ));
        }
    }
}

/// The types, fill values and packing of what is computed.
fn finish_variables(cube: &mut Cube, precision: Option<Precision>) {
    let data = cube.dataset.data_variables();
    for (index, (variable, content)) in cube
        .dataset
        .variables
        .iter_mut()
        .zip(&cube.contents)
        .enumerate()
    {
        let Content::Lazy(expr) = content else {
            continue;
        };
        let attributes = &variable.attributes;
        let is_packed =
            attributes.get("scale_factor").is_some() || attributes.get("add_offset").is_some();
        let chosen = precision.filter(|_| data.contains(&index));
        if expr.is_as_stored() && !is_packed && chosen.is_none() {
            continue;
        }
        variable.dtype = match (chosen, variable.dtype) {
            (Some(Precision::Single), _) => DType::F32,
            (Some(Precision::Double), _) => DType::F64,
            (None, DType::F32) if !is_packed => DType::F32,
            (None, _) if is_packed && is_single_packing(variable) => DType::F32,
            (None, _) => DType::F64,
        };
        cube::drop_packing(variable);
        variable.attributes.remove("actual_range");
        set_fill_value(variable);
    }
}

/// Packed values are of the type of the packing attributes, if they agree (CF 8.1).
fn is_single_packing(variable: &Variable) -> bool {
    ["scale_factor", "add_offset"].iter().all(|name| {
        matches!(
            variable.attributes.get(name),
            None | Some(AttrValue::F32(_))
        )
    })
}

/// One fill value of the variable's own type. An integer's would be a likely value of a mean.
fn set_fill_value(variable: &mut Variable) {
    let single = variable.dtype == DType::F32;
    let of_float = |name: &str| match variable.attributes.get(name) {
        Some(AttrValue::F32(values)) => values.first().map(|&value| f64::from(value)),
        Some(AttrValue::F64(values)) => values.first().copied(),
        _ => None,
    };
    let value = of_float("_FillValue")
        .or_else(|| of_float("missing_value"))
        .filter(|value| !single || value.is_nan() || (*value as f32).is_finite())
        .unwrap_or(FILL_VALUE);
    let value = if single {
        AttrValue::from(value as f32)
    } else {
        AttrValue::from(value)
    };
    if variable.attributes.get("missing_value").is_some() {
        variable.attributes.set("missing_value", value.clone());
    }
    variable.attributes.set("_FillValue", value);
}

fn finish_globals(cube: &mut Cube, history: &str) {
    let attributes = &mut cube.dataset.attributes;
    let history = match attributes.get_text("history") {
        Some(before) if !before.is_empty() => format!("{history}\n{before}"),
        _ => history.to_owned(),
    };
    attributes.set("history", history);
    if attributes.get("Conventions").is_none() {
        attributes.set("Conventions", CONVENTIONS);
    }
}

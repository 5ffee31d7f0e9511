//! From a command line to a plan: files opened, operators applied to their structure, every
//! check made that needs no data.
//!
//! The result knows the whole structure of the output before a block is read. Run it with
//! [`crate::engine::execute`].

mod chunks;
pub(crate) mod expr;
mod inputs;
pub(crate) mod picks;
pub(crate) mod region;
pub(crate) mod series;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::command::{Command, CommandError, Node, Options, Precision};
use crate::cube::{Content, Cube};
use crate::dataset::{AttrValue, DType, Variable};
use crate::error::CubeError;
use crate::ops::{self, Context, Inputs, Operator, Outcome, Render};
use crate::storage::{Source, is_remote, without_secrets};
use crate::write::Format;

/// `_FillValue` of variables that have none (NetCDF's default for floats).
const FILL_VALUE: f64 = 9.969_209_968_386_869e36;

/// The conventions that are claimed where the input claims none.
const CONVENTIONS: &str = "CF-1.8";

/// What to compute and where it goes.
pub struct Plan {
    pub(crate) outputs: Vec<Output>,
    /// What makes a text of the only output, which is then no file.
    pub(crate) render: Option<Render>,
    pub(crate) sources: Vec<Arc<Source>>,
    pub(crate) options: Options,
    /// What the user should know although it can be done.
    pub warnings: Vec<String>,
}

/// One file to write.
pub(crate) struct Output {
    pub(crate) cube: Cube,
    /// Empty for a text.
    pub(crate) path: PathBuf,
    pub(crate) format: Format,
    /// The chunk shapes of variables, by index, that the user chose.
    pub(crate) chunks: BTreeMap<usize, Vec<usize>>,
}

impl Output {
    /// What is written in the format that the options or its name ask for.
    fn new(cube: Cube, path: PathBuf, options: &Options) -> Self {
        Self {
            cube,
            format: options.format.unwrap_or_else(|| Format::of_name(&path)),
            path,
            chunks: BTreeMap::new(),
        }
    }
}

impl Plan {
    /// The files that are read.
    pub fn inputs(&self) -> impl Iterator<Item = &Path> {
        self.sources.iter().map(|source| source.path())
    }

    /// The files that are written.
    pub fn outputs(&self) -> impl Iterator<Item = &Path> {
        let files = self.outputs.iter().filter(|_| self.render.is_none());
        files.map(|output| output.path.as_path())
    }
}

/// Opens the inputs and applies the operators to their structure. `history` is the line that
/// is put before the output's `history`.
///
/// # Errors
/// [`CubeError`] if an input cannot be read or the operators do not fit it.
pub fn compile(command: &Command, history: &str) -> Result<Plan, CubeError> {
    compile_all(std::slice::from_ref(command), history)
}

/// As [`compile`], of several commands that run as one: with the options of the first, and what
/// they have in common planned once.
///
/// # Errors
/// As `compile`, and [`CubeError::Command`] if there are no commands.
pub fn compile_all(commands: &[Command], history: &str) -> Result<Plan, CubeError> {
    let first = commands.first().ok_or(CommandError::Empty)?;
    let mut compiler = Compiler {
        options: &first.options,
        sources: Vec::new(),
        warnings: Vec::new(),
        shared: (commands.len() > 1).then(Vec::new),
    };
    let mut all = Vec::new();
    let mut render = None;
    for command in commands {
        keep_local(&command.outputs)?;
        let appended = appended_to(command);
        let tree = appended.as_ref().unwrap_or(&command.tree);
        let outcome = compiler.outcome(tree)?;
        let is_text = matches!(outcome, Outcome::Text(..));
        let (mut outputs, text) = outputs(outcome, &command.outputs, &first.options);
        render = text;
        for output in &mut outputs {
            if appended.is_none() {
                keep_inputs(&compiler.sources, &output.path)?;
            }
            if is_text {
                continue;
            }
            if output.cube.dataset.data_variables().is_empty() {
                compiler
                    .warnings
                    .push("the result has no data variables".to_owned());
            }
            compiler.tell_passes(&output.cube);
            finish_variables(&mut output.cube, &first.options);
            finish_globals(&mut output.cube, history);
            let choice = &first.options.chunks;
            output.chunks = chunks::of(&output.cube.dataset, choice, output.format)?;
        }
        all.extend(outputs);
    }
    if render.is_none() {
        let datasets = all.iter().map(|output| &output.cube.dataset);
        chunks::check_names(&first.options.chunks, datasets)?;
    }
    for source in &compiler.sources {
        let notes = source.notes().iter();
        let notes = notes.map(|note| format!("{}: {note}", source.path().display()));
        compiler.warnings.extend(notes);
    }
    Ok(Plan {
        outputs: all,
        render,
        sources: compiler.sources,
        options: first.options.clone(),
        warnings: compiler.warnings,
    })
}

/// The tree with the existing output as first input, if the command appends to it.
fn appended_to(command: &Command) -> Option<Node> {
    let Node::Operator {
        operator,
        arguments,
        inputs,
    } = &command.tree
    else {
        return None;
    };
    let output = command.outputs.first()?;
    let appends = operator.appends && !command.options.overwrite && output.exists();
    appends.then(|| Node::Operator {
        operator,
        arguments: arguments.clone(),
        inputs: std::iter::once(Node::Input(output.clone()))
            .chain(inputs.iter().cloned())
            .collect(),
    })
}

/// Names the files of an outcome.
fn outputs(
    outcome: Outcome,
    paths: &[PathBuf],
    options: &Options,
) -> (Vec<Output>, Option<Render>) {
    match outcome {
        Outcome::Cubes(cubes) => {
            let pairs = cubes.into_iter().zip(paths.iter().cloned());
            let outputs = pairs.map(|(cube, path)| Output::new(cube, path, options));
            (outputs.collect(), None)
        }
        Outcome::Named(cubes) => {
            let prefix = paths.first().cloned().unwrap_or_default();
            let named = |(suffix, cube): (String, Cube)| {
                let mut path = prefix.clone().into_os_string();
                path.push(suffix);
                path.push(".");
                path.push(options.format.unwrap_or_default().extension());
                Output::new(cube, path.into(), options)
            };
            (cubes.into_iter().map(named).collect(), None)
        }
        Outcome::Text(cube, render) => {
            let output = Output::new(*cube, PathBuf::new(), options);
            (vec![output], Some(render))
        }
    }
}

/// Refuses an output on a server.
fn keep_local(outputs: &[PathBuf]) -> Result<(), CommandError> {
    match outputs.iter().find(|path| is_remote(path)) {
        None => Ok(()),
        Some(path) => Err(CommandError::RemoteOutput {
            found: without_secrets(&path.to_string_lossy()),
        }),
    }
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
    /// Of several commands, what has been planned: a step that several need is one.
    shared: Option<Vec<(Node, Cube)>>,
}

impl Compiler<'_> {
    fn node(&mut self, node: &Node) -> Result<Outcome, CubeError> {
        match node {
            Node::Input(path) => {
                let mut cubes = self.files(path)?;
                match cubes.len() {
                    1 => Ok(cubes.remove(0).into()),
                    _ => Ok(ops::many::in_time_order(cubes, "mergetime", false)?.into()),
                }
            }
            Node::Operator {
                operator,
                arguments,
                inputs,
            } => {
                let mut cubes = Vec::with_capacity(inputs.len());
                for input in inputs {
                    match input {
                        // Each file of a pattern is an input of its own here.
                        Node::Input(path) if operator.inputs == Inputs::AtLeastOne => {
                            cubes.extend(self.files(path)?);
                        }
                        _ => cubes.push(self.cube(input)?),
                    }
                }
                let mut context = self.context(operator, arguments);
                operator.family.apply(cubes, &mut context)
            }
            Node::Together { operators, input } => {
                let input = self.cube(input)?;
                let mut joined: Option<Cube> = None;
                for operator in operators {
                    let mut context = self.context(operator, &[]);
                    let outcome = operator.family.apply(vec![input.clone()], &mut context)?;
                    let mut cube = only(outcome);
                    cube.append_to_names(&operator.name);
                    match &mut joined {
                        None => joined = Some(cube),
                        Some(joined) => joined.absorb(cube),
                    }
                }
                Ok(joined.unwrap_or(input).into())
            }
        }
    }

    /// Says where series do not fit in memory, so that files are read several times.
    fn tell_passes(&mut self, cube: &Cube) {
        let memory = self.options.memory_bytes();
        for (variable, content) in cube.dataset.variables.iter().zip(&cube.contents) {
            let Content::Lazy(expr) = content else {
                continue;
            };
            for series in expr.series() {
                let (passes, needed) = series.passes(memory);
                if passes > 1 {
                    self.warnings.push(format!(
                        "variable `{}` is read {passes} times: --memory {}M would need one",
                        variable.name,
                        needed.div_ceil(1 << 20)
                    ));
                }
            }
        }
        self.warnings.dedup();
    }

    /// The files that a path stands for.
    fn files(&mut self, path: &Path) -> Result<Vec<Cube>, CubeError> {
        let paths = inputs::files(path)?;
        let open = |path: &PathBuf| Cube::from_source(&ops::open(&mut self.sources, path)?);
        paths.iter().map(open).collect()
    }

    /// What a whole command gives; a step that was an input before is known.
    fn outcome(&mut self, node: &Node) -> Result<Outcome, CubeError> {
        match self.shared {
            Some(_) => Ok(self.cube(node)?.into()),
            None => self.node(node),
        }
    }

    /// The one cube that an input is.
    fn cube(&mut self, node: &Node) -> Result<Cube, CubeError> {
        let known = self.shared.iter().flatten();
        if let Some((_, cube)) = known.into_iter().find(|(known, _)| known == node) {
            return Ok(cube.clone());
        }
        let cube = only(self.node(node)?);
        if let Some(shared) = &mut self.shared {
            shared.push((node.clone(), cube.clone()));
        }
        Ok(cube)
    }

    fn context<'a>(
        &'a mut self,
        operator: &'static Operator,
        arguments: &'a [String],
    ) -> Context<'a> {
        Context {
            operator,
            arguments,
            options: self.options,
            warnings: &mut self.warnings,
            sources: &mut self.sources,
        }
    }
}

/// The cube of an outcome: the parser lets no other kind of operator be an input.
fn only(outcome: Outcome) -> Cube {
    match outcome {
        Outcome::Cubes(mut cubes) => cubes.remove(0),
        Outcome::Named(mut cubes) => cubes.remove(0).1,
        Outcome::Text(cube, _) => *cube,
    }
}

/// The types, fill values and packing of what is computed.
fn finish_variables(cube: &mut Cube, options: &Options) {
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
        let chosen = options.precision.filter(|_| data.contains(&index));
        if expr.is_as_stored() && !is_packed && chosen.is_none() {
            continue;
        }
        variable.dtype = match (chosen, variable.dtype) {
            (Some(Precision::Single), _) => DType::F32,
            (Some(Precision::Double), _) => DType::F64,
            (None, DType::F32) if !is_packed => DType::F32,
            // CDO rounds results of 32-bit integers; those of others become floats there too.
            (None, DType::I32) if options.cdo && !is_packed => DType::I32,
            (None, _) if is_packed && is_single_packing(variable) => DType::F32,
            (None, _) => DType::F64,
        };
        variable.attributes.drop_packing();
        variable.attributes.remove("actual_range");
        if matches!(variable.dtype, DType::F32 | DType::F64) {
            set_fill_value(variable);
        }
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
    attributes.begin_history(history);
    if attributes.get("Conventions").is_none() {
        attributes.set("Conventions", CONVENTIONS);
    }
}

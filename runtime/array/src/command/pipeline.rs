//! Pipelines: the readable form of a command line, as YAML or JSON.
//!
//! `mizar cube run FILE` calls [`parse`] and runs the [`Command`]s, one for each output, as one:
//! a step that several outputs need is planned once. No input is opened here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::options::options;
use super::parse::apply;
use super::{Command, CommandError, Node};

/// Why a pipeline cannot be run; exit code 2.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// It is not what a pipeline looks like.
    #[error("the pipeline cannot be read: {problem}")]
    Form {
        /// Where and why.
        problem: String,
    },
    /// `${NAME}` has no value.
    #[error("line {line}: ${{{name}}} has no value: give --set {name}=VALUE")]
    Variable {
        /// Where, from 1.
        line: usize,
        /// Its name.
        name: String,
    },
    /// A step cannot be.
    #[error("step {number}, `{step}`: {problem}")]
    Step {
        /// From 1.
        number: usize,
        /// Its name.
        step: String,
        /// What is wrong.
        problem: String,
    },
    /// A step's operator, or its parameters or inputs, are wrong.
    #[error("step {number}, `{step}`")]
    Operator {
        /// From 1.
        number: usize,
        /// Its name.
        step: String,
        /// Why.
        #[source]
        source: CommandError,
    },
    /// An output is of no step.
    #[error("output {output}: there is no step `{step}`")]
    Output {
        /// The file.
        output: String,
        /// As written.
        step: String,
    },
    /// The options are wrong.
    #[error("options")]
    Options(#[source] CommandError),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pipeline {
    /// Files by the names that steps use.
    inputs: BTreeMap<String, PathBuf>,
    steps: Vec<Step>,
    /// Steps by the files that they make.
    outputs: BTreeMap<PathBuf, String>,
    /// As on the command line.
    #[serde(default)]
    options: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    name: String,
    operator: String,
    #[serde(default)]
    arguments: Vec<Argument>,
    input: Names,
}

/// Numbers need no quotes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Argument {
    Whole(i64),
    Number(f64),
    Text(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Many(Vec<String>),
}

/// Understands a pipeline; `values` are those of its variables, `more_options` are added to its
/// own.
///
/// # Errors
/// [`PipelineError`] that names the line or the step.
pub fn parse(
    text: &str,
    values: &[(String, String)],
    more_options: &str,
) -> Result<Vec<Command>, PipelineError> {
    let text = substitute(text, values)?;
    let form = |problem: String| PipelineError::Form { problem };
    let pipeline: Pipeline =
        serde_saphyr::from_str(&text).map_err(|error| form(error.to_string()))?;
    if pipeline.outputs.is_empty() {
        return Err(form("`outputs` names no file".to_owned()));
    }
    let of_file = pipeline.options.split_whitespace();
    // Those of the command line come last: they win.
    let words: Vec<&str> = of_file.chain(more_options.split_whitespace()).collect();
    let options = options(&words).map_err(PipelineError::Options)?;
    let mut nodes: BTreeMap<String, Node> = BTreeMap::new();
    for (name, path) in pipeline.inputs {
        nodes.insert(name, Node::Input(path));
    }
    for (index, step) in pipeline.steps.into_iter().enumerate() {
        let node = node(index + 1, &step, &nodes)?;
        nodes.insert(step.name, node);
    }
    let command = |(output, step): (PathBuf, String)| match nodes.get(&step) {
        Some(node) => Ok(Command {
            options: options.clone(),
            tree: node.clone(),
            outputs: vec![output],
        }),
        None => Err(PipelineError::Output {
            output: output.display().to_string(),
            step,
        }),
    };
    pipeline.outputs.into_iter().map(command).collect()
}

/// What a step computes.
fn node(number: usize, step: &Step, known: &BTreeMap<String, Node>) -> Result<Node, PipelineError> {
    let problem = |problem: String| PipelineError::Step {
        number,
        step: step.name.clone(),
        problem,
    };
    if known.contains_key(&step.name) {
        return Err(problem(
            "an input or a step before it has that name".to_owned(),
        ));
    }
    let names = match &step.input {
        Names::One(name) => std::slice::from_ref(name),
        Names::Many(names) => names,
    };
    let find = |name: &String| {
        let found = known.get(name).cloned();
        found.ok_or_else(|| problem(format!("`{name}` is neither an input nor a step before it")))
    };
    let inputs = names.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let mut word = step.operator.clone();
    for argument in &step.arguments {
        word.push(',');
        match argument {
            Argument::Whole(number) => word.push_str(&number.to_string()),
            Argument::Number(number) => word.push_str(&number.to_string()),
            Argument::Text(text) => word.push_str(text),
        }
    }
    apply(&word, inputs).map_err(|source| PipelineError::Operator {
        number,
        step: step.name.clone(),
        source,
    })
}

/// Puts values in the place of `${NAME}`, outside comments.
fn substitute(text: &str, values: &[(String, String)]) -> Result<String, PipelineError> {
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with('#') {
            lines.push(line.to_owned());
            continue;
        }
        let mut done = String::new();
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, after)) = after.split_once('}') else {
                break;
            };
            let value = values.iter().rev().find(|(known, _)| known == name);
            let (_, value) = value.ok_or_else(|| PipelineError::Variable {
                line: index + 1,
                name: name.to_owned(),
            })?;
            done.push_str(before);
            done.push_str(value);
            rest = after;
        }
        done.push_str(rest);
        lines.push(done);
    }
    Ok(lines.join("\n"))
}

/// The command line that computes the same.
#[must_use]
pub fn command_line(command: &Command, options: &str) -> String {
    let mut words = vec!["mizar cube".to_owned()];
    words.extend(options.split_whitespace().map(str::to_owned));
    write(&command.tree, true, &mut words);
    words.extend(
        command
            .outputs
            .iter()
            .map(|path| quoted(&path.display().to_string())),
    );
    words.join(" ")
}

fn write(node: &Node, outermost: bool, words: &mut Vec<String>) {
    match node {
        Node::Input(path) => words.push(quoted(&path.display().to_string())),
        Node::Operator {
            operator,
            arguments,
            inputs,
        } => {
            let mut word = format!("-{}", operator.name);
            for argument in arguments {
                word.push(',');
                word.push_str(argument);
            }
            words.push(quoted(&word));
            let is_fixed = matches!(operator.inputs, crate::ops::Inputs::Exactly(_));
            let brackets = !outermost && !is_fixed;
            words.extend(brackets.then(|| "[".to_owned()));
            inputs.iter().for_each(|input| write(input, false, words));
            words.extend(brackets.then(|| "]".to_owned()));
        }
        Node::Together { operators, input } => {
            let names: Vec<&str> = operators.iter().map(|o| o.name.as_str()).collect();
            words.push(format!("-{}", names.join(",")));
            write(input, false, words);
        }
    }
}

/// A word that a shell would take apart, in quotes.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./,:=+@%".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../../../examples/pipeline.yaml");

    fn values() -> Vec<(String, String)> {
        [("DATA", "/data"), ("OUT", "result")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec()
    }

    #[test]
    fn the_example_is_a_command_line_for_each_output() {
        let commands = parse(EXAMPLE, &values(), "").unwrap();
        let lines: Vec<String> = commands.iter().map(|c| command_line(c, "")).collect();
        assert_eq!(
            lines,
            [
                "mizar cube -ymonsub -monmean -sellonlatbox,-10,40,35,70 '/data/tas_*.nc' \
                 -ymonmean -seldate,1981-01-01,2010-12-31 -monmean -sellonlatbox,-10,40,35,70 \
                 '/data/tas_*.nc' result/anomaly.nc",
                "mizar cube -fldmean -ymonsub -monmean -sellonlatbox,-10,40,35,70 \
                 '/data/tas_*.nc' -ymonmean -seldate,1981-01-01,2010-12-31 -monmean \
                 -sellonlatbox,-10,40,35,70 '/data/tas_*.nc' result/europe.nc",
            ]
        );
    }

    fn check(text: &str, problem: &str) {
        let error = parse(text, &[], "").unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        let message = format!("{error} {}", source.unwrap_or_default());
        assert!(message.contains(problem), "{text}: {message}");
    }

    #[test]
    fn errors_name_the_line_or_the_step() {
        let with =
            |steps: &str| format!("inputs: {{a: a.nc}}\nsteps: [{steps}]\noutputs: {{o.nc: s}}\n");
        check(EXAMPLE, "${DATA} has no value: give --set DATA=VALUE");
        check("inputs: {a: '${X}'}", "line 1: ${X}");
        check(
            &with("{name: s, operator: timmaen, input: a}"),
            "step 1, `s` operator `timmaen` is not known, did you mean",
        );
        check(
            &with("{name: s, operator: timmean, input: b}"),
            "`b` is neither an input nor a step before it",
        );
        check(
            &with("{name: s, operator: selmon, input: a}"),
            "takes 1 or more parameters",
        );
        check(
            &with("{name: s, operator: sub, input: a}"),
            "needs 2 inputs",
        );
        check(
            &with("{name: a, operator: timmean, input: a}"),
            "has that name",
        );
        check(
            &with("{name: t, operator: timmean, input: a}"),
            "output o.nc: there is no step `s`",
        );
        check(&with("{name: s, operator: timmean, inputs: a}"), "inputs");
        check(
            &with("{name: s, operator: showname, input: a}"),
            "gives no single file",
        );
        check("inputs: {}\nsteps: []\noutputs: {}\n", "names no file");
        check(
            "inputs: {}\nsteps: []\noutputs: {a: b}\noptions: --fast\n",
            "--fast is not known",
        );
        check("- a", "cannot be read");
    }
}

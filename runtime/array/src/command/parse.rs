//! Words to a [`Command`].

use std::path::PathBuf;

use super::options::{is_option, parse_option, wrong};
use super::{Command, CommandError, Node, Options, PipelineCall, Request};
use crate::ops::{self, Inputs, Operator, Outputs};
use crate::storage::without_secrets;

/// Understands the words after `mizar cube`.
///
/// # Errors
/// [`CommandError`] with what was expected.
pub fn parse(words: &[String]) -> Result<Request, CommandError> {
    let all = words;
    let mut rest = words.iter().map(String::as_str).peekable();
    let mut options = Options::default();
    while let Some(option) = rest.next_if(|word| is_option(word)) {
        if let Some(request) = parse_option(option, &mut rest, &mut options)? {
            return Ok(request);
        }
    }
    let words: Vec<&str> = rest.collect();
    match words.as_slice() {
        [] => return Err(CommandError::Empty),
        ["help"] => return Ok(Request::Overview),
        ["run", rest @ ..] => {
            let before = &words_before(all, words.len());
            return pipeline_call(rest, before).map(Request::Pipeline);
        }
        ["help", name, ..] => return find(name).map(Request::Operator),
        _ => {}
    }
    let head = Head::of(words[0].trim_start_matches('-'))?;
    let operator = head.operators[0];
    let output_count = operator.outputs.words();
    let too_few = || CommandError::TooFewFiles {
        operator: &operator.name,
        needed: needs(operator),
    };
    let end = words.len().checked_sub(output_count).filter(|end| *end > 0);
    let end = end.ok_or_else(too_few)?;
    let mut cursor = Cursor {
        words: &words[..end],
        next: 1,
    };
    let tree = cursor.operator(head, true)?;
    if let Some(found) = cursor.words.get(cursor.next) {
        return Err(CommandError::TooManyFiles {
            found: without_secrets(found),
            operator: &operator.name,
            needed: operator.inputs.to_string(),
        });
    }
    let wrong = |output: &&&str| output.starts_with('-') || matches!(**output, "[" | "]");
    if let Some(found) = words[end..].iter().find(wrong) {
        return Err(CommandError::Output {
            found: (*found).to_owned(),
        });
    }
    Ok(Request::Run(Box::new(Command {
        options,
        tree,
        outputs: words[end..].iter().map(PathBuf::from).collect(),
    })))
}

/// The options before the last `count` words, on one line.
fn words_before(all: &[String], count: usize) -> String {
    all[..all.len() - count].join(" ")
}

/// `FILE [--set NAME=VALUE]... [--check]`.
fn pipeline_call(words: &[&str], options: &str) -> Result<PipelineCall, CommandError> {
    let mut call = PipelineCall {
        options: options.to_owned(),
        ..PipelineCall::default()
    };
    let mut files = Vec::new();
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        let inline = word.strip_prefix("--set=");
        match word {
            "--check" => call.check = true,
            _ if word == "--set" || inline.is_some() => {
                let pair = inline.or_else(|| words.next()).unwrap_or_default();
                let (name, value) = pair
                    .split_once('=')
                    .ok_or_else(|| wrong("--set", "NAME=VALUE", pair))?;
                call.values.push((name.to_owned(), value.to_owned()));
            }
            _ if word.starts_with('-') => {
                return Err(CommandError::UnknownOption {
                    found: word.to_owned(),
                });
            }
            _ => files.push(word),
        }
    }
    match files.as_slice() {
        [file] => call.file = PathBuf::from(file),
        _ => {
            let found = if files.is_empty() {
                "nothing"
            } else {
                files[1]
            };
            return Err(wrong("run", "one pipeline file", found));
        }
    }
    Ok(call)
}

/// Applies the operator that a word such as `selmon,6/8` names to inputs.
///
/// # Errors
/// [`CommandError`] if it is unknown, takes other parameters or inputs, or makes no single
/// file.
pub fn apply(word: &str, inputs: Vec<Node>) -> Result<Node, CommandError> {
    let head = Head::of(word.trim_start_matches('-'))?;
    let operator = head.operators[0];
    if operator.outputs != Outputs::Exactly(1) {
        return Err(CommandError::NotAnInput {
            operator: &operator.name,
        });
    }
    if !operator.inputs.is_satisfied_by(inputs.len()) {
        return Err(CommandError::TooFewFiles {
            operator: &operator.name,
            needed: operator.inputs.to_string(),
        });
    }
    Ok(head.node(inputs))
}

/// What an operator needs after it, in words.
fn needs(operator: &Operator) -> String {
    match operator.outputs {
        Outputs::Exactly(1) => format!("{} and an output file", operator.inputs),
        Outputs::Exactly(count) => format!("{} and {count} output files", operator.inputs),
        Outputs::Prefix => format!("{} and a prefix for output files", operator.inputs),
        Outputs::Text => operator.inputs.to_string(),
    }
}

pub(super) fn find(name: &str) -> Result<&'static Operator, CommandError> {
    let name = name.trim_start_matches('-');
    ops::find(name).ok_or_else(|| CommandError::UnknownOperator {
        found: name.to_owned(),
        nearest: ops::nearest(name),
    })
}

/// The word of an operator, or of several together.
struct Head {
    /// Never empty.
    operators: Vec<&'static Operator>,
    arguments: Vec<String>,
}

impl Head {
    /// `name,argument,argument` without its dash.
    fn of(word: &str) -> Result<Self, CommandError> {
        let mut parts = word.split(',');
        let operator = find(parts.next().unwrap_or_default())?;
        let arguments: Vec<String> = parts.map(str::to_owned).collect();
        let together = |name: &String| {
            let other = ops::find(name)?;
            let is_one = operator.together.is_some() && other.together == operator.together;
            is_one.then_some(other)
        };
        let others: Option<Vec<_>> = arguments.iter().map(together).collect();
        let takes_none = arguments.is_empty();
        match others {
            Some(others) if !takes_none => {
                let mut operators = vec![operator];
                for other in others {
                    if !operators.contains(&other) {
                        operators.push(other);
                    }
                }
                Ok(Self {
                    operators,
                    arguments: Vec::new(),
                })
            }
            _ if operator.arguments.counts.contains(&arguments.len()) => Ok(Self {
                operators: vec![operator],
                arguments,
            }),
            _ => Err(CommandError::ArgumentCount {
                operator: &operator.name,
                expected: operator.arguments.count_in_words(),
                found: arguments.len(),
                usage: operator.usage(),
            }),
        }
    }

    fn node(self, mut inputs: Vec<Node>) -> Node {
        match self.operators.as_slice() {
            [operator] => Node::Operator {
                operator,
                arguments: self.arguments,
                inputs,
            },
            _ => Node::Together {
                operators: self.operators,
                input: Box::new(inputs.remove(0)),
            },
        }
    }
}

/// The words before the outputs.
struct Cursor<'a> {
    words: &'a [&'a str],
    next: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<&str> {
        self.words.get(self.next).copied()
    }

    /// The inputs of an operator whose own word is taken. The outermost may leave none over.
    fn operator(&mut self, head: Head, outermost: bool) -> Result<Node, CommandError> {
        let operator = head.operators[0];
        let bracketed = self.peek() == Some("[");
        if bracketed {
            self.next += 1;
        }
        let mut inputs = Vec::new();
        while let Some(word) = self.peek() {
            let is_open = bracketed || outermost;
            if !operator.inputs.wants_more(inputs.len(), is_open) || bracketed && word == "]" {
                break;
            }
            // The last input of the outermost operator may take all words that follow.
            let is_last = operator.inputs == Inputs::Exactly(inputs.len() + 1);
            inputs.push(self.input(outermost && !bracketed && is_last)?);
        }
        if !operator.inputs.is_satisfied_by(inputs.len()) {
            return Err(CommandError::TooFewFiles {
                operator: &operator.name,
                needed: needs(operator),
            });
        }
        if bracketed {
            match self.peek() {
                Some("]") => self.next += 1,
                Some(found) => {
                    return Err(CommandError::TooManyFiles {
                        found: without_secrets(found),
                        operator: &operator.name,
                        needed: operator.inputs.to_string(),
                    });
                }
                None => return Err(CommandError::Bracket { found: "[" }),
            }
        }
        Ok(head.node(inputs))
    }

    fn input(&mut self, outermost: bool) -> Result<Node, CommandError> {
        let word = self.words[self.next];
        self.next += 1;
        match word.strip_prefix('-') {
            Some(word) => {
                let head = Head::of(word)?;
                if head.operators[0].outputs != Outputs::Exactly(1) {
                    return Err(CommandError::NotAnInput {
                        operator: &head.operators[0].name,
                    });
                }
                self.operator(head, outermost)
            }
            None if word == "[" => Err(CommandError::Bracket { found: "[" }),
            None if word == "]" => Err(CommandError::Bracket { found: "]" }),
            None => Ok(Node::Input(PathBuf::from(word))),
        }
    }
}

impl Inputs {
    /// Whether an operator that has `count` inputs takes another. `open` tells that words up
    /// to a bracket or the end are its own: an inner operator of any number takes one.
    fn wants_more(self, count: usize, open: bool) -> bool {
        match self {
            Self::Exactly(wanted) => count < wanted,
            Self::AtLeastOne => open || count == 0,
            Self::Either(least, most) => count < if open { most } else { least },
        }
    }

    fn is_satisfied_by(self, count: usize) -> bool {
        match self {
            Self::Exactly(wanted) => count == wanted,
            Self::AtLeastOne => count > 0,
            Self::Either(least, most) => count == least || count == most,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ChunkDimension, ChunkLength};
    use super::*;
    use crate::command::{
        ChunkChoice, Compression, Format, PercentileMethod, Precision, TimeStamp, chunks,
    };

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    /// The tree as nested calls.
    fn show(node: &Node) -> String {
        match node {
            Node::Input(path) => path.display().to_string(),
            Node::Operator {
                operator,
                arguments,
                inputs,
            } => {
                let inputs: Vec<String> = inputs.iter().map(show).collect();
                let name = [std::slice::from_ref(&operator.name), arguments.as_slice()]
                    .concat()
                    .join(",");
                format!("{name}({})", inputs.join(" "))
            }
            Node::Together { operators, input } => {
                let names: Vec<&str> = operators.iter().map(|o| o.name.as_str()).collect();
                format!("{}({})", names.join("+"), show(input))
            }
        }
    }

    fn check(line: &str, tree: &str, output: &str) {
        match parse(&words(line)) {
            Ok(Request::Run(command)) => {
                assert_eq!(show(&command.tree), tree, "{line}");
                assert_eq!(command.outputs, [PathBuf::from(output)], "{line}");
            }
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn chains_run_right_to_left() {
        check("-timmean in out", "timmean(in)", "out");
        check("timmean in out", "timmean(in)", "out");
        check(
            "-timmean -sellonlatbox,0,90,0,45 in out",
            "timmean(sellonlatbox,0,90,0,45(in))",
            "out",
        );
        check(
            "-sub -timmean a -timmean b out",
            "sub(timmean(a) timmean(b))",
            "out",
        );
        check("sub a -timmean b o", "sub(a timmean(b))", "o");
        check(
            "-timmean -mergetime a b c out",
            "timmean(mergetime(a b c))",
            "out",
        );
        check(
            "-ensmean -mergetime a b out",
            "ensmean(mergetime(a) b)",
            "out",
        );
        check(
            "-ymonsub [ a -ymonmean a ] out",
            "ymonsub(a ymonmean(a))",
            "out",
        );
        check(
            "-O -s -f nc4 -z zip_2 -b F64 -P 3 -L timmin in o",
            "timmin(in)",
            "o",
        );
        check(
            "-timmean,timmax,timmean -selmon,1 in o",
            "timmean+timmax(selmon,1(in))",
            "o",
        );
    }

    #[test]
    fn options_are_kept() {
        let Ok(Request::Run(command)) = parse(&words(
            "-s -f zarr -z zip_5 --chunks time=1,lat=all -b F64 -P 3 --plan --plot=map.png --cdo --timestat_date last --percentile rtype8 --memory 2G timmin in o",
        )) else {
            panic!("does not parse");
        };
        let expected = Options {
            silent: true,
            overwrite: false,
            json: false,
            format: Some(Format::Zarr3),
            compression: Some(Compression::Deflate(5)),
            chunks: ChunkChoice {
                lengths: vec![
                    (
                        ChunkDimension::Name("time".to_owned()),
                        ChunkLength::Cells(1),
                    ),
                    (ChunkDimension::Name("lat".to_owned()), ChunkLength::Whole),
                ],
                others_are_one: false,
            },
            precision: Some(Precision::Double),
            threads: Some(3),
            time_stamp: TimeStamp::Last,
            percentile: PercentileMethod::RType8,
            memory_bytes: Some(2 << 30),
            plan: true,
            plot: Some(PathBuf::from("map.png")),
            cdo: true,
        };
        assert_eq!(command.options, expected);
    }

    fn check_error(line: &str, message: &str) {
        match parse(&words(line)) {
            Err(error) => assert_eq!(error.to_string(), message, "{line}"),
            Ok(request) => panic!("{line}: {request:?}"),
        }
    }

    #[test]
    fn errors_say_what_was_expected() {
        check_error("", "no operator given: `mizar cube --help` shows examples");
        check_error(
            "-timmaen in out",
            "operator `timmaen` is not known, did you mean `timmean`?: \
             `mizar cube --operators` lists them",
        );
        check_error(
            "-sellonlatbox,1,2 in out",
            "operator `sellonlatbox` takes 4 parameters, found 2: \
             sellonlatbox,west,east,south,north infile outfile",
        );
        check_error(
            "-timmean,monmean in out",
            "operator `timmean` takes no parameters, found 1: timmean infile outfile",
        );
        check_error(
            "-timmean in",
            "operator `timmean` needs 1 input and an output file after it",
        );
        check_error(
            "-sub a out",
            "operator `sub` needs 2 inputs and an output file after it",
        );
        check_error(
            "-timmean a b out",
            "`b` is one file or operator too many: `timmean` takes 1 input",
        );
        check_error(
            "-P none timmean in out",
            "option -P: expected a number of threads, at least 1, found none",
        );
        check_error(
            "-f grb timmean in out",
            "option -f: expected nc4, nc4c or zarr (the formats that are written), found grb",
        );
        for found in ["szip", "zip_10", "zip_", "zstd_0", "zstd_23", "none_1"] {
            check_error(
                &format!("-z {found} timmean in out"),
                &format!(
                    "option -z: expected none, zip, zip_0 to zip_9, zstd or zstd_1 to zstd_22, \
                     found {found}"
                ),
            );
        }
        for found in [
            "time",
            "time=0",
            "time=-1",
            "=3",
            "time=1,,lat=2",
            "lat=1.5",
        ] {
            check_error(
                &format!("--chunks {found} timmean in out"),
                &format!(
                    "option --chunks: expected {}, found {found}",
                    chunks::CHUNKS
                ),
            );
        }
        check_error(
            "-k field timmean in out",
            "option -k: expected auto, grid or lines, found field",
        );
        check_error(
            "--fast timmean in out",
            "option --fast is not known: `mizar cube --help` lists them",
        );
        check_error(
            "-sub [ a b out",
            "`[` does not match: inputs are grouped as [ in1 in2 ]",
        );
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(words in proptest::collection::vec("(-|\\[|\\]|a|sub|timmean|,|-P|--help)*", 0..6)) {
            let _ = parse(&words);
        }
    }
}

//! The configuration of a run: a file, then `--set`, checked before anything starts.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use mizar_models::source::{Data, Describe};
use mizar_models::{Architecture, Loss};
use mizar_train::Options;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// All of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// How far is far.
    #[serde(default)]
    pub(super) loss: Loss,
    /// `kind` and hyperparameters of the model; numbers of inputs and outputs are the data's.
    pub(super) model: Map<String, Value>,
    /// Which samples.
    pub(super) data: Data,
    /// How to train.
    #[serde(default)]
    pub(super) train: Options,
    /// What is written.
    #[serde(default)]
    pub(super) output: Output,
}

/// What is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Output {
    /// The model.
    pub(super) model: PathBuf,
    /// A JSON line for each step and epoch; without it beside the model, ending in `.jsonl`.
    pub(super) log: Option<PathBuf>,
    /// A folder for TensorBoard.
    pub(super) tensorboard: Option<PathBuf>,
}

impl Default for Output {
    fn default() -> Self {
        Self {
            model: PathBuf::from("model.safetensors"),
            log: None,
            tensorboard: None,
        }
    }
}

impl Config {
    /// The network for these data.
    pub(super) fn architecture(&self, data: &Describe) -> anyhow::Result<Architecture> {
        architecture(&self.model, &data.input_shape, &data.target_shape)
    }
}

/// The network for samples of these shapes.
fn architecture(
    model: &Map<String, Value>,
    input: &[usize],
    target: &[usize],
) -> anyhow::Result<Architecture> {
    let (all, first, last) = (
        |shape: &[usize]| shape.iter().product::<usize>(),
        |shape: &[usize]| shape.first().copied().unwrap_or(1),
        |shape: &[usize]| shape.last().copied().unwrap_or(1),
    );
    let sizes = |inputs: usize, outputs: usize| {
        vec![
            ("inputs", Value::from(inputs)),
            ("outputs", Value::from(outputs)),
        ]
    };
    let of_data = match model.get("kind").and_then(Value::as_str) {
        Some("mlp") => sizes(all(input), all(target)),
        Some("lstm") => sizes(last(input), all(target)),
        Some("gan") => vec![("extent", Value::from(input.to_vec()))],
        _ => sizes(first(input), first(target)),
    };
    let mut model = model.clone();
    for (key, value) in of_data {
        if let Some(found) = model.insert(key.to_owned(), value) {
            bail!("model.{key} = {found}: it comes from the data, leave it out");
        }
    }
    let architecture = section("model", Value::Object(model))?;
    if let Architecture::Gan(gan) = &architecture
        && let Some(fault) = gan.fault()
    {
        bail!("{fault}");
    }
    Ok(architecture)
}

/// Reads a file and sets keys of it.
pub(super) fn read(path: &Path, set: &[String]) -> anyhow::Result<Config> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let is_toml = path
        .extension()
        .is_some_and(|extension| extension == "toml");
    parse(&text, is_toml, set).with_context(|| path.display().to_string())
}

fn parse(text: &str, is_toml: bool, set: &[String]) -> anyhow::Result<Config> {
    let mut tree: Value = match is_toml {
        true => toml::from_str(text)?,
        false => serde_saphyr::from_str(text)?,
    };
    for assignment in set {
        let (key, value) = assignment
            .split_once('=')
            .with_context(|| format!("--set {assignment}: expected KEY=VALUE"))?;
        assign(&mut tree, key, scalar(value))?;
    }
    let Value::Object(all) = &tree else {
        bail!("expected the keys model, data, train and output");
    };
    // Section by section, so that a message names the one it is about.
    for (name, value) in all {
        let value = value.clone();
        match name.as_str() {
            "data" => drop(section::<Data>(name, value)?),
            "train" => drop(section::<Options>(name, value)?),
            "output" => drop(section::<Output>(name, value)?),
            _ => {}
        }
    }
    let config: Config = section("", tree)?;
    config.train.check().context("train")?;
    config.data.check()?;
    // The data will tell the sizes; all else can be checked now.
    architecture(&config.model, &[4, 4, 4], &[1])?;
    Ok(config)
}

/// Numbers, lists and truth as in YAML, all else text.
fn scalar(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

fn assign(tree: &mut Value, key: &str, value: Value) -> anyhow::Result<()> {
    let mut place = tree;
    for part in key.split('.') {
        if place.is_null() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(map) = place else {
            bail!("--set {key}: `{part}` lies in a value that has no keys");
        };
        place = map.entry(part).or_insert(Value::Null);
    }
    *place = value;
    Ok(())
}

fn section<T: serde::de::DeserializeOwned>(name: &str, value: Value) -> anyhow::Result<T> {
    serde_json::from_value(value).map_err(|error| {
        let text = with_nearest(&error.to_string());
        match name {
            "" => anyhow!("{text}"),
            name => anyhow!("{name}: {text}"),
        }
    })
}

/// Serde lists what it knows; the user is likelier to have mistyped than to want the list.
fn with_nearest(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let is_unknown = message.starts_with("unknown ");
    let (Some(found), true) = (quoted.next(), is_unknown) else {
        return message.to_owned();
    };
    let nearest = quoted.min_by_key(|known| distance(found, known));
    match nearest {
        Some(nearest) if distance(found, nearest) <= found.len().div_ceil(2) => {
            let first = message.split(',').next().unwrap_or(message);
            format!("{first}: did you mean `{nearest}`?")
        }
        _ => message.to_owned(),
    }
}

/// How many letters to change. Source: Levenshtein (1966).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in right.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNET: &str = "
model: {kind: unet, width: 8, depth: 1}
data: {files: [a.nc], inputs: [tas], targets: [tas], lead: 1}
train: {epochs: 3}
";

    fn refusal(text: &str, set: &[&str]) -> String {
        let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
        format!("{:#}", parse(text, false, &set).unwrap_err())
    }

    #[test]
    fn keys_are_set_over_the_file() {
        let set = [
            "train.epochs=5",
            "data.files=[x.nc, y.nc]",
            "data.join=mergetime",
        ];
        let set = set.map(str::to_owned);
        let config = parse(UNET, false, &set).unwrap();
        assert_eq!(config.train.epochs, 5);
        assert_eq!(config.data.files, [Path::new("x.nc"), Path::new("y.nc")]);
        let printed = toml::to_string(&config).unwrap();
        let again = parse(&printed, true, &[]).unwrap();
        assert_eq!(toml::to_string(&again).unwrap(), printed);
    }

    #[test]
    fn what_is_not_known_is_refused_with_the_nearest_name() {
        let cases = [
            (
                "train.epoch=5",
                "train: unknown field `epoch`: did you mean `epochs`?",
            ),
            (
                "data.led=2",
                "data: unknown field `led`: did you mean `lead`?",
            ),
            (
                "model.widht=2",
                "model: unknown field `widht`: did you mean `width`?",
            ),
            (
                "model.kind=unit",
                "model: unknown variant `unit`: did you mean `unet`?",
            ),
            (
                "trian.epochs=2",
                "unknown field `trian`: did you mean `train`?",
            ),
            (
                "model.inputs=2",
                "model.inputs = 2: it comes from the data, leave it out",
            ),
            (
                "train.batch_size=0",
                "train: batch_size = 0: expected at least 1",
            ),
            (
                "data.validation=1",
                "data.validation = 1: expected 0 to below 1",
            ),
            ("data.files=[]", "either files or arrays"),
            ("data.files=[a.nc, b.nc]", "`mergetime` or `merge` to join"),
        ];
        for (set, expected) in cases {
            let found = refusal(UNET, &[set]);
            assert!(found.contains(expected), "{set}: {found}");
        }
    }
}

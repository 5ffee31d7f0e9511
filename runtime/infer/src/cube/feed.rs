//! Which variables go into which input of a model, and how each input sees them.
//!
//! Called by the plan. A model of one input takes the chosen variables as its channels. One of
//! several takes for each input what the user or the model says, else the variable of its name.
//! What is the same at every step (orography) may stand beside what is not.

use std::ops::Range;

use mizar_array::storage::Source;

use super::field::Fields;
use super::layout::{Layout, Role};
use super::plan::words;
use super::{InferError, Options};
use crate::{ElementType, Model, Port};

/// Variables for one input of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// The input, as the model calls it.
    pub input: String,
    /// What its dimensions mean.
    pub layout: Option<Layout>,
    /// Names of variables.
    pub variables: Vec<String>,
}

/// Why words are no feed.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not INPUT[:LETTERS]=NAME,...: an input of the model, what its dimensions are, and \
     its variables, such as x=tas,pr or z:NCHW=orog"
)]
pub struct FeedError(pub String);

impl Feed {
    /// Reads `INPUT[:LETTERS]=NAME,...`.
    ///
    /// # Errors
    /// [`FeedError`].
    pub fn parse(text: &str) -> Result<Self, FeedError> {
        let refuse = || FeedError(text.to_owned());
        let (input, names) = text.split_once('=').ok_or_else(refuse)?;
        let input = input.trim();
        // Names of inputs may have colons themselves (`serving:0`).
        let with_layout = input.rsplit_once(':').and_then(|(input, letters)| {
            let layout = Layout::parse(letters).ok()?;
            Some((input, Some(layout)))
        });
        let (input, layout) = with_layout.unwrap_or((input, None));
        let feed = Self {
            input: input.to_owned(),
            layout,
            variables: words(Some(&names.to_owned())),
        };
        match feed.input.is_empty() || feed.variables.is_empty() {
            true => Err(refuse()),
            false => Ok(feed),
        }
    }
}

/// An input of the model.
#[derive(Clone, Debug)]
pub(crate) struct InputPort {
    pub(crate) name: String,
    pub(crate) layout: Layout,
    pub(crate) element_type: ElementType,
    /// As the model says.
    pub(crate) shape: Vec<Option<usize>>,
    /// Which of the fields of a step.
    pub(crate) channels: Range<usize>,
    /// Steps that it sees: those of a window, or one where all of it is the same at every step.
    pub(crate) steps: usize,
    is_static: bool,
}

/// The inputs of a model, and the fields that go into them.
pub(crate) struct Inputs {
    pub(crate) fields: Fields,
    pub(crate) ports: Vec<InputPort>,
    /// Steps of a window.
    pub(crate) steps: usize,
}

impl Inputs {
    pub(crate) fn new(
        source: &Source,
        model: &dyn Model,
        options: &Options,
    ) -> Result<Self, InferError> {
        let feeds = feeds(source, model, options)?;
        let one = model.inputs().len() == 1;
        let ports = model.inputs().iter().zip(&feeds);
        let layouts = ports
            .map(|(port, feed)| layout(model, port, feed.layout.as_ref(), one, options))
            .collect::<Result<Vec<_>, _>>()?;
        let Some(first) = layouts.first() else {
            return Err(InferError::Unfit("the model has no inputs".to_owned()));
        };
        let has_rows = first.has(Role::Rows);
        let places = model.inputs().iter().zip(&layouts);
        if let Some((odd, layout)) = places
            .clone()
            .find(|(_, layout)| layout.has(Role::Rows) != has_rows)
        {
            return Err(InferError::Unfit(format!(
                "input `{}` is {first}, but input `{}` is {layout}: all see tiles of rows and \
                 columns, or none does (--feed INPUT:LETTERS=NAME,... says what dimensions are)",
                feeds[0].input, odd.name
            )));
        }
        let names: Vec<String> = feeds.iter().flat_map(|f| f.variables.clone()).collect();
        let fields = Fields::new(source, &names, has_rows)?;
        let mut ports = Vec::new();
        let mut left = fields.variables.as_slice();
        let mut channel = 0;
        for ((port, layout), feed) in places.zip(&feeds) {
            let count = if one {
                left.len()
            } else {
                feed.variables.len()
            };
            let (own, others) = left.split_at(count);
            left = others;
            let end = channel + own.iter().map(|field| field.level_count).sum::<usize>();
            ports.push(InputPort {
                name: port.name.clone(),
                layout: layout.clone(),
                element_type: port.element_type,
                shape: port.shape.clone().unwrap_or_default(),
                channels: channel..end,
                steps: 1,
                is_static: own.iter().all(|field| field.is_static),
            });
            channel = end;
        }
        let steps = window(&ports, options)?;
        for port in &mut ports {
            port.set_steps(steps, &fields, one)?;
        }
        if steps > fields.steps {
            return Err(too_short(fields.steps, steps));
        }
        Ok(Self {
            fields,
            ports,
            steps,
        })
    }
}

impl InputPort {
    /// How many steps it sees, which its channels must fit.
    fn set_steps(&mut self, window: usize, fields: &Fields, one: bool) -> Result<(), InferError> {
        let own = self.layout.length(Role::Steps, &self.shape);
        self.steps = match own {
            Some(own) => own.unwrap_or(window),
            None if self.is_static => 1,
            None => window,
        };
        let found = match own {
            Some(_) => self.channels.len(),
            None => self.steps * self.channels.len(),
        };
        // Channels that are too many are not taken for steps: that would be a guess.
        let wanted = self.layout.length(Role::Channels, &self.shape);
        let Some(wanted) = wanted.unwrap_or(Some(1)) else {
            return Ok(());
        };
        if wanted == found && self.steps > 0 {
            return Ok(());
        }
        let mut first = 0;
        let names = fields.variables.iter().filter(|field| {
            let is_own = self.channels.contains(&first);
            first += field.level_count;
            is_own
        });
        let names: Vec<&str> = names.map(|field| field.name.as_str()).collect();
        let flag = if one { "--variables" } else { "--feed" };
        Err(InferError::Unfit(format!(
            "input `{}` of the model takes {wanted} channels, but {} with all levels make \
             {found}: choose with {flag} and --steps",
            self.name,
            names.join(", ")
        )))
    }
}

pub(crate) fn too_short(found: usize, steps: usize) -> InferError {
    InferError::Unfit(format!(
        "the input has {found} steps, but a window of the model has {steps}"
    ))
}

/// Which variables each input takes, in the order of the model; of a model of one input perhaps
/// none, which are all.
fn feeds(source: &Source, model: &dyn Model, options: &Options) -> Result<Vec<Feed>, InferError> {
    let ports = model.inputs();
    let of_model = model.metadata().get("mizar.feed");
    let feeds = match options.feeds.as_slice() {
        [] => {
            let words = of_model.into_iter().flat_map(|text| text.split(';'));
            let words = words.map(str::trim).filter(|word| !word.is_empty());
            words.map(Feed::parse).collect::<Result<Vec<_>, _>>()?
        }
        feeds => feeds.to_vec(),
    };
    let known = || names(ports.iter().map(|port| port.name.as_str()));
    for (place, feed) in feeds.iter().enumerate() {
        if !ports.iter().any(|port| port.name == feed.input) {
            return Err(InferError::Unfit(format!(
                "--feed {}=...: the model has no such input; it has {}",
                feed.input,
                known()
            )));
        }
        if feeds[..place].iter().any(|other| other.input == feed.input) {
            return Err(InferError::Unfit(format!(
                "--feed {}=... is said twice: say all variables of an input at once",
                feed.input
            )));
        }
    }
    let has_both = !options.variables.is_empty() && !options.feeds.is_empty();
    if has_both || (ports.len() > 1 && !options.variables.is_empty()) {
        return Err(InferError::Unfit(format!(
            "--variables cannot say which input they are for; the model has {}: say \
             --feed INPUT=NAME,... for each",
            known()
        )));
    }
    let of_port = |port: &Port| feed_of(source, model, options, &feeds, port);
    ports.iter().map(of_port).collect()
}

fn feed_of(
    source: &Source,
    model: &dyn Model,
    options: &Options,
    feeds: &[Feed],
    port: &Port,
) -> Result<Feed, InferError> {
    let dataset = source.dataset();
    let is_known = |name: &String| dataset.variable_index(name).is_some();
    let data = dataset.data_variables();
    let known = || {
        let of_data = data.iter().map(|&index| &*dataset.variables[index].name);
        names(of_data)
    };
    if options.variables.is_empty()
        && let Some(feed) = feeds.iter().find(|feed| feed.input == port.name)
    {
        return match feed.variables.iter().find(|name| !is_known(name)) {
            None => Ok(feed.clone()),
            Some(absent) => Err(InferError::Unfit(format!(
                "input `{}` of the model takes `{absent}`, but {} has no such variable; it has {}",
                port.name,
                source.path().display(),
                known()
            ))),
        };
    }
    let variables = match model.inputs().len() {
        1 if options.variables.is_empty() => words(model.metadata().get("mizar.variables")),
        1 => options.variables.clone(),
        _ if is_known(&port.name) => vec![port.name.clone()],
        _ => {
            return Err(InferError::Unfit(format!(
                "input `{}` of the model: {} has no variable of this name; it has {}: say which \
                 with --feed {}=NAME,...",
                port.name,
                source.path().display(),
                known(),
                port.name
            )));
        }
    };
    Ok(Feed {
        input: port.name.clone(),
        layout: None,
        variables,
    })
}

fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    all.collect::<Vec<_>>().join(", ")
}

/// What the dimensions of an input mean. One layout for all inputs is for those that it fits.
fn layout(
    model: &dyn Model,
    port: &Port,
    own: Option<&Layout>,
    one: bool,
    options: &Options,
) -> Result<Layout, InferError> {
    let dimensions = port.shape.as_ref().map_or(0, Vec::len);
    let said = match (&options.layout, model.metadata().get("mizar.layout")) {
        (Some(layout), _) => Some(layout.clone()),
        (None, Some(text)) => Some(Layout::parse(text)?),
        (None, None) => None,
    };
    let said = said.filter(|layout| one || layout.len() == dimensions);
    let layout = own.cloned().or(said).or_else(|| Layout::usual(dimensions));
    let layout = layout.ok_or_else(|| {
        InferError::Unfit(format!(
            "input `{}` has {dimensions} dimensions: say what they are with {}",
            port.name,
            if one {
                "--layout"
            } else {
                "--feed INPUT:LETTERS=NAME,..."
            },
        ))
    })?;
    if layout.len() != dimensions {
        return Err(InferError::Unfit(format!(
            "layout {layout} has {} letters, but input `{}` has {dimensions} dimensions",
            layout.len(),
            port.name,
        )));
    }
    Ok(layout)
}

/// Steps of a window: as the model or the user says.
fn window(ports: &[InputPort], options: &Options) -> Result<usize, InferError> {
    let moving = || ports.iter().filter(|port| !port.is_static);
    let own = agreed(moving(), Role::Steps, "steps")?;
    let is_free = moving().any(|port| port.layout.has(Role::Steps));
    match (own, options.steps) {
        (Some(own), Some(asked)) if own != asked => Err(InferError::Unfit(format!(
            "--steps {asked}, but the model takes {own}"
        ))),
        (Some(steps), _) | (None, Some(steps)) => Ok(steps),
        (None, None) if is_free => Err(InferError::Unfit(
            "the model takes any number of steps: say how many with --steps".to_owned(),
        )),
        (None, None) => Ok(1),
    }
}

/// What the inputs that fix the length of a role say, which must be the same.
pub(crate) fn agreed<'a>(
    ports: impl Iterator<Item = &'a InputPort>,
    role: Role,
    what: &str,
) -> Result<Option<usize>, InferError> {
    let mut agreed: Option<(&str, usize)> = None;
    for port in ports {
        let Some(own) = port.layout.length(role, &port.shape).flatten() else {
            continue;
        };
        match agreed {
            Some((first, other)) if other != own => {
                return Err(InferError::Unfit(format!(
                    "input `{first}` of the model takes {other} {what}, but input `{}` takes \
                     {own}: over cubes they must be as many",
                    port.name
                )));
            }
            _ => agreed = Some((&port.name, own)),
        }
    }
    Ok(agreed.map(|(_, length)| length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_names_an_input_and_its_variables() {
        let feed = Feed::parse("z:NCHW = orog, sftlf").unwrap();
        assert_eq!(feed.input, "z");
        assert_eq!(feed.layout.unwrap().to_string(), "NCHW");
        assert_eq!(feed.variables, ["orog", "sftlf"]);
        let colon = Feed::parse("serving:0=tas").unwrap();
        assert_eq!((colon.input.as_str(), colon.layout), ("serving:0", None));
        for text in ["", "x", "x=", "=tas", ":NC=tas"] {
            assert!(Feed::parse(text).is_err(), "{text}");
        }
    }
}

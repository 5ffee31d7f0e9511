//! A workflow of DCNiOS as it is written: groups of processors, and what leads from one to the
//! other. Pure; what a group means is said in [`super::source`] and [`super::service`].
//!
//! Values are read as text whatever YAML makes of them, because both `port: 5671` and
//! `separate_by_key: "false"` occur. Files of older releases, whose groups are not under `Source`
//! and `Destination`, are read too.

use std::collections::BTreeMap;

use serde_json::Value;

use super::WorkflowError;

/// Largest file.
pub const MAX_BYTES: u64 = 1 << 20;

/// Most groups of one workflow.
const MAX_GROUPS: usize = 200;

/// What a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    DCache,
    Kafka,
    GetSqs,
    GetS3,
    Rucio,
    Oscar,
    PutS3,
    Generic,
}

/// The words of each kind: the first is today's, the others are those of older releases.
const KINDS: [(Kind, &[&str]); 8] = [
    (Kind::DCache, &["dCache", "dcache"]),
    (Kind::Kafka, &["Kafka"]),
    (Kind::GetSqs, &["GetSQS", "SQS"]),
    (Kind::GetS3, &["GetS3", "S3"]),
    (Kind::Rucio, &["RUCIO", "Rucio"]),
    (Kind::Oscar, &["OSCAR", "oscar"]),
    (Kind::PutS3, &["PutS3"]),
    (Kind::Generic, &["generic"]),
];

/// Keys beside the groups that say where NiFi is.
const NIFI: [&str; 3] = ["endpoint", "user", "password"];

impl Kind {
    fn of(word: &str) -> Option<Self> {
        let known = KINDS.iter().find(|(_, words)| words.contains(&word));
        known.map(|(kind, _)| *kind)
    }

    /// Its word in today's files.
    pub(super) fn word(self) -> &'static str {
        let known = KINDS.iter().find(|(kind, _)| *kind == self);
        known.map_or("", |(_, words)| words[0])
    }

    /// Whether events come from it.
    pub(super) fn is_source(self) -> bool {
        !matches!(self, Self::Oscar | Self::PutS3 | Self::Generic)
    }
}

/// A group of processors.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) fields: Fields,
}

impl Group {
    /// Where it is, for remarks.
    pub(super) fn place(&self) -> String {
        format!("{} `{}`", self.kind.word(), self.name.escape_debug())
    }
}

/// Keys of a table that have not been used yet.
#[derive(Debug, Default)]
pub(super) struct Fields(BTreeMap<String, Value>);

impl Fields {
    pub(super) fn of(value: Value) -> Option<Self> {
        match value {
            Value::Object(map) => Some(Self(map.into_iter().collect())),
            Value::Null => Some(Self::default()),
            _ => None,
        }
    }

    /// Takes a value.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.0.remove(key).filter(|value| !value.is_null())
    }

    /// Takes a text; numbers and booleans are texts too.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        match self.take(key)? {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            _ => None,
        }
    }

    /// Takes a text that must be there.
    pub(super) fn needed(&mut self, key: &str) -> Result<String, String> {
        match self.text(key) {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(format!("`{key}` is missing")),
        }
    }

    /// Takes a list of tables.
    pub(super) fn tables(&mut self, key: &str) -> Result<Vec<Self>, String> {
        let odd = || format!("`{key}` is not a list of tables");
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => {
                let read = list.into_iter().map(|one| Self::of(one).ok_or_else(odd));
                read.collect()
            }
            Some(_) => Err(odd()),
        }
    }

    /// The keys that nobody took.
    pub(super) fn rest(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// A whole workflow.
#[derive(Debug, Default)]
pub(super) struct Workflow {
    pub(super) groups: Vec<Group>,
    pub(super) connections: Vec<(String, String)>,
    /// Keys that mean nothing here.
    pub(super) unknown: Vec<String>,
}

impl Workflow {
    /// Reads a file's text.
    ///
    /// # Errors
    /// [`WorkflowError`] if it is no workflow.
    pub(super) fn read(text: &str) -> Result<Self, WorkflowError> {
        let shape = |expected: &str| WorkflowError::Shape(expected.to_owned());
        // A queue may be called `n` or `on`; only `true` and `false` are no texts.
        let options = serde_saphyr::options! { strict_booleans: true };
        let value: Value = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| WorkflowError::Syntax(error.to_string()))?;
        let mut top = Fields::of(value).ok_or_else(|| shape("a table `nifi`"))?;
        let nifi = top.take("nifi").ok_or_else(|| shape("a table `nifi`"))?;
        let mut nifi = Fields::of(nifi).ok_or_else(|| shape("`nifi` to be a table"))?;
        let mut found = Self::default();
        found.unknown.extend(top.rest().map(str::to_owned));
        for key in NIFI {
            nifi.take(key);
        }
        for connection in nifi.tables("connection").map_err(WorkflowError::Shape)? {
            let mut connection = connection;
            let mut end = |key| connection.needed(key);
            match (end("from"), end("to")) {
                (Ok(from), Ok(to)) => found.connections.push((from, to)),
                _ => return Err(shape("each `connection` to have `from` and `to`")),
            }
        }
        for part in ["Source", "Destination"] {
            let Some(value) = nifi.take(part) else {
                continue;
            };
            let part = Fields::of(value)
                .ok_or_else(|| shape("`Source` and `Destination` to be tables"))?;
            found.groups_of(part)?;
        }
        found.groups_of(nifi)?;
        found.check()?;
        Ok(found)
    }

    fn groups_of(&mut self, mut part: Fields) -> Result<(), WorkflowError> {
        let keys: Vec<String> = part.rest().map(str::to_owned).collect();
        for key in keys {
            let Some(kind) = Kind::of(&key) else {
                self.unknown.push(key);
                continue;
            };
            for mut fields in part.tables(&key).map_err(WorkflowError::Shape)? {
                let name = fields.needed("name").map_err(|_| {
                    WorkflowError::Shape(format!("each group of `{key}` to have a name"))
                })?;
                self.groups.push(Group { kind, name, fields });
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), WorkflowError> {
        if self.groups.len() > MAX_GROUPS {
            return Err(WorkflowError::Shape(format!("at most {MAX_GROUPS} groups")));
        }
        for (index, group) in self.groups.iter().enumerate() {
            if self.groups[..index]
                .iter()
                .any(|other| other.name == group.name)
            {
                let name = group.name.escape_debug();
                return Err(WorkflowError::Shape(format!(
                    "one group of the name `{name}`, not two"
                )));
            }
        }
        Ok(())
    }
}

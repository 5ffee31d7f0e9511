//! Workflows of DCNiOS (dCache, NiFi, OSCAR) as sources and services of this gateway. Pure.
//!
//! DCNiOS builds a dataflow in Apache NiFi from one YAML file: sources, alterations, and an OSCAR
//! cluster that is called for each message. Here the same file becomes a fragment of the
//! configuration ([`crate::fragment`]): each source one of ours, each OSCAR service one whose job
//! is a script of the site, `Merge` a batch, and the seconds between runs a rate. What NiFi does and
//! we do not is told with its reason ([`Mapping::left`]); what is done in another way is told
//! too ([`Mapping::notes`]), and nothing is left out silently.
//!
//! Called by `mizar-gateway apply`. Left out: NiFi itself, which is never asked.
//!
//! Source: interTwin-eu/dcnios `cli/` and its documentation.

mod service;
mod source;
mod workflow;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::fragment::Fragment;
pub use workflow::MAX_BYTES;
use workflow::{Kind, Workflow};

/// Why a file is no workflow.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WorkflowError {
    /// Not YAML.
    #[error("it is no YAML: {0}")]
    Syntax(String),
    /// YAML of another shape.
    #[error("it is no workflow of DCNiOS: expected {0}")]
    Shape(String),
}

/// Something to tell of a part of a workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// Which part.
    pub at: String,
    /// What is so.
    pub what: String,
}

/// A file that its owner alone may read.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Secret {
    /// Its name, beside the fragment.
    pub file: String,
    /// What it holds, in words.
    pub holds: &'static str,
    /// What it holds; never shown.
    #[serde(skip)]
    pub text: String,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Secret({}: {})", self.file, self.holds)
    }
}

/// What of the site a mapping needs to know.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// Start of the names of files beside the fragment.
    pub stem: &'a str,
    /// Folder of the workflow, where its certificates are looked for.
    pub folder: &'a Path,
    /// Folder of the fragment.
    pub output: &'a Path,
    /// Scripts by the name of the OSCAR service.
    pub scripts: &'a BTreeMap<String, PathBuf>,
    /// Folder where the script of the service `s` is `s.sh`.
    pub script_folder: &'a Path,
    /// Keys of AWS from the environment, where the workflow names none.
    pub aws_keys: Option<(String, String)>,
}

/// What a workflow becomes.
#[derive(Debug, Default)]
pub struct Mapping {
    /// Sources, services and rates.
    pub fragment: Fragment,
    /// Files beside it.
    pub secrets: Vec<Secret>,
    /// What could not be mapped, and why.
    pub left: Vec<Remark>,
    /// What is done in another way.
    pub notes: Vec<Remark>,
}

impl Mapping {
    fn left(&mut self, at: &str, what: impl Into<String>) {
        self.left.push(remark(at, what));
    }

    fn note(&mut self, at: &str, what: impl Into<String>) {
        self.notes.push(remark(at, what));
    }
}

fn remark(at: &str, what: impl Into<String>) -> Remark {
    Remark {
        at: at.to_owned(),
        what: what.into(),
    }
}

/// Maps a workflow's text.
///
/// # Errors
/// [`WorkflowError`] if it is none.
pub fn map(text: &str, surroundings: &Surroundings<'_>) -> Result<Mapping, WorkflowError> {
    let workflow = Workflow::read(text)?;
    let mut mapping = Mapping::default();
    for key in &workflow.unknown {
        mapping.left(key, "no such part of a workflow is known");
    }
    let mut sources = BTreeMap::new();
    let mut destinations = Vec::new();
    for group in workflow.groups {
        match group.kind {
            kind if kind.is_source() => {
                let name = group.name.clone();
                if let Some(made) = source::map(group, surroundings, &mut mapping) {
                    sources.insert(name, made);
                }
            }
            Kind::Oscar => destinations.push(group),
            Kind::PutS3 => mapping.left(
                &group.place(),
                "events become jobs here, and are not copied into buckets: let the job's script \
                 upload, or give an OSCAR service an output",
            ),
            _ => mapping.left(
                &group.place(),
                "it is a group of NiFi's own processors, which only NiFi can run",
            ),
        }
    }
    service::map(
        destinations,
        &sources,
        &workflow.connections,
        surroundings,
        &mut mapping,
    );
    Ok(mapping)
}

/// A name as a DNS label; what differs is told.
fn label(name: &str, at: &str, mapping: &mut Mapping) -> Option<String> {
    let plain: String = name
        .to_lowercase()
        .chars()
        .map(|c| {
            if c.is_ascii_lowercase() || c.is_ascii_digit() {
                c
            } else {
                '-'
            }
        })
        .collect();
    let plain = plain.trim_matches('-').to_owned();
    if !mizar_slurm::marker::is_label(&plain) {
        mapping.left(
            at,
            "its name has no letters of which one of ours could be made",
        );
        return None;
    }
    if plain != name {
        mapping.note(at, format!("is called `{plain}` here"));
    }
    Some(plain)
}

#[cfg(test)]
mod tests;

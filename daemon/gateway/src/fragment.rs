//! Fragments of the configuration: files beside it that `include` names, each with sources, services
//! and first rates. `mizar-gateway apply` writes them; a site may write its own.
//!
//! A fragment's paths are relative to its folder. An entry of `include` is a file, or a folder whose
//! `*.toml` are taken in the order of their names; one that is not there yet is an empty folder,
//! unless its name says that it is a file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::ConfigError;
use crate::ledger::Setting;
use crate::service::Service;
use crate::sources::Source;

/// Most files of one configuration.
const MAX_FRAGMENTS: usize = 256;

/// One file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fragment {
    /// Where events are fetched.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Source>,
    /// Which events become which job.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub service: Vec<Service>,
    /// How fast services are until somebody says otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flow: Vec<FirstFlow>,
}

/// How fast a service is until somebody says otherwise, by `mizar-gateway set` or the page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstFlow {
    /// The service.
    pub service: String,
    /// As for `mizar-gateway set`: `5/s`, `30/min`, `none`.
    pub rate: String,
}

impl FirstFlow {
    /// As a change of a flow.
    ///
    /// # Errors
    /// If it is no rate.
    pub fn setting(&self) -> Result<Setting, String> {
        format!("rate={}", self.rate).parse()
    }
}

impl Fragment {
    /// Reads a file and resolves its paths.
    ///
    /// # Errors
    /// [`ConfigError`] if it cannot be read or is no fragment.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let parse = |message: String| ConfigError::Parse {
            path: path.to_owned(),
            message,
        };
        let mut found: Self = toml::from_str(&text).map_err(|error| parse(error.to_string()))?;
        for source in &mut found.sources {
            source.resolve(path.parent().unwrap_or(Path::new("/")));
        }
        for flow in &found.flow {
            flow.setting().map_err(parse)?;
        }
        Ok(found)
    }
}

/// The files that entries of `include` name, without `skip`.
///
/// # Errors
/// [`ConfigError`] if one is not there or a folder cannot be read.
pub fn files(include: &[PathBuf], skip: Option<&Path>) -> Result<Vec<PathBuf>, ConfigError> {
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in include {
        if entry.is_dir() {
            found.extend(listed(entry)?);
        } else if entry.extension().is_some() || entry.exists() {
            found.push(entry.clone());
        }
    }
    found.retain(|path| Some(path.as_path()) != skip);
    if found.len() > MAX_FRAGMENTS {
        return Err(ConfigError::Invalid {
            key: "include",
            problem: format!("names more than {MAX_FRAGMENTS} files"),
        });
    }
    Ok(found)
}

fn listed(folder: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let read = |source| ConfigError::Read {
        path: folder.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // What is being written has a name with a leading dot.
        if !name.starts_with('.') && name.ends_with(".toml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_read_in_order_and_files_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.toml", "a.toml", ".c.toml.part", ".d.toml", "e.secret"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let (a, b) = (folder.path().join("a.toml"), folder.path().join("b.toml"));
        let whole = [folder.path().to_owned(), folder.path().join("later")];
        assert_eq!(files(&whole, None).unwrap(), [a.clone(), b.clone()]);
        assert_eq!(files(&whole, Some(&a)).unwrap(), [b]);
        let missing = files(&[folder.path().join("no.toml")], None).unwrap();
        let error = Fragment::read(&missing[0]).unwrap_err();
        assert!(error.to_string().contains("no.toml"), "{error}");
    }

    #[test]
    fn a_fragment_is_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.toml");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Fragment::read(&path)
        };
        let found = read(
            "[[sources]]\nkind='directory'\nname='d'\npath='in'\n\
             [[flow]]\nservice='s'\nrate='30/min'\n",
        )
        .unwrap();
        assert_eq!(found.flow[0].setting(), Ok(Setting::Rate(Some(0.5))));
        match &found.sources[0] {
            Source::Directory(_) => {}
            other => panic!("{other:?}"),
        }
        for bad in [
            "listen='x'",
            "[[flow]]\nservice='s'\nrate='fast'",
            "[[flow]]\nservice='s'",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}

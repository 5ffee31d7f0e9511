//! One site's environment, with reasons.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A versioned file about one site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name: what `--site` takes.
    pub name: String,
    /// Raised with every change.
    pub version: u32,
    /// When it was last checked against its sources: `2026-11-26`.
    pub updated: String,
    /// Machine and network, in words.
    pub describes: String,
    /// Values of `SLURM_CLUSTER_NAME` that are this site.
    pub clusters: Vec<String>,
    /// Names that only its hosts have, with `*`: asked where there is no name of a cluster.
    pub hosts: Vec<String>,
    /// Network interfaces that its compute nodes have.
    #[serde(default)]
    pub interfaces: Vec<String>,
    /// What should be set.
    #[serde(default, rename = "setting")]
    pub settings: Vec<Setting>,
    /// What should not.
    #[serde(default, rename = "avoid")]
    pub avoid: Vec<Avoid>,
}

/// A variable that should have a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The variable.
    pub variable: String,
    /// Its value, with `{user}`, `{job}` and `{cpus_per_task}` filled in.
    pub value: String,
    /// Why.
    pub reason: String,
    /// Where that is written.
    pub source: String,
}

/// A value that does harm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Avoid {
    /// The variable.
    pub variable: String,
    /// The value, in any case of letters.
    pub value: String,
    /// What it does.
    pub reason: String,
    /// Where that is written.
    pub source: String,
}

/// A profile that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// It cannot be read.
    #[error("cannot read the profile {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not TOML, or has unknown keys.
    #[error("{path} is not a site profile")]
    Malformed {
        /// The file, or the name of a built-in one.
        path: PathBuf,
        /// Line, column and what is wrong.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A field says what cannot be.
    #[error("{path}: {problem}")]
    Wrong {
        /// The file, or the name of a built-in one.
        path: PathBuf,
        /// Which, and why.
        problem: String,
    },
    /// There is none of that name.
    #[error("there is no site profile {name:?}; there are {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// Those there are.
        known: String,
    },
}

impl Profile {
    /// Reads a profile of the site's own.
    ///
    /// # Errors
    /// [`ProfileError`] says what is wrong with the file.
    pub fn read(path: &std::path::Path) -> Result<Self, ProfileError> {
        let text = std::fs::read_to_string(path).map_err(|source| ProfileError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, path)
    }

    pub(crate) fn parse(text: &str, path: &std::path::Path) -> Result<Self, ProfileError> {
        let path = path.to_owned();
        let profile: Self = match toml::from_str(text) {
            Ok(profile) => profile,
            Err(source) => {
                let source = Box::new(source);
                return Err(ProfileError::Malformed { path, source });
            }
        };
        match profile.problem() {
            None => Ok(profile),
            Some(problem) => Err(ProfileError::Wrong { path, problem }),
        }
    }

    /// A variable that no shell could export, one that is named twice, or a value of two lines.
    fn problem(&self) -> Option<String> {
        let is_name = |name: &str| {
            let mut letters = name.chars();
            letters
                .next()
                .is_some_and(|c| c == '_' || c.is_ascii_alphabetic())
                && letters.all(|c| c == '_' || c.is_ascii_alphanumeric())
        };
        let named = self.settings.iter().map(|setting| &setting.variable);
        let mut all = named.chain(self.avoid.iter().map(|avoid| &avoid.variable));
        if let Some(variable) = all.find(|variable| !is_name(variable)) {
            return Some(format!("{variable:?} is not the name of a variable"));
        }
        for (index, setting) in self.settings.iter().enumerate() {
            let variable = &setting.variable;
            let mut earlier = self.settings[..index].iter();
            if earlier.any(|other| other.variable == *variable) {
                return Some(format!("{variable} is set twice"));
            }
            if setting.value.contains(['\n', '\0']) {
                return Some(format!("the value of {variable} has more than one line"));
            }
            let mut harms = self.avoid.iter();
            if harms.any(|avoid| avoid.is(variable, &setting.value)) {
                let value = &setting.value;
                return Some(format!("{variable}={value} is both set and to be avoided"));
            }
        }
        None
    }
}

impl Avoid {
    /// Whether this is the harmful value.
    #[must_use]
    pub fn is(&self, variable: &str, value: &str) -> bool {
        self.variable == variable && self.value.eq_ignore_ascii_case(value.trim())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn refusal(lines: &str) -> String {
        let head =
            "name='x'\nversion=1\nupdated='2026-01-01'\ndescribes=''\nclusters=[]\nhosts=[]\n";
        let error = Profile::parse(&format!("{head}{lines}"), Path::new("x.toml")).unwrap_err();
        let source =
            std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
        format!("{error}: {source}")
    }

    #[test]
    fn what_no_shell_could_export_is_refused() {
        let setting = |variable: &str, value: &str| {
            format!("[[setting]]\nvariable={variable:?}\nvalue={value:?}\nreason=''\nsource=''\n")
        };
        let both = setting("A", "1") + &setting("A", "2");
        assert!(refusal(&both).contains("A is set twice"));
        assert!(refusal(&setting("A;rm", "1")).contains("\"A;rm\" is not the name of a variable"));
        assert!(refusal(&setting("A", "1\n2")).contains("more than one line"));
        assert!(refusal("colour='red'\n").contains("unknown field `colour`"));
        let harm =
            setting("A", "phb") + "[[avoid]]\nvariable='A'\nvalue='PHB'\nreason=''\nsource=''\n";
        assert!(refusal(&harm).contains("both set and to be avoided"));
    }
}

//! From a model file to a [`Model`]: by its suffix and the back ends that there are.
//!
//! Called by the command and the server. Back ends are asked in the order in which they were
//! given; one that is not installed is passed over, and why is told. A back end for files of
//! another kind is one more implementation of [`Backend`].

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::Model;

/// Which device runs a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Provider {
    /// The processors of the node.
    #[default]
    Cpu,
    /// NVIDIA's GPUs.
    Cuda,
    /// AMD's GPUs, by ONNX Runtime's older provider.
    Rocm,
    /// AMD's GPUs, by the newer.
    MiGraphX,
}

impl Provider {
    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Rocm => "rocm",
            Self::MiGraphX => "migraphx",
        }
    }
}

/// A model file that is to be opened.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// For messages.
    pub path: &'a Path,
    /// The whole file.
    pub bytes: &'a [u8],
    /// Threads that one run may use.
    pub threads: usize,
    /// The device.
    pub provider: Provider,
}

/// What opens model files of some kinds.
pub trait Backend: Send + Sync {
    /// The name on the command line.
    fn name(&self) -> &'static str;

    /// How the names of its files end, without the dot.
    fn suffixes(&self) -> &'static [&'static str];

    /// Opens a file.
    ///
    /// # Errors
    /// [`OpenError::Absent`] if this back end cannot work here, so that the next is asked; any
    /// other ends the search.
    fn open(&self, source: Source<'_>) -> Result<Box<dyn Model>, OpenError>;
}

/// Why a model could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file cannot be read.
    #[error("cannot read the model {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No back end knows the suffix.
    #[error("{}: no back end reads such models; the names of those that are read end in {known}", path.display())]
    Suffix {
        /// Which.
        path: PathBuf,
        /// What is known.
        known: String,
    },
    /// The file is not a model that can be used.
    #[error("{}: the model cannot be used", path.display())]
    Header {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: crate::HeaderError,
    },
    /// There is no such back end.
    #[error("there is no back end `{wanted}`; there are {known}")]
    NoBackend {
        /// As asked for.
        wanted: String,
        /// Those that there are.
        known: String,
    },
    /// A back end cannot work here.
    #[error("{backend}: {reason}")]
    Absent {
        /// Which.
        backend: &'static str,
        /// What is missing, and what to do.
        reason: String,
    },
    /// None of the back ends can work here.
    #[error("{}: nothing here can run it: {reasons}", path.display())]
    NoneWorks {
        /// The model.
        path: PathBuf,
        /// What each says.
        reasons: String,
    },
    /// The library that the user names cannot be used.
    #[error("the library of {backend} that was named ({variable}) cannot be used: {reason}")]
    Library {
        /// Whose.
        backend: &'static str,
        /// Where it can be named.
        variable: &'static str,
        /// Why.
        reason: String,
    },
    /// The device cannot be used.
    #[error("provider `{provider}` cannot be used: {reason}")]
    Provider {
        /// Which.
        provider: &'static str,
        /// Why, and what to do.
        reason: String,
    },
    /// The file is no model of its kind, or a damaged one.
    #[error("{}: the model cannot be used", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The back end refuses the model.
    #[error("{}: {backend} refuses the model: {message}", path.display())]
    Refused {
        /// Which model.
        path: PathBuf,
        /// Who.
        backend: String,
        /// What it says.
        message: String,
    },
}

/// A model with what identifies it.
pub struct Loaded {
    /// Ready to run.
    pub model: Box<dyn Model>,
    /// SHA-256 of the file, in hexadecimal.
    pub digest: String,
    /// The name of the file, without its folder.
    pub file_name: String,
    /// The size of the file.
    pub size_bytes: u64,
    /// Back ends that were passed over, and why.
    pub passed_over: Vec<String>,
}

/// Opens models.
pub struct Loader {
    backends: Vec<Box<dyn Backend>>,
    wanted: Option<String>,
    threads: usize,
    provider: Provider,
}

impl Loader {
    /// Knows no back end yet.
    #[must_use]
    pub fn new(threads: usize, provider: Provider) -> Self {
        Self {
            backends: Vec::new(),
            wanted: None,
            threads,
            provider,
        }
    }

    /// Adds a back end, to be asked after those before.
    #[must_use]
    pub fn with(mut self, backend: impl Backend + 'static) -> Self {
        self.backends.push(Box::new(backend));
        self
    }

    /// Asks this back end only, of those that read the same kinds of files.
    ///
    /// # Errors
    /// [`OpenError::NoBackend`] if there is none of this name.
    pub fn only(mut self, name: &str) -> Result<Self, OpenError> {
        if !self.backends.iter().any(|backend| backend.name() == name) {
            let known: Vec<&str> = self.backends.iter().map(|b| b.name()).collect();
            return Err(OpenError::NoBackend {
                wanted: name.to_owned(),
                known: known.join(", "),
            });
        }
        self.wanted = Some(name.to_owned());
        Ok(self)
    }

    /// Reads a file and opens it.
    ///
    /// # Errors
    /// [`OpenError`]: the file, the back ends or the device.
    pub fn open(&self, path: &Path) -> Result<Loaded, OpenError> {
        let bytes = self.read(path)?;
        self.open_bytes(path, &bytes)
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// [`OpenError::Read`], [`OpenError::Suffix`].
    pub fn read(&self, path: &Path) -> Result<Vec<u8>, OpenError> {
        self.candidates(path)?;
        std::fs::read(path).map_err(|source| OpenError::Read {
            path: path.to_owned(),
            source,
        })
    }

    /// As [`open`](Self::open), of bytes that were read.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_bytes(&self, path: &Path, bytes: &[u8]) -> Result<Loaded, OpenError> {
        let source = Source {
            path,
            bytes,
            threads: self.threads.max(1),
            provider: self.provider,
        };
        let mut passed_over = Vec::new();
        for backend in self.candidates(path)? {
            match backend.open(source) {
                Ok(model) => {
                    let name = path.file_name().unwrap_or(path.as_os_str());
                    return Ok(Loaded {
                        model,
                        digest: digest(bytes),
                        file_name: name.to_string_lossy().into_owned(),
                        size_bytes: bytes.len() as u64,
                        passed_over,
                    });
                }
                Err(absent @ OpenError::Absent { .. }) => passed_over.push(absent.to_string()),
                Err(error) => return Err(error),
            }
        }
        Err(OpenError::NoneWorks {
            path: path.to_owned(),
            reasons: passed_over.join("; "),
        })
    }

    /// Those that read such files, of those that may be asked.
    fn candidates(&self, path: &Path) -> Result<Vec<&dyn Backend>, OpenError> {
        let suffix = path.extension().unwrap_or_default().to_string_lossy();
        let suffix = suffix.to_lowercase();
        let all = self.backends.iter().map(AsRef::as_ref);
        let wanted = self.wanted.as_deref();
        let wanted = wanted.and_then(|name| all.clone().find(|backend| backend.name() == name));
        let is_wanted = |backend: &&dyn Backend| {
            wanted.is_none_or(|wanted| {
                let other = backend.suffixes() != wanted.suffixes();
                other || backend.name() == wanted.name()
            })
        };
        let asked: Vec<&dyn Backend> = all.filter(is_wanted).collect();
        let knows = |backend: &&dyn Backend| backend.suffixes().contains(&suffix.as_str());
        let candidates: Vec<&dyn Backend> = asked.iter().copied().filter(knows).collect();
        if candidates.is_empty() {
            let mut known: Vec<String> = asked
                .iter()
                .flat_map(|backend| backend.suffixes())
                .map(|suffix| format!(".{suffix}"))
                .collect();
            known.dedup();
            return Err(OpenError::Suffix {
                path: path.to_owned(),
                known: known.join(", "),
            });
        }
        Ok(candidates)
    }
}

/// SHA-256 in hexadecimal.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    mizar_core::hex(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Missing(&'static str);

    impl Backend for Missing {
        fn name(&self) -> &'static str {
            self.0
        }
        fn suffixes(&self) -> &'static [&'static str] {
            &["onnx"]
        }
        fn open(&self, _: Source<'_>) -> Result<Box<dyn Model>, OpenError> {
            Err(OpenError::Absent {
                backend: self.0,
                reason: "is not installed".to_owned(),
            })
        }
    }

    fn loader() -> Loader {
        let loader = Loader::new(1, Provider::Cpu);
        loader.with(Missing("first")).with(Missing("second"))
    }

    #[test]
    fn all_that_is_missing_is_told() {
        let error = loader()
            .open_bytes(Path::new("a/m.onnx"), b"")
            .err()
            .unwrap();
        let expected = "a/m.onnx: nothing here can run it: first: is not installed; second: is \
                        not installed";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn suffixes_and_names_that_nobody_knows_are_told() {
        let error = loader().open(Path::new("m.pt")).err().unwrap();
        assert_eq!(
            error.to_string(),
            "m.pt: no back end reads such models; the names of those that are read end in .onnx"
        );
        let error = loader().only("third").err().unwrap();
        let expected = "there is no back end `third`; there are first, second";
        assert_eq!(error.to_string(), expected);
    }
}

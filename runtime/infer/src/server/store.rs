//! The models of a server: by digest, within a limit of memory.
//!
//! A name is a file and the digest it had when it was loaded. A model that was dropped for
//! another is read again when it is asked for; if its file has changed meanwhile, that is told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Settings;
use super::held::{Held, memory_of};
use crate::{Loader, OpenError, digest};

/// Why a model is not ready.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Nobody loaded it.
    #[error("there is no model `{0}`: load it, or see POST /v2/repository/index")]
    Unknown(String),
    /// It does not fit.
    #[error(
        "{} counts for {needed} bytes, but models may use {limit} (--memory) and those in use \
         cannot be dropped", path.display()
    )]
    Memory {
        /// The file.
        path: PathBuf,
        /// What it needs.
        needed: u64,
        /// What all may use.
        limit: u64,
    },
    /// The file is another by now.
    #[error("{} has changed since it was loaded: load it again", .0.display())]
    Changed(PathBuf),
    /// The system gives no thread.
    #[error("no thread for the model could be started")]
    Thread(#[source] std::io::Error),
}

/// A name under which a model is asked for.
#[derive(Clone, Debug)]
struct Named {
    path: PathBuf,
    digest: String,
}

#[derive(Default)]
struct Models {
    names: BTreeMap<String, Named>,
    /// By digest.
    held: BTreeMap<String, Arc<Held>>,
}

/// All models of a server.
pub(super) struct Store {
    loader: Loader,
    settings: Settings,
    models: Mutex<Models>,
}

impl Store {
    pub(super) fn new(loader: Loader, settings: Settings) -> Self {
        Self {
            loader,
            settings,
            models: Mutex::default(),
        }
    }

    /// Makes a file ready under a name; one of the same bytes is shared.
    pub(super) fn load(&self, name: &str, path: &Path) -> Result<Arc<Held>, StoreError> {
        let bytes = self.loader.read(path)?;
        let named = Named {
            path: path.to_owned(),
            digest: digest(&bytes),
        };
        let mut models = self.lock();
        let held = self.hold(&mut models, &named, &bytes)?;
        models.names.insert(name.to_owned(), named);
        Ok(held)
    }

    /// The model of a name, read again if it was dropped.
    pub(super) fn get(&self, name: &str) -> Result<Arc<Held>, StoreError> {
        let mut models = self.lock();
        let named = models.names.get(name).cloned();
        let named = named.ok_or_else(|| StoreError::Unknown(name.to_owned()))?;
        if let Some(held) = models.held.get(&named.digest) {
            return Ok(Arc::clone(held));
        }
        let bytes = self.loader.read(&named.path)?;
        if digest(&bytes) != named.digest {
            return Err(StoreError::Changed(named.path));
        }
        self.hold(&mut models, &named, &bytes)
    }

    /// Forgets a name, and its model if no other name has it.
    pub(super) fn unload(&self, name: &str) -> Result<(), StoreError> {
        let mut models = self.lock();
        let gone = models.names.remove(name);
        let gone = gone.ok_or_else(|| StoreError::Unknown(name.to_owned()))?;
        if !models
            .names
            .values()
            .any(|named| named.digest == gone.digest)
        {
            models.held.remove(&gone.digest);
        }
        Ok(())
    }

    /// Names, digests, and whether they are in memory.
    pub(super) fn index(&self) -> Vec<(String, String, bool)> {
        let models = self.lock();
        let row = |(name, named): (&String, &Named)| {
            let is_held = models.held.contains_key(&named.digest);
            (name.clone(), named.digest.clone(), is_held)
        };
        models.names.iter().map(row).collect()
    }

    fn hold(
        &self,
        models: &mut Models,
        named: &Named,
        bytes: &[u8],
    ) -> Result<Arc<Held>, StoreError> {
        if let Some(held) = models.held.get(&named.digest) {
            return Ok(Arc::clone(held));
        }
        let (needed, limit) = (memory_of(bytes.len() as u64), self.settings.memory_bytes);
        let used = |models: &Models| {
            models
                .held
                .values()
                .map(|held| held.memory_bytes)
                .sum::<u64>()
        };
        while used(models).saturating_add(needed) > limit {
            let idle = models.held.iter().filter(|(_, held)| !held.is_busy());
            let oldest = idle.min_by_key(|(_, held)| held.last_used());
            let Some(oldest) = oldest.map(|(digest, _)| digest.clone()) else {
                let path = named.path.clone();
                return Err(StoreError::Memory {
                    path,
                    needed,
                    limit,
                });
            };
            models.held.remove(&oldest);
        }
        let loaded = self.loader.open_bytes(&named.path, bytes)?;
        let held = Held::start(loaded, &self.settings).map_err(StoreError::Thread)?;
        let held = Arc::new(held);
        models.held.insert(named.digest.clone(), Arc::clone(&held));
        Ok(held)
    }

    fn lock(&self) -> MutexGuard<'_, Models> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

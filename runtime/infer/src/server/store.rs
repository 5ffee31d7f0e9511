//! The models of a server: by digest, within a limit of memory.
//!
//! A name is a file and the digest it had when it was loaded. A model that was dropped for
//! another is read again when it is asked for; if its file has changed meanwhile, that is told.
//!
//! **Invariant:** a file is read and compiled on a thread of its own and without the lock, so that a
//! slow one holds up nobody but those who ask for it, and those no longer than a limit. A model that
//! is loaded anew under its name answers as it was until the new one is ready.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, watch};

use super::Settings;
use super::held::{Held, memory_of};
use crate::{Loader, OpenError, digest};

/// Files that are read and compiled at once.
const LOADS: usize = 8;

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
    /// It takes long.
    #[error(
        "the model `{name}` is still being loaded after {seconds} s (--load-limit): ask again later"
    )]
    Loading {
        /// Its name.
        name: String,
        /// How long was waited.
        seconds: u64,
    },
    /// Many wait.
    #[error("{0} requests wait for this model to be loaded already: try again later")]
    Full(usize),
    /// The thread that loaded it has died.
    #[error("the load of the model `{0}` was broken off: load it again")]
    Broken(String),
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

/// What a load came to; others may wait for it too.
type Loaded = Result<Arc<Held>, Arc<StoreError>>;

/// A file that is being read and compiled.
#[derive(Clone)]
struct Load {
    outcome: watch::Receiver<Option<Loaded>>,
    waiting: Arc<AtomicUsize>,
    /// Bytes that are kept free for it.
    reserved: u64,
}

#[derive(Default)]
struct Models {
    names: BTreeMap<String, Named>,
    /// By digest.
    held: BTreeMap<String, Arc<Held>>,
    /// By name.
    loading: BTreeMap<String, Load>,
}

impl Models {
    /// What counts against the limit, without the load under a name.
    fn used(&self, name: &str) -> u64 {
        let held = self.held.values().map(|held| held.memory_bytes);
        let others = self.loading.iter().filter(|(other, _)| *other != name);
        held.chain(others.map(|(_, load)| load.reserved)).sum()
    }
}

/// How a model stands, for those who ask for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Ready,
    Loading,
    Dropped,
}

/// All models of a server.
pub(super) struct Store {
    loader: Loader,
    settings: Settings,
    models: Mutex<Models>,
    loads: Arc<Semaphore>,
}

impl Store {
    pub(super) fn new(loader: Loader, settings: Settings) -> Self {
        Self {
            loader,
            settings,
            models: Mutex::default(),
            loads: Arc::new(Semaphore::new(LOADS)),
        }
    }

    /// Makes a file ready under a name; one of the same bytes is shared. Waits for as long as the
    /// limit says; the load itself goes on then.
    pub(super) async fn load(self: &Arc<Self>, name: &str, path: &Path) -> Loaded {
        self.within(name, self.load_patiently(name, path)).await
    }

    /// As [`load`](Self::load), however long it takes.
    pub(super) async fn load_patiently(self: &Arc<Self>, name: &str, path: &Path) -> Loaded {
        loop {
            // One that runs may have read the file before it changed.
            let before = self.lock().loading.get(name).cloned();
            if let Some(before) = before {
                let _ = self.outcome(name, before).await;
                continue;
            }
            let load = {
                let mut models = self.lock();
                match models.loading.contains_key(name) {
                    true => continue,
                    false => self.start(&mut models, name, path, None),
                }
            };
            return self.outcome(name, load).await;
        }
    }

    /// The model of a name, read again if it was dropped; waits as [`load`](Self::load).
    pub(super) async fn get(self: &Arc<Self>, name: &str) -> Loaded {
        let load = {
            let mut models = self.lock();
            let named = models.names.get(name).cloned();
            let held = named.as_ref().and_then(|own| models.held.get(&own.digest));
            if let Some(held) = held {
                return Ok(Arc::clone(held));
            }
            match (models.loading.get(name), named) {
                (Some(load), _) => load.clone(),
                (None, Some(named)) => {
                    self.start(&mut models, name, &named.path, Some(named.digest))
                }
                (None, None) => return Err(Arc::new(StoreError::Unknown(name.to_owned()))),
            }
        };
        self.within(name, self.outcome(name, load)).await
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

    /// Names, digests (nothing before the first load is done), and how they stand.
    pub(super) fn index(&self) -> Vec<(String, String, Standing)> {
        let models = self.lock();
        let state = |name: &String, digest: &str| match (
            models.held.contains_key(digest),
            models.loading.contains_key(name),
        ) {
            (true, _) => Standing::Ready,
            (false, true) => Standing::Loading,
            (false, false) => Standing::Dropped,
        };
        let row = |(name, named): (&String, &Named)| {
            (
                name.clone(),
                named.digest.clone(),
                state(name, &named.digest),
            )
        };
        let first = models
            .loading
            .keys()
            .filter(|name| !models.names.contains_key(*name));
        let first = first.map(|name| (name.clone(), String::new(), Standing::Loading));
        models.names.iter().map(row).chain(first).collect()
    }

    async fn within(&self, name: &str, loaded: impl Future<Output = Loaded>) -> Loaded {
        let limit = self.settings.load_limit;
        tokio::time::timeout(limit, loaded)
            .await
            .unwrap_or_else(|_| {
                Err(Arc::new(StoreError::Loading {
                    name: name.to_owned(),
                    seconds: limit.as_secs(),
                }))
            })
    }

    /// Waits for a load, unless too many do: they hold connections, of which others need some.
    async fn outcome(&self, name: &str, mut load: Load) -> Loaded {
        let most = (self.settings.connections / 2).max(1);
        let _place = Waiting::new(&load.waiting, most)?;
        let done = load.outcome.wait_for(Option::is_some).await;
        let done = done.ok().and_then(|done| done.clone());
        done.unwrap_or_else(|| Err(Arc::new(StoreError::Broken(name.to_owned()))))
    }

    /// Starts a load under a name; `expected` is the digest that the file must have.
    fn start(
        self: &Arc<Self>,
        models: &mut Models,
        name: &str,
        path: &Path,
        expected: Option<String>,
    ) -> Load {
        let (tell, outcome) = watch::channel(None);
        let load = Load {
            outcome,
            waiting: Arc::default(),
            reserved: 0,
        };
        models.loading.insert(name.to_owned(), load.clone());
        let (store, path) = (Arc::clone(self), path.to_owned());
        let entry = Entry {
            store: Arc::clone(self),
            name: name.to_owned(),
        };
        tokio::spawn(async move {
            let permit = Arc::clone(&store.loads).acquire_owned().await;
            // Without a thread all of it is dropped, and those who wait are told.
            let _ = std::thread::Builder::new()
                .name("load".to_owned())
                .spawn(move || {
                    let loaded = store.open(&entry.name, &path, expected.as_deref());
                    // Whoever comes now finds the model, not its load.
                    drop(entry);
                    let _ = tell.send(Some(loaded.map_err(Arc::new)));
                    drop(permit);
                });
        });
        load
    }

    /// Reads and compiles a file, on the thread of its own.
    fn open(
        &self,
        name: &str,
        path: &Path,
        expected: Option<&str>,
    ) -> Result<Arc<Held>, StoreError> {
        let bytes = self.loader.read(path)?;
        let named = Named {
            path: path.to_owned(),
            digest: digest(&bytes),
        };
        if expected.is_some_and(|expected| expected != named.digest) {
            return Err(StoreError::Changed(named.path));
        }
        {
            let mut models = self.lock();
            if let Some(held) = models.held.get(&named.digest) {
                let held = Arc::clone(held);
                models.names.insert(name.to_owned(), named);
                return Ok(held);
            }
            self.make_room(&mut models, name, path, memory_of(bytes.len() as u64))?;
        }
        let loaded = self.loader.open_bytes(path, &bytes)?;
        let held = Held::start(loaded, &self.settings).map_err(StoreError::Thread)?;
        let held = Arc::new(held);
        let mut models = self.lock();
        if expected.is_some() && !models.names.contains_key(name) {
            // It was unloaded meanwhile.
            return Err(StoreError::Unknown(name.to_owned()));
        }
        // Another name's load of the same bytes may have been faster.
        let held = Arc::clone(models.held.entry(named.digest.clone()).or_insert(held));
        models.names.insert(name.to_owned(), named);
        Ok(held)
    }

    /// Drops idle models until there is room, which is then kept.
    fn make_room(
        &self,
        models: &mut Models,
        name: &str,
        path: &Path,
        needed: u64,
    ) -> Result<(), StoreError> {
        let limit = self.settings.memory_bytes;
        while models.used(name).saturating_add(needed) > limit {
            let idle = models.held.iter().filter(|(_, held)| !held.is_busy());
            let oldest = idle.min_by_key(|(_, held)| held.last_used());
            let Some(oldest) = oldest.map(|(digest, _)| digest.clone()) else {
                return Err(StoreError::Memory {
                    path: path.to_owned(),
                    needed,
                    limit,
                });
            };
            models.held.remove(&oldest);
        }
        if let Some(load) = models.loading.get_mut(name) {
            load.reserved = needed;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Models> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A load's place among those that run; gone with its thread, even one that panics.
struct Entry {
    store: Arc<Store>,
    name: String,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.store.lock().loading.remove(&self.name);
    }
}

/// A request's place among those that wait.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize, most: usize) -> Result<Self, Arc<StoreError>> {
        let before = count.fetch_add(1, Ordering::Relaxed);
        // Dropped, it leaves its place.
        let own = Self(count);
        match before < most {
            true => Ok(own),
            false => Err(Arc::new(StoreError::Full(most))),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

//! The files of an MLflow store: `<experiment>/<run>/{meta.yaml,params/,metrics/,tags/}`.
//!
//! Called by [`super::mlflow`]. Every file is bounded in size and every folder in entries; a
//! store is somebody else's, and may be damaged or huge.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

/// A metric file has some 40 bytes a reading; a larger one is no metric.
const MAX_METRIC_BYTES: u64 = 64 << 20;
/// Parameters, tags and descriptions are short.
const MAX_TEXT_BYTES: u64 = 1 << 20;
/// Runs that are read of one store.
const MAX_RUNS: usize = 20_000;

/// A store could not be read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder of it could not.
    #[error("cannot read {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is larger than any that MLflow writes.
    #[error("{} has more than {limit_bytes} bytes, which no file of its kind has", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// The limit.
        limit_bytes: u64,
    },
    /// A line of a metric is none.
    #[error("{} line {line}: expected `milliseconds value step`, found `{found}`", path.display())]
    Metric {
        /// Which.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Its text.
        found: String,
    },
    /// There is no run of training.
    #[error(
        "{} holds {run_count} MLflow runs, and none has the metric epoch_time_s or workers: was \
         it written by itwinai, with epoch times logged?",
        path.display()
    )]
    Nothing {
        /// Where.
        path: PathBuf,
        /// Runs that were found.
        run_count: usize,
    },
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Running,
    Finished,
    Failed,
}

/// A value that was logged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Metric {
    /// When, Unix seconds.
    pub(super) time_s: f64,
    pub(super) value: f64,
    pub(super) step: i64,
}

/// A run in a store.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) parent: Option<String>,
    pub(super) status: Status,
    pub(super) start_s: Option<f64>,
    pub(super) end_s: Option<f64>,
    params: HashMap<String, String>,
}

impl Stored {
    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.params.get(name).map(String::as_str)
    }

    pub(super) fn has_metric(&self, name: &str) -> bool {
        self.folder.join("metrics").join(name).is_file()
    }

    /// All that was logged under a name, in the order of the file; empty if nothing was.
    pub(super) fn metric(&self, name: &str) -> Result<Vec<Metric>, StoreError> {
        let path = self.folder.join("metrics").join(name);
        let Some(text) = read_text(&path, MAX_METRIC_BYTES)? else {
            return Ok(Vec::new());
        };
        let lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty());
        lines
            .map(|(index, line)| {
                metric(line).ok_or_else(|| StoreError::Metric {
                    path: path.clone(),
                    line: index + 1,
                    found: line.chars().take(80).collect(),
                })
            })
            .collect()
    }
}

fn metric(line: &str) -> Option<Metric> {
    let mut words = line.split_ascii_whitespace();
    let time_ms: f64 = words.next()?.parse().ok()?;
    let value = words.next()?.parse().ok()?;
    // Old stores have no step.
    let step = words.next().map_or(Some(0), |step| step.parse().ok())?;
    time_ms.is_finite().then_some(Metric {
        time_s: time_ms / 1e3,
        value,
        step,
    })
}

fn is_run(path: &Path) -> bool {
    path.join("meta.yaml").is_file()
        && ["params", "metrics", "tags"]
            .iter()
            .any(|part| path.join(part).is_dir())
}

/// Is there a store, an experiment or a run at this path?
pub(super) fn is_store(path: &Path) -> bool {
    run_folders(path).is_ok_and(|folders| !folders.is_empty())
}

/// Every run at or below a path, deleted ones apart.
pub(super) fn read(path: &Path) -> Result<Vec<Stored>, StoreError> {
    let mut runs = Vec::new();
    for folder in run_folders(path)? {
        runs.extend(stored(folder)?);
    }
    runs.sort_by(|a, b| {
        let start = |run: &Stored| run.start_s.unwrap_or(0.0);
        start(a).total_cmp(&start(b)).then_with(|| a.id.cmp(&b.id))
    });
    Ok(runs)
}

fn run_folders(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    if is_run(path) {
        // Its workers lie beside it.
        let id = path.file_name().map(|id| id.to_string_lossy().into_owned());
        let mut folders = vec![path.to_owned()];
        for sibling in path
            .parent()
            .map(subfolders)
            .transpose()?
            .unwrap_or_default()
        {
            let parent = read_text(&sibling.join("tags/mlflow.parentRunId"), MAX_TEXT_BYTES)?;
            if parent.map(|parent| parent.trim().to_owned()) == id && is_run(&sibling) {
                folders.push(sibling);
            }
        }
        return Ok(folders);
    }
    let mut folders = Vec::new();
    let mut level = vec![path.to_owned()];
    // A folder with `mlflow` or `mlruns` in it, the store, the experiment, the run.
    for _ in 0..3 {
        let mut next = Vec::new();
        for folder in level {
            for sub in subfolders(&folder)? {
                if is_run(&sub) {
                    folders.push(sub);
                } else {
                    next.push(sub);
                }
                if folders.len() > MAX_RUNS || next.len() > MAX_RUNS {
                    return Ok(folders);
                }
            }
        }
        level = next;
    }
    Ok(folders)
}

fn subfolders(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = |source| StoreError::Io {
        path: path.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden && entry.path().is_dir() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn stored(folder: PathBuf) -> Result<Option<Stored>, StoreError> {
    let meta =
        flat_yaml(&read_text(&folder.join("meta.yaml"), MAX_TEXT_BYTES)?.unwrap_or_default());
    if meta
        .get("lifecycle_stage")
        .is_some_and(|stage| stage == "deleted")
    {
        return Ok(None);
    }
    let tag = |name: &str| read_text(&folder.join("tags").join(name), MAX_TEXT_BYTES);
    let parent = tag("mlflow.parentRunId")?;
    let tagged_name = tag("mlflow.runName")?;
    let mut params = HashMap::new();
    let params_folder = folder.join("params");
    if params_folder.is_dir() {
        for name in [
            "strategy",
            "global_rank",
            "global_world_size",
            "probing_interval",
        ] {
            if let Some(value) = read_text(&params_folder.join(name), MAX_TEXT_BYTES)? {
                params.insert(name.to_owned(), value.trim().to_owned());
            }
        }
    }
    let folder_name = folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let seconds = |key: &str| Some(meta.get(key)?.parse::<f64>().ok()? / 1e3);
    Ok(Some(Stored {
        id: meta
            .get("run_id")
            .cloned()
            .or(folder_name)
            .unwrap_or_default(),
        name: meta
            .get("run_name")
            .filter(|name| !name.is_empty())
            .cloned()
            .or(tagged_name)
            .unwrap_or_default(),
        parent: parent.map(|parent| parent.trim().to_owned()),
        status: match meta.get("status").map(String::as_str) {
            // RunStatus of MLflow's protocol: 3 finished, 4 failed, 5 killed.
            Some("3" | "FINISHED") => Status::Finished,
            Some("4" | "5" | "FAILED" | "KILLED") => Status::Failed,
            _ => Status::Running,
        },
        start_s: seconds("start_time"),
        end_s: seconds("end_time"),
        params,
        folder,
    }))
}

/// The top keys of a document that MLflow writes: one `key: value` a line.
fn flat_yaml(text: &str) -> HashMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs
        .map(|(key, value)| {
            let value = value.trim();
            let unquoted = ['\'', '"']
                .into_iter()
                .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
            (key.trim().to_owned(), unquoted.unwrap_or(value).to_owned())
        })
        .filter(|(_, value)| value != "null")
        .collect()
}

/// A file's text, bounded; `None` if there is no such file.
pub(super) fn read_text(path: &Path, limit_bytes: u64) -> Result<Option<String>, StoreError> {
    let failed = |source| StoreError::Io {
        path: path.to_owned(),
        source,
    };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(limit_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > limit_bytes {
        return Err(StoreError::TooLarge {
            path: path.to_owned(),
            limit_bytes,
        });
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

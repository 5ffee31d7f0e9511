//! What a job of the OSCAR API gets before its script runs, and what becomes of its output: the
//! contract of OSCAR's supervisor, with its known losses mended.
//!
//! A script or a transfer that fails is a failed job, and nothing of a failed job is stored.
//! The input never shares a folder with the script. What the script wrote elsewhere, or as a
//! link, is not taken.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::s3::{S3, S3Error, copy};
use super::{log, progress};
use crate::event::parse_json;
use crate::s3 as notification;

/// The bytes that came with the job.
pub const PAYLOAD_FILE: &str = "payload";

/// What a synchronous caller is answered with.
pub const REPLY_FILE: &str = "reply";

/// The container that runs the script.
pub const SCRIPT: &str = "script";

/// Folders of the script, in the job's folder.
pub const INPUT: &str = "input";
/// What the script leaves here is stored.
pub const OUTPUT: &str = "output";

/// Longest event in a variable: the system takes no longer one, name included.
const VARIABLE_BYTES: usize = (128 << 10) - 64;

/// Deepest JSON of an event.
const NESTING: usize = 100;

/// Most output files of a job.
const MAX_FILES: usize = 100_000;

/// Where data comes from and goes to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    /// An object store.
    S3(S3),
    /// A folder that the nodes see: buckets are the folders in it.
    Folder(PathBuf),
}

/// What is to be stored where.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// `<type>.<id>`.
    pub store: String,
    /// Bucket, and the beginning of keys.
    pub path: String,
    /// One of them must begin the relative path; none means all.
    pub prefix: Vec<String>,
    /// One of them must end the relative path; none means all.
    pub suffix: Vec<String>,
}

/// The part of a plan about an event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Store that object events of a kind refer to: `minio` and `s3`, to `<type>.<id>`.
    pub inputs: BTreeMap<String, String>,
    /// Rules of the output.
    pub outputs: Vec<Output>,
    /// Stores by `<type>.<id>`.
    pub stores: BTreeMap<String, Store>,
    /// Whether the script fetches its input itself.
    pub skips_input: bool,
    /// Put before names of variables, once for each: how they get into the container.
    pub prefixes: Vec<String>,
}

/// Why an event's data did not come or go.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// A transfer.
    #[error(transparent)]
    Transfer(#[from] S3Error),
    /// The event cannot be used.
    #[error("the event cannot be used: {0}")]
    Event(String),
    /// A store is not known.
    #[error("no storage provider `{0}` is defined by the service or the site")]
    NoStore(String),
    /// The job's own folder.
    #[error("cannot use the job's folder")]
    Folder(#[from] io::Error),
}

/// What was fetched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fetched {
    input: Option<PathBuf>,
    key: Option<String>,
    time: Option<String>,
    raw: Option<String>,
    /// Neither a storage event nor anything else known: its bytes are the input.
    pub is_plain: bool,
    folder: PathBuf,
}

impl Fetched {
    /// Adds the variables that scripts of OSCAR expect.
    pub(crate) fn add_to(&self, stage: &Stage, env: &mut Vec<(String, String)>) {
        let folder = |name| Some(self.folder.join(name).display().to_string());
        let all = [
            ("TMP_INPUT_DIR", folder(INPUT)),
            ("TMP_OUTPUT_DIR", folder(OUTPUT)),
            ("STORAGE_OUTPUT_DIR", folder(OUTPUT)),
            (
                "INPUT_FILE_PATH",
                self.input.as_ref().map(|path| path.display().to_string()),
            ),
            ("STORAGE_OBJECT_KEY", self.key.clone()),
            ("EVENT_TIME", self.time.clone()),
            ("EVENT", self.raw.clone()),
            ("RESOURCE_ID", std::env::var("SLURMD_NODENAME").ok()),
        ];
        for (name, value) in all {
            let Some(value) = value else { continue };
            for prefix in &stage.prefixes {
                env.push((format!("{prefix}{name}"), value.clone()));
            }
        }
    }
}

/// Makes fresh folders and fetches the input.
///
/// # Errors
/// [`EventError`]; it is also written into the script's log, where its owner looks.
pub fn fetch(stage: &Stage, folder: &Path) -> Result<Fetched, EventError> {
    let fetched = fetch_quietly(stage, folder);
    if let Err(error) = &fetched {
        complain(folder, error);
    }
    fetched
}

fn complain(folder: &Path, error: &EventError) {
    let path = progress::log_path(folder, SCRIPT);
    if let Ok(file) = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
    {
        let text = format!("mizar-gateway: {}\n", mizar_core::chain(error));
        let _ = log::record(text.as_bytes(), file);
    }
}

fn fetch_quietly(stage: &Stage, folder: &Path) -> Result<Fetched, EventError> {
    for name in [INPUT, OUTPUT] {
        let path = folder.join(name);
        if path.exists() {
            std::fs::remove_dir_all(&path)?;
        }
        std::fs::create_dir(&path)?;
    }
    let payload = std::fs::read(folder.join(PAYLOAD_FILE))?;
    let mut fetched = Fetched {
        folder: folder.to_owned(),
        ..Fetched::default()
    };
    let Ok(event) = parse_json(&payload, NESTING) else {
        fetched.is_plain = true;
        // Clients send base64 whatever they say; what is not base64 is taken as it is.
        let text: Vec<u8> = payload
            .iter()
            .copied()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        let bytes = STANDARD.decode(&text).unwrap_or(payload);
        fetched.input = save_plain(folder, &bytes)?;
        return Ok(fetched);
    };
    let event = undelegated(event);
    let raw = event.to_string();
    fetched.raw = (raw.len() <= VARIABLE_BYTES).then_some(raw);
    if !notification::is_notification(&event) {
        fetched.is_plain = true;
        fetched.raw = None;
        fetched.input = save_plain(folder, &payload)?;
        return Ok(fetched);
    }
    let found = notification::read(&event, 1)
        .map_err(|error| EventError::Event(mizar_core::chain(&error)))?;
    let Some(object) = found
        .events
        .into_iter()
        .next()
        .and_then(|event| event.object)
    else {
        return Ok(fetched);
    };
    let record = &event["Records"][0];
    fetched.time = record["eventTime"].as_str().map(str::to_owned);
    fetched.key = Some(object.key.clone());
    if !stage.skips_input && !object.is_removal() {
        let source = record["eventSource"].as_str().unwrap_or_default();
        let kind = if source == "aws:s3" { "s3" } else { "minio" };
        fetched.input = Some(fetch_object(stage, folder, kind, &object)?);
    }
    Ok(fetched)
}

/// The event inside a delegated one, however deep.
pub(crate) fn undelegated(mut event: Value) -> Value {
    for _ in 0..NESTING {
        let inner = match event.get("event") {
            Some(Value::String(text)) if event.get("Records").is_none() => {
                match parse_json(text.as_bytes(), NESTING) {
                    Ok(inner) => inner,
                    Err(_) => return event,
                }
            }
            Some(inner @ Value::Object(_)) if event.get("Records").is_none() => inner.clone(),
            _ => return event,
        };
        event = inner;
    }
    event
}

fn save_plain(folder: &Path, bytes: &[u8]) -> io::Result<Option<PathBuf>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let path = folder.join(INPUT).join("event-file");
    std::fs::write(&path, bytes)?;
    Ok(Some(path))
}

fn fetch_object(
    stage: &Stage,
    folder: &Path,
    kind: &str,
    object: &crate::event::StoredObject,
) -> Result<PathBuf, EventError> {
    let name = object.key.rsplit('/').next().unwrap_or_default();
    if matches!(name, "" | "." | "..") || name.contains('\0') {
        return Err(EventError::Event(format!(
            "the key `{}` names no file",
            object.key
        )));
    }
    let to = folder.join(INPUT).join(name);
    let default = format!("{kind}.default");
    let store = stage.inputs.get(kind).unwrap_or(&default);
    match stage.stores.get(store) {
        None => return Err(EventError::NoStore(store.clone())),
        Some(Store::S3(s3)) => s3.fetch(&object.bucket, &object.key, &to, object.size_bytes)?,
        Some(Store::Folder(root)) => {
            let from = below(root, &format!("{}/{}", object.bucket, object.key))?;
            let real = from.canonicalize()?;
            if !real.starts_with(root.canonicalize()?) {
                return Err(EventError::Event(format!(
                    "{} leads out of its store",
                    object.key
                )));
            }
            copy(&real, &to)?;
        }
    }
    Ok(to)
}

/// A path below a store's folder, without any part that leads elsewhere.
fn below(root: &Path, path: &str) -> Result<PathBuf, EventError> {
    let odd = |part: &str| part == ".." || part == "." || part.contains('\0');
    if path.split('/').any(odd) {
        return Err(EventError::Event(format!(
            "the path `{path}` leads out of its store"
        )));
    }
    Ok(root.join(path.trim_start_matches('/')))
}

/// Stores the output of a script that ended with `code`, writes the reply, and returns the
/// job's exit code.
///
/// # Errors
/// [`EventError`]; it is also written into the script's log.
pub fn deliver(
    stage: &Stage,
    folder: &Path,
    fetched: &Fetched,
    code: i32,
) -> Result<i32, EventError> {
    let delivered = deliver_quietly(stage, folder, fetched, code);
    if let Err(error) = &delivered {
        complain(folder, error);
    }
    delivered
}

fn deliver_quietly(
    stage: &Stage,
    folder: &Path,
    fetched: &Fetched,
    code: i32,
) -> Result<i32, EventError> {
    let mut files = Vec::new();
    if code == 0 {
        walk(&folder.join(OUTPUT), "", &mut files)?;
        files.sort();
        for output in &stage.outputs {
            for (name, path) in &files {
                if wanted(output, name) {
                    store(stage, output, name, path)?;
                }
            }
        }
    }
    let reply = reply(folder, fetched, &files)?;
    let part = folder.join(".reply.part");
    std::fs::write(&part, reply)?;
    std::fs::rename(part, folder.join(REPLY_FILE))?;
    Ok(code)
}

fn walk(folder: &Path, name: &str, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let own = entry.file_name().to_string_lossy().into_owned();
        let name = if name.is_empty() {
            own
        } else {
            format!("{name}/{own}")
        };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(&entry.path(), &name, files)?;
        } else if kind.is_file() && files.len() < MAX_FILES {
            files.push((name, entry.path()));
        }
    }
    Ok(())
}

fn wanted(output: &Output, name: &str) -> bool {
    let any = |list: &[String], test: &dyn Fn(&str) -> bool| {
        list.is_empty() || list.iter().any(|one| test(one))
    };
    any(&output.prefix, &|prefix| name.starts_with(prefix))
        && any(&output.suffix, &|suffix| name.ends_with(suffix))
}

fn store(stage: &Stage, output: &Output, name: &str, path: &Path) -> Result<(), EventError> {
    let whole = format!("{}/{name}", output.path.trim_matches('/'));
    match stage.stores.get(&output.store) {
        None => Err(EventError::NoStore(output.store.clone())),
        Some(Store::Folder(root)) => {
            copy(path, &below(root, &whole)?)?;
            Ok(())
        }
        Some(Store::S3(s3)) => {
            let (bucket, key) = whole.split_once('/').unwrap_or((&whole, name));
            Ok(s3.store(bucket, key, path)?)
        }
    }
}

/// What a synchronous caller gets: files of a plain call as base64, else the script's output.
fn reply(folder: &Path, fetched: &Fetched, files: &[(String, PathBuf)]) -> io::Result<Vec<u8>> {
    if fetched.is_plain && !files.is_empty() {
        let bytes = match files {
            [(_, path)] => std::fs::read(path)?,
            _ => super::zip::archive(files)?,
        };
        return Ok(STANDARD.encode(bytes).into_bytes());
    }
    let log = progress::open_below(folder, &progress::log_path(folder, SCRIPT))?;
    let mut log = io::BufReader::new(log);
    let mut text = Vec::new();
    while let Some(record) = log::next(&mut log)? {
        text.write_all(&record.text)?;
    }
    Ok(text)
}

/// The last `bytes` of a script's output as text, for the reason of a failed job.
#[must_use]
pub fn last_words(folder: &Path, bytes: u64) -> Option<String> {
    use std::io::Seek;
    let mut file = progress::open_below(folder, &progress::log_path(folder, SCRIPT)).ok()?;
    let size = file.metadata().ok()?.len();
    // Stamps take some of it; what the cut leaves of the first line is passed over.
    let start = size.saturating_sub(bytes * 4);
    file.seek(io::SeekFrom::Start(start)).ok()?;
    let mut log = io::BufReader::new(file.take(bytes * 4));
    let mut text = Vec::new();
    if start > 0 {
        log::next(&mut log).ok()?;
    }
    while let Some(record) = log::next(&mut log).ok()? {
        text.extend(record.text);
    }
    let text = String::from_utf8_lossy(&text);
    let mut cut = text.len().saturating_sub(usize::try_from(bytes).ok()?);
    while !text.is_char_boundary(cut) {
        cut += 1;
    }
    let words = text[cut..].trim();
    (!words.is_empty()).then(|| words.to_owned())
}

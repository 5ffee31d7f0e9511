//! What was answered about pods the last time: a pod whose row and files are as they were is
//! answered with the same text.
//!
//! A virtual node asks for all its pods every few seconds, and hardly any has changed. A pod's
//! containers never do; its row is compared as a whole; a file of its supervisor is replaced, never
//! changed, so that its stamp tells. Nothing here decides what is true: what is forgotten is made
//! again from the ledger and the files.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::pod::{Create, Pod};
use super::status::report;
use crate::ledger::{JobRow, State};
use crate::supervise::progress;

/// Pods that are remembered; beyond it all are forgotten and begun anew.
const MAX_PODS: usize = 20_000;

/// Which file a progress was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size_bytes: u64,
    changed_ns: i128,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let found = std::fs::symlink_metadata(path).ok()?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
            size_bytes: found.size(),
            changed_ns: i128::from(found.ctime()) * 1_000_000_000 + i128::from(found.ctime_nsec()),
        })
    }
}

/// One pod, as it was answered.
#[derive(Clone, Debug)]
struct Answered {
    pod: Arc<Pod>,
    row: JobRow,
    stamps: Vec<Option<Stamp>>,
    text: Arc<str>,
}

/// All of them, by UID.
#[derive(Debug, Default)]
pub struct Remembered(Mutex<HashMap<String, Answered>>);

impl Remembered {
    /// The report about a pod as JSON; `payload` is asked for what came with it where that is not
    /// known yet, and `asked` is the pod as the question has it, if nothing came.
    pub fn report<E>(
        &self,
        row: JobRow,
        folder: &Path,
        asked: impl FnOnce() -> Pod,
        payload: impl FnOnce() -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Arc<str>, E> {
        let uid = row.event_id.clone();
        let known = self.all().get(&uid).cloned();
        let pod = match &known {
            Some(known) => Arc::clone(&known.pod),
            None => Arc::new(pod_of(payload()?, asked)),
        };
        // Before the files are read: what changes meanwhile is seen the next time.
        let stamps = stamps(&row, &pod, folder);
        if let Some(known) = known
            && known.row == row
            && known.stamps == stamps
        {
            return Ok(known.text);
        }
        let text: Arc<str> = report(&row, &pod, folder).to_string().into();
        let answered = Answered {
            pod,
            row,
            stamps,
            text: Arc::clone(&text),
        };
        let mut all = self.all();
        if all.len() >= MAX_PODS && !all.contains_key(&uid) {
            all.clear();
        }
        all.insert(uid, answered);
        Ok(text)
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<String, Answered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names, namespace and containers, which is all that a report needs.
fn pod_of(payload: Option<Vec<u8>>, asked: impl FnOnce() -> Pod) -> Pod {
    // The containers are those that the job was made of, whatever the question says.
    let kept = payload.and_then(|bytes| serde_json::from_slice::<Create>(&bytes).ok());
    let mut pod = kept.map_or_else(asked, |create| create.pod);
    if pod.spec.containers.is_empty() {
        pod.spec.containers = vec![super::pod::Container::default()];
    }
    let mut short = Pod::default();
    short.metadata.name = pod.metadata.name;
    short.metadata.namespace = pod.metadata.namespace;
    short.metadata.uid = pod.metadata.uid;
    let brief = |all: Vec<super::pod::Container>| {
        let each = all.into_iter().map(|one| super::pod::Container {
            name: one.name,
            image: one.image,
            ..super::pod::Container::default()
        });
        each.collect()
    };
    short.spec.containers = brief(pod.spec.containers);
    short.spec.init_containers = brief(pod.spec.init_containers);
    short
}

/// The stamps of the files that a report of this state is made of.
fn stamps(row: &JobRow, pod: &Pod, folder: &Path) -> Vec<Option<Stamp>> {
    if row.state != State::Running && !row.state.is_final() {
        return Vec::new();
    }
    let containers = pod.spec.init_containers.iter().chain(&pod.spec.containers);
    containers
        .map(|one| Stamp::of(&progress::path(folder, &one.name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Door;
    use crate::supervise::plan::CONTAINERS;
    use crate::supervise::progress::Progress;
    use crate::supervise::start_name;
    use serde_json::{Value, json};

    const UID: &str = "6b0c1f8e-1d2a-4c3b-9e4f-5a6b7c8d9e0f";

    fn row(state: State) -> JobRow {
        JobRow {
            id: 5,
            service: "interlink".to_owned(),
            state,
            slurm_job: Some(42),
            slurm_state: Some("RUNNING".to_owned()),
            slurm_task: None,
            exit_code: None,
            reason: None,
            attempts: 1,
            marker: String::new(),
            event_id: UID.to_owned(),
            source: String::new(),
            kind: String::new(),
            subject: None,
            received_ms: 1_000,
            changed_ms: 9_000,
            door: Door::Pod,
            started_ms: Some(2_000),
            ended_ms: None,
            deleted_ms: None,
            joined: None,
            owner: None,
            user: None,
        }
    }

    fn payload() -> Vec<u8> {
        let container = json!({"name": "main", "image": "i", "env": [{"name": "A", "value": "1"}]});
        json!({"pod": {"metadata": {"name": "p", "namespace": "ns", "uid": UID},
            "spec": {"containers": [container]}}})
        .to_string()
        .into_bytes()
    }

    fn ask(all: &Remembered, row: JobRow, folder: &Path) -> Arc<str> {
        all.report(row, folder, Pod::default, || Ok::<_, ()>(Some(payload())))
            .unwrap()
    }

    fn progress(folder: &Path, ready: bool) {
        let progress = Progress {
            start: start_name("42", ""),
            started_ms: Some(3_000),
            ready,
            ..Progress::default()
        };
        progress::write(folder, "main", &progress).unwrap();
    }

    #[test]
    fn a_pod_is_told_anew_when_its_row_or_its_file_changes_and_only_then() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(CONTAINERS)).unwrap();
        let all = Remembered::default();
        let ready = |text: &Arc<str>| {
            let told: Value = serde_json::from_str(text).unwrap();
            assert_eq!((&told["UID"], &told["name"]), (&json!(UID), &json!("p")));
            told["containers"][0]["ready"] == true
        };
        let first = ask(&all, row(State::Running), folder.path());
        assert!(!ready(&first));
        assert!(Arc::ptr_eq(
            &first,
            &ask(&all, row(State::Running), folder.path())
        ));
        progress(folder.path(), true);
        let second = ask(&all, row(State::Running), folder.path());
        assert!(ready(&second));
        assert!(Arc::ptr_eq(
            &second,
            &ask(&all, row(State::Running), folder.path())
        ));
        progress(folder.path(), false);
        assert!(!ready(&ask(&all, row(State::Running), folder.path())));
        let suspended = JobRow {
            slurm_state: Some("SUSPENDED".to_owned()),
            ..row(State::Running)
        };
        progress(folder.path(), true);
        assert!(!ready(&ask(&all, suspended, folder.path())));
        assert!(ready(&ask(&all, row(State::Running), folder.path())));
        // A job of a later start has no use for that file.
        let later = JobRow {
            slurm_job: Some(43),
            ..row(State::Running)
        };
        assert!(!ready(&ask(&all, later, folder.path())));
    }

    #[test]
    fn what_came_with_a_pod_is_read_once_and_never_kept_whole() {
        let folder = tempfile::tempdir().unwrap();
        let all = Remembered::default();
        ask(&all, row(State::Submitted), folder.path());
        let again = all.report(
            row(State::Running),
            folder.path(),
            || panic!("known"),
            || -> Result<_, ()> { panic!("known") },
        );
        assert!(again.unwrap().contains("\"main\""));
        let kept = format!("{:?}", all.0.lock().unwrap());
        assert!(!kept.contains("\"A\""), "{kept}");
        // An error is handed on, and nothing is remembered of it.
        let none = Remembered::default();
        let error = none.report(row(State::Running), folder.path(), Pod::default, || {
            Err("away")
        });
        assert_eq!(error.unwrap_err(), "away");
        let lost = none.report(row(State::Running), folder.path(), Pod::default, || {
            Ok::<_, ()>(None)
        });
        assert!(lost.unwrap().contains("\"containers\":[{"));
    }
}

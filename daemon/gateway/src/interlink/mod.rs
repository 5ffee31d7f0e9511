//! The plugin API of interLink: pods of a Kubernetes cluster become Slurm jobs.
//!
//! A pod is one event with its UID for a key, so that the ledger's own rule gives it one job for
//! ever, however often `/create` comes and whatever is killed in between. [`pod`] is what is read
//! of it, [`translate`] makes a job of it, [`status`] says how it is from the ledger and the
//! states that the supervisor wrote, [`logs`] answers questions about its output. Slurm is asked
//! by the gateway's one poller, never by a request.
//!
//! Left out on purpose: networks between pods and cluster, images built or fetched by us,
//! persistent volume claims, restarts. What a pod asks of these is refused by name.

pub mod flags;
mod http;
pub mod logs;
pub mod maps;
mod options;
pub mod pod;
mod probes;
pub mod quantity;
mod question;
mod remembered;
pub mod settings;
pub mod socket;
pub mod status;
pub mod translate;
pub mod variables;
pub mod volumes;

pub(crate) use http::plan;
pub use http::routes;
pub use remembered::Remembered;
pub use settings::Interlink;

use serde_json::json;

use crate::event::Event;
use crate::ledger::{Door, NewEvent, Sender};

/// The service that all pods belong to in ledger, markers and folders.
pub const SERVICE: &str = "interlink";

/// CloudEvents type of a pod.
const POD_TYPE: &str = "io.kubernetes.pod.created";

/// What is wrong with a pod, or cannot be done here.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{place} {problem}")]
pub struct PodError {
    /// Where in the request.
    pub place: String,
    /// What is wrong, and what would do.
    pub problem: String,
}

impl PodError {
    /// An error at a place.
    pub fn new(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            problem: problem.into(),
        }
    }
}

/// The hash that a pod's UID gives.
#[must_use]
pub fn key_hash(uid: &str) -> String {
    event_of(uid, "", "").key_hash(SERVICE)
}

fn event_of(uid: &str, namespace: &str, name: &str) -> Event {
    let source = format!("/kubernetes/{namespace}");
    let subject = format!("{namespace}/{name}");
    Event {
        id: uid.to_owned(),
        kind: POD_TYPE.to_owned(),
        subject: Some(subject.clone()),
        object: None,
        document: json!({
            "specversion": "1.0", "id": uid, "source": source, "type": POD_TYPE, "subject": subject,
        }),
        source,
        key: vec!["pod".to_owned(), uid.to_owned()],
    }
}

/// The event that a pod is: it tells who, and the payload, shown to nobody, tells what.
#[must_use]
pub fn new_event(
    uid: &str,
    namespace: &str,
    name: &str,
    payload: Option<Vec<u8>>,
    sender: Sender,
) -> NewEvent {
    let event = event_of(uid, namespace, name);
    NewEvent {
        matched: vec![(SERVICE.to_owned(), event.key_hash(SERVICE)).into()],
        document: event.document.to_string(),
        id: event.id,
        source: event.source,
        kind: event.kind,
        subject: event.subject,
        door: Door::Pod,
        payload,
        sender,
    }
}

//! The question of a virtual node about its pods, answered at a cost of what has changed: of each
//! pod the UID is read, its row is found by its key, and its report is the last one if it can be.

use std::sync::Arc;

use mizar_core::chain;
use mizar_slurm::Marker;
use serde::Deserialize;
use serde_json::{Value, json};

use super::pod::Pod;
use super::{SERVICE, key_hash};
use crate::event::check_nesting;
use crate::identity::Caller;
use crate::ledger::{self, JobRow, LedgerError};
use crate::shared::Shared;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum QuestionError {
    /// It is none.
    #[error("{0}")]
    Shape(String),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// One pod of a question: all that is read of it, unless nothing else is known of the pod.
#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    metadata: AskedName,
}

#[derive(Default, Deserialize)]
struct AskedName {
    #[serde(default)]
    uid: String,
}

/// The answer to a list of pods, as JSON; without any it is that of the ping.
pub(super) fn answer(
    shared: &Shared,
    caller: &Caller,
    bytes: &[u8],
) -> Result<String, QuestionError> {
    let uids = uids(bytes, shared.config.limits.nesting).map_err(QuestionError::Shape)?;
    if uids.is_empty() {
        return Ok(capacity(shared).to_string());
    }
    let mut json = String::from("[");
    for uid in uids.iter().filter(|uid| !uid.is_empty()) {
        if let Some(report) = report_of(shared, caller, uid, bytes)? {
            if json.len() > 1 {
                json.push(',');
            }
            json.push_str(&report);
        }
    }
    json.push(']');
    Ok(json)
}

/// Whom a question is about; a pod of another shape, which must not fail the others, has no UID.
fn uids(bytes: &[u8], nesting: usize) -> Result<Vec<String>, String> {
    check_nesting(bytes, nesting).map_err(|error| chain(&error))?;
    if let Ok(pods) = serde_json::from_slice::<Vec<Asked>>(bytes) {
        return Ok(pods.into_iter().map(|pod| pod.metadata.uid).collect());
    }
    let pods: Vec<Value> = serde_json::from_slice(bytes)
        .map_err(|error| format!("the body is no list of pods: {error}"))?;
    let uid = |pod: Value| {
        pod.pointer("/metadata/uid")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    Ok(pods
        .into_iter()
        .map(|pod| uid(pod).unwrap_or_default())
        .collect())
}

/// The job of a pod.
pub(super) fn row_of(shared: &Shared, uid: &str) -> Result<Option<JobRow>, LedgerError> {
    let hash = key_hash(uid);
    shared
        .reader
        .read(|ledger| ledger::job_of(ledger, SERVICE, &hash))
}

/// One pod's report; None for what is not known, or not the caller's.
fn report_of(
    shared: &Shared,
    caller: &Caller,
    uid: &str,
    bytes: &[u8],
) -> Result<Option<Arc<str>>, LedgerError> {
    let Some(row) = row_of(shared, uid)? else {
        return Ok(None);
    };
    if !caller.may_touch(row.owner.as_deref()) {
        return Ok(None);
    }
    if row.deleted_ms.is_some() && row.state.is_final() {
        return Ok(None);
    }
    let Ok(marker) = row.marker.parse::<Marker>() else {
        return Ok(None);
    };
    let id = row.id;
    let payload = || shared.reader.read(|ledger| ledger::payload(ledger, id));
    let asked = || {
        let pods: Vec<Value> = serde_json::from_slice(bytes).unwrap_or_default();
        let pods = pods.into_iter().map(serde_json::from_value::<Pod>);
        let mut pods = pods.filter_map(Result::ok);
        let found = pods.find(|pod| pod.metadata.uid == uid);
        found.unwrap_or_default()
    };
    let folder = shared.folder(&marker);
    let report = shared.pods.report(row, &folder, asked, payload)?;
    Ok(Some(report))
}

/// What the ping answers: the machine as the poller saw it last; nothing before it did.
fn capacity(shared: &Shared) -> Value {
    let mut answer = json!({"status": "ok"});
    let settings = shared.config.interlink.clone().unwrap_or_default();
    if let Some(seen) = shared.capacity() {
        let accelerators: Vec<Value> = settings
            .accelerators
            .iter()
            .map(|(name, word)| json!({"resourceType": name, "available": seen.gres_count(word).to_string()}))
            .collect();
        answer["resources"] = json!({
            "cpu": seen.cpus.to_string(), "memory": format!("{}Mi", seen.memory_mib),
            "pods": settings.pods.to_string(), "accelerators": accelerators,
        });
    }
    if let Some(taints) = settings.taints {
        answer["taints"] = json!(taints);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_of_another_shape_does_not_fail_the_others() {
        let odd = json!([{"metadata": {"uid": "a", "name": 7}}, {"metadata": {"uid": "b"}, "spec": []},
            {"metadata": {"uid": 7}}, {"metadata": null}, {}, 7, "x", null, {"metadata": {"uid": "c"}}]);
        let found = uids(odd.to_string().as_bytes(), 8).unwrap();
        assert_eq!(found, ["a", "b", "", "", "", "", "", "", "c"]);
        let plain = json!([{"metadata": {"uid": "a"}, "spec": {"x": [[1]]}}, {"metadata": {}}]);
        assert_eq!(uids(plain.to_string().as_bytes(), 8).unwrap(), ["a", ""]);
        assert_eq!(uids(b"[]", 8).unwrap(), [""; 0]);
        for (bad, part) in [
            ("{}", "list of pods"),
            ("[", "list of pods"),
            ("[[[[[[[[[]]]]]]]]]", "deeper"),
        ] {
            let error = uids(bad.as_bytes(), 8).unwrap_err();
            assert!(error.contains(part), "{bad}: {error}");
        }
    }
}

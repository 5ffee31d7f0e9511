//! What a worker is made of: how many a service wants, the event that has one made, and the plan of
//! its job, which is that of the service's batch jobs with its files in a folder of the node.

use std::path::PathBuf;

use mizar_slurm::JobFile;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::proof::Key;
use super::wire::PROTOCOL;
use crate::event::hash_key;
use crate::jobfiles::{Planned, Verb};
use crate::ledger::{Claim, Door, NewEvent, Sender, WORKERS};
use crate::oscar::definition::Definition;
use crate::oscar::intake::random_hex;
use crate::oscar::job::{self, SCRIPT_FILE, Script};
use crate::oscar::store::Kept;
use crate::shared::Shared;

/// Name of the file that tells a worker where its gateway is.
pub const WORKER_FILE: &str = "worker.json";

/// Name of the file with a worker's secret.
pub const SECRET_FILE: &str = "secret";

/// CloudEvents type of the event that has a worker made.
const WORKER_TYPE: &str = "io.mizar.worker.wanted";

/// How many workers a service may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scale {
    /// Least.
    pub min: usize,
    /// Most; 0 means that only the site bounds it.
    pub max: usize,
}

/// The `synchronous` of a definition.
///
/// # Errors
/// What is wrong with it.
pub fn scale_of(definition: &Definition) -> Result<Scale, String> {
    let part = definition.rest.get("synchronous").unwrap_or(&Value::Null);
    let read = |name: &str| match part.get(name) {
        None | Some(Value::Null) => Ok(0),
        Some(value) => value
            .as_u64()
            .and_then(|count| usize::try_from(count).ok())
            .ok_or_else(|| format!("`synchronous.{name}` must be a whole number of at least 0")),
    };
    let scale = Scale {
        min: read("min_scale")?,
        max: read("max_scale")?,
    };
    if scale.max > 0 && scale.min > scale.max {
        return Err("`synchronous.min_scale` is more than `max_scale`".to_owned());
    }
    Ok(scale)
}

/// What a worker's service was when it was made: a change of it makes another worker.
#[must_use]
pub(super) fn revision_of(kept: &Kept) -> String {
    let mut hasher = Sha256::new();
    for part in [
        &kept.definition.text(),
        &kept.token,
        &kept.created_ms.to_string(),
        &kept.user.clone().unwrap_or_default(),
    ] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    mizar_core::hex(&hasher.finalize()[..8])
}

/// A service as its worker's event carries it; shown to nobody.
#[derive(Debug, Serialize, Deserialize)]
struct Snapshot {
    definition: Definition,
    owner: String,
    user: Option<String>,
    token: String,
    created_ms: i64,
}

/// The event that has a worker made, new every time.
///
/// # Errors
/// If there are no random bytes.
pub(super) fn event(kept: &Kept, place: u32) -> std::io::Result<NewEvent> {
    let serves = &kept.definition.name;
    let id = format!("{serves}-{place}-{}", random_hex(8)?);
    let source = format!("/oscar/{serves}");
    let document = json!({
        "specversion": "1.0", "id": id, "source": source, "type": WORKER_TYPE, "subject": serves,
        "data": {"place": place, "revision": revision_of(kept)},
    });
    let snapshot = Snapshot {
        definition: kept.definition.clone(),
        owner: kept.owner.clone(),
        user: kept.user.clone(),
        token: kept.token.clone(),
        created_ms: kept.created_ms,
    };
    let hash = hash_key(WORKERS, ["worker", id.as_str()].into_iter());
    Ok(NewEvent {
        id,
        source,
        kind: WORKER_TYPE.to_owned(),
        subject: Some(serves.clone()),
        document: document.to_string(),
        matched: vec![(WORKERS.to_owned(), hash).into()],
        door: Door::Worker,
        payload: Some(serde_json::to_vec(&snapshot)?),
        // As a batch job of the service: whoever calls, the script is its owner's.
        sender: Sender {
            owner: Some(kept.owner.clone()),
            user: kept.user.clone(),
        },
    })
}

/// What a worker is told, beside its plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerFile {
    /// [`PROTOCOL`] of who wrote it.
    pub protocol: u32,
    /// `host:port` of the gateway.
    pub connect: String,
    /// The marker of its job.
    pub marker: String,
    /// Its own folder on the node.
    pub scratch: PathBuf,
    /// How long it looks for a gateway that it lost.
    pub reconnect_ms: u64,
    /// Put before the names of variables of each call, once for each.
    pub prefixes: Vec<String>,
}

/// Plans the job of a worker.
///
/// # Errors
/// A reason that no retry can mend.
pub fn plan(shared: &Shared, claim: &Claim) -> Result<Planned, String> {
    let oscar = shared.config.oscar.as_ref();
    let oscar = oscar.ok_or("this site serves no OSCAR API any more")?;
    let warm = oscar
        .warm
        .as_ref()
        .ok_or("this site has no warm workers any more")?;
    let payload = claim
        .payload
        .as_deref()
        .ok_or("what the worker is made of was forgotten")?;
    let snapshot: Snapshot = serde_json::from_slice(payload)
        .map_err(|error| format!("the ledger holds no service for this worker: {error}"))?;
    let kept = Kept {
        definition: snapshot.definition,
        owner: snapshot.owner,
        user: snapshot.user,
        token: snapshot.token,
        created_ms: snapshot.created_ms,
    };
    let marker = claim.marker.to_string();
    let scratch = warm.scratch_dir.join(format!(
        "mizar-worker-{}.{}",
        claim.marker.hash(),
        claim.marker.generation()
    ));
    let mut options = job::options(&kept.definition, &oscar.gpu)?;
    options.retain(|(name, _)| name != "time" && !warm.options.contains_key(name));
    options.extend(
        warm.options
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    options.push((
        "time".to_owned(),
        warm.time_minutes(oscar.run_ms).to_string(),
    ));
    // A worker that lost its node has lost its call; another is made where it is needed.
    options.retain(|(name, _)| name != "requeue" && name != "no-requeue");
    options.push(("no-requeue".to_owned(), String::new()));
    let told = WorkerFile {
        protocol: PROTOCOL,
        connect: warm.address(),
        marker: marker.clone(),
        scratch: scratch.clone(),
        reconnect_ms: u64::try_from(warm.reconnect().as_millis()).unwrap_or(u64::MAX),
        prefixes: vec![shared.config.containers.variable_prefix().to_owned()],
    };
    let key = Key::load(&shared.config.state_dir)
        .map_err(|error| format!("no key for workers: {error}"))?;
    let told = serde_json::to_vec(&told).map_err(|error| error.to_string())?;
    Ok(Planned {
        options,
        verb: Verb::Worker,
        files: vec![
            JobFile::new(WORKER_FILE, told),
            JobFile::new(SECRET_FILE, key.secret(&marker)),
            JobFile::new(SCRIPT_FILE, kept.definition.script.as_str()),
        ],
        plan: job::plan_of(
            shared,
            &kept,
            &Script {
                job: None,
                folder: &scratch,
            },
        )?,
        ..Planned::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(synchronous: Value) -> Kept {
        let value =
            json!({"name": "plants", "image": "i", "script": "true", "synchronous": synchronous});
        Kept {
            definition: serde_json::from_value(value).unwrap(),
            owner: "ann".to_owned(),
            user: None,
            token: "s3cret".to_owned(),
            created_ms: 1,
        }
    }

    #[test]
    fn scales_are_whole_and_in_order() {
        let of = |value| scale_of(&kept(value).definition);
        assert_eq!(of(json!(null)), Ok(Scale { min: 0, max: 0 }));
        assert_eq!(
            of(json!({"min_scale": 1, "max_scale": 3})),
            Ok(Scale { min: 1, max: 3 })
        );
        assert_eq!(of(json!({"min_scale": 2})), Ok(Scale { min: 2, max: 0 }));
        for odd in [
            json!({"min_scale": -1}),
            json!({"max_scale": 1.5}),
            json!({"max_scale": "3"}),
            json!({"min_scale": 4, "max_scale": 3}),
        ] {
            assert!(of(odd.clone()).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_worker_is_new_each_time_and_tells_no_secret() {
        let service = kept(json!({}));
        let (one, two) = (event(&service, 0).unwrap(), event(&service, 0).unwrap());
        assert_ne!(one.matched[0].key_hash, two.matched[0].key_hash);
        assert!(!one.document.contains("s3cret"));
        let changed = kept(json!({"max_scale": 2}));
        assert_ne!(revision_of(&service), revision_of(&changed));
        assert_eq!(revision_of(&service), revision_of(&kept(json!({}))));
    }
}

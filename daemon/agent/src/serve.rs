//! What the daemon answers: who may ask what, and the change that follows. No I/O of its own
//! but the state file and a look at the registered processes.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Component;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Instant;

use mizar_api::{
    Envelope, ErrorCode, FileUse, PROTOCOL_VERSION, Request, Response, RingOffer, StepRegistration,
};
use mizar_core::clock::unix_ns;
use mizar_core::ids::JobId;
use mizar_node::process::ProcessTable;
use mizar_record::folder::is_node_name;
use nix::unistd::{Uid, User, geteuid};

use crate::registry::{Arrival, Registry, RegistryError};
use crate::rings::{self, ffi::Mapping};
use crate::shared::Shared;

/// Longest texts of a registration that are kept.
const MAX_TEXT_BYTES: usize = 4096;
const MAX_COMMAND_BYTES: usize = 8192;
const MAX_VARIABLES: usize = 16;
const MAX_NODE_LIST_BYTES: usize = 64 << 10;
/// Users whose request rate is remembered.
const MAX_USERS: usize = 1024;

/// A refusal on its way to the client.
#[derive(Debug)]
struct Refusal {
    code: ErrorCode,
    message: String,
}

impl Refusal {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

impl From<RegistryError> for Refusal {
    fn from(error: RegistryError) -> Self {
        let code = match error {
            RegistryError::UnknownJob(_)
            | RegistryError::UnknownStep { .. }
            | RegistryError::UnknownTask { .. } => ErrorCode::Unknown,
            RegistryError::Full { .. }
            | RegistryError::TooManyFiles(_)
            | RegistryError::TooManyFilesHere => ErrorCode::Limit,
            RegistryError::OtherOwner { .. } => ErrorCode::Denied,
        };
        Self::new(code, error.to_string())
    }
}

/// Who asks, as the kernel tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) uid: u32,
    pub(crate) pid: Option<i32>,
}

/// Answers requests.
pub(crate) struct Service {
    shared: std::sync::Arc<Shared>,
    looks: Mutex<ProcessTable>,
    rates: Mutex<HashMap<u32, Bucket>>,
}

/// Requests that a user may still make now.
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Service {
    pub(crate) fn new(shared: std::sync::Arc<Shared>) -> Self {
        let looks = Mutex::new(ProcessTable::new(&shared.config.roots()));
        Self {
            shared,
            looks,
            rates: Mutex::default(),
        }
    }

    /// May this user register jobs and see all?
    pub(crate) fn is_admin(&self, uid: u32) -> bool {
        uid == 0 || uid == geteuid().as_raw() || self.shared.config.admin_uids.contains(&uid)
    }

    /// Answers one line of a client whose uid the kernel told.
    pub(crate) fn answer(&self, line: &[u8], peer: Peer, file: Option<OwnedFd>) -> Response {
        let uid = peer.uid;
        let counters = &self.shared.counters;
        counters.requests.fetch_add(1, Ordering::Relaxed);
        self.parse(line, uid)
            .and_then(|request| match request {
                Request::Ring(offer) => self.ring(&offer, peer, file).map(|()| Response::Ok),
                other => self.perform(other, uid),
            })
            .unwrap_or_else(|refusal| {
                counters.refused_requests.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(uid, code = ?refusal.code, refusal.message, "refused");
                Response::Error {
                    code: refusal.code,
                    message: refusal.message,
                }
            })
    }

    fn parse(&self, line: &[u8], uid: u32) -> Result<Request, Refusal> {
        if !self.is_admin(uid) && !self.within_rate(uid) {
            let limit = self.shared.config.max_user_requests_per_s;
            let message = format!("more than {limit} requests a second; try again later");
            return Err(Refusal::new(ErrorCode::Limit, message));
        }
        // The version is looked at first: a newer request may not parse.
        #[derive(serde::Deserialize)]
        struct Version {
            version: u16,
        }
        let malformed = |error: serde_json::Error| {
            Refusal::new(
                ErrorCode::Malformed,
                format!("not a request of this protocol: {error}"),
            )
        };
        let Version { version } = serde_json::from_slice(line).map_err(malformed)?;
        if version != PROTOCOL_VERSION {
            let message =
                format!("protocol version {version}; this daemon speaks {PROTOCOL_VERSION}");
            return Err(Refusal::new(ErrorCode::Version, message));
        }
        let envelope: Envelope = serde_json::from_slice(line).map_err(malformed)?;
        Ok(envelope.request)
    }

    fn within_rate(&self, uid: u32) -> bool {
        let per_s = f64::from(self.shared.config.max_user_requests_per_s);
        let now = Instant::now();
        let mut rates = self
            .rates
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if rates.len() >= MAX_USERS {
            rates.retain(|_, bucket| now.duration_since(bucket.filled).as_secs() < 2);
        }
        if rates.len() >= MAX_USERS && !rates.contains_key(&uid) {
            return false;
        }
        let bucket = rates.entry(uid).or_insert(Bucket {
            tokens: per_s,
            filled: now,
        });
        let gained = now.duration_since(bucket.filled).as_secs_f64() * per_s;
        bucket.tokens = (bucket.tokens + gained).min(per_s);
        bucket.filled = now;
        let allowed = bucket.tokens >= 1.0;
        bucket.tokens -= if allowed { 1.0 } else { 0.0 };
        allowed
    }

    fn perform(&self, request: Request, uid: u32) -> Result<Response, Refusal> {
        match request {
            Request::Ping => return Ok(self.pong()),
            Request::Jobs { job } => return self.jobs(job, uid),
            Request::File(file) => self.file(file, uid)?,
            other => {
                self.require_admin(uid)?;
                self.change(other)?;
            }
        }
        self.shared.ring();
        Ok(Response::Ok)
    }

    fn require_admin(&self, uid: u32) -> Result<(), Refusal> {
        if self.is_admin(uid) {
            return Ok(());
        }
        let message = format!("uid {uid} may not register or end jobs (`admin_uids`)");
        Err(Refusal::new(ErrorCode::Denied, message))
    }

    /// What only the plugin and administrators ask.
    fn change(&self, request: Request) -> Result<(), Refusal> {
        let now_ns = unix_ns();
        match request {
            Request::RegisterStep(step) => self.register(*step),
            Request::TaskExit(exit) => self.alter(exit.job, |job| job.task_exit(&exit, now_ns)),
            Request::StepEnd { job, step } => self.alter(job, |known| known.end_step(step, now_ns)),
            Request::JobEnd { job } => self.alter(job, |known| {
                known.end(now_ns);
                Ok(())
            }),
            // Answered elsewhere.
            Request::Ping | Request::Jobs { .. } | Request::File(_) | Request::Ring(_) => Ok(()),
        }
    }

    fn alter(
        &self,
        job: JobId,
        change: impl FnOnce(&mut crate::registry::Job) -> Result<(), RegistryError>,
    ) -> Result<(), Refusal> {
        let mut registry = self.shared.registry();
        let known = registry.job_mut(job)?;
        change(known)?;
        self.shared.save(known);
        Ok(())
    }

    fn register(&self, mut step: StepRegistration) -> Result<(), Refusal> {
        let malformed = |message: String| Refusal::new(ErrorCode::Malformed, message);
        if !is_node_name(&step.node) {
            return Err(malformed(format!(
                "`{}` is no node name",
                shorten(&step.node)
            )));
        }
        if step.job_nodes.len() > MAX_NODE_LIST_BYTES {
            return Err(malformed("the job's node list is too long".to_owned()));
        }
        if step.node != self.shared.config.node {
            let ours = &self.shared.config.node;
            tracing::warn!(
                theirs = step.node,
                ours,
                "a step of another node; recorded as ours"
            );
        }
        trim(&mut step);
        let start_ticks = {
            let mut looks = self
                .looks
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            step.tasks
                .iter()
                .map(|task| looks.start_ticks(task.pid))
                .collect()
        };
        let config = &self.shared.config;
        let arrival = Arrival {
            now_ns: unix_ns(),
            node: &config.node,
            user: self.login_name(&step),
            sample_ms: config.sample_ms,
            start_ticks,
            max_jobs: config.max_jobs,
            max_tasks: config.max_tasks,
        };
        let id = step.job;
        let mut registry = self.shared.registry();
        registry.register(step, &arrival)?;
        self.shared.save(registry.job_mut(id)?);
        Ok(())
    }

    /// Asked once a job: while a directory server is slow, nobody else is answered.
    fn login_name(&self, step: &StepRegistration) -> String {
        let known = self.shared.registry().jobs.get(&step.job).and_then(|job| {
            let same = job.info.uid == step.uid && !job.info.user.is_empty();
            same.then(|| job.info.user.clone())
        });
        known.unwrap_or_else(|| ask_login_name(step.uid))
    }

    fn file(&self, file: FileUse, uid: u32) -> Result<(), Refusal> {
        let path = &file.path;
        let is_plain = path.is_absolute()
            && path.as_os_str().len() <= MAX_TEXT_BYTES
            && !path.components().any(|part| part == Component::ParentDir);
        if !is_plain {
            let message = "a file's path must be absolute and without `..`";
            return Err(Refusal::new(ErrorCode::Malformed, message));
        }
        let mut registry = self.shared.registry();
        let admin = self.is_admin(uid);
        registry.require_room_for_file()?;
        let job = owned(&mut registry, file.job, uid, admin)?;
        job.add_file(file)?;
        // Kept with the next flush: a program may report thousands.
        job.unsaved = true;
        Ok(())
    }

    /// Takes the memory of a process's counters in: of the job's owner, for a step that is here.
    fn ring(&self, offer: &RingOffer, peer: Peer, file: Option<OwnedFd>) -> Result<(), Refusal> {
        {
            let mut registry = self.shared.registry();
            let admin = self.is_admin(peer.uid);
            let job = owned(&mut registry, offer.job, peer.uid, admin)?;
            job.step_mut(offer.step)?;
        }
        let malformed = |message: String| Refusal::new(ErrorCode::Malformed, message);
        let memory = file.ok_or_else(|| malformed("no memory came with the line".to_owned()))?;
        let mapping = Mapping::new(&memory).map_err(|error| malformed(error.to_string()))?;
        let arrival = rings::Arrival {
            job: offer.job,
            step: offer.step,
            rank: offer.rank,
            pid: peer
                .pid
                .ok_or_else(|| malformed("its process is not known".to_owned()))?,
            mapping,
        };
        if self.shared.hand_over(arrival) {
            return Ok(());
        }
        let message = "too many processes hand over their counters at once";
        Err(Refusal::new(ErrorCode::Limit, message))
    }

    fn pong(&self) -> Response {
        let jobs = self.shared.registry().running().count();
        Response::Pong {
            mizar: mizar_core::VERSION.to_owned(),
            node: self.shared.config.node.clone(),
            jobs: u32::try_from(jobs).unwrap_or(u32::MAX),
            record_dir: self.shared.config.record_dir.clone(),
        }
    }

    fn jobs(&self, job: Option<JobId>, uid: u32) -> Result<Response, Refusal> {
        let mut registry = self.shared.registry();
        let admin = self.is_admin(uid);
        if let Some(job) = job {
            let job = owned(&mut registry, job, uid, admin)?.live();
            return Ok(Response::Jobs { jobs: vec![job] });
        }
        let jobs = registry
            .running()
            .filter(|(_, job)| admin || job.info.uid == uid)
            .map(|(_, job)| job.live())
            .collect();
        Ok(Response::Jobs { jobs })
    }
}

/// A job that the user may ask about; another's is as unknown as none.
fn owned(
    registry: &mut Registry,
    job: JobId,
    uid: u32,
    admin: bool,
) -> Result<&mut crate::registry::Job, Refusal> {
    let known = registry.job_mut(job)?;
    if admin || known.info.uid == uid {
        return Ok(known);
    }
    Err(Refusal::new(
        ErrorCode::Denied,
        format!("job {job} is another user's"),
    ))
}

/// What the site's directory says; it may take its time.
fn ask_login_name(uid: u32) -> String {
    User::from_uid(Uid::from_raw(uid))
        .ok()
        .flatten()
        .map(|user| user.name)
        .unwrap_or_default()
}

/// Keeps what a user can write into a registration within bounds.
fn trim(step: &mut StepRegistration) {
    let mut left = MAX_COMMAND_BYTES;
    step.command.retain(|argument| {
        left = left.saturating_sub(argument.len() + 1);
        left > 0
    });
    step.variables.truncate(MAX_VARIABLES);
    for (_, value) in &mut step.variables {
        *value = shorten(value);
    }
    for task in &mut step.tasks {
        task.visible_gpus = task.visible_gpus.take().map(|text| shorten(&text));
    }
}

fn shorten(text: &str) -> String {
    match text
        .char_indices()
        .find(|(index, _)| *index >= MAX_TEXT_BYTES)
    {
        Some((index, _)) => format!("{}…", &text[..index]),
        None => text.to_owned(),
    }
}

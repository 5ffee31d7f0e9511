//! [`Scheduler`] with submission through slurmrestd: no process for each job, and connections
//! that are kept. Queries stay with Slurm's commands, which one look for all jobs needs rarely.
//!
//! A job that slurmrestd cannot be told as sbatch would be ([`option`], [`script`]), and any
//! job that cannot be sent, goes through sbatch, unless [`RestSettings::is_only`] is set. What
//! was sent is never sent again here: a lost answer is [`SubmitOutcome::Unknown`].
//!
//! What differs from sbatch: resource limits of this process (`PropagateResourceLimits`) do not
//! reach the job, and the site's SPANK plugins and `cli_filter` are not asked at submission.

mod api;
mod http;
mod job;
mod option;
mod script;
mod site;
mod token;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tracing::{debug, info, warn};

use crate::answer::{failure, shorten};
use crate::{
    Capacity, JobId, JobRef, JobReport, Marker, QueryError, Scheduler, SlurmCli, SubmitOutcome,
    SubmitRequest, Way,
};
use api::{Api, DESCRIPTIONS};
use http::{Answer, Client, Failure, Request};
use job::Surroundings;
use token::{Token, Tokens};

pub use http::Place;
pub use token::Proof;

/// How slurmrestd is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestSettings {
    /// Where it listens.
    pub place: Place,
    /// How it knows who asks.
    pub proof: Proof,
    /// Limit of one request.
    pub limit: Duration,
    /// Submit nothing by sbatch: what cannot be said here is refused.
    pub is_only: bool,
    /// Leave everything to sbatch on a site whose plugins act in sbatch.
    pub is_careful: bool,
}

/// Slurm, through slurmrestd and Slurm's commands.
#[derive(Debug)]
pub struct SlurmRestd {
    cli: SlurmCli,
    settings: RestSettings,
    client: Client,
    api: Mutex<Option<Arc<Api>>>,
    tokens: Tokens,
    surroundings: Surroundings,
    site: OnceLock<Option<String>>,
    standing: Mutex<Result<String, String>>,
    sent: AtomicU64,
}

/// Why a job was not sent.
enum Instead {
    /// It cannot be said.
    Inexpressible(String),
    /// slurmrestd does not take it now.
    Away(String),
}

impl Instead {
    fn into_words(self) -> String {
        match self {
            Self::Inexpressible(why) | Self::Away(why) => why,
        }
    }
}

impl SlurmRestd {
    /// A client whose queries, and jobs that cannot be sent, go through `cli`.
    #[must_use]
    pub fn new(cli: SlurmCli, settings: RestSettings) -> Self {
        Self {
            surroundings: Surroundings::of_this_process(cli.environment()),
            client: Client::new(settings.place.clone(), settings.limit),
            cli,
            settings,
            api: Mutex::default(),
            tokens: Tokens::default(),
            site: OnceLock::new(),
            standing: Mutex::new(Err("slurmrestd was not asked yet".to_owned())),
            sent: AtomicU64::new(0),
        }
    }

    /// Asks slurmrestd, and slurmctld through it, whether jobs could be submitted; the answer
    /// says how.
    ///
    /// # Errors
    /// Why not.
    pub fn probe(&self) -> Result<String, String> {
        let found = self.look();
        self.stand(found.clone());
        found
    }

    fn look(&self) -> Result<String, String> {
        self.leave_to_sbatch().map_err(Instead::into_words)?;
        let user = self.cli.user().to_owned();
        let api = self.api(&user)?;
        let answer = self.ask("GET", &api.probe_path, &user, b"")?;
        if answer.status != 200 {
            return Err(format!("it answers {}", words(&answer)));
        }
        Ok(self.describe(&api))
    }

    fn describe(&self, api: &Api) -> String {
        format!("{api} at {}", self.client.place())
    }

    /// Whether plugins of this site want to see every sbatch; looked for once.
    fn leave_to_sbatch(&self) -> Result<(), Instead> {
        if !self.settings.is_careful {
            return Ok(());
        }
        let found = match self.site.get() {
            Some(found) => found,
            None => {
                let settings = self.cli.site_settings();
                let settings = settings.map_err(|error| Instead::Away(error.to_string()))?;
                self.site.get_or_init(|| site::plugin(&settings))
            }
        };
        found.clone().map_or(Ok(()), |why| Err(Instead::Away(why)))
    }

    /// Notes how it stands, and says so where that changed.
    fn stand(&self, found: Result<String, String>) {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*standing, &found) {
            (Err(_), Ok(how)) => info!(%how, "jobs go through slurmrestd"),
            (Ok(_), Err(why)) => {
                warn!(%why, "jobs go through sbatch, until slurmrestd takes them again");
            }
            (Err(before), Err(why)) if before != why => {
                info!(%why, "jobs go through sbatch");
            }
            _ => {}
        }
        *standing = found;
    }

    /// How many jobs went this way and not through sbatch.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// The API, asked for once.
    fn api(&self, user: &str) -> Result<Arc<Api>, String> {
        let mut known = self.api.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(api) = &*known {
            return Ok(Arc::clone(api));
        }
        let mut problem = String::new();
        for path in DESCRIPTIONS {
            let answer = self.ask("GET", path, user, b"")?;
            if answer.status != 200 {
                problem = format!("it answers {} to {path}", words(&answer));
                continue;
            }
            let api = serde_json::from_slice(&answer.body)
                .map_err(|error| format!("its description is no JSON: {error}"))
                .and_then(|description| Api::read(&description))?;
            let api = Arc::new(api);
            *known = Some(Arc::clone(&api));
            return Ok(api);
        }
        Err(problem)
    }

    fn forget_api(&self) {
        *self.api.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Who the job is of, and the token that proves it.
    fn token(&self, user: &str) -> Result<Option<Token>, String> {
        match &self.settings.proof {
            Proof::Socket => Ok(None),
            Proof::File(path) => token::of_file(path).map(Some),
            Proof::Scontrol => self.tokens.of_scontrol(&self.cli, user).map(Some),
        }
    }

    /// A question, which may be asked again: nothing depends on whether it was.
    fn ask(
        &self,
        method: &'static str,
        path: &str,
        user: &str,
        body: &[u8],
    ) -> Result<Answer, String> {
        let headers = self.token(user)?.map(|token| token.headers(user));
        let request = Request {
            method,
            path,
            headers: headers.unwrap_or_default(),
            body,
        };
        self.client
            .send(&request)
            .map_err(|error| error.to_string())
    }

    fn send(&self, request: &SubmitRequest) -> Result<SubmitOutcome, Instead> {
        let own = self.cli.user();
        let user = request.user.as_deref().unwrap_or(own);
        if user != own && self.settings.proof != Proof::Scontrol {
            let why = format!("a job of `{user}` without tokens of scontrol");
            return Err(Instead::Inexpressible(why));
        }
        if user != own
            && let Err(outcome) = self.cli.check_other(user)
        {
            return Ok(outcome);
        }
        self.leave_to_sbatch()?;
        let api = self.api(user).map_err(Instead::Away)?;
        let body = job::body(&api, request, &self.surroundings).map_err(Instead::Inexpressible)?;
        let body = body.to_string().into_bytes();
        let path = api.submit_path();
        for is_last in [false, true] {
            let token = self.token(user).map_err(Instead::Away)?;
            let headers = token.map(|token| token.headers(user)).unwrap_or_default();
            let sent = self.client.send(&Request {
                method: "POST",
                path: &path,
                headers,
                body: &body,
            });
            let answer = match sent {
                Ok(answer) => answer,
                Err(error @ Failure::NotSent { .. }) => {
                    return Err(Instead::Away(error.to_string()));
                }
                Err(error @ Failure::Lost(_)) => {
                    return Ok(SubmitOutcome::Unknown(error.to_string()));
                }
            };
            match answer.status {
                401 | 403 if !is_last => self.tokens.forget(user),
                401 | 403 => return Err(Instead::Away("it does not accept us".to_owned())),
                404 => {
                    // Another release listens there since.
                    self.forget_api();
                    return Err(Instead::Away(format!("it has no {path} any more")));
                }
                // Nothing is submitted of what it cannot read.
                400 => return Err(Instead::Inexpressible(words(&answer))),
                _ => {
                    self.sent.fetch_add(1, Ordering::Relaxed);
                    self.stand(Ok(self.describe(&api)));
                    return Ok(outcome(&answer));
                }
            }
        }
        Err(Instead::Away("it does not accept us".to_owned()))
    }
}

impl Scheduler for SlurmRestd {
    fn submit(&self, request: &SubmitRequest) -> SubmitOutcome {
        let marker = &request.marker;
        let why = match self.send(request) {
            Ok(outcome) => return outcome,
            Err(Instead::Inexpressible(why)) if self.settings.is_only => {
                return SubmitOutcome::Refused(format!("slurmrestd cannot be told: {why}"));
            }
            Err(Instead::Away(why)) if self.settings.is_only => {
                return SubmitOutcome::Unavailable(why);
            }
            Err(Instead::Inexpressible(why)) => why,
            Err(Instead::Away(why)) => {
                self.stand(Err(why.clone()));
                why
            }
        };
        debug!(%marker, %why, "through sbatch");
        self.cli.submit(request)
    }

    fn queue(&self) -> Result<Vec<JobReport>, QueryError> {
        self.cli.queue()
    }

    fn accounted(&self, markers: &[Marker]) -> Result<Vec<JobReport>, QueryError> {
        self.cli.accounted(markers)
    }

    fn capacity(&self) -> Result<Capacity, QueryError> {
        self.cli.capacity()
    }

    fn way(&self) -> Way {
        let standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let (via, why) = match &*standing {
            Ok(how) => ("slurmrestd", how),
            Err(why) => ("sbatch", why),
        };
        Way {
            via: via.to_owned(),
            why: why.clone(),
        }
    }

    fn cancel(&self, job: JobRef) -> Result<(), QueryError> {
        self.cli.cancel(job)
    }
}

/// What an answer to a submission means.
fn outcome(answer: &Answer) -> SubmitOutcome {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let id = [&body["job_id"], &body["result"]["job_id"]]
        .into_iter()
        .find_map(Value::as_u64)
        .and_then(|id| u32::try_from(id).ok())
        .filter(|id| *id > 0);
    match id {
        // An error beside an id is a warning: the job waits, for nodes that are down, say.
        Some(id) if answer.status == 200 => SubmitOutcome::Submitted(JobId(id)),
        Some(id) => SubmitOutcome::Unknown(format!("{} with job id {id}", words(answer))),
        None => failure(&errors(&body), words(answer)),
    }
}

/// Slurm's own words in an answer.
fn errors(body: &Value) -> String {
    let list = body["errors"].as_array().map(Vec::as_slice);
    let text = |error: &Value| {
        let said = ["description", "error"].map(|key| error[key].as_str().unwrap_or_default());
        said.join(" ").trim().to_owned()
    };
    let all: Vec<String> = list.unwrap_or_default().iter().map(text).collect();
    all.join("; ")
}

/// An answer in a line for people.
fn words(answer: &Answer) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let said = match errors(&body) {
        none if none.is_empty() => String::from_utf8_lossy(&answer.body).into_owned(),
        said => said,
    };
    shorten(&format!("{} {said}", answer.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn answers_are_told_apart() {
        use SubmitOutcome::*;
        let kind = |outcome: &SubmitOutcome| std::mem::discriminant(outcome);
        let none = String::new;
        for (status, body, expected) in [
            (200, r#"{"errors":[],"job_id":42}"#, Submitted(JobId(42))),
            (200, r#"{"result":{"job_id":42}}"#, Submitted(JobId(42))),
            (
                200,
                r#"{"errors":[{"error_code":2015,"error":"Requested partition configuration not available now"}],"job_id":7}"#,
                Submitted(JobId(7)),
            ),
            (200, r#"{"errors":[],"job_id":0}"#, Unknown(none())),
            (200, "", Unknown(none())),
            (500, "", Unknown(none())),
            (500, r#"{"job_id":7}"#, Unknown(none())),
            (
                500,
                r#"{"errors":[{"error_code":2000,"error":"Invalid partition name specified"}]}"#,
                Refused(none()),
            ),
            (
                500,
                r#"{"errors":[{"error":"Unable to contact slurm controller (connect failure)"}]}"#,
                Unavailable(none()),
            ),
            (
                500,
                r#"{"errors":[{"error":"Socket timed out on send/recv operation"}]}"#,
                Unknown(none()),
            ),
        ] {
            let found = outcome(&answer(status, body));
            assert_eq!(kind(&found), kind(&expected), "{body} gave {found:?}");
            if let Submitted(_) = expected {
                assert_eq!(found, expected);
            }
        }
    }
}

//! What a job of containers does: written by the gateway as one file, read by the supervisor.
//!
//! Every word of a user is a string of this file and becomes an element of an argument vector
//! or of an environment. No line for a shell is made from it, on either side.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// Name of the file in the job's folder.
pub const PLAN_FILE: &str = "plan.json";

/// Folder of the containers' logs and states, in the job's folder.
pub const CONTAINERS: &str = "containers";

/// What to do in one job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Shell text that the site lets users run on the node before all else.
    #[serde(default)]
    pub before: Option<String>,
    /// One after the other; the first that fails ends the job.
    #[serde(default)]
    pub init: Vec<Container>,
    /// All at once.
    pub apps: Vec<Container>,
    /// Time from the wish to end until processes are killed.
    pub grace_ms: u64,
    /// What is fetched before and stored afterwards; for jobs of the OSCAR API.
    #[serde(default)]
    pub event: Option<super::event::Stage>,
}

/// One container, or one plain process where the site has no container runtime.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// A DNS label.
    pub name: String,
    /// The image as the user names it; for people.
    pub image: String,
    /// The argument vector, the runtime's own words first.
    pub argv: Vec<String>,
    /// Variables, in order; a later one wins.
    pub env: Vec<(String, String)>,
    /// Working directory of a plain process.
    #[serde(default)]
    pub directory: Option<String>,
    /// Ends the container when it fails.
    #[serde(default)]
    pub liveness: Option<Probe>,
    /// Decides whether the container is called ready.
    #[serde(default)]
    pub readiness: Option<Probe>,
    /// Must succeed before the other two are asked; ends the container when it fails.
    #[serde(default)]
    pub startup: Option<Probe>,
    /// Run beside the container once it has started.
    #[serde(default)]
    pub post_start: Option<Check>,
    /// Run before the container is told to end.
    #[serde(default)]
    pub pre_stop: Option<Check>,
}

/// A check that is repeated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// What is checked.
    pub check: Check,
    /// Wait before the first.
    pub delay_ms: u64,
    /// Between two.
    pub period_ms: u64,
    /// Longest time of one.
    pub timeout_ms: u64,
    /// Failures in a row until it has failed.
    pub failures: u32,
    /// Successes in a row until it has succeeded.
    pub successes: u32,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// An argument vector that must end with 0.
    Run(Vec<String>),
    /// A port that must accept a connection.
    Connect {
        /// Host; the node itself unless told.
        host: String,
        /// Port.
        port: u16,
    },
    /// A request that must be answered with 200 to 399.
    Get {
        /// Host; the node itself unless told.
        host: String,
        /// Port.
        port: u16,
        /// Path with its query.
        path: String,
        /// Further headers.
        headers: Vec<(String, String)>,
    },
}

/// Why a plan cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// It cannot be read.
    #[error("cannot read {path}: is this the folder of a job of mizar-gateway?")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Another release wrote it, or nobody did.
    #[error("{path} is no plan of this release of mizar-gateway")]
    Parse {
        /// The file.
        path: String,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
}

impl Plan {
    /// Reads the plan of a job's folder.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn load(folder: &Path) -> Result<Self, PlanError> {
        let file = folder.join(PLAN_FILE);
        let path = file.display().to_string();
        let text = std::fs::read(&file).map_err(|source| PlanError::Read {
            path: path.clone(),
            source,
        })?;
        serde_json::from_slice(&text).map_err(|source| PlanError::Parse { path, source })
    }
}

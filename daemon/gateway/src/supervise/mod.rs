//! The job side: `mizar-gateway supervise FOLDER` is all that the batch script of a pod or of a
//! job of the OSCAR API runs.
//!
//! It reads the plan that the gateway wrote ([`plan`]), runs the containers one after the other
//! or all at once ([`container`]), asks their probes ([`probe`]), keeps their logs ([`log`]) and
//! their states ([`progress`]), and fetches and stores what OSCAR's jobs need ([`event`], [`s3`]).
//! Its exit code is the highest of the containers' codes, or that of the first that failed
//! before them.
//!
//! Left out on purpose: restarts. A container that failed stays failed; the pod's owner in
//! Kubernetes decides.

pub mod container;
pub mod event;
pub mod log;
pub mod plan;
pub mod probe;
pub mod progress;
pub mod s3;
pub mod worker;
mod zip;

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use container::run_container;
use plan::{CONTAINERS, Container, Plan, PlanError};
use progress::Progress;

/// The code of a job that was told to end.
pub const STOPPED: i32 = 143;

/// Why a job's plan could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// There is no usable plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The job's folder cannot be used.
    #[error("cannot use {}", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Input or output of an event.
    #[error(transparent)]
    Event(#[from] event::EventError),
}

/// What the parts of one run share.
#[derive(Debug)]
pub struct Run {
    /// The job's folder.
    pub folder: PathBuf,
    /// Names this start of the job: a requeued job has another.
    pub start: String,
    /// Time from the wish to end until processes are killed.
    pub grace: std::time::Duration,
}

/// Carries out the plan in `folder` and returns the job's exit code.
///
/// # Errors
/// [`SuperviseError`] if it cannot even begin.
pub fn run(folder: &Path) -> Result<i32, SuperviseError> {
    let plan = Plan::load(folder)?;
    let failed = |source| SuperviseError::Folder {
        path: folder.to_owned(),
        source,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(async move {
            while terminate.recv().await.is_some() {
                let _ = stop.send(true);
            }
        });
        carry_out(plan, folder, stopped).await
    })
}

/// What names this start of the job, here and for the gateway.
#[must_use]
pub fn start_name(job: &str, restarts: &str) -> String {
    format!("{job}.{}", if restarts.is_empty() { "0" } else { restarts })
}

async fn carry_out(
    mut plan: Plan,
    folder: &Path,
    stopped: watch::Receiver<bool>,
) -> Result<i32, SuperviseError> {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let run = Arc::new(Run {
        folder: folder.to_owned(),
        start: start_name(&variable("SLURM_JOB_ID"), &variable("SLURM_RESTART_COUNT")),
        grace: std::time::Duration::from_millis(plan.grace_ms),
    });
    prepare(folder, &plan).map_err(|source| SuperviseError::Folder {
        path: folder.to_owned(),
        source,
    })?;
    if let Some(text) = plan.before.take() {
        let before = Container {
            name: "pre-exec".to_owned(),
            argv: vec!["/bin/bash".to_owned(), "-c".to_owned(), text],
            ..Container::default()
        };
        let code = run_container(&run, &before, stopped.clone()).await;
        if code != 0 {
            return Ok(code);
        }
    }
    for init in &plan.init {
        let code = run_container(&run, init, stopped.clone()).await;
        if code != 0 {
            return Ok(code);
        }
    }
    let Some(stage) = plan.event.take() else {
        return Ok(run_together(&run, plan.apps, &stopped).await);
    };
    let fetched = event::fetch(&stage, folder)?;
    for app in &mut plan.apps {
        fetched.add_to(&stage, &mut app.env);
    }
    let code = run_together(&run, plan.apps, &stopped).await;
    Ok(event::deliver(&stage, folder, &fetched, code)?)
}

/// Removes what an earlier start of the job left, and makes the folder of this one.
fn prepare(folder: &Path, plan: &Plan) -> io::Result<()> {
    let containers = folder.join(CONTAINERS);
    for one in plan.init.iter().chain(&plan.apps) {
        let _ = std::fs::remove_file(progress::path(folder, &one.name));
        let _ = std::fs::remove_file(progress::log_path(folder, &one.name));
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(containers)
}

/// Runs containers all at once and returns the highest code.
async fn run_together(
    run: &Arc<Run>,
    containers: Vec<Container>,
    stopped: &watch::Receiver<bool>,
) -> i32 {
    let running: Vec<_> = containers
        .into_iter()
        .map(|one| {
            let (run, stopped) = (Arc::clone(run), stopped.clone());
            tokio::spawn(async move { run_container(&run, &one, stopped).await })
        })
        .collect();
    let mut worst = 0;
    for one in running {
        worst = worst.max(one.await.unwrap_or(1));
    }
    worst
}

/// Writes a container's state; one that cannot be written is told on the job's stderr.
pub(crate) fn tell(run: &Run, container: &str, progress: &Progress) {
    if let Err(error) = progress::write(&run.folder, container, progress) {
        eprintln!("mizar-gateway: cannot write the state of {container}: {error}");
    }
}

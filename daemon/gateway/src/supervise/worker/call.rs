//! One call after the other: input, script, output, as for a batch job of the service.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::super::container::run_container;
use super::super::event::{self, EventError, INPUT, OUTPUT, PAYLOAD_FILE, REPLY_FILE, SCRIPT};
use super::super::plan::Plan;
use super::super::{Run, STOPPED, progress};
use super::strays;
use crate::oscar::job::JOB_VARIABLE;
use crate::oscar::warm::MAX_REPLY_BYTES;
use crate::oscar::warm::wire::{self, FromGateway, FromWorker, Link, Reply, WireError};

/// Longest input of a call; the gateway bounds its callers by less.
const MAX_PAYLOAD_BYTES: u64 = 1 << 30;

/// The code of a script that SIGKILL ended.
const KILLED: i32 = 137;

/// A job that is ended has all its processes told, the script perhaps before us: how long we wait
/// for our own word when a script was killed.
const SETTLE: Duration = Duration::from_millis(250);

/// What all calls have in common.
#[derive(Debug)]
pub(super) struct Calls {
    pub(super) run: Arc<Run>,
    pub(super) plan: Arc<Plan>,
    pub(super) prefixes: Vec<String>,
}

/// Why there are no more calls on this connection.
pub(super) enum End {
    /// The gateway said so.
    Told,
    /// The job was told to end.
    Stopped,
    /// The gateway is gone.
    Lost(WireError),
}

/// What a call came to.
struct Done {
    code: i32,
    function_us: u64,
    output: Vec<u8>,
}

/// Makes the calls of a connection.
pub(super) async fn serve(mut link: Link, calls: &Calls, stopped: &watch::Receiver<bool>) -> End {
    let mut told_to_end = stopped.clone();
    loop {
        let frame = tokio::select! {
            frame = link.next() => frame,
            _ = told_to_end.wait_for(|is_stopped| *is_stopped) => return bye(link).await,
        };
        let end = match frame.and_then(|frame| wire::parse(&frame)) {
            Ok(FromGateway::Run { call, job, bytes }) => {
                let made = make(&mut link, calls, (call, job, bytes), stopped).await;
                // After the answer: nobody should wait for it.
                tidy(calls).await;
                made.err()
            }
            Ok(FromGateway::End) => {
                link.close().await;
                return End::Told;
            }
            // A cancellation may have crossed the answer.
            Ok(FromGateway::Beat | FromGateway::Cancel { .. }) => None,
            Ok(_) => Some(End::Lost(WireError::Odd("a word that is not its turn"))),
            Err(error) => Some(End::Lost(error)),
        };
        match end {
            None => {}
            Some(End::Stopped) => return bye(link).await,
            Some(end) => return end,
        }
    }
}

async fn bye(link: Link) -> End {
    let reason = "its job was told to end".to_owned();
    let _ = link.say(&FromWorker::Bye { reason }).await;
    link.close().await;
    End::Stopped
}

/// Makes one call, and ends it if nobody waits for it any more.
async fn make(
    link: &mut Link,
    calls: &Calls,
    (call, job, bytes): (u64, String, u64),
    stopped: &watch::Receiver<bool>,
) -> Result<(), End> {
    let payload = link
        .take(bytes, MAX_PAYLOAD_BYTES)
        .await
        .map_err(End::Lost)?;
    let (stop, is_over) = watch::channel(false);
    let running = carry_out(calls, job, payload, is_over);
    tokio::pin!(running);
    let mut told_to_end = stopped.clone();
    let mut end = None;
    let done = loop {
        tokio::select! {
            done = &mut running => break done,
            frame = link.next(), if end.is_none() => match frame.and_then(|frame| wire::parse(&frame)) {
                Ok(FromGateway::Cancel { call: other }) if other == call => {
                    let _ = stop.send(true);
                }
                Ok(FromGateway::Beat | FromGateway::Cancel { .. }) => {}
                Ok(_) => end = Some(End::Lost(WireError::Odd("an order during a call"))),
                Err(error) => end = Some(End::Lost(error)),
            },
            _ = told_to_end.wait_for(|is_stopped| *is_stopped), if end.is_none() => end = Some(End::Stopped),
        }
        if end.is_some() {
            let _ = stop.send(true);
        }
    };
    if let Some(end) = end {
        return Err(end);
    }
    let was_killed = matches!(&done, Ok(done) if matches!(done.code, KILLED | STOPPED));
    if was_killed && !*stop.borrow() {
        let word = told_to_end.wait_for(|is_stopped| *is_stopped);
        if let Ok(Ok(_)) = tokio::time::timeout(SETTLE, word).await {
            return Err(End::Stopped);
        }
    }
    let (mut reply, output) = match done {
        Ok(done) => {
            let reply = Reply {
                code: done.code,
                function_us: done.function_us,
                bytes: done.output.len() as u64,
                ..Reply::default()
            };
            (reply, done.output)
        }
        Err(error) => {
            let reply = Reply {
                code: 1,
                problem: Some(mizar_core::chain(&error)),
                ..Reply::default()
            };
            (reply, Vec::new())
        }
    };
    reply.call = call;
    link.say(&FromWorker::Reply(reply))
        .await
        .map_err(End::Lost)?;
    link.give(&output).await.map_err(End::Lost)
}

/// What a batch job of the service does, with this payload.
async fn carry_out(
    calls: &Calls,
    job: String,
    payload: Vec<u8>,
    is_over: watch::Receiver<bool>,
) -> Result<Done, EventError> {
    let (run, plan) = (Arc::clone(&calls.run), Arc::clone(&calls.plan));
    let folder = run.folder.clone();
    let stage = Arc::new(plan.event.clone().unwrap_or_default());
    let fetched = {
        let (folder, stage) = (folder.clone(), Arc::clone(&stage));
        blocking(move || {
            std::fs::write(folder.join(PAYLOAD_FILE), payload)?;
            event::fetch(&stage, &folder)
        })
        .await?
    };
    let mut app = plan.apps.first().cloned().unwrap_or_default();
    for prefix in &calls.prefixes {
        app.env
            .push((format!("{prefix}{JOB_VARIABLE}"), job.clone()));
    }
    fetched.add_to(&stage, &mut app.env);
    let started = Instant::now();
    let code = run_container(&run, &app, is_over).await;
    let function_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    blocking(move || {
        let code = event::deliver(&stage, &folder, &fetched, code)?;
        let output = reply_of(&folder)?;
        Ok(Done {
            code,
            function_us,
            output,
        })
    })
    .await
}

/// Files and transfers block; the connection must go on meanwhile.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EventError> + Send + 'static,
) -> Result<T, EventError> {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(EventError::Folder(std::io::Error::other("the worker ends"))),
    }
}

fn reply_of(folder: &Path) -> Result<Vec<u8>, EventError> {
    let path = folder.join(REPLY_FILE);
    let bytes = std::fs::metadata(&path)?.len();
    if bytes > MAX_REPLY_BYTES {
        return Err(EventError::Event(format!(
            "its output has {bytes} bytes, and an answer at most {MAX_REPLY_BYTES}"
        )));
    }
    Ok(std::fs::read(path)?)
}

/// Leaves nothing of a call: no process, no file.
async fn tidy(calls: &Calls) {
    strays::end().await;
    let folder = calls.run.folder.clone();
    let tidied = spawn_blocking(move || {
        for name in [INPUT, OUTPUT] {
            let _ = std::fs::remove_dir_all(folder.join(name));
        }
        for name in [PAYLOAD_FILE, REPLY_FILE] {
            let _ = std::fs::remove_file(folder.join(name));
        }
        let _ = std::fs::remove_file(progress::path(&folder, SCRIPT));
        let _ = std::fs::remove_file(progress::log_path(&folder, SCRIPT));
    });
    let _ = tidied.await;
}

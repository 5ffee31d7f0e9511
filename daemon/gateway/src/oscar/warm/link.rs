//! A worker's connection, as the gateway sees it: who it is, and its calls one after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mizar_slurm::Marker;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use super::pool::{Call, Order, Outcome};
use super::proof::{Side, Words};
use super::wire::{
    self, Frame, FromGateway, FromWorker, Link, PROTOCOL, Reply, WireError, read_message,
};
use super::{MAX_REPLY_BYTES, Warm};
use crate::ledger::{WorkerRow, worker};
use crate::oscar::intake::random_hex;
use crate::shared::Shared;

/// Connections that have not proved themselves yet.
const STRANGERS: usize = 64;

/// Time to prove oneself.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// How long a worker may take to end a call that nobody waits for; its function is killed after
/// two seconds.
const CANCEL: Duration = Duration::from_secs(10);

/// Pause after a failed accept, which means that the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bytes of a random word.
const WORD_BYTES: usize = 16;

pub(super) async fn listen(listener: TcpListener, warm: Arc<Warm>, shared: Arc<Shared>) {
    let strangers = Arc::new(Semaphore::new(STRANGERS));
    loop {
        let permit = Arc::clone(&strangers).acquire_owned().await;
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept a worker");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (warm, shared) = (Arc::clone(&warm), Arc::clone(&shared));
        tokio::spawn(async move {
            let known = tokio::time::timeout(HANDSHAKE, meet(stream, &warm, &shared)).await;
            drop(permit);
            match known {
                Ok(Ok(Some((link, row)))) => serve(link, &row, &warm, &shared).await,
                Ok(Ok(None)) => {}
                Ok(Err(error)) => debug!(%peer, %error, "a worker did not introduce itself"),
                Err(_) => debug!(%peer, "a worker did not introduce itself in time"),
            }
        });
    }
}

/// Hears who it is; None if it was turned away.
async fn meet(
    mut stream: TcpStream,
    warm: &Warm,
    shared: &Shared,
) -> Result<Option<(Link, WorkerRow)>, WireError> {
    stream.set_nodelay(true)?;
    let hello = read_message(&mut stream).await?;
    let FromWorker::Hello {
        protocol,
        marker,
        node,
        word,
        age_ms,
    } = hello
    else {
        return Err(WireError::Odd("no first word"));
    };
    if protocol != PROTOCOL {
        let reason = format!("the gateway speaks version {PROTOCOL} of the workers' protocol");
        return refuse(&mut stream, reason, false).await;
    }
    let ours = random_hex(WORD_BYTES)?;
    let words = Words {
        marker: &marker,
        worker: &word,
        gateway: &ours,
    };
    let secret = warm.key.secret(&marker);
    let welcome = FromGateway::Welcome {
        word: ours.clone(),
        proof: words.sign(Side::Gateway, &secret),
    };
    wire::write(&mut stream, &Frame::text(&welcome)).await?;
    let FromWorker::Proof { proof } = read_message(&mut stream).await? else {
        return Err(WireError::Odd("no proof"));
    };
    if !words.holds(Side::Worker, &secret, &proof) {
        warn!(marker = %marker.escape_debug(), "a worker without the secret was turned away");
        return refuse(&mut stream, "the proof is wrong".to_owned(), false).await;
    }
    let row = match marker.parse::<Marker>() {
        Ok(marker) => shared.reader.read(|ledger| worker(ledger, &marker)),
        Err(_) => Ok(None),
    };
    let row = match row {
        Ok(Some(row)) => row,
        Ok(None) => {
            return refuse(
                &mut stream,
                "this worker is not wanted any more".to_owned(),
                false,
            )
            .await;
        }
        Err(error) => return refuse(&mut stream, error.to_string(), true).await,
    };
    let age = Duration::from_millis(age_ms);
    let joined = warm.pool().join(&row, &node, age, Instant::now());
    if joined.is_none() {
        return refuse(
            &mut stream,
            "this worker is connected already".to_owned(),
            true,
        )
        .await;
    }
    info!(job = row.job, service = %row.serves, node = %node.escape_debug(), "a worker came");
    wire::write(&mut stream, &Frame::text(&FromGateway::Beat)).await?;
    let (reader, writer) = stream.into_split();
    Ok(Some((
        Link::new(reader, writer, Frame::text(&FromGateway::Beat)),
        row,
    )))
}

async fn refuse<T>(
    stream: &mut TcpStream,
    reason: String,
    again: bool,
) -> Result<Option<T>, WireError> {
    let message = FromGateway::Refused { reason, again };
    wire::write(stream, &Frame::text(&message)).await?;
    Ok(None)
}

/// Gives a worker its calls, until one side has enough.
async fn serve(mut link: Link, row: &WorkerRow, warm: &Warm, shared: &Shared) {
    let mut had_a_call = false;
    let (back, reason) = loop {
        let mut ordered = warm.pool().next(row.job, had_a_call, Instant::now());
        match wait(&mut link, &mut ordered).await {
            Ok(Order::End) => {
                let _ = link.say(&FromGateway::End).await;
                link.close().await;
                break (None, "it was told to end".to_owned());
            }
            Ok(Order::Run(call)) => match make(&mut link, call, row.job).await {
                Ok(()) => had_a_call = true,
                Err(reason) => break (None, reason),
            },
            Err(reason) => {
                // It may have been given a call at this very moment, and never heard of it.
                ordered.close();
                let back = match ordered.try_recv() {
                    Ok(Order::Run(call)) => Some(call),
                    _ => None,
                };
                break (back, reason);
            }
        }
    };
    info!(job = row.job, service = %row.serves, %reason, "a worker left");
    warm.pool().left(row.job, back, Instant::now());
    warm.bell.notify_one();
    shared.look.ring();
}

/// Waits for an order, or for the end of the connection.
async fn wait(link: &mut Link, ordered: &mut oneshot::Receiver<Order>) -> Result<Order, String> {
    loop {
        tokio::select! {
            order = &mut *ordered => return Ok(order.unwrap_or(Order::End)),
            frame = link.next() => match said(frame)? {
                FromWorker::Beat => {}
                _ => return Err("it spoke out of turn".to_owned()),
            },
        }
    }
}

/// What a worker said, or why it is gone.
fn said(frame: Result<Frame, WireError>) -> Result<FromWorker, String> {
    match frame.and_then(|frame| wire::parse(&frame)) {
        Ok(FromWorker::Bye { reason }) => Err(reason),
        Ok(message) => Ok(message),
        Err(error) => Err(mizar_core::chain(&error)),
    }
}

/// Has a call made. Whatever happens, it is not made again.
async fn make(link: &mut Link, mut call: Call, job: i64) -> Result<(), String> {
    let waited = call.since.elapsed();
    let made = ask(link, &mut call).await;
    let (outcome, ended) = match made {
        Ok((reply, output)) => {
            let outcome = Outcome::Ended {
                reply,
                output,
                waited,
                worker: job,
            };
            (outcome, Ok(()))
        }
        Err(reason) => (Outcome::Lost(reason.clone()), Err(reason)),
    };
    // Nobody may wait any more.
    let _ = call.reply.send(outcome);
    ended
}

async fn ask(link: &mut Link, call: &mut Call) -> Result<(Reply, Vec<u8>), String> {
    let gone = |error: WireError| mizar_core::chain(&error);
    let run = FromGateway::Run {
        call: call.number,
        job: call.name.clone(),
        bytes: call.payload.len() as u64,
    };
    link.say(&run).await.map_err(gone)?;
    link.give(&call.payload).await.map_err(gone)?;
    let mut deadline: Option<tokio::time::Instant> = None;
    loop {
        let late = deadline.unwrap_or_else(|| tokio::time::Instant::now() + CANCEL);
        tokio::select! {
            frame = link.next() => match said(frame)? {
                FromWorker::Reply(reply) if reply.call == call.number => {
                    let output = link.take(reply.bytes, MAX_REPLY_BYTES).await.map_err(gone)?;
                    return Ok((reply, output));
                }
                FromWorker::Beat => {}
                _ => return Err("it spoke out of turn".to_owned()),
            },
            () = call.reply.closed(), if deadline.is_none() => {
                link.say(&FromGateway::Cancel { call: call.number }).await.map_err(gone)?;
                deadline = Some(tokio::time::Instant::now() + CANCEL);
            }
            () = tokio::time::sleep_until(late), if deadline.is_some() => {
                return Err("it did not end a call that nobody waits for".to_owned());
            }
        }
    }
}

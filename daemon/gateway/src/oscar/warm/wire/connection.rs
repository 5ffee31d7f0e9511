//! A connection that both sides keep alive: frames each way, beats between them, announced data.

use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{BEAT, Frame, PIECE_BYTES, SILENCE, WireError, read, write};

/// Frames that wait on each way.
const WAITING: usize = 8;

/// A connection whose two ways have a task each, so that waiting for one thing never breaks a
/// frame of another.
#[derive(Debug)]
pub struct Link {
    inbox: mpsc::Receiver<Result<Frame, WireError>>,
    outbox: mpsc::Sender<Frame>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Link {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Link {
    /// Takes a connection over, and says `beat` whenever there is nothing else to say.
    pub fn new(
        mut reader: impl AsyncRead + Unpin + Send + 'static,
        mut writer: impl AsyncWrite + Unpin + Send + 'static,
        beat: Frame,
    ) -> Self {
        let (come, inbox) = mpsc::channel(WAITING);
        let (outbox, mut going) = mpsc::channel::<Frame>(WAITING);
        let reading = tokio::spawn(async move {
            loop {
                let frame = match tokio::time::timeout(SILENCE, read(&mut reader)).await {
                    Ok(frame) => frame,
                    Err(_) => Err(WireError::Silent),
                };
                let is_last = frame.is_err();
                if come.send(frame).await.is_err() || is_last {
                    return;
                }
            }
        });
        let writing = tokio::spawn(async move {
            loop {
                let frame = match tokio::time::timeout(BEAT, going.recv()).await {
                    Ok(Some(frame)) => frame,
                    Ok(None) => {
                        let _ = writer.shutdown().await;
                        return;
                    }
                    Err(_) => beat.clone(),
                };
                // A peer that takes nothing is as silent as one that says nothing.
                match tokio::time::timeout(SILENCE, write(&mut writer, &frame)).await {
                    Ok(Ok(())) => {}
                    _ => return,
                }
            }
        });
        Self {
            inbox,
            outbox,
            tasks: [reading, writing],
        }
    }

    /// The next frame. May be given up and asked again.
    ///
    /// # Errors
    /// [`WireError`].
    pub async fn next(&mut self) -> Result<Frame, WireError> {
        self.inbox.recv().await.unwrap_or(Err(WireError::Closed))
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`WireError::Closed`] if the other side has gone.
    pub async fn say(&self, message: &impl Serialize) -> Result<(), WireError> {
        self.send(Frame::text(message)).await
    }

    /// Sends data that was announced.
    ///
    /// # Errors
    /// [`WireError::Closed`] if the other side has gone.
    pub async fn give(&self, data: &[u8]) -> Result<(), WireError> {
        for piece in data.chunks(PIECE_BYTES) {
            self.send(Frame::Data(piece.to_vec())).await?;
        }
        Ok(())
    }

    async fn send(&self, frame: Frame) -> Result<(), WireError> {
        self.outbox.send(frame).await.map_err(|_| WireError::Closed)
    }

    /// Takes `bytes` of data that were announced, `most` at most.
    ///
    /// # Errors
    /// [`WireError`].
    pub async fn take(&mut self, bytes: u64, most: u64) -> Result<Vec<u8>, WireError> {
        if bytes > most {
            return Err(WireError::Odd("more data than is allowed"));
        }
        let mut data = Vec::new();
        while (data.len() as u64) < bytes {
            match self.next().await? {
                Frame::Data(piece) if piece.is_empty() => {
                    return Err(WireError::Odd("a piece of nothing"));
                }
                Frame::Data(piece) => data.extend(piece),
                // A beat may come between.
                Frame::Text(_) => {}
            }
        }
        if data.len() as u64 > bytes {
            return Err(WireError::Odd("more data than it announced"));
        }
        Ok(data)
    }

    /// Waits until all that was said is on its way, and closes.
    pub async fn close(mut self) {
        let (closed, _) = mpsc::channel(1);
        self.outbox = closed;
        let _ = tokio::time::timeout(BEAT, &mut self.tasks[1]).await;
    }
}

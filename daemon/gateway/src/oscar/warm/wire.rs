//! What a worker and its gateway say to each other, and how: frames of a kind, a length and bytes,
//! each bounded, over one TCP connection that the worker opens.
//!
//! A text is one JSON value; data follows the text that announced it, in pieces. Both sides say
//! something every [`BEAT`], and who is silent for [`SILENCE`] is gone.

use std::io;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

mod connection;

pub use connection::Link;

/// The version of all this; the gateway turns other workers away.
pub const PROTOCOL: u32 = 1;

/// How often each side says that it is there.
pub const BEAT: Duration = Duration::from_secs(1);

/// Silence after which the other side is gone. Long: a busy node must not cost a call.
pub const SILENCE: Duration = Duration::from_secs(10);

/// Longest text, and longest piece of data.
const MAX_TEXT_BYTES: usize = 64 << 10;
const PIECE_BYTES: usize = 256 << 10;

const TEXT: u8 = 1;
const DATA: u8 = 2;

/// What a worker says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromWorker {
    /// The first word.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// The marker of its job.
        marker: String,
        /// Where it runs.
        node: String,
        /// A random word.
        word: String,
        /// How long it has been there, in milliseconds.
        age_ms: u64,
    },
    /// It has the secret.
    Proof {
        /// See [`super::proof`].
        proof: String,
    },
    /// It is there.
    Beat,
    /// A call has ended; so many bytes of output follow.
    Reply(Reply),
    /// It ends by itself.
    Bye {
        /// Why.
        reason: String,
    },
}

/// How a call ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The call.
    pub call: u64,
    /// The exit code of the script, or 128 plus a signal.
    pub code: i32,
    /// What went wrong besides, for the caller.
    pub problem: Option<String>,
    /// From the script's start to its end.
    pub function_us: u64,
    /// Bytes of output that follow.
    pub bytes: u64,
}

/// What the gateway says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromGateway {
    /// It has the worker's secret too.
    Welcome {
        /// A random word.
        word: String,
        /// See [`super::proof`].
        proof: String,
    },
    /// It will not have this worker.
    Refused {
        /// Why.
        reason: String,
        /// Whether it may ask again.
        again: bool,
    },
    /// A call; so many bytes of input follow.
    Run {
        /// Its number.
        call: u64,
        /// Its name.
        job: String,
        /// Bytes that follow.
        bytes: u64,
    },
    /// Nobody waits for this call any more.
    Cancel {
        /// Its number.
        call: u64,
    },
    /// There is no more to do.
    End,
    /// It is there.
    Beat,
}

/// A frame that came or goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// One JSON value.
    Text(Vec<u8>),
    /// A piece of data.
    Data(Vec<u8>),
}

impl Frame {
    /// A message as a frame.
    #[must_use]
    pub fn text(message: &impl Serialize) -> Self {
        Self::Text(serde_json::to_vec(message).unwrap_or_default())
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// It was closed.
    #[error("the connection was closed")]
    Closed,
    /// Nothing came for too long.
    #[error("nothing was heard for {} s", SILENCE.as_secs())]
    Silent,
    /// It broke.
    #[error("the connection broke")]
    Broken(#[from] io::Error),
    /// It did not keep to the protocol.
    #[error("the other side sent {0}")]
    Odd(&'static str),
}

/// Reads one frame.
///
/// # Errors
/// [`WireError`].
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Frame, WireError> {
    let mut head = [0; 5];
    match stream.read_exact(&mut head).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(WireError::Closed);
        }
        other => other?,
    };
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let most = match head[0] {
        TEXT => MAX_TEXT_BYTES,
        DATA => PIECE_BYTES,
        _ => return Err(WireError::Odd("a frame of no known kind")),
    };
    if length > most {
        return Err(WireError::Odd("a frame that is too long"));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(if head[0] == TEXT {
        Frame::Text(bytes)
    } else {
        Frame::Data(bytes)
    })
}

/// Reads one message.
///
/// # Errors
/// [`WireError`], also if the frame is something else.
pub async fn read_message<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<T, WireError> {
    parse(&read(stream).await?)
}

/// The message of a frame.
///
/// # Errors
/// [`WireError::Odd`].
pub fn parse<T: DeserializeOwned>(frame: &Frame) -> Result<T, WireError> {
    match frame {
        Frame::Text(text) => {
            serde_json::from_slice(text).map_err(|_| WireError::Odd("a text that is no message"))
        }
        Frame::Data(_) => Err(WireError::Odd("data that was not announced")),
    }
}

/// Writes one frame.
///
/// # Errors
/// [`WireError::Broken`].
pub async fn write(stream: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> Result<(), WireError> {
    let (kind, bytes) = match frame {
        Frame::Text(bytes) => (TEXT, bytes),
        Frame::Data(bytes) => (DATA, bytes),
    };
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut whole = Vec::with_capacity(5 + bytes.len());
    whole.push(kind);
    whole.extend(length.to_be_bytes());
    whole.extend(bytes);
    stream.write_all(&whole).await?;
    Ok(stream.flush().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat() -> Frame {
        Frame::text(&FromWorker::Beat)
    }

    fn pair() -> (Link, Link) {
        let (here, there) = tokio::io::duplex(1000);
        let [here, there] = [here, there].map(|end| {
            let (reader, writer) = tokio::io::split(end);
            Link::new(reader, writer, beat())
        });
        (here, there)
    }

    #[tokio::test]
    async fn messages_and_data_arrive_as_they_were() {
        let (here, mut there) = pair();
        let reply = Reply {
            call: 7,
            code: 3,
            problem: Some("ü\n".to_owned()),
            function_us: 5,
            bytes: 600_000,
        };
        let data: Vec<u8> = (0..600_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let (told, given) = (FromWorker::Reply(reply), data.clone());
        let copy = told.clone();
        let sending = tokio::spawn(async move {
            here.say(&copy).await.unwrap();
            here.give(&given).await.unwrap();
            here.close().await;
        });
        assert_eq!(
            parse::<FromWorker>(&there.next().await.unwrap()).unwrap(),
            told
        );
        assert_eq!(there.take(600_000, 600_000).await.unwrap(), data);
        sending.await.unwrap();
        assert!(matches!(there.next().await, Err(WireError::Closed)));
    }

    #[tokio::test]
    async fn what_is_not_the_protocol_is_told_before_it_is_held() {
        for (bytes, expected) in [
            (&[9_u8, 0, 0, 0, 1, 0][..], "no known kind"),
            (&[TEXT, 0xff, 0xff, 0xff, 0xff], "too long"),
            (&[DATA, 0, 0x10, 0, 1], "too long"),
        ] {
            let error = read(&mut &bytes[..]).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(matches!(
            read(&mut &[TEXT, 0, 0][..]).await,
            Err(WireError::Closed)
        ));
        assert!(read(&mut &[TEXT, 0, 0, 0, 4, b'{'][..]).await.is_err());
        let odd = read_message::<FromWorker>(&mut &[TEXT, 0, 0, 0, 2, b'{', b'}'][..]).await;
        assert!(matches!(odd, Err(WireError::Odd(_))));
        let (here, mut there) = pair();
        here.give(&[1, 2, 3]).await.unwrap();
        assert!(matches!(there.take(2, 9).await, Err(WireError::Odd(_))));
        assert!(matches!(there.take(10, 9).await, Err(WireError::Odd(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn the_silent_are_gone_and_the_quiet_are_not() {
        let (here, mut there) = pair();
        for _ in 0..30 {
            assert_eq!(
                there.next().await.unwrap(),
                beat(),
                "one a second for longer than the limit"
            );
        }
        drop(here);
        loop {
            match there.next().await {
                Ok(_) => {}
                Err(error) => {
                    break assert!(matches!(error, WireError::Closed | WireError::Silent));
                }
            }
        }
        let (mute, end) = tokio::io::duplex(10_000);
        let (reader, writer) = tokio::io::split(end);
        let mut link = Link::new(reader, writer, beat());
        assert!(matches!(link.next().await, Err(WireError::Silent)));
        drop(mute);
    }
}

//! A session of STOMP: its beginning, heart-beats, and the two directions apart.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use super::stomp_frame::{Decoder, Frame};
use super::transport::Stream;

/// Longest wait for the answer to the first frame, and for the broker to take what is sent.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Of any body so many bytes are kept, for what a broker says when it refuses.
const KEEP_BYTES: usize = 1024;

/// Bytes that are read at once.
const READ_BYTES: usize = 16 << 10;

/// How often both sides send something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beats {
    /// We send at least so often.
    send: Option<Duration>,
    /// After so long without a byte the broker is gone.
    receive: Option<Duration>,
}

impl Beats {
    /// The header of what we can do and want.
    pub(super) fn wanted(heartbeat_s: u16) -> String {
        let ms = u32::from(heartbeat_s) * 1000;
        format!("{ms},{ms}")
    }

    /// What the broker's answer makes of it.
    fn agreed(heartbeat_s: u16, answer: Option<&str>) -> Result<Self, String> {
        let bad = || "answers heart-beats that are no two numbers".to_owned();
        let number = |text: &str| text.trim().parse::<u32>().map_err(|_| bad());
        let (can, wants) = match answer {
            Some(text) => {
                let (can, wants) = text.split_once(',').ok_or_else(bad)?;
                (number(can)?, number(wants)?)
            }
            None => (0, 0),
        };
        let ours = u32::from(heartbeat_s) * 1000;
        let agree = |theirs: u32| {
            let ms = u64::from(ours.max(theirs));
            (ours > 0 && theirs > 0).then(|| Duration::from_millis(ms))
        };
        Ok(Self {
            // Twice as often as agreed: a late timer is no dead client.
            send: agree(wants).map(|pause| pause / 2),
            receive: agree(can).map(|pause| pause * 2 + Duration::from_secs(1)),
        })
    }
}

/// Reads frames.
pub(super) struct Reader {
    half: ReadHalf<Box<dyn Stream>>,
    decoder: Decoder,
    buffer: Vec<u8>,
    from: usize,
    until: usize,
    limit: Option<Duration>,
}

impl Reader {
    /// The next frame; bytes that come late, or not at all, are an error.
    pub(super) async fn next(&mut self) -> Result<Frame, String> {
        loop {
            let mut input = self.buffer.get(self.from..self.until).unwrap_or_default();
            let found = self.decoder.decode(&mut input);
            self.from = self.until - input.len();
            if let Some(frame) = found.map_err(|error| error.to_string())? {
                return Ok(frame);
            }
            self.from = 0;
            self.until = 0;
            let read = self.half.read(&mut self.buffer);
            let count = match self.limit {
                None => read.await,
                Some(limit) => match tokio::time::timeout(limit, read).await {
                    Ok(count) => count,
                    Err(_) => return Err(format!("was silent for {} s", limit.as_secs())),
                },
            };
            match count.map_err(|error| error.to_string())? {
                0 => return Err("closed the connection".to_owned()),
                count => self.until = count,
            }
        }
    }
}

/// Writes frames.
pub(super) struct Writer(WriteHalf<Box<dyn Stream>>);

impl Writer {
    /// Writes bytes; a broker that does not take them is an error.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let write = async {
            self.0.write_all(bytes).await?;
            self.0.flush().await
        };
        match tokio::time::timeout(ANSWER_LIMIT, write).await {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(_) => Err("takes nothing any more".to_owned()),
        }
    }
}

/// Begins the session with `hello`; of longer bodies than `limit` the start is kept.
pub(super) async fn open(
    stream: Box<dyn Stream>,
    hello: &[u8],
    heartbeat_s: u16,
    limit: usize,
) -> Result<(Reader, Writer, Beats), String> {
    let (read, write) = tokio::io::split(stream);
    let mut writer = Writer(write);
    writer.write(hello).await?;
    let mut reader = Reader {
        half: read,
        decoder: Decoder::new(limit.max(KEEP_BYTES)),
        buffer: vec![0; READ_BYTES],
        from: 0,
        until: 0,
        limit: Some(ANSWER_LIMIT),
    };
    let answer = reader.next().await?;
    if answer.command != "CONNECTED" {
        return Err(refusal(&answer));
    }
    let version = answer.header("version").unwrap_or("1.0");
    if version != "1.2" {
        return Err(format!("speaks STOMP {version}, and 1.2 is needed"));
    }
    let beats = Beats::agreed(heartbeat_s, answer.header("heart-beat"))?;
    reader.limit = beats.receive;
    Ok((reader, writer, beats))
}

/// What a broker says that refuses.
pub(super) fn refusal(frame: &Frame) -> String {
    let start = &frame.body[..frame.body.len().min(300)];
    let body = String::from_utf8_lossy(start);
    let why = frame.header("message").unwrap_or(&frame.command);
    format!("{why}: {}", body.trim())
}

/// Writes what it is given, and a heart-beat where there is nothing; returns why it ended.
pub(super) async fn keep_writing(
    mut writer: Writer,
    mut given: mpsc::Receiver<Vec<u8>>,
    beats: Beats,
) -> String {
    loop {
        let next = match beats.send {
            None => given.recv().await,
            Some(pause) => match tokio::time::timeout(pause, given.recv()).await {
                Ok(next) => next,
                Err(_) => Some(b"\n".to_vec()),
            },
        };
        let Some(bytes) = next else {
            return "the session ended".to_owned();
        };
        if let Err(problem) = writer.write(&bytes).await {
            return problem;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heart_beats_are_as_both_can() {
        let agreed = |ours, answer| {
            let beats = Beats::agreed(ours, answer).unwrap();
            let ms = |pause: Option<Duration>| pause.map(|pause| pause.as_millis());
            (ms(beats.send), ms(beats.receive))
        };
        assert_eq!(agreed(10, Some("10000,10000")), (Some(5000), Some(21_000)));
        assert_eq!(agreed(10, Some("20000,5000")), (Some(5000), Some(41_000)));
        assert_eq!(agreed(10, Some("0,30000")), (Some(15_000), None));
        assert_eq!(agreed(0, Some("10000,10000")), (None, None));
        assert_eq!(agreed(10, None), (None, None));
        assert!(Beats::agreed(10, Some("ten")).is_err());
        assert!(Beats::agreed(10, Some("1,-1")).is_err());
    }

    #[tokio::test]
    async fn a_silent_broker_is_noticed() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let session = open(Box::new(ours), b"CONNECT\n\n\0", 1, 10);
        let answer = b"CONNECTED\nversion:1.2\nheart-beat:1,1\n\n\0";
        theirs.write_all(answer).await.unwrap();
        let (mut reader, writer, beats) = session.await.unwrap();
        let (_keep, given) = mpsc::channel(1);
        let started = std::time::Instant::now();
        let silent = tokio::select! {
            silent = reader.next() => silent.unwrap_err(),
            ended = keep_writing(writer, given, beats) => ended,
        };
        assert!(silent.contains("silent"), "{silent}");
        assert!(started.elapsed() < Duration::from_secs(10));
        let mut sent = vec![0; 64];
        let count = theirs.read(&mut sent).await.unwrap();
        let beats = sent[b"CONNECT\n\n\0".len()..count].to_vec();
        assert!(
            beats.len() >= 4 && beats.iter().all(|byte| *byte == b'\n'),
            "{beats:?}"
        );
    }

    #[tokio::test]
    async fn what_refuses_or_is_older_is_told() {
        for (answer, expected) in [
            (
                &b"ERROR\nmessage:Bad CONNECT\n\nAccess refused\0"[..],
                "Bad CONNECT: Access refused",
            ),
            (b"CONNECTED\nversion:1.1\n\n\0", "STOMP 1.1"),
            (b"CONNECTED\n\n\0", "STOMP 1.0"),
            (b"AMQP\0\0\x09\x01", "another protocol"),
        ] {
            let (ours, mut theirs) = tokio::io::duplex(1024);
            theirs.write_all(answer).await.unwrap();
            let told = open(Box::new(ours), b"", 1, 10).await.err().unwrap();
            assert!(told.contains(expected), "{told}");
        }
    }
}

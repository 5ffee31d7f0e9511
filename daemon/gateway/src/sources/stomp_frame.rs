//! Frames of STOMP 1.2, read and written. Pure.
//!
//! [`Decoder`] takes bytes as they come and bounds what it holds: a head that is too long is an
//! error; of a body that is too long only the start is kept, and its true length, so that the
//! message can be buried and acknowledged. A header that breaks the rules is left out and noted
//! as the frame's flaw, for the same reason: a connection that ends at it would meet it again.

/// Longest command with its headers. RabbitMQ's own limit is 128 KiB before escapes.
const MAX_HEAD_BYTES: usize = 1 << 20;

/// Most headers of a frame.
const MAX_HEADERS: usize = 4_096;

/// Why bytes are no frame; the connection is of no use after it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    /// Another protocol.
    #[error("does not speak STOMP: is this the port of another protocol, or of TLS?")]
    NotStomp,
    /// A head over the limit.
    #[error("sends a frame whose headers have more than {MAX_HEAD_BYTES} bytes")]
    HeadTooLong,
    /// Headers over the limit.
    #[error("sends a frame with more than {MAX_HEADERS} headers")]
    TooManyHeaders,
    /// A length that is none.
    #[error("sends a frame whose content-length is no number")]
    BadLength,
    /// A body without its end.
    #[error("sends a frame whose body is not as long as its content-length")]
    NoEnd,
}

/// A frame as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    /// `MESSAGE`, `ERROR`.
    pub(super) command: String,
    /// In their order; of a repeated name the first alone.
    pub(super) headers: Vec<(String, String)>,
    /// The body, or its start if it is longer than is kept.
    pub(super) body: Vec<u8>,
    /// How long the body is.
    pub(super) size_bytes: u64,
    /// What breaks the rules, and was left out.
    pub(super) flaw: Option<String>,
}

impl Frame {
    /// The value of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(known, _)| known == name)?;
        Some(value)
    }
}

/// Writes a frame without a body. `CONNECT` has no escapes.
pub(super) fn encode(command: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let escape = |text: &str| match command {
        "CONNECT" => text.to_owned(),
        _ => escaped(text),
    };
    let mut frame = format!("{command}\n");
    for (name, value) in headers {
        frame.push_str(&format!("{}:{}\n", escape(name), escape(value)));
    }
    frame.push_str("\n\0");
    frame.into_bytes()
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\r' => out.push_str("\\r"),
            '\n' => out.push_str("\\n"),
            ':' => out.push_str("\\c"),
            other => out.push(other),
        }
    }
    out
}

fn unescaped(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        out.push(match c {
            '\\' => match rest.next()? {
                '\\' => '\\',
                'r' => '\r',
                'n' => '\n',
                'c' => ':',
                _ => return None,
            },
            other => other,
        });
    }
    Some(out)
}

/// Makes frames of bytes.
#[derive(Debug)]
pub(super) struct Decoder {
    keep_bytes: usize,
    head: Vec<u8>,
    body: Option<Body>,
}

#[derive(Debug)]
struct Body {
    frame: Frame,
    /// Bytes that are still to come; None if only the NUL tells.
    left: Option<u64>,
}

impl Decoder {
    /// Keeps at most `keep_bytes` of a body.
    pub(super) fn new(keep_bytes: usize) -> Self {
        Self {
            keep_bytes,
            head: Vec::new(),
            body: None,
        }
    }

    /// Takes bytes off the front of `input` until a frame is whole or there are no more.
    pub(super) fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, FrameError> {
        if self.body.is_none() {
            if !self.take_head(input)? {
                return Ok(None);
            }
            let head = std::mem::take(&mut self.head);
            self.body = Some(Body::of(&head)?);
        }
        let is_whole = match &mut self.body {
            Some(body) => body.take(input, self.keep_bytes)?,
            None => false,
        };
        let ended = self.body.take_if(|_| is_whole);
        Ok(ended.map(|body| body.frame))
    }

    /// Takes bytes up to the empty line after the headers; false if it has not come.
    fn take_head(&mut self, input: &mut &[u8]) -> Result<bool, FrameError> {
        while let Some((&byte, rest)) = input.split_first() {
            *input = rest;
            // Between frames a line's end is a heart-beat.
            if self.head.is_empty() && matches!(byte, b'\n' | b'\r') {
                continue;
            }
            if byte == 0 {
                return Err(FrameError::NotStomp);
            }
            self.head.push(byte);
            if self.head.ends_with(b"\n\n") || self.head.ends_with(b"\n\r\n") {
                return Ok(true);
            }
            if self.head.len() >= MAX_HEAD_BYTES {
                return Err(FrameError::HeadTooLong);
            }
        }
        Ok(false)
    }
}

impl Body {
    fn of(head: &[u8]) -> Result<Self, FrameError> {
        let mut lines = head
            .split(|byte| *byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
            .take_while(|line| !line.is_empty());
        let command = lines.next().unwrap_or_default();
        if command.is_empty() || !command.iter().all(u8::is_ascii_uppercase) {
            return Err(FrameError::NotStomp);
        }
        let mut frame = Frame {
            command: String::from_utf8_lossy(command).into_owned(),
            ..Frame::default()
        };
        for line in lines {
            if frame.headers.len() >= MAX_HEADERS {
                return Err(FrameError::TooManyHeaders);
            }
            match header(line, frame.command != "CONNECTED") {
                Some((name, _)) if frame.header(&name).is_some() => {}
                Some(header) => frame.headers.push(header),
                None => {
                    let shown: String = String::from_utf8_lossy(line).chars().take(80).collect();
                    frame.flaw = Some(format!(
                        "the header `{}` is not UTF-8, or its escapes are none of STOMP 1.2",
                        shown.escape_debug()
                    ));
                }
            }
        }
        let length = frame.header("content-length").map(str::trim);
        let left = length.map(str::parse).transpose();
        let left = left.map_err(|_| FrameError::BadLength)?;
        Ok(Self { frame, left })
    }

    /// Takes bytes of the body; true if it has ended.
    fn take(&mut self, input: &mut &[u8], keep_bytes: usize) -> Result<bool, FrameError> {
        let end = match self.left {
            Some(left) => usize::try_from(left).ok().filter(|end| *end < input.len()),
            None => input.iter().position(|byte| *byte == 0),
        };
        let (now, rest) = input.split_at(end.unwrap_or(input.len()));
        let room = keep_bytes.saturating_sub(self.frame.body.len());
        self.frame.body.extend(&now[..now.len().min(room)]);
        self.frame.size_bytes += now.len() as u64;
        *input = rest;
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(now.len() as u64);
        }
        match (end, rest.split_first()) {
            (Some(_), Some((0, rest))) => {
                *input = rest;
                Ok(true)
            }
            (Some(_), _) => Err(FrameError::NoEnd),
            (None, _) => Ok(false),
        }
    }
}

fn header(line: &[u8], has_escapes: bool) -> Option<(String, String)> {
    let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
    match has_escapes {
        true => Some((unescaped(name)?, unescaped(value)?)),
        false => Some((name.to_owned(), value.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(keep: usize, bytes: &[u8], step: usize) -> Result<Vec<Frame>, FrameError> {
        let mut decoder = Decoder::new(keep);
        let mut frames = Vec::new();
        for mut part in bytes.chunks(step.max(1)) {
            while let Some(frame) = decoder.decode(&mut part)? {
                frames.push(frame);
            }
            assert!(part.is_empty(), "all is taken");
        }
        Ok(frames)
    }

    #[test]
    fn frames_are_read_whatever_their_pieces_are() {
        let bytes = b"\n\r\nMESSAGE\r\nack:1\r\nx\\cy:a\\\\b\\nc\nack:2\n\nbody\0\n\
                      MESSAGE\ncontent-length:3\n\na\0b\0RECEIPT\nreceipt-id:s\n\n\0";
        for step in 1..=bytes.len() {
            let frames = all(100, bytes, step).unwrap();
            let commands: Vec<_> = frames.iter().map(|one| one.command.as_str()).collect();
            assert_eq!(commands, ["MESSAGE", "MESSAGE", "RECEIPT"]);
            assert_eq!(frames[0].header("ack"), Some("1"), "the first counts");
            assert_eq!(frames[0].header("x:y"), Some("a\\b\nc"));
            assert_eq!(frames[0].body, b"body");
            assert_eq!(frames[1].body, b"a\0b");
        }
    }

    #[test]
    fn what_is_too_long_is_counted_and_not_kept() {
        let long = [
            &b"MESSAGE\ncontent-length:5000\n\n"[..],
            &[b'x'; 5000],
            b"\0",
        ]
        .concat();
        let open = [&b"MESSAGE\n\n"[..], &[b'x'; 5000], b"\0"].concat();
        for bytes in [long, open] {
            let frame = all(10, &bytes, 7).unwrap().remove(0);
            assert_eq!((frame.body.len(), frame.size_bytes), (10, 5000));
        }
    }

    #[test]
    fn a_bad_header_is_a_flaw_and_no_end() {
        for line in ["a\\tb:c", "a:\\", "no colon"] {
            let text = format!("MESSAGE\nack:7\n{line}\n\nbody\0");
            let frame = all(10, text.as_bytes(), 3).unwrap().remove(0);
            assert_eq!(
                (frame.header("ack"), &frame.body[..]),
                (Some("7"), &b"body"[..])
            );
            assert!(frame.flaw.is_some(), "{line}");
        }
        let frame = all(10, b"CONNECTED\nsession:a\\tb\n\n\0", 9)
            .unwrap()
            .remove(0);
        assert_eq!(frame.header("session"), Some("a\\tb"));
        assert_eq!(frame.flaw, None);
    }

    #[test]
    fn what_is_no_frame_ends_the_connection() {
        let headers: String = (0..=MAX_HEADERS).map(|n| format!("h{n}:\n")).collect();
        let many = format!("MESSAGE\n{headers}\n\0");
        let long = [b"MESSAGE\na:".to_vec(), vec![b'x'; MAX_HEAD_BYTES]].concat();
        for (bytes, expected) in [
            (&b"AMQP\0\0\x09\x01"[..], FrameError::NotStomp),
            (b"HTTP/1.1 400 Bad\r\n\r\n", FrameError::NotStomp),
            (b"MESSAGE\ncontent-length:-1\n\n\0", FrameError::BadLength),
            (b"MESSAGE\ncontent-length:1\n\nab\0", FrameError::NoEnd),
            (many.as_bytes(), FrameError::TooManyHeaders),
            (&long, FrameError::HeadTooLong),
        ] {
            assert_eq!(all(10, bytes, 4096).unwrap_err(), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            headers in prop::collection::btree_map("[^\0]{1,8}", "[^\0]{0,8}", 0..5),
            step in 1_usize..40,
        ) {
            let pairs: Vec<(&str, &str)> = headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .filter(|(name, _)| *name != "content-length")
                .collect();
            let frame = all(10, &encode("SEND", &pairs), step).unwrap().remove(0);
            let found: Vec<(&str, &str)> = frame
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            prop_assert_eq!(found, pairs);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = all(10, &bytes, 7);
        }
    }
}

//! Server-sent events, read from bytes as they come. Pure.
//!
//! Source: WHATWG HTML, "Server-sent events", 9.2.6. Left out: `retry`, for which sources have
//! their own pauses.

/// Longest event.
const MAX_EVENT_BYTES: usize = 1 << 20;

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// Its type; empty if it has none.
    pub(super) kind: String,
    /// Its own id, if it has one.
    pub(super) id: Option<String>,
    /// Its lines of data.
    pub(super) data: String,
}

/// An event over the limit.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("sends an event of more than {MAX_EVENT_BYTES} bytes")]
pub(super) struct TooLong;

/// Makes events of bytes.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
    after_return: bool,
}

impl Decoder {
    /// Takes bytes and returns the events that they end.
    pub(super) fn decode(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        for &byte in bytes {
            let follows_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if follows_return => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                other => self.line.push(other),
            }
            if self.line.len() + self.event.data.len() > MAX_EVENT_BYTES {
                return Err(TooLong);
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            // What has no data is no event.
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let line = String::from_utf8_lossy(&line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.kind),
            "id" if !value.contains('\0') => self.event.id = Some(value.to_owned()),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // A comment, which begins with the colon, or a field of another version.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8], step: usize) -> Vec<Event> {
        let mut decoder = Decoder::default();
        let parts = bytes.chunks(step);
        parts
            .flat_map(|part| decoder.decode(part).unwrap())
            .collect()
    }

    #[test]
    fn events_are_read_whatever_their_pieces_and_line_ends_are() {
        let text = "\n: comment\nevent: inotify\nid: 7\ndata: {\"a\":\ndata:1}\n\nid: 8\n\n\
                    event: SYSTEM\ndata:  x\nretry: 5\nother\n\ndata: unfinished\n";
        let expected = [
            Event {
                kind: "inotify".to_owned(),
                id: Some("7".to_owned()),
                data: "{\"a\":\n1}".to_owned(),
            },
            Event {
                kind: "SYSTEM".to_owned(),
                id: None,
                data: " x".to_owned(),
            },
        ];
        for end in ["\n", "\r\n", "\r"] {
            let text = text.replace('\n', end);
            for step in 1..text.len() {
                assert_eq!(all(text.as_bytes(), step), expected, "{end:?} {step}");
            }
        }
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut decoder = Decoder::default();
        let line = [b"data: ".to_vec(), vec![b'x'; 1000], b"\n".to_vec()].concat();
        let refused = (0..2000).find_map(|_| decoder.decode(&line).err());
        assert_eq!(refused, Some(TooLong));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
            all(&bytes, 7);
        }
    }
}

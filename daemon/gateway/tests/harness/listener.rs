//! A listener of the stream of changes that reads Server-Sent Events as a browser does.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io::{BufRead, BufReader, Read};

use serde_json::Value;

/// One event; without data it is a number or a beat.
#[derive(Debug, Default)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) data: Option<Value>,
}

impl Event {
    /// Number and state of a change, if it is one.
    pub(crate) fn change(&self) -> Option<(i64, String)> {
        let data = self
            .data
            .as_ref()
            .filter(|_| self.name.as_deref() == Some("state"))?;
        let id = self.id.as_ref().unwrap().parse().unwrap();
        assert_eq!(data["id"], id);
        Some((id, data["state"].as_str().unwrap().to_owned()))
    }
}

pub(crate) struct Listener {
    body: BufReader<Box<dyn Read>>,
    /// What a browser would come back with.
    pub(crate) last_id: Option<String>,
}

impl Listener {
    pub(crate) fn open(url: &str, last_id: Option<&str>) -> Self {
        // A connection of its own, which ends with it.
        let agent: ureq::Agent = ureq::Agent::config_builder().build().into();
        let mut request = agent.get(url);
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let answer = request.call().unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let body: Box<dyn Read> = Box::new(answer.into_body().into_reader());
        Self {
            body: BufReader::new(body),
            last_id: last_id.map(str::to_owned),
        }
    }

    /// The next event or beat; None at the end of the stream, also amid an event.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let mut event = Event::default();
        loop {
            let mut line = String::new();
            if self.body.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim_end_matches('\n') {
                "" => break,
                line => match line.split_once(": ") {
                    Some(("id", id)) => event.id = Some(id.to_owned()),
                    Some(("event", name)) => event.name = Some(name.to_owned()),
                    Some(("data", data)) => event.data = Some(serde_json::from_str(data).unwrap()),
                    _ => {}
                },
            }
        }
        if event.id.is_some() {
            self.last_id.clone_from(&event.id);
        }
        Some(event)
    }
}

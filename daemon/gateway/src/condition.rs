//! Services whose job needs several events: all of some kinds within a time, or so many or so long.
//! Here it is said which events those are, and which belong together; the ledger lets them wait
//! ([`crate::ledger`]), so that a kill loses no time and no event.

use std::collections::BTreeMap;

use mizar_slurm::marker::is_label;
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::ledger::{Member, Rule};
use crate::parameter::{is_known, look_up};
use crate::service::Filter;

/// Most kinds of events that one job needs.
const MAX_PARTS: usize = 16;

/// Most events of a batch; its job gets all of them in one file.
pub const MAX_EVENTS: u32 = 1000;

/// Longest wait for other events: 30 days.
const MAX_WAIT_S: u32 = 30 * 86_400;

/// Longest value that says which events belong together.
const MAX_CORRELATION_BYTES: usize = 1024;

/// Largest compiled form of a capture.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// One job for one event of each kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllOf {
    /// How long after the first the last may come.
    pub within_s: u32,
    /// Only events with the same value belong together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<By>,
    /// The kinds by their names; an event that fits several is of the first in order of names.
    pub events: BTreeMap<String, Filter>,
}

/// One job for many events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// So many make a job at once.
    pub events: u32,
    /// So long after the first, fewer do.
    pub after_s: u32,
    /// Only events with the same value belong together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<By>,
}

/// What events have in common that belong together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct By {
    /// Where in the event it is, as for arguments.
    pub from: String,
    /// What of it: the first group of a regular expression, or all that fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<Capture>,
}

/// A regular expression; it needs time in proportion to the text. Two are equal if their texts are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Capture(Regex);

impl TryFrom<String> for Capture {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        RegexBuilder::new(&text)
            .size_limit(MAX_REGEX_BYTES)
            .build()
            .map(Self)
            .map_err(|error| format!("`{text}` is no regular expression: {error}"))
    }
}

impl From<Capture> for String {
    fn from(capture: Capture) -> Self {
        capture.0.as_str().to_owned()
    }
}

impl PartialEq for Capture {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl By {
    fn check(&self) -> Result<(), String> {
        if is_known(&self.from) {
            return Ok(());
        }
        Err(format!(
            "`by.from = \"{}\"` names no part of an event",
            self.from
        ))
    }

    /// The value of an event; None if it has none that can be used.
    fn value(&self, event: &Event) -> Option<String> {
        let whole = look_up(event, &self.from)?;
        let value = match &self.capture {
            None => whole,
            Some(Capture(regex)) => {
                let found = regex.captures(&whole)?;
                // Without a group in the expression: all that fits.
                let group = usize::from(regex.captures_len() > 1);
                found.get(group)?.as_str().to_owned()
            }
        };
        let is_plain = value.len() <= MAX_CORRELATION_BYTES && !value.chars().any(char::is_control);
        (is_plain && !value.is_empty()).then_some(value)
    }
}

/// The value by which an event belongs to others; None if it needs one and has none.
fn correlation(by: Option<&By>, event: &Event) -> Option<String> {
    by.map_or(Some(String::new()), |by| by.value(event))
}

fn check_wait(name: &str, seconds: u32) -> Result<(), String> {
    if (1..=MAX_WAIT_S).contains(&seconds) {
        return Ok(());
    }
    Err(format!("`{name}` must be 1 to {MAX_WAIT_S}"))
}

impl AllOf {
    /// Checks the definition.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        check_wait("within_s", self.within_s)?;
        self.by.as_ref().map_or(Ok(()), By::check)?;
        if !(2..=MAX_PARTS).contains(&self.events.len()) {
            return Err(format!("`events` must name 2 to {MAX_PARTS} filters"));
        }
        for (name, filter) in &self.events {
            if !is_label(name) {
                return Err(format!(
                    "`{name}` must be a DNS label: a-z, 0-9 and inner hyphens"
                ));
            }
            filter
                .check()
                .map_err(|problem| format!("`{name}`: {problem}"))?;
        }
        Ok(())
    }

    /// What an event is for the job, if anything.
    #[must_use]
    pub fn member(&self, event: &Event) -> Option<Member> {
        let (part, _) = self
            .events
            .iter()
            .find(|(_, filter)| filter.matches(event))?;
        Some(Member {
            part: part.clone(),
            correlation: correlation(self.by.as_ref(), event)?,
            rule: self.rule(),
        })
    }

    /// The rule for the ledger.
    #[must_use]
    pub fn rule(&self) -> Rule {
        Rule::AllOf {
            parts: self.events.keys().cloned().collect(),
            within_ms: i64::from(self.within_s) * 1000,
        }
    }
}

impl Batch {
    /// Checks the definition.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        check_wait("after_s", self.after_s)?;
        self.by.as_ref().map_or(Ok(()), By::check)?;
        if (2..=MAX_EVENTS).contains(&self.events) {
            return Ok(());
        }
        Err(format!("`events` must be 2 to {MAX_EVENTS}"))
    }

    /// What an event that the service wants is for the job, if anything.
    #[must_use]
    pub fn member(&self, event: &Event) -> Option<Member> {
        Some(Member {
            part: String::new(),
            correlation: correlation(self.by.as_ref(), event)?,
            rule: self.rule(),
        })
    }

    /// The rule for the ledger.
    #[must_use]
    pub fn rule(&self) -> Rule {
        Rule::Batch {
            events: self.events,
            after_ms: i64::from(self.after_s) * 1000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Service;
    use serde_json::json;

    fn service(rest: &str) -> Result<Service, String> {
        let text = format!("name='s'\nscript='/bin/sh'\n{rest}");
        let service: Service = toml::from_str(&text).map_err(|error| error.to_string())?;
        service.check().map_err(|error| error.to_string())?;
        Ok(service)
    }

    fn event(kind: &str, subject: &str) -> Event {
        Event::from_document(
            json!({"specversion": "1.0", "id": "1", "source": "/s", "type": kind,
            "subject": subject}),
        )
        .unwrap()
    }

    #[test]
    fn an_event_is_told_its_part_and_what_it_belongs_to() {
        let both = service(
            "[all_of]\nwithin_s=600\nby={from='subject', capture='run-([0-9]+)'}\n\
             [all_of.events]\nraw={suffix='.raw'}\ncalibration={sql=\"type = 'cal'\"}",
        )
        .unwrap();
        let wanted = |kind, subject| {
            let member = both.wants(&event(kind, subject))?.unwrap();
            Some((member.part, member.correlation))
        };
        let pair = |part: &str, value: &str| Some((part.to_owned(), value.to_owned()));
        assert_eq!(wanted("t", "in/run-7.raw"), pair("raw", "7"));
        assert_eq!(wanted("cal", "run-8"), pair("calibration", "8"));
        // Of two that fit, the first by name.
        assert_eq!(wanted("cal", "run-9.raw"), pair("calibration", "9"));
        for (kind, subject) in [("t", "run-7.txt"), ("t", "a.raw"), ("cal", "run-")] {
            assert_eq!(wanted(kind, subject), None, "{subject}");
        }
        let batch =
            service("[filter]\ntype='t'\n[batch]\nevents=3\nafter_s=60\nby={from='subject'}")
                .unwrap();
        assert_eq!(
            batch.wants(&event("t", "x")).unwrap().unwrap().correlation,
            "x"
        );
        assert!(batch.wants(&event("u", "x")).is_none());
        assert_eq!(service("").unwrap().wants(&event("t", "x")), Some(None));
        let control = Event::from_document(json!({"specversion": "1.0", "id": "1", "source": "/s",
            "type": "t", "data": {"run": "a\nb"}}))
        .unwrap();
        let by = service("[batch]\nevents=3\nafter_s=60\nby={from='data.run'}").unwrap();
        assert!(by.wants(&control).is_none(), "no key of several lines");
    }

    #[test]
    fn bad_definitions_are_refused() {
        let parts = "[all_of.events]\na={type='a'}\nb={type='b'}";
        assert!(service(&format!("[all_of]\nwithin_s=5\n{parts}")).is_ok());
        for (rest, part) in [
            ("[filter]\nsql=\"type = \"", "column 8"),
            ("[filter]\nsql=\"LENGTH(type)\"", "the SQL gives a number"),
            (
                "[all_of]\nwithin_s=5\n[all_of.events]\na={type='a'}",
                "2 to 16",
            ),
            (&format!("[all_of]\nwithin_s=0\n{parts}"), "within_s"),
            (
                &format!("[all_of]\nwithin_s=5\nby={{from='nosuch.x'}}\n{parts}"),
                "nosuch.x",
            ),
            (
                &format!("[all_of]\nwithin_s=5\nby={{from='id',capture='('}}\n{parts}"),
                "regular expression",
            ),
            (
                &format!("[filter]\ntype='a'\n[all_of]\nwithin_s=5\n{parts}"),
                "`filter`",
            ),
            (
                &format!("[batch]\nevents=2\nafter_s=1\n[all_of]\nwithin_s=5\n{parts}"),
                "not both",
            ),
            (
                "[all_of]\nwithin_s=5\n[all_of.events]\n'a.b'={}\nb={}",
                "DNS label",
            ),
            (
                "[all_of]\nwithin_s=5\n[all_of.events]\na={sql='1'}\nb={}",
                "`a`: the SQL gives",
            ),
            ("[batch]\nevents=1\nafter_s=1", "2 to 1000"),
            ("[batch]\nevents=2\nafter_s=9999999", "after_s"),
            ("[batch]\nevents=2", "after_s"),
        ] {
            let error = service(rest).unwrap_err();
            assert!(error.contains(part), "{rest}: {error}");
        }
    }
}

//! Rates by the clock of the test, places, order, and what a replay takes.

use super::super::arrays::claim_each;
use super::super::{Change, Door, NewEvent, Sender, State, Writer, accept, apply};
use super::*;

struct Ledger {
    writer: Option<Writer>,
    thread: Option<std::thread::JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Drop for Ledger {
    fn drop(&mut self) {
        drop(self.writer.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Ledger {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (writer, thread) = Writer::open(&folder.path().join("l")).unwrap();
        Self {
            writer: Some(writer),
            thread: Some(thread),
            _folder: folder,
        }
    }

    fn write<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> T {
        self.writer.as_ref().unwrap().write(operation).unwrap()
    }

    fn add(&self, service: &'static str, count: u32) {
        let events: Vec<_> = (0..count)
            .map(|n| NewEvent {
                id: n.to_string(),
                source: "/s".to_owned(),
                kind: "t".to_owned(),
                subject: None,
                document: "{}".to_owned(),
                matched: vec![(service.to_owned(), format!("{n:032x}")).into()],
                door: Door::Event,
                payload: None,
                sender: Sender::default(),
            })
            .collect();
        self.write(move |ledger| accept(ledger, 1_000, &events, 0));
    }

    fn set(&self, now_ms: i64, service: &'static str, text: &str) {
        let settings: Vec<Setting> = text.split(' ').map(|one| one.parse().unwrap()).collect();
        self.write(move |ledger| set_flow(ledger, now_ms, service, &settings));
    }

    /// Services of the jobs that are claimed.
    fn claim(&self, now_ms: i64, limit: usize) -> Vec<String> {
        let claims = self.write(move |ledger| claim_each(ledger, now_ms, limit));
        claims
            .iter()
            .map(|one| one.marker.service().to_owned())
            .collect()
    }
}

#[test]
fn a_rate_is_exact_and_changes_at_once() {
    let ledger = Ledger::new();
    ledger.add("a", 1000);
    ledger.set(0, "a", "rate=5/s");
    // Asked every 100 ms for 20 s, as the dispatcher does.
    let count = |from: i64, to: i64| {
        (from..to)
            .step_by(100)
            .map(|now| ledger.claim(now, 64).len())
            .sum::<usize>()
    };
    let found = count(1_000, 21_000);
    assert!((95..=106).contains(&found), "{found} in 20 s at 5/s");
    ledger.set(21_000, "a", "rate=20/s");
    let found = count(21_000, 26_000);
    assert!((95..=121).contains(&found), "{found} in 5 s at 20/s");
    ledger.set(26_000, "a", "rate=30/min");
    let found = count(27_000, 47_000);
    assert!((9..=12).contains(&found), "{found} in 20 s at 30/min");
    // A long wait is not made up for, and a clock that was set back gives nothing.
    assert!(ledger.claim(10_000_000, 64).len() <= 1);
    assert_eq!(ledger.claim(5_000, 64).len(), 0);
    ledger.set(10_000_000, "a", "rate=none");
    assert_eq!(ledger.claim(10_000_000, 64).len(), 64);
}

#[test]
fn places_priorities_and_pauses() {
    let ledger = Ledger::new();
    for service in ["a", "b", "c", "d"] {
        ledger.add(service, 10);
    }
    ledger.set(1_000, "b", "concurrency=3 priority=5");
    ledger.set(1_000, "c", "priority=-1");
    ledger.set(1_000, "d", "paused=true");
    let found = ledger.claim(1_000, 16);
    let count = |name: &str| found.iter().filter(|one| *one == name).count();
    assert_eq!(
        (count("b"), count("a"), count("c"), count("d")),
        (3, 10, 3, 0)
    );
    assert_eq!(
        found[..3],
        ["b", "b", "b"],
        "the higher priority comes first"
    );
    assert!(
        !ledger.claim(1_000, 64).contains(&"b".to_owned()),
        "all its places are taken"
    );
    let ended = ledger.write(|ledger| {
        let mut list = ledger
            .prepare("SELECT id FROM jobs WHERE service = 'b' AND state = 'submitting' LIMIT 2")?;
        let ids: Vec<i64> = list
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let changes: Vec<_> = ids
            .into_iter()
            .map(|id| Change::new(id, 0, State::Submitting, State::Completed))
            .collect();
        apply(ledger, 2_000, &changes)
    });
    assert_eq!(ended, 2);
    assert_eq!(ledger.claim(2_000, 64), ["b", "b"]);
    ledger.set(2_000, "d", "paused=false");
    assert_eq!(ledger.claim(2_000, 64).len(), 10);
}

#[test]
fn a_replay_takes_what_has_ended_in_its_time() {
    let ledger = Ledger::new();
    ledger.add("a", 3);
    assert_eq!(ledger.claim(1_000, 2).len(), 2);
    let done = Change::new(1, 0, State::Submitting, State::Completed);
    ledger.write(move |ledger| apply(ledger, 1_500, &[done]));
    assert_eq!(
        ledger.write(|ledger| replay(ledger, 2_000, "a", 1_001, 9_000)),
        0
    );
    assert_eq!(
        ledger.write(|ledger| replay(ledger, 2_000, "b", 0, 9_000)),
        0
    );
    assert_eq!(
        ledger.write(|ledger| replay(ledger, 2_000, "a", 1_000, 1_001)),
        1,
        "the others have not ended"
    );
    assert_eq!(ledger.claim(2_000, 9).len(), 2);
}

#[test]
fn settings_as_people_write_them() {
    for (text, expected) in [
        ("rate=5/s", Setting::Rate(Some(5.0))),
        ("rate=5", Setting::Rate(Some(5.0))),
        ("rate=60/min", Setting::Rate(Some(1.0))),
        ("rate=none", Setting::Rate(None)),
        ("concurrency=7", Setting::Concurrency(Some(7))),
        ("priority=-3", Setting::Priority(-3)),
        ("paused=true", Setting::Paused(true)),
    ] {
        assert_eq!(text.parse(), Ok(expected), "{text}");
    }
    for odd in [
        "rate",
        "rate=",
        "rate=0/s",
        "rate=-1/s",
        "rate=nan",
        "rate=inf",
        "rate=5/d",
        "rate=99999",
        "concurrency=0",
        "priority=9999",
        "paused=maybe",
        "colour=red",
    ] {
        assert!(odd.parse::<Setting>().is_err(), "{odd}");
    }
}

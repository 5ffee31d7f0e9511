//! Windows and batches by the clock of the test: what is joined, when, and that nothing is used
//! twice, whatever the order, repeats and kills.

use std::collections::HashMap;
use std::path::PathBuf;

use proptest::prelude::*;

use super::super::arrays::claim_each;
use super::super::join::JOINED_TYPE;
use super::super::{
    Door, JobRow, NewEvent, Selection, Sender, State, Writer, accept, configure_conditions, drain,
    forget, is_draining, jobs, left, mend_waits, replay, resume, retry,
};
use super::*;
use crate::event::hash_key;
use serde_json::{Value, json};

struct Ledger {
    open: Option<(Writer, std::thread::JoinHandle<()>)>,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.close();
    }
}

fn both(within_ms: i64) -> Rule {
    Rule::AllOf {
        parts: vec!["a".to_owned(), "b".to_owned()],
        within_ms,
    }
}

fn batch_of(events: u32, after_ms: i64) -> Rule {
    Rule::Batch { events, after_ms }
}

impl Ledger {
    fn new(rule: &Rule) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l");
        let ledger = Self {
            open: Some(Writer::open(&path).unwrap()),
            path,
            _folder: folder,
        };
        ledger.configure(std::slice::from_ref(rule));
        ledger
    }

    fn close(&mut self) {
        if let Some((writer, thread)) = self.open.take() {
            drop(writer);
            thread.join().unwrap();
        }
    }

    fn reopen(&mut self) {
        self.close();
        self.open = Some(Writer::open(&self.path).unwrap());
    }

    fn write<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> T {
        self.open.as_ref().unwrap().0.write(operation).unwrap()
    }

    fn configure(&self, rules: &[Rule]) {
        let rules: Vec<_> = rules
            .iter()
            .map(|rule| ("svc".to_owned(), rule.clone()))
            .collect();
        self.write(move |ledger| configure_conditions(ledger, 0, &rules));
    }

    /// Takes an event; whether it was new.
    fn take(&self, now_ms: i64, id: &str, part: &str, correlation: &str, rule: &Rule) -> bool {
        let event = NewEvent {
            id: id.to_owned(),
            source: "/s".to_owned(),
            kind: "t".to_owned(),
            subject: None,
            document: json!({"specversion": "1.0", "id": id, "source": "/s", "type": "t"})
                .to_string(),
            matched: vec![Match {
                service: "svc".to_owned(),
                key_hash: hash_key("svc", std::iter::once(id)),
                member: Some(Member {
                    part: part.to_owned(),
                    correlation: correlation.to_owned(),
                    rule: rule.clone(),
                }),
            }],
            door: Door::Event,
            payload: None,
            sender: Sender::default(),
        };
        let receipts = self.write(move |ledger| accept(ledger, now_ms, &[event], 0));
        !receipts[0][0].duplicate
    }

    fn settle(&self, now_ms: i64) {
        self.write(move |ledger| settle(ledger, now_ms));
    }

    fn rows(&self) -> Vec<JobRow> {
        let all = Selection {
            limit: 10_000,
            ..Selection::default()
        };
        self.write(move |ledger| jobs(ledger, &all))
    }

    fn state(&self, id: &str) -> State {
        self.row(id).state
    }

    fn row(&self, id: &str) -> JobRow {
        let rows = self.rows();
        rows.into_iter().find(|row| row.event_id == id).unwrap()
    }

    /// The events of each job that was made, by their ids, in the order of the jobs.
    fn made(&self) -> Vec<Vec<String>> {
        let mut made: Vec<_> = self
            .rows()
            .into_iter()
            .filter(|row| row.kind == JOINED_TYPE)
            .collect();
        made.sort_by_key(|row| row.id);
        made.into_iter().map(|row| self.members(row.id)).collect()
    }

    fn members(&self, job: i64) -> Vec<String> {
        let document = self
            .write(move |ledger| super::super::document(ledger, job))
            .unwrap();
        let event = crate::event::Event::from_document(serde_json::from_str(&document).unwrap());
        let events = event.unwrap().document["data"]["events"].clone();
        let id = |event: &Value| event["id"].as_str().unwrap().to_owned();
        match events {
            Value::Array(list) => list.iter().map(id).collect(),
            Value::Object(map) => map
                .iter()
                .map(|(name, event)| format!("{name}={}", id(event)))
                .collect(),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_and_b_are_one_job_by_what_they_have_in_common() {
    let rule = both(1_000);
    let ledger = Ledger::new(&rule);
    assert!(ledger.take(0, "a7", "a", "7", &rule));
    assert!(ledger.take(1, "b8", "b", "8", &rule));
    assert_eq!(ledger.made().len(), 0);
    assert!(ledger.take(2, "a7'", "a", "7", &rule));
    assert!(ledger.take(3, "b7", "b", "7", &rule));
    assert_eq!(ledger.made(), [["a=a7", "b=b7"]]);
    assert!(!ledger.take(4, "b7", "b", "7", &rule), "it is known");
    assert_eq!(ledger.made().len(), 1);
    assert!(ledger.take(5, "b7'", "b", "7", &rule));
    assert_eq!(ledger.made()[1], ["a=a7'", "b=b7'"]);
    assert_eq!(ledger.state("b8"), State::Gathering);
    let row = ledger.row("a7");
    assert_eq!((row.state, row.joined), (State::Joined, Some(5)));
    // Only what was made is submitted, with all its events.
    let claims = ledger.write(|ledger| claim_each(ledger, 9, 99));
    assert_eq!(claims.len(), 2);
    assert!(claims[0].document.contains("\"correlation\":\"7\""));
}

#[test]
fn a_passed_window_is_a_dead_letter_and_can_be_tried_again() {
    let rule = both(1_000);
    let ledger = Ledger::new(&rule);
    ledger.take(0, "a", "a", "7", &rule);
    ledger.settle(999);
    assert_eq!(ledger.state("a"), State::Gathering);
    // Too late, even before anybody has looked.
    ledger.take(1_000, "b", "b", "7", &rule);
    assert_eq!(ledger.made().len(), 0);
    assert!(ledger.write(|ledger| is_due(ledger, 1_000)));
    ledger.settle(1_500);
    let row = ledger.row("a");
    assert_eq!(row.state, State::Dead);
    let reason = row.reason.unwrap();
    assert_eq!(reason, "within 1 s no event came for `b` of `7`");
    // The one that waits is found at once; the event is in no second job.
    let tried = ledger.write(move |ledger| retry(ledger, 1_600, row.id));
    assert_eq!(tried, Some((State::Dead, true)));
    assert_eq!(ledger.made(), [["a=a", "b=b"]]);
    assert_eq!(
        ledger.write(move |ledger| retry(ledger, 1_700, row.id)),
        Some((State::Joined, false))
    );
    ledger.settle(9_000);
    assert_eq!(
        (ledger.state("a"), ledger.state("b")),
        (State::Joined, State::Joined)
    );
    assert_eq!(ledger.write(|ledger| claim_each(ledger, 9_000, 9)).len(), 1);
}

#[test]
fn a_replay_lets_what_is_dead_wait_anew_and_makes_whole_jobs_again() {
    let rule = both(1_000);
    let ledger = Ledger::new(&rule);
    ledger.take(0, "a", "a", "", &rule);
    ledger.settle(1_000);
    assert_eq!(
        ledger.row("a").reason.unwrap(),
        "within 1 s no event came for `b`"
    );
    ledger.take(2_000, "a2", "a", "", &rule);
    ledger.take(2_001, "b2", "b", "", &rule);
    let made = ledger.write(|ledger| claim_each(ledger, 2_002, 9))[0].job;
    let done = super::super::Change::new(made, 0, State::Submitting, State::Completed);
    ledger.write(move |ledger| super::super::apply(ledger, 2_003, &[done]));
    // The dead one and the finished job; not the two that it was made of.
    assert_eq!(
        ledger.write(|ledger| replay(ledger, 3_000, "svc", 0, 9_000)),
        2
    );
    assert_eq!(ledger.state("a"), State::Gathering);
    assert_eq!(
        ledger.write(|ledger| claim_each(ledger, 3_001, 9))[0].job,
        made
    );
    ledger.settle(3_999);
    assert_eq!(ledger.state("a"), State::Gathering, "its time began anew");
    ledger.settle(4_000);
    assert_eq!(ledger.state("a"), State::Dead);
}

#[test]
fn a_batch_is_full_or_late_or_large() {
    let rule = batch_of(3, 1_000);
    let ledger = Ledger::new(&rule);
    for (now_ms, id) in [(0, "1"), (1, "2"), (2, "3"), (500, "4"), (600, "5")] {
        ledger.take(now_ms, id, "", "", &rule);
    }
    ledger.take(700, "x", "", "other", &rule);
    assert_eq!(ledger.made(), [["1", "2", "3"]]);
    ledger.settle(1_499);
    assert_eq!(ledger.made().len(), 1);
    ledger.settle(1_500);
    assert_eq!(ledger.made()[1], ["4", "5"]);
    ledger.settle(1_700);
    assert_eq!(ledger.made()[2], ["x"]);
    ledger.settle(99_000);
    assert_eq!(ledger.made().len(), 3);
    // Sizes that are told, not held: the third makes it more than a job may have.
    let rule = batch_of(100, 1_000);
    let large = Ledger::new(&rule);
    for id in ["1", "2", "3"] {
        large.take(0, id, "", "", &rule);
        let sql = format!(
            "UPDATE members SET size_bytes = {} WHERE waiting = 1",
            MAX_JOB_BYTES / 3 + 1
        );
        large.write(move |ledger| ledger.execute(&sql, []));
    }
    large.settle(0);
    large.take(1, "4", "", "", &rule);
    assert_eq!(large.made(), [["1", "2", "3"]]);
    assert_eq!(large.state("4"), State::Gathering);
}

#[test]
fn a_definition_that_changes_holds_for_what_waits() {
    let rule = batch_of(3, 1_000);
    let mut ledger = Ledger::new(&rule);
    ledger.take(0, "1", "", "", &rule);
    ledger.take(0, "2", "", "", &rule);
    ledger.reopen();
    assert_eq!(ledger.state("1"), State::Gathering, "a restart keeps it");
    ledger.configure(&[batch_of(2, 1_000)]);
    assert_eq!(ledger.made(), [["1", "2"]]);
    ledger.take(0, "3", "", "", &rule);
    ledger.configure(&[]);
    let row = ledger.row("3");
    assert_eq!(row.state, State::Dead);
    assert!(row.reason.unwrap().contains("any more"));
    let tried = ledger.write(move |ledger| retry(ledger, 1, row.id));
    assert_eq!(tried, Some((State::Dead, true)));
    assert_eq!(ledger.state("3"), State::Dead, "and never a job by itself");
}

#[test]
fn parts_that_wait_become_a_batch_where_the_definition_does() {
    let rule = both(1_000);
    let ledger = Ledger::new(&rule);
    for id in ["1", "2"] {
        ledger.take(0, id, "a", "", &rule);
    }
    ledger.configure(&[batch_of(3, 1_000)]);
    ledger.take(1, "3", "", "", &batch_of(3, 1_000));
    assert_eq!(ledger.made(), [["1", "2", "3"]]);
    // And the other way round: nothing that waits has a part, so its time passes.
    let rule = batch_of(3, 1_000);
    let ledger = Ledger::new(&rule);
    ledger.take(0, "1", "", "", &rule);
    ledger.configure(&[both(1_000)]);
    ledger.settle(1_000);
    let reason = ledger.row("1").reason.unwrap();
    assert_eq!(reason, "within 1 s no event came for `a`, `b`");
}

#[test]
fn a_clock_that_was_set_back_does_not_keep_a_window_open() {
    let rule = both(1_000);
    let ledger = Ledger::new(&rule);
    ledger.take(1_000_000, "a", "a", "", &rule);
    ledger.write(|ledger| mend_waits(ledger, 5_000));
    ledger.settle(5_999);
    assert_eq!(ledger.state("a"), State::Gathering);
    ledger.settle(6_000);
    assert_eq!(ledger.state("a"), State::Dead);
}

#[test]
fn what_was_joined_is_forgotten_with_its_time() {
    let rule = both(1_000);
    let ledger = Ledger::new(&rule);
    ledger.take(0, "a", "a", "", &rule);
    ledger.take(1, "b", "b", "", &rule);
    ledger.take(1, "a2", "a", "", &rule);
    assert_eq!(ledger.write(|ledger| forget(ledger, 100, 99)), 2);
    let members: i64 = ledger
        .write(|ledger| ledger.query_row("SELECT count(*) FROM members", [], |row| row.get(0)));
    assert_eq!(members, 1, "the one that waits");
    assert_eq!(
        ledger.made().len(),
        1,
        "the job that was made has not ended"
    );
}

#[test]
fn a_drain_closes_batches_and_keeps_windows() {
    let rule = batch_of(3, 1_000);
    let ledger = Ledger::new(&rule);
    ledger.take(0, "1", "", "x", &rule);
    ledger.take(0, "2", "", "y", &rule);
    assert!(!ledger.write(is_draining));
    ledger.write(|ledger| drain(ledger, 5));
    ledger.write(|ledger| drain(ledger, 6));
    assert_eq!(ledger.write(super::super::drain_since), Some(5));
    assert_eq!(ledger.made().len(), 2);
    let told = ledger.write(left);
    assert_eq!(
        (told.waiting, told.gathering, told.is_empty()),
        (2, 0, false)
    );
    assert!(ledger.write(resume));
    assert!(!ledger.write(resume));
    let rule = both(1_000);
    let ledger = Ledger::new(&rule);
    ledger.take(0, "a", "a", "", &rule);
    ledger.write(|ledger| drain(ledger, 5));
    let told = ledger.write(left);
    assert_eq!((told.gathering, told.is_empty()), (1, true));
}

/// What happens to a ledger.
#[derive(Clone, Debug)]
enum Step {
    /// An event of a part (0, 1) and a correlation (0..3) comes.
    Event(usize, usize),
    /// One that came before comes again.
    Repeat(usize),
    /// Time passes and is looked at.
    Wait(i64),
    /// A dead letter is tried again.
    Retry(usize),
    /// The gateway is killed and starts.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..2_usize, 0..3_usize).prop_map(|(part, by)| Step::Event(part, by)),
        2 => (0..50_usize).prop_map(Step::Repeat),
        2 => (1..700_i64).prop_map(Step::Wait),
        1 => (0..50_usize).prop_map(Step::Retry),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..40)
}

/// Every event is in at most one job, and is somewhere.
fn check(ledger: &Ledger, sent: &[(String, String, String)]) -> Result<(), TestCaseError> {
    let mut uses: HashMap<String, usize> = HashMap::new();
    for members in ledger.made() {
        for member in members {
            let id = member.rsplit('=').next().unwrap().to_owned();
            *uses.entry(id).or_default() += 1;
        }
    }
    for row in ledger.rows().iter().filter(|row| row.kind != JOINED_TYPE) {
        let used = uses.get(&row.event_id).copied().unwrap_or(0);
        let expected = usize::from(row.state == State::Joined);
        prop_assert_eq!(used, expected, "{} is {:?}", row.event_id, row.state);
        prop_assert!(matches!(
            row.state,
            State::Joined | State::Gathering | State::Dead
        ));
    }
    let known = ledger.rows().len() - ledger.made().len();
    prop_assert_eq!(known, sent.len());
    Ok(())
}

fn run(rule: &Rule, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut ledger = Ledger::new(rule);
    let in_batch = matches!(rule, Rule::Batch { .. });
    let mut now_ms = 1_000;
    let mut sent: Vec<(String, String, String)> = Vec::new();
    for step in steps {
        now_ms += 1;
        match step {
            Step::Event(part, by) => {
                let part = if in_batch { "" } else { ["a", "b"][*part] };
                let one = (sent.len().to_string(), part.to_owned(), by.to_string());
                prop_assert!(ledger.take(now_ms, &one.0, &one.1, &one.2, rule));
                sent.push(one);
            }
            Step::Repeat(which) if !sent.is_empty() => {
                let one = &sent[which % sent.len()];
                prop_assert!(!ledger.take(now_ms, &one.0, &one.1, &one.2, rule));
            }
            Step::Wait(ms) => {
                now_ms += ms;
                ledger.settle(now_ms);
            }
            Step::Retry(which) => {
                let dead: Vec<_> = ledger
                    .rows()
                    .into_iter()
                    .filter(|row| row.state == State::Dead)
                    .collect();
                if !dead.is_empty() {
                    let job = dead[which % dead.len()].id;
                    ledger.write(move |ledger| retry(ledger, now_ms, job));
                }
            }
            Step::Restart => {
                ledger.reopen();
                ledger.configure(std::slice::from_ref(rule));
            }
            Step::Repeat(_) => {}
        }
    }
    check(&ledger, &sent)?;
    // Nothing that could be a job waits, and after the longest wait nothing waits at all.
    if let Rule::Batch { events, .. } = rule {
        for by in 0..3 {
            let by = by.to_string();
            let waits = ledger.write(move |ledger| {
                let sql = "SELECT count(*) FROM members WHERE waiting = 1 AND correlation = ?1";
                ledger.query_row(sql, [by], |row| row.get::<_, u32>(0))
            });
            prop_assert!(waits < *events);
        }
    }
    ledger.settle(now_ms + 1_001);
    prop_assert!(
        ledger
            .rows()
            .iter()
            .all(|row| row.state != State::Gathering)
    );
    check(&ledger, &sent)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn no_event_is_lost_or_used_twice(steps in steps()) {
        run(&both(1_000), &steps)?;
        run(&batch_of(3, 1_000), &steps)?;
    }
}

//! Bursts as arrays: who is a task of what, and that nobody is two.

use std::collections::BTreeSet;

use super::super::{
    Change, Door, Followed, JobRow, NewEvent, Selection, Sender, Setting, State, Writer, accept,
    apply, claim, doubt_claims, followed, jobs, retry, set_flow,
};
use super::*;

struct Ledger {
    _folder: tempfile::TempDir,
    writer: Writer,
}

/// The events of each submission, an array's in their order.
type Sent = Vec<Vec<i64>>;

impl Ledger {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (writer, _thread) = Writer::open(&folder.path().join("l")).unwrap();
        Self {
            _folder: folder,
            writer,
        }
    }

    fn write<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> T {
        self.writer.write(run).unwrap()
    }

    fn take(&self, service: &'static str, ids: std::ops::Range<u32>, user: Option<&'static str>) {
        self.take_of_size(service, ids, user, 2);
    }

    fn take_of_size(
        &self,
        service: &'static str,
        ids: std::ops::Range<u32>,
        user: Option<&'static str>,
        bytes: usize,
    ) {
        let events: Vec<NewEvent> = ids
            .map(|id| NewEvent {
                id: id.to_string(),
                source: "/s".to_owned(),
                kind: "t".to_owned(),
                subject: None,
                document: "x".repeat(bytes),
                matched: vec![(service.to_owned(), format!("{id:032}")).into()],
                door: Door::Event,
                payload: None,
                sender: Sender {
                    owner: None,
                    user: user.map(str::to_owned),
                },
            })
            .collect();
        self.write(move |ledger| accept(ledger, 5, &events, 0));
    }

    fn claim(&self, limit: usize, arrays: &[(&str, u32)]) -> Sent {
        let arrays: Arrays = arrays
            .iter()
            .map(|&(name, most)| (name.to_owned(), most))
            .collect();
        let claimed = self.write(move |ledger| claim(ledger, 1_000, limit, &arrays));
        for one in &claimed {
            assert_eq!(
                one.array.is_some(),
                one.claims.len() > 1,
                "one alone is a plain job"
            );
        }
        let ids = claimed
            .iter()
            .map(|one| one.claims.iter().map(|claim| claim.job).collect());
        ids.collect()
    }

    /// All that is claimed is now unsure, as after a kill.
    fn unsure(&self) -> Vec<Followed> {
        self.write(|ledger| {
            doubt_claims(ledger, 1_000)?;
            followed(ledger)
        })
    }

    fn apply(&self, change: Change) {
        assert_eq!(self.write(move |ledger| apply(ledger, 2_000, &[change])), 1);
    }

    fn is_left(&self, place: &Place) -> bool {
        let place = place.clone();
        self.write(move |ledger| is_left(ledger, &place))
    }

    fn row(&self, job: i64) -> JobRow {
        let mut found = self.write(move |ledger| {
            let one = Selection {
                job: Some(job),
                limit: 1,
                ..Selection::default()
            };
            jobs(ledger, &one)
        });
        found.remove(0)
    }
}

#[test]
fn a_burst_becomes_arrays_and_one_event_a_job() {
    let ledger = Ledger::new();
    ledger.take("a", 0..7, None);
    ledger.take("b", 10..12, None);
    let mut sent = ledger.claim(16, &[("a", 3)]);
    sent.sort();
    assert_eq!(
        sent,
        [vec![1, 2, 3], vec![4, 5, 6], vec![7], vec![8], vec![9]]
    );
    let rows = ledger.unsure();
    let places: BTreeSet<_> = rows
        .iter()
        .filter_map(|row| row.place.as_ref())
        .map(|place| (place.array.to_string(), place.task))
        .collect();
    assert_eq!(places.len(), 6, "{places:?}");
    for row in &rows {
        let task = row.place.as_ref().map(|place| place.task);
        let expected = (row.job <= 6).then(|| u32::try_from((row.job - 1) % 3).unwrap());
        assert_eq!((task, ledger.row(row.job).slurm_task), (expected, expected));
    }
}

#[test]
fn a_limit_counts_submissions_and_a_flow_counts_events() {
    let ledger = Ledger::new();
    ledger.take("a", 0..1_000, None);
    let sent = ledger.claim(4, &[("a", 100)]);
    let sizes: Vec<usize> = sent.iter().map(Vec::len).collect();
    assert_eq!(sizes, [100; 4]);
    for (setting, expected) in [("concurrency=405", vec![5]), ("rate=7", vec![7])] {
        let setting: Setting = setting.parse().unwrap();
        ledger.write(move |c| {
            let none = [Setting::Concurrency(None), Setting::Rate(None)];
            set_flow(c, 0, "a", &none)?;
            set_flow(c, 0, "a", &[setting])?;
            c.execute("UPDATE flow SET tokens = 7", [])
        });
        let sizes: Vec<usize> = ledger
            .claim(4, &[("a", 100)])
            .iter()
            .map(Vec::len)
            .collect();
        assert_eq!(sizes, expected);
    }
    assert_eq!(
        ledger.claim(4, &[("a", 100)]).len(),
        0,
        "the rate is used up"
    );
}

#[test]
fn only_our_own_events_share_and_a_refused_array_comes_apart() {
    let ledger = Ledger::new();
    ledger.take("a", 0..2, Some("ann"));
    ledger.take("a", 2..5, None);
    let mut sent = ledger.claim(16, &[("a", 100)]);
    sent.sort();
    assert_eq!(sent, [vec![1], vec![2], vec![3, 4, 5]]);
    ledger.unsure();
    for job in [3, 4] {
        ledger.apply(Change {
            alone: true,
            ..Change::new(job, 0, State::Unsure, State::Received)
        });
    }
    ledger.apply(Change::new(5, 0, State::Unsure, State::Received));
    ledger.take("a", 5..6, None);
    let with_flow = ledger.claim(16, &[("a", 100)]);
    let mut sent = with_flow;
    sent.sort();
    assert_eq!(sent, [vec![3], vec![4], vec![5, 6]]);
}

#[test]
fn a_task_is_its_events_until_that_is_submitted_again() {
    let ledger = Ledger::new();
    ledger.take("a", 0..3, None);
    ledger.claim(1, &[("a", 100)]);
    let rows = ledger.unsure();
    let place = |job: i64| {
        rows[usize::try_from(job - 1).unwrap()]
            .place
            .clone()
            .unwrap()
    };
    assert!((1..=3).all(|job| !ledger.is_left(&place(job))));
    ledger.apply(Change::new(1, 0, State::Unsure, State::Received));
    ledger.apply(Change::new(2, 0, State::Unsure, State::Failed));
    assert!(ledger.is_left(&place(1)));
    assert!(
        !ledger.is_left(&place(2)),
        "how it ended is known of its task"
    );
    assert_eq!(
        ledger.write(|c| retry(c, 3_000, 2)),
        Some((State::Failed, true))
    );
    assert!(ledger.is_left(&place(2)));
    let foreign = Place {
        array: Marker::new("a", &"0".repeat(32), 0).unwrap(),
        task: 0,
    };
    assert!(!ledger.is_left(&foreign), "another gateway's is left alone");
    // The same events again are the same array, others another.
    assert_eq!(ledger.claim(1, &[("a", 100)]), [vec![1, 2]]);
    let again = ledger.unsure();
    assert_ne!(again[0].place.clone().unwrap().array, place(1).array);
}

#[test]
fn an_array_is_forgotten_after_its_last_event() {
    let ledger = Ledger::new();
    ledger.take("a", 0..2, None);
    ledger.claim(1, &[("a", 100)]);
    let old = || ledger.write(|c| old_arrays(c, 9_000, 9));
    assert_eq!(old(), []);
    let rows = ledger.unsure();
    let array = rows[0].place.clone().unwrap().array;
    for job in [1, 2] {
        ledger.apply(Change::new(job, 0, State::Unsure, State::Received));
    }
    assert_eq!(ledger.write(|c| old_arrays(c, 1_000, 9)), [], "not old");
    assert_eq!(old(), [(1, array)]);
    // Claimed together meanwhile: it is theirs again.
    ledger.claim(1, &[("a", 100)]);
    assert_eq!(ledger.write(|c| forget_array(c, 1)), 0);
    ledger.unsure();
    for job in [1, 2] {
        ledger.apply(Change::new(job, 0, State::Unsure, State::Received));
    }
    assert_eq!(ledger.write(|c| forget_array(c, 1)), 1);
}

#[test]
fn large_events_do_not_fill_the_memory() {
    let ledger = Ledger::new();
    ledger.take_of_size("a", 0..20, None, 1 << 20);
    let arrays: Arrays = [("a".to_owned(), 100)].into();
    for with_flow in [false, true] {
        if with_flow {
            ledger.write(|c| set_flow(c, 0, "a", &[Setting::Priority(1)]));
        }
        let arrays = arrays.clone();
        let claimed = ledger.write(move |c| claim(c, 1_000, 1, &arrays));
        let sizes: Vec<usize> = claimed.iter().map(|one| one.claims.len()).collect();
        let expected = if with_flow { 3 } else { 17 };
        assert_eq!(sizes, [expected], "16 MiB, and the one that it began with");
    }
}

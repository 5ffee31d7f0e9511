//! Every way of changing a job leaves its change, and nothing of it is lost or told twice.

use super::super::arrays::claim_each;
use super::super::{
    Change, Door, NewEvent, Progress, Sender, State, Writer, accept, advance_webhook, apply,
    configure_webhooks, delete, doubt_claims, overview, replay, retry, webhooks,
};
use super::*;

fn event(id: &str, service: &str) -> NewEvent {
    NewEvent {
        id: id.to_owned(),
        source: "/s".to_owned(),
        kind: "t".to_owned(),
        subject: None,
        document: "{}".to_owned(),
        matched: vec![(service.to_owned(), format!("{id:0>32}")).into()],
        door: Door::Event,
        payload: None,
        sender: Sender::default(),
    }
}

fn ledger(run: impl FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static) {
    let folder = tempfile::tempdir().unwrap();
    let (writer, thread) = Writer::open(&folder.path().join("l")).unwrap();
    writer.write(run).unwrap();
    drop(writer);
    thread.join().unwrap();
}

#[test]
fn every_way_of_changing_a_job_is_told_once() {
    ledger(|c| {
        accept(c, 1, &[event("1", "a"), event("2", "b")], 0)?;
        accept(c, 2, &[event("1", "a")], 0)?;
        claim_each(c, 3, 9)?;
        doubt_claims(c, 4)?;
        let lost = Change {
            lost: true,
            ..Change::new(1, 0, State::Unsure, State::Received)
        };
        apply(c, 5, &[lost])?;
        // The same state again is no change.
        apply(c, 6, &[Change::new(2, 0, State::Unsure, State::Unsure)])?;
        let end = Change {
            exit_code: Some(3),
            reason: Some("why".to_owned()),
            ..Change::new(2, 0, State::Unsure, State::Failed)
        };
        apply(c, 7, &[end])?;
        retry(c, 8, 2)?;
        delete(c, 9, 2)?;
        apply(
            c,
            10,
            &[Change::new(1, 1, State::Received, State::Completed)],
        )?;
        replay(c, 11, "a", 0, 100)?;
        let all = changes_after(c, 0, &[], 100)?;
        let told = all.changes.iter();
        let told: Vec<_> = told
            .map(|one| {
                (
                    one.job,
                    one.generation,
                    one.was.map(State::word),
                    one.state.word(),
                    one.at_ms,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                (1, 0, None, "received", 1),
                (2, 0, None, "received", 1),
                (1, 0, Some("received"), "submitting", 3),
                (2, 0, Some("received"), "submitting", 3),
                (1, 0, Some("submitting"), "unsure", 4),
                (2, 0, Some("submitting"), "unsure", 4),
                (1, 1, Some("unsure"), "received", 5),
                (2, 0, Some("unsure"), "failed", 7),
                (2, 1, Some("failed"), "received", 8),
                (2, 1, Some("received"), "cancelled", 9),
                (1, 1, Some("received"), "completed", 10),
                (1, 2, Some("completed"), "received", 11),
            ]
        );
        let failed = &all.changes[7];
        assert_eq!(
            (failed.exit_code, failed.reason.as_deref()),
            (Some(3), Some("why"))
        );
        assert_eq!(failed.event_id.as_deref(), Some("2"));
        let ids: Vec<i64> = all.changes.iter().map(|one| one.id).collect();
        assert_eq!(ids, (1..=12).collect::<Vec<_>>());
        assert_eq!(changes_of(c, 2, 100)?.len(), 6);
        Ok(())
    });
}

#[test]
fn what_is_not_wanted_is_passed_over_and_pages_join() {
    ledger(|c| {
        for n in 0..40 {
            let service = if n % 4 == 0 { "a" } else { "b" };
            accept(c, n, &[event(&n.to_string(), service)], 0)?;
        }
        let (mut at, mut seen) = (0, Vec::new());
        while at < newest_change(c)? {
            let some = changes_after(c, at, &["a".to_owned()], 3)?;
            seen.extend(some.changes.iter().map(|one| one.id));
            assert!(some.until > at);
            at = some.until;
        }
        assert_eq!(seen, (0..10).map(|n| 4 * n + 1).collect::<Vec<_>>());
        assert_eq!(
            changes_after(c, 40, &[], 3)?,
            Stretch {
                changes: vec![],
                until: 40
            }
        );
        // A number that this ledger never gave is not taken for news.
        assert_eq!(changes_after(c, 90, &[], 3)?.until, 90);
        Ok(())
    });
}

#[test]
fn numbers_are_not_used_again_and_what_is_forgotten_is_known() {
    ledger(|c| {
        let events: Vec<_> = (0..10).map(|n| event(&n.to_string(), "a")).collect();
        accept(c, 5, &events, 0)?;
        assert_eq!(forget_changes(c, 0, 4, 3)?, 3, "as many as allowed");
        assert_eq!(forget_changes(c, 0, 4, 100)?, 3, "all but four");
        assert_eq!(changes_known_after(c)?, 6);
        assert_eq!(forget_changes(c, 6, 4, 100)?, 4, "too old");
        assert_eq!((changes_known_after(c)?, newest_change(c)?), (10, 10));
        accept(c, 7, &[event("x", "a")], 0)?;
        assert_eq!(newest_change(c)?, 11);
        Ok(())
    });
}

#[test]
fn a_webhook_goes_on_at_its_mark() {
    ledger(|c| {
        accept(c, 1, &[event("1", "a")], 0)?;
        configure_webhooks(c, 1, &["one".to_owned()])?;
        accept(c, 2, &[event("2", "a"), event("3", "a")], 0)?;
        let progress = Progress {
            mark: 2,
            delivered: 1,
            ..Progress::default()
        };
        advance_webhook(c, "one", progress)?;
        configure_webhooks(c, 3, &["one".to_owned(), "two".to_owned()])?;
        let told = webhooks(c)?.into_iter();
        let told: Vec<_> = told
            .map(|row| (row.name, row.mark, row.waiting, row.delivered))
            .collect();
        assert_eq!(
            told,
            [("one".to_owned(), 2, 1, 1), ("two".to_owned(), 3, 0, 0)]
        );
        configure_webhooks(c, 3, &["two".to_owned()])?;
        assert_eq!(webhooks(c)?.len(), 1);
        Ok(())
    });
}

#[test]
fn services_are_shown_with_what_waits_and_what_moved() {
    ledger(|c| {
        let events: Vec<_> = (0..5).map(|n| event(&n.to_string(), "a")).collect();
        accept(c, 1_000, &events, 0)?;
        claim_each(c, 70_000, 2)?;
        let to = |job, state| Change::new(job, 0, State::Submitting, state);
        apply(c, 70_001, &[to(1, State::Submitted), to(2, State::Dead)])?;
        let rows = overview(c, 70_002, &["b".to_owned()])?;
        assert_eq!(rows.len(), 2);
        let a = &rows[0];
        assert_eq!((a.waiting, a.submitting, a.submitted, a.dead), (3, 0, 1, 1));
        // The events came more than a minute ago.
        let minute = a.last_minute;
        assert_eq!(
            (minute.accepted, minute.submitted, minute.failed),
            (0, 1, 1)
        );
        assert_eq!((rows[1].name.as_str(), rows[1].waiting), ("b", 0));
        Ok(())
    });
}

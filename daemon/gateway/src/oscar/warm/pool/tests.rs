use mizar_slurm::Marker;
use serde_json::json;

use super::*;
use crate::ledger::State;
use crate::oscar::warm::worker_job;

const SECOND: Duration = Duration::from_secs(1);

fn bounds() -> Bounds {
    Bounds {
        workers: 4,
        per_service: 3,
        queue: 2,
        idle: 60 * SECOND,
        start: 30 * SECOND,
        life: 3600 * SECOND,
        calls: 100,
        reconnect: 5 * SECOND,
    }
}

fn kept(name: &str, min: u32, max: u32) -> Kept {
    let value = json!({"name": name, "image": "i", "script": "true",
        "synchronous": {"min_scale": min, "max_scale": max}});
    Kept {
        definition: serde_json::from_value(value).unwrap(),
        owner: "ann".to_owned(),
        user: None,
        token: "t".to_owned(),
        created_ms: 1,
    }
}

/// A pool with a ledger and a Slurm that do what they are told.
struct World {
    pool: Pool,
    rows: Vec<WorkerRow>,
    now: Instant,
    jobs: i64,
    cancelled: Vec<i64>,
}

impl World {
    fn new(services: &[Kept]) -> Self {
        let now = Instant::now();
        let mut pool = Pool::new(bounds());
        for kept in services {
            pool.define(kept, now);
        }
        Self {
            pool,
            rows: Vec::new(),
            now,
            jobs: 0,
            cancelled: Vec::new(),
        }
    }

    fn row(&mut self, kept: &Kept, place: u32, state: State) -> i64 {
        self.jobs += 1;
        let event = worker_job::event(kept, place).unwrap();
        let hash = &event.matched[0].key_hash;
        self.rows.push(WorkerRow {
            job: self.jobs,
            marker: Marker::new(crate::ledger::WORKERS, hash, 0).unwrap(),
            state,
            serves: kept.definition.name.clone(),
            document: event.document,
            is_deleted: false,
        });
        self.jobs
    }

    /// Time goes by; returns (service, place) of workers that were started.
    fn pass(&mut self, time: Duration) -> Vec<(String, u32)> {
        self.now += time;
        let mut started = Vec::new();
        for action in self.pool.step(&self.rows.clone(), false, self.now) {
            match action {
                Action::Start { kept, place } => {
                    self.row(&kept, place, State::Received);
                    started.push((kept.definition.name.clone(), place));
                }
                Action::Cancel { job, .. } => {
                    self.rows
                        .iter_mut()
                        .filter(|row| row.job == job)
                        .for_each(|row| row.is_deleted = true);
                    self.cancelled.push(job);
                }
                Action::Ended { .. } => {}
            }
        }
        self.pool.step(&self.rows.clone(), false, self.now);
        started
    }

    fn join(&mut self, job: i64) -> oneshot::Receiver<Order> {
        let row = self.rows.iter().find(|row| row.job == job).unwrap().clone();
        self.pool
            .join(&row, "n1", Duration::ZERO, self.now)
            .unwrap();
        self.pool.next(job, false, self.now)
    }

    fn end(&mut self, job: i64) {
        self.rows.retain(|row| row.job != job);
    }

    fn offer(&mut self, name: &str) -> (Result<bool, Full>, oneshot::Receiver<Outcome>) {
        let (reply, outcome) = oneshot::channel();
        let call = Call {
            number: 0,
            name: "c".to_owned(),
            payload: Bytes::new(),
            since: self.now,
            reply,
        };
        (self.pool.offer(name, call), outcome)
    }
}

fn is_run(order: &mut oneshot::Receiver<Order>) -> bool {
    matches!(order.try_recv(), Ok(Order::Run(_)))
}

fn is_end(order: &mut oneshot::Receiver<Order>) -> bool {
    matches!(order.try_recv(), Ok(Order::End))
}

#[test]
fn calls_make_workers_and_workers_take_calls_in_order() {
    let mut world = World::new(&[kept("a", 0, 0)]);
    assert!(world.pass(SECOND).is_empty(), "nobody asked");
    let (first, mut one) = world.offer("a");
    let (second, _two) = world.offer("a");
    let (third, _three) = world.offer("a");
    assert_eq!((first, second, third), (Ok(true), Ok(true), Err(Full)));
    assert_eq!(
        world.pass(Duration::ZERO),
        [("a".to_owned(), 0), ("a".to_owned(), 1)]
    );
    assert!(
        world.pass(SECOND).is_empty(),
        "those that wait have workers on their way"
    );
    let mut order = world.join(1);
    let Ok(Order::Run(call)) = order.try_recv() else {
        panic!("a call waits")
    };
    call.reply.send(Outcome::Lost("x".to_owned())).unwrap();
    assert!(
        matches!(one.try_recv(), Ok(Outcome::Lost(_))),
        "the first call goes first"
    );
    let mut order = world.pool.next(1, true, world.now);
    assert!(is_run(&mut order));
    let mut order = world.pool.next(1, true, world.now);
    assert!(!is_run(&mut order));
    let (fourth, _four) = world.offer("a");
    assert_eq!(fourth, Ok(false), "an idle worker takes it at once");
    assert_eq!(world.pool.counts().busy, 1);
}

#[test]
fn a_service_has_no_more_workers_than_allowed_and_no_fewer_than_wanted() {
    let mut world = World::new(&[kept("a", 2, 2), kept("b", 1, 0), kept("c", 0, 0)]);
    let started = world.pass(Duration::ZERO);
    assert_eq!(
        started
            .iter()
            .map(|(name, place)| (name.as_str(), *place))
            .collect::<Vec<_>>(),
        [("a", 0), ("a", 1), ("b", 0)]
    );
    let mut orders: Vec<_> = (1..=3).map(|job| world.join(job)).collect();
    world.pass(600 * SECOND);
    assert!(
        orders.iter_mut().all(|order| !is_end(order)),
        "the least stay"
    );
    let calls: Vec<_> = (0..4).map(|_| world.offer("a").1).collect();
    assert!(world.pass(SECOND).is_empty(), "two are the most");
    drop(calls);
    let _calls: Vec<_> = (0..2).map(|_| world.offer("c").1).collect();
    assert_eq!(
        world.pass(SECOND),
        [("c".to_owned(), 0)],
        "four are the most of all"
    );
}

#[test]
fn idle_workers_end_oldest_first_and_leave_their_places_when_they_are_gone() {
    let mut world = World::new(&[kept("a", 0, 2)]);
    let _calls: Vec<_> = (0..2).map(|_| world.offer("a").1).collect();
    world.pass(Duration::ZERO);
    world.join(1);
    world.join(2);
    let mut first = world.pool.next(1, true, world.now);
    world.now += 30 * SECOND;
    let mut second = world.pool.next(2, true, world.now);
    world.pass(31 * SECOND);
    assert!(is_end(&mut first) && !is_end(&mut second));
    let _call = world.offer("a");
    let _more = world.offer("a");
    assert!(
        world.pass(SECOND).is_empty(),
        "its place is taken until its end was seen"
    );
    world.end(1);
    assert_eq!(world.pass(SECOND), [("a".to_owned(), 0)]);
}

#[test]
fn a_worker_of_what_the_service_was_ends_after_its_call() {
    let mut world = World::new(&[kept("a", 1, 1)]);
    world.pass(Duration::ZERO);
    let mut order = world.join(1);
    let (_, _call) = world.offer("a");
    assert!(is_run(&mut order));
    world.pool.define(&kept("a", 1, 2), world.now);
    assert_eq!(
        world.pass(SECOND),
        [("a".to_owned(), 1)],
        "the new one comes beside it"
    );
    assert!(is_end(&mut world.pool.next(1, true, world.now)));
    let mut order = world.join(2);
    world.pool.retain(|_| false, world.now);
    assert!(is_end(&mut order), "and all end with their service");
    let (taken, mut outcome) = world.offer("a");
    assert_eq!(taken, Ok(true));
    world.pool.retain(|_| false, world.now);
    assert!(matches!(outcome.try_recv(), Ok(Outcome::Refused(_))));
}

#[test]
fn a_lost_worker_may_come_back_and_is_cancelled_if_it_does_not() {
    let mut world = World::new(&[kept("a", 1, 1)]);
    world.pass(Duration::ZERO);
    drop(world.join(1));
    world.pool.left(1, None, world.now);
    assert!(world.pass(4 * SECOND).is_empty() && world.cancelled.is_empty());
    let mut order = world.join(1);
    let (_, _call) = world.offer("a");
    assert!(is_run(&mut order), "it came back");
    world.pool.left(1, None, world.now);
    world.pass(20 * SECOND);
    assert_eq!(world.cancelled, [1]);
    let row = world.rows[0].clone();
    assert!(
        world
            .pool
            .join(&row, "n1", Duration::ZERO, world.now)
            .is_none()
    );
    world.end(1);
    assert_eq!(world.pass(SECOND), [("a".to_owned(), 0)]);
}

#[test]
fn a_call_that_a_lost_worker_never_heard_of_is_the_next_ones() {
    let mut world = World::new(&[kept("a", 2, 2)]);
    world.pass(Duration::ZERO);
    let mut order = world.join(1);
    let (_, mut outcome) = world.offer("a");
    let Ok(Order::Run(call)) = order.try_recv() else {
        panic!("it was given the call")
    };
    world.pool.left(1, Some(call), world.now);
    assert!(is_run(&mut world.join(2)));
    // Dropped with its order: nobody answers any more.
    assert!(outcome.try_recv().is_err());
}

#[test]
fn a_worker_whose_connection_ended_this_moment_is_passed_over() {
    let mut world = World::new(&[kept("a", 1, 1)]);
    world.pass(Duration::ZERO);
    drop(world.join(1));
    let (taken, _outcome) = world.offer("a");
    assert_eq!(taken, Ok(true), "it waits");
}

#[test]
fn workers_that_never_come_are_told_of_and_tried_ever_less() {
    let mut world = World::new(&[kept("a", 0, 1)]);
    let mut starts = 0;
    let mut refused = 0;
    let mut calls: Vec<oneshot::Receiver<Outcome>> = Vec::new();
    for _ in 0..120 {
        calls.retain_mut(|call| match call.try_recv() {
            Ok(Outcome::Refused(reason)) => {
                assert!(reason.contains("ended before it came"), "{reason}");
                refused += 1;
                false
            }
            _ => true,
        });
        if calls.is_empty() {
            calls.push(world.offer("a").1);
        }
        starts += world.pass(SECOND).len();
        world.rows.clear();
    }
    assert!((5..=9).contains(&starts), "{starts}");
    assert!(refused > 20, "{refused}");
}

#[test]
fn what_waits_too_long_in_the_queue_of_slurm_is_cancelled() {
    let mut world = World::new(&[kept("a", 0, 1)]);
    let (_, mut outcome) = world.offer("a");
    world.pass(Duration::ZERO);
    world.pass(31 * SECOND);
    assert_eq!(world.cancelled, [1]);
    world.end(1);
    world.pass(Duration::ZERO);
    assert!(matches!(outcome.try_recv(), Ok(Outcome::Refused(reason)) if reason.contains("full")));
}

#[test]
fn a_gateway_that_starts_anew_waits_for_the_workers_of_before() {
    let service = kept("a", 1, 1);
    let mut world = World::new(std::slice::from_ref(&service));
    let job = world.row(&service, 0, State::Running);
    assert!(world.pass(SECOND).is_empty());
    let (_, _call) = world.offer("a");
    assert!(is_run(&mut world.join(job)));
    let mut world = World::new(std::slice::from_ref(&service));
    let job = world.row(&service, 0, State::Running);
    world.pass(Duration::ZERO);
    world.pass(16 * SECOND);
    assert_eq!(world.cancelled, [job], "it had its time");
}

#[test]
fn a_service_without_workers_is_made_room_for() {
    let mut world = World::new(&[kept("a", 1, 3), kept("b", 1, 3), kept("c", 0, 3)]);
    let calls: Vec<_> = ["a", "a", "b", "b"].map(|name| world.offer(name).1).into();
    world.pass(Duration::ZERO);
    drop(calls);
    let mut orders: Vec<_> = (1..=4)
        .map(|job| {
            world.join(job);
            world.now += SECOND;
            world.pool.next(job, true, world.now)
        })
        .collect();
    let _call = world.offer("c");
    assert!(world.pass(Duration::from_millis(200)).is_empty());
    let ended: Vec<_> = orders.iter_mut().map(is_end).collect();
    assert_eq!(ended, [true, false, false, false], "one, idle for longest");
    world.end(1);
    assert_eq!(world.pass(SECOND), [("c".to_owned(), 0)]);
}

#[test]
fn a_call_that_nobody_waits_for_is_not_made() {
    let mut world = World::new(&[kept("a", 1, 1)]);
    world.pass(Duration::ZERO);
    world.join(1);
    drop(world.offer("a"));
    drop(world.offer("a"));
    let mut order = world.pool.next(1, true, world.now);
    assert!(!is_run(&mut order));
}

#[test]
fn old_and_busy_workers_are_replaced() {
    let mut world = World::new(&[kept("a", 1, 1)]);
    world.pass(Duration::ZERO);
    world.join(1);
    for _ in 0..98 {
        assert!(!is_end(&mut world.pool.next(1, true, world.now)));
    }
    world.pool.next(1, true, world.now);
    assert!(
        is_end(&mut world.pool.next(1, true, world.now)),
        "a hundred calls are enough"
    );
    world.end(1);
    assert_eq!(world.pass(SECOND).len(), 1);
    world.join(2);
    let mut order = world.pool.next(2, false, world.now);
    world.pass(3599 * SECOND);
    assert!(!is_end(&mut order));
    let row = world.rows[0].clone();
    world.pool.left(2, None, world.now);
    world
        .pool
        .join(&row, "n1", 3598 * SECOND, world.now)
        .unwrap();
    let mut order = world.pool.next(2, false, world.now);
    world.pass(3 * SECOND);
    assert!(is_end(&mut order), "an hour is enough, as it counts itself");
}

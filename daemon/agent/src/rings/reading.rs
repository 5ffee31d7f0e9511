//! From a ring's published state to figures up to now, believed only as far as they can be true.
//! Pure.

use mizar_api::ring::{STATE_COMMUNICATING, STATE_ENDED, STATE_IO, STATE_OUTSIDE, Split};

/// A clock may be read a little before another.
const SLACK_NS: u64 = 50_000_000;

/// A process's time so far, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) compute: u64,
    pub(crate) exposed: u64,
    pub(crate) hidden: u64,
    pub(crate) io: u64,
    pub(crate) idle: u64,
    pub(crate) lost: u64,
}

impl Totals {
    /// Sums, part by part.
    pub(crate) fn plus(self, other: Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    /// What was added since.
    pub(crate) fn minus(self, other: Self) -> Self {
        self.with(other, u64::saturating_sub)
    }

    /// The larger, part by part: a cumulative figure never falls.
    pub(crate) fn at_least(self, other: Self) -> Self {
        self.with(other, u64::max)
    }

    fn with(self, other: Self, combine: fn(u64, u64) -> u64) -> Self {
        Self {
            compute: combine(self.compute, other.compute),
            exposed: combine(self.exposed, other.exposed),
            hidden: combine(self.hidden, other.hidden),
            io: combine(self.io, other.io),
            idle: combine(self.idle, other.idle),
            lost: combine(self.lost, other.lost),
        }
    }

    /// All of the time: what is hidden lies within compute.
    pub(crate) fn sum(&self) -> u64 {
        [self.compute, self.exposed, self.io, self.idle]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

/// The figures up to `now_ns` (monotonic), when the process had used `cpu_ns`; of a process that
/// has ended (`None`), up to its last word. `None` if they cannot be true.
pub(crate) fn totals(split: &Split, now_ns: u64, cpu_ns: Option<u64>) -> Option<Totals> {
    let mut totals = Totals {
        compute: split.compute_ns,
        exposed: split.exposed_ns,
        hidden: split.hidden_ns,
        io: split.io_ns,
        idle: split.idle_ns,
        lost: split.lost,
    };
    let possible_ns = split.window_ns.checked_sub(split.start_ns)?;
    let is_true = split.window_ns <= now_ns.saturating_add(SLACK_NS)
        && totals.sum() <= possible_ns.saturating_add(SLACK_NS)
        && totals.hidden <= totals.compute
        && split.state <= STATE_ENDED;
    if !is_true {
        return None;
    }
    let length_ns = now_ns.saturating_sub(split.window_ns);
    match (split.state, cpu_ns) {
        (STATE_COMMUNICATING, Some(_)) => totals.exposed += length_ns,
        (STATE_IO, Some(_)) => totals.io += length_ns,
        (STATE_OUTSIDE, Some(cpu_ns)) => {
            let used_ns = cpu_ns.saturating_sub(split.cpu_ns);
            let parts = split.outside(length_ns, now_ns, used_ns);
            totals.compute += parts.compute_ns;
            totals.hidden += parts.hidden_ns;
            totals.exposed += parts.exposed_ns;
            totals.idle += parts.idle_ns;
        }
        _ => {}
    }
    Some(totals)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn split(state: u64) -> Split {
        Split {
            start_ns: 100 * MS,
            compute_ns: 300 * MS,
            exposed_ns: 100 * MS,
            window_ns: 500 * MS,
            cpu_ns: 10 * MS,
            state,
            ..Split::default()
        }
    }

    #[test]
    fn the_running_window_is_counted_up_to_now() {
        let at = |state| totals(&split(state), 600 * MS, Some(40 * MS)).unwrap();
        assert_eq!(at(STATE_COMMUNICATING).exposed, 200 * MS);
        assert_eq!(at(STATE_IO).io, 100 * MS);
        let outside = at(STATE_OUTSIDE);
        assert_eq!((outside.compute, outside.idle), (330 * MS, 70 * MS));
        for state in [STATE_COMMUNICATING, STATE_IO, STATE_OUTSIDE] {
            assert_eq!(at(state).sum(), 500 * MS);
        }
        assert_eq!(at(STATE_ENDED).sum(), 400 * MS);
        let dead = totals(&split(STATE_OUTSIDE), 600 * MS, None).unwrap();
        assert_eq!(dead.sum(), 400 * MS);
    }

    #[test]
    fn what_is_in_flight_is_told_apart_in_the_running_window_too() {
        let covered = Split {
            covered_since_ns: 400 * MS,
            ..split(STATE_OUTSIDE)
        };
        let now = totals(&covered, 600 * MS, Some(60 * MS)).unwrap();
        assert_eq!((now.hidden, now.exposed, now.idle), (50 * MS, 150 * MS, 0));
    }

    #[test]
    fn lies_are_not_believed() {
        let now = |split: Split| totals(&split, 600 * MS, Some(0));
        let honest = split(STATE_IO);
        assert!(now(honest).is_some());
        for lie in [
            Split {
                window_ns: 700 * MS,
                ..honest
            },
            Split {
                start_ns: 501 * MS,
                ..honest
            },
            Split {
                compute_ns: u64::MAX,
                ..honest
            },
            Split {
                idle_ns: 100 * MS,
                ..honest
            },
            Split {
                hidden_ns: 301 * MS,
                ..honest
            },
            Split { state: 9, ..honest },
        ] {
            assert_eq!(now(lie), None, "{lie:?}");
        }
        // Whatever the words are, nothing overflows.
        let strange = Split {
            covered_ns: u64::MAX,
            covered_since_ns: 1,
            cpu_ns: u64::MAX,
            ..split(STATE_OUTSIDE)
        };
        let totals = now(strange).unwrap();
        assert_eq!(totals.sum(), 500 * MS);
    }
}

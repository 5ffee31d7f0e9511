//! Who waits where on this node, and when that goes into the record: readers join what the nodes
//! say. Pure.

use std::collections::BTreeMap;

use mizar_core::ids::{Rank, StepId};
use mizar_record::hang;
use mizar_record::model::{Hang, Waiting};

/// Between two words on one step, while its ranks move.
const MIN_PERIOD_NS: i64 = 10_000_000_000;

/// A rank of this node.
#[derive(Clone, Debug)]
pub(super) struct RankState {
    pub(super) step: StepId,
    pub(super) rank: Rank,
    /// Ranks of its program, over all nodes.
    pub(super) rank_count: u32,
    pub(super) call: Option<String>,
    pub(super) sequence: u64,
    /// Since when it has been there, Unix nanoseconds.
    pub(super) since_ns: i64,
}

/// What was said before, a step at a time.
#[derive(Debug, Default)]
pub(super) struct HangWatch {
    said: BTreeMap<u32, Said>,
}

#[derive(Debug)]
struct Said {
    time_ns: i64,
    /// Ranks with their calls and places.
    who: Vec<(u32, Option<String>, u64)>,
}

impl HangWatch {
    /// Looks at all ranks; returns what the record needs to know, and what is said here.
    pub(super) fn judge(
        &mut self,
        states: &[RankState],
        node: &str,
        threshold_ns: i64,
        now_ns: i64,
    ) -> (Vec<Hang>, Option<String>) {
        let mut steps: BTreeMap<u32, Vec<&RankState>> = BTreeMap::new();
        for state in states {
            steps.entry(state.step.0).or_default().push(state);
        }
        let mut events = Vec::new();
        let mut words = Vec::new();
        for (step, ranks) in &steps {
            let is_stuck =
                |rank: &&&RankState| rank.call.is_some() && now_ns - rank.since_ns >= threshold_ns;
            if ranks.iter().any(|rank| is_stuck(&rank)) {
                let waiting: Vec<Waiting> = ranks.iter().map(|rank| waiting(rank, node)).collect();
                let rank_count = ranks.iter().map(|rank| rank.rank_count).max();
                let text = hang::judge(&waiting, rank_count, threshold_ns, now_ns);
                words.extend(
                    text.as_ref()
                        .map(|text| format!("step {}: {text}", StepId(*step))),
                );
                events.extend(self.say(*step, waiting, text, now_ns));
            } else if self.goes_on(*step, ranks) {
                self.said.remove(step);
                events.push(over(*step, now_ns));
            }
        }
        // Steps that are gone have hung to their end.
        let gone: Vec<u32> = self
            .said
            .keys()
            .filter(|step| !steps.contains_key(step))
            .copied()
            .collect();
        for step in gone {
            self.said.remove(&step);
        }
        (events, (!words.is_empty()).then(|| words.join("; ")))
    }

    /// Do the ranks that were said to hang move again? Those that are gone were ended.
    fn goes_on(&self, step: u32, ranks: &[&RankState]) -> bool {
        let is_here = |rank: u32| ranks.iter().any(|known| known.rank.0 == rank);
        let said = self.said.get(&step);
        said.is_some_and(|said| said.who.iter().all(|(rank, _, _)| is_here(*rank)))
    }

    /// The event, unless it was said before.
    fn say(
        &mut self,
        step: u32,
        waiting: Vec<Waiting>,
        text: Option<String>,
        now_ns: i64,
    ) -> Option<Hang> {
        let who: Vec<_> = waiting
            .iter()
            .map(|rank| (rank.rank.0, rank.call.clone(), rank.sequence))
            .collect();
        if let Some(said) = self.said.get(&step)
            && (said.who == who || now_ns - said.time_ns < MIN_PERIOD_NS)
        {
            return None;
        }
        self.said.insert(
            step,
            Said {
                time_ns: now_ns,
                who,
            },
        );
        let local = "ranks of this node wait; whether they hang, all nodes tell together";
        Some(Hang {
            time_ns: now_ns,
            step: StepId(step),
            waiting,
            text: text.unwrap_or_else(|| local.to_owned()),
        })
    }
}

fn waiting(rank: &RankState, node: &str) -> Waiting {
    Waiting {
        rank: rank.rank,
        node: node.to_owned(),
        call: rank.call.clone(),
        sequence: rank.sequence,
        since_ns: rank.since_ns,
    }
}

/// The ranks move again.
fn over(step: u32, now_ns: i64) -> Hang {
    Hang {
        time_ns: now_ns,
        step: StepId(step),
        waiting: Vec::new(),
        text: "the ranks go on".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    fn state(rank: u32, call: Option<&str>, since_s: i64) -> RankState {
        RankState {
            step: StepId(0),
            rank: Rank(rank),
            rank_count: 2,
            call: call.map(str::to_owned),
            sequence: 5,
            since_ns: since_s * S,
        }
    }

    #[test]
    fn a_hang_is_said_once_and_its_end_too() {
        let mut watch = HangWatch::default();
        let mut at =
            |states: &[RankState], now_s: i64| watch.judge(states, "n1", 60 * S, now_s * S);
        let stuck = [state(0, Some("MPI_Barrier"), 10), state(1, None, 12)];
        assert_eq!(at(&stuck, 69).0.len(), 0);
        let (events, text) = at(&stuck, 70);
        assert_eq!((events.len(), events[0].waiting.len()), (1, 2));
        assert!(text.unwrap().starts_with("step 0: "));
        let (events, text) = at(&stuck, 80);
        assert!(events.is_empty() && text.is_some());
        let (events, text) = at(&[state(0, None, 81), state(1, None, 12)], 81);
        assert!(events[0].waiting.is_empty() && text.is_none());
    }

    #[test]
    fn ranks_that_are_ended_one_after_another_do_not_go_on() {
        let mut watch = HangWatch::default();
        let stuck = [state(0, Some("MPI_Barrier"), 10), state(1, None, 12)];
        assert_eq!(watch.judge(&stuck, "n1", 60 * S, 70 * S).0.len(), 1);
        let left = [state(1, None, 12)];
        assert!(watch.judge(&left, "n1", 60 * S, 71 * S).0.is_empty());
        assert!(watch.judge(&[], "n1", 60 * S, 72 * S).0.is_empty());
    }

    #[test]
    fn a_node_that_cannot_judge_alone_still_tells() {
        let mut watch = HangWatch::default();
        let alone = [state(0, Some("MPI_Barrier"), 0)];
        let (events, text) = watch.judge(&alone, "n1", 60 * S, 70 * S);
        assert_eq!((events.len(), text), (1, None));
    }
}

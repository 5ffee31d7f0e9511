//! Do the ranks of a step hang? The judgement on who waits where, which `mizard` makes of its
//! node and the readers make of all nodes together. Pure.
//!
//! Ranks that wait for long are no hang as long as all wait in the same collective: it may be
//! slow. They hang if they wait in different ones, or if some rank is in none.

use std::collections::BTreeMap;

use crate::model::{Hang, NodeRecord, Waiting};

/// Ranks of one kind that are named; the others are counted.
const MAX_NAMED: usize = 8;

/// Judges the ranks of a step, of `rank_count` in all if that is known: `None` if none has been
/// in a call for `threshold_ns`, or all are in the same one.
#[must_use]
pub fn judge(
    waiting: &[Waiting],
    rank_count: Option<u32>,
    threshold_ns: i64,
    now_ns: i64,
) -> Option<String> {
    let stuck = |rank: &&Waiting| {
        rank.call.is_some() && now_ns.saturating_sub(rank.since_ns) >= threshold_ns
    };
    let since_ns = waiting
        .iter()
        .filter(stuck)
        .map(|rank| rank.since_ns)
        .max()?;
    let mut places: BTreeMap<Place<'_>, Vec<&Waiting>> = BTreeMap::new();
    for rank in waiting {
        places.entry(place(rank)).or_default().push(rank);
    }
    let known = waiting.len();
    let unknown = rank_count
        .map_or(0, |count| count as usize)
        .saturating_sub(known);
    if places.len() == 1 {
        return None;
    }
    let mut parts: Vec<String> = places
        .iter()
        .map(|(place, ranks)| describe(*place, ranks, now_ns))
        .collect();
    if unknown > 0 {
        parts.push(format!("{unknown} more ranks are not known of"));
    }
    let seconds = seconds(since_ns, now_ns);
    Some(format!(
        "the ranks have not met for {seconds} s: {}",
        parts.join("; ")
    ))
}

/// Where a rank is: calls first, so that those who wait are named before those they wait for.
type Place<'a> = (bool, &'a str, u64);

fn place(rank: &Waiting) -> Place<'_> {
    match &rank.call {
        Some(call) => (false, call, rank.sequence),
        // Where it computes is not known, so how far it got tells nothing apart.
        None => (true, "", 0),
    }
}

fn describe((_, call, sequence): Place<'_>, ranks: &[&Waiting], now_ns: i64) -> String {
    let mut named: Vec<String> = ranks
        .iter()
        .take(MAX_NAMED)
        .map(|rank| format!("{} on {}", rank.rank, rank.node))
        .collect();
    if let Some(more) = ranks.len().checked_sub(MAX_NAMED).filter(|more| *more > 0) {
        named.push(format!("{more} more"));
    }
    let (noun, waits, is) = match ranks {
        [_] => ("rank", "waits", "is"),
        _ => ("ranks", "wait", "are"),
    };
    let longest_ns = ranks
        .iter()
        .map(|rank| rank.since_ns)
        .min()
        .unwrap_or(now_ns);
    let who = format!("{noun} {}", named.join(", "));
    let seconds = seconds(longest_ns, now_ns);
    if call.is_empty() {
        // Of ranks that nobody tells of, only this is known.
        if ranks.iter().all(|rank| rank.sequence == 0) {
            return format!("{who} {is} in no call");
        }
        let reached = ranks.iter().map(|rank| rank.sequence).min().unwrap_or(0);
        return format!("{who} {is} in no call, after collective {reached}, for {seconds} s");
    }
    format!("{who} {waits} in {call}, collective {sequence}, for {seconds} s")
}

fn seconds(since_ns: i64, now_ns: i64) -> i64 {
    now_ns.saturating_sub(since_ns).max(0) / 1_000_000_000
}

/// The last word of each node on each of its steps that hangs: what the readers join.
#[must_use]
pub fn last_words(node: &NodeRecord) -> Vec<&Hang> {
    let mut last: BTreeMap<u32, &Hang> = BTreeMap::new();
    for hang in &node.hangs {
        last.insert(hang.step.0, hang);
    }
    last.into_values()
        .filter(|hang| !hang.waiting.is_empty())
        .collect()
}

/// Joins what nodes say of one step's ranks: of a rank that two tell of, the first stays.
#[must_use]
pub fn join(nodes: impl IntoIterator<Item = Vec<Waiting>>) -> Vec<Waiting> {
    let mut ranks: BTreeMap<u32, Waiting> = BTreeMap::new();
    for rank in nodes.into_iter().flatten() {
        ranks.entry(rank.rank.0).or_insert(rank);
    }
    ranks.into_values().collect()
}

#[cfg(test)]
mod tests {
    use mizar_core::ids::Rank;

    use super::*;

    const S: i64 = 1_000_000_000;

    fn rank(rank: u32, call: Option<&str>, sequence: u64, since_s: i64) -> Waiting {
        Waiting {
            rank: Rank(rank),
            node: format!("n{}", rank / 2 + 1),
            call: call.map(str::to_owned),
            sequence,
            since_ns: since_s * S,
        }
    }

    fn judged(waiting: &[Waiting]) -> Option<String> {
        judge(waiting, Some(4), 60 * S, 100 * S)
    }

    #[test]
    fn different_collectives_are_named_with_ranks_nodes_and_times() {
        let text = judged(&[
            rank(0, Some("MPI_Allreduce"), 17, 20),
            rank(1, Some("MPI_Allreduce"), 17, 21),
            rank(2, Some("MPI_Barrier"), 17, 22),
            rank(3, None, 16, 25),
        ]);
        assert_eq!(
            text.as_deref(),
            Some(
                "the ranks have not met for 78 s: \
                 ranks 0 on n1, 1 on n1 wait in MPI_Allreduce, collective 17, for 80 s; \
                 rank 2 on n2 waits in MPI_Barrier, collective 17, for 78 s; \
                 rank 3 on n2 is in no call, after collective 16, for 75 s"
            )
        );
    }

    #[test]
    fn the_same_collective_at_another_time_is_another() {
        let text = judged(&[
            rank(0, Some("MPI_Bcast"), 3, 0),
            rank(1, Some("MPI_Bcast"), 4, 0),
        ])
        .unwrap();
        assert!(text.contains("collective 3") && text.ends_with("2 more ranks are not known of"));
    }

    #[test]
    fn slow_or_short_is_no_hang() {
        let all = |call, since_s| [0, 1, 2, 3].map(|id| rank(id, call, 9, since_s));
        assert_eq!(judged(&all(Some("MPI_Barrier"), 0)), None);
        assert_eq!(judged(&all(None, 0)), None);
        let mut young = all(Some("MPI_Barrier"), 41);
        young[2].call = None;
        assert_eq!(judged(&young), None);
        young[0].since_ns = 40 * S;
        assert!(judged(&young).is_some());
        assert_eq!(judged(&[]), None);
    }

    #[test]
    fn many_ranks_do_not_fill_the_screen() {
        let mut many: Vec<Waiting> = (0..100)
            .map(|id| rank(id, Some("MPI_Barrier"), 1, 0))
            .collect();
        many.push(rank(100, None, 0, 0));
        let text = judged(&many).unwrap();
        assert!(
            text.contains("92 more wait in") && text.len() < 400,
            "{text}"
        );
    }

    #[test]
    fn nodes_are_joined_and_a_rank_counts_once() {
        let here = vec![rank(0, Some("MPI_Barrier"), 1, 0)];
        let there = vec![rank(2, None, 0, 0), rank(0, None, 0, 0)];
        let joined = join([here.clone(), there]);
        assert_eq!(joined.len(), 2);
        assert_eq!(joined[0], here[0]);
        assert!(judged(&here).is_none() && judged(&joined).is_some());
    }
}

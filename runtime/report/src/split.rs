//! Communication against computation: how each rank spent its time, what it called, what the
//! program marked, and whether its ranks hang. From the rows that `--mizar=comm` leaves.

pub(crate) mod advice;
pub(crate) mod page;
pub(crate) mod text;

use std::collections::{BTreeMap, HashMap};

use mizar_core::ids::StepId;
use mizar_record::hang;
use mizar_record::model::{JobRecord, MARK_BEGIN, MARK_END, NodeRecord, SplitSample, Waiting};
use serde::Serialize;

use crate::ranks::Frame;

/// Sections of a program that a report shows; the record has all.
pub const MAX_SECTIONS: usize = 4096;

/// What `--mizar=comm` found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Communication {
    /// How it was measured.
    pub method: String,
    /// All ranks together.
    pub total: Shares,
    /// Ranks, by step and rank.
    pub ranks: Vec<RankSplit>,
    /// Kinds of calls, by step, those that took longest first.
    pub calls: Vec<CallTotal>,
    /// Sections that the program marked, by their begin.
    pub sections: Vec<Section>,
    /// Sections beyond [`MAX_SECTIONS`].
    pub sections_left_out: usize,
    /// Sections of one name together.
    pub section_totals: Vec<SectionTotal>,
    /// Figures of merit, by time.
    pub figures: Vec<FigureOfMerit>,
    /// Steps whose ranks hang, or hung to the end.
    pub hangs: Vec<HangVerdict>,
    /// Events that could not be counted.
    pub lost: u64,
}

/// Seconds; `hidden_s` lies within `compute_s`, the others make the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Shares {
    /// Watched in all.
    pub watched_s: f64,
    /// Computing.
    pub compute_s: f64,
    /// Communicating while nothing was computed.
    pub exposed_s: f64,
    /// Communicating while something was computed.
    pub hidden_s: f64,
    /// Waiting for files.
    pub io_s: f64,
    /// None of these.
    pub idle_s: f64,
}

/// How a rank spent its time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RankSplit {
    /// Its step.
    pub step: String,
    /// Its number.
    pub rank: u32,
    /// Its node.
    pub node: String,
    /// Its time.
    #[serde(flatten)]
    pub time: Shares,
}

/// Calls of one kind, all ranks of a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallTotal {
    /// The step.
    pub step: String,
    /// Its name.
    pub call: String,
    /// Ranks that made it.
    pub ranks: usize,
    /// Calls.
    pub count: u64,
    /// Bytes given into them.
    pub bytes: u64,
    /// Time in them, summed over the ranks.
    pub time_s: f64,
}

/// A section of the program, from mark to mark.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Section {
    /// Its step.
    pub step: String,
    /// Its rank.
    pub rank: u32,
    /// Its name.
    pub name: String,
    /// Seconds after the job's start.
    pub from_s: f64,
    /// Likewise; `null` if no end was marked.
    pub to_s: Option<f64>,
}

/// Finished sections of one name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SectionTotal {
    /// Their name.
    pub name: String,
    /// How many, over all ranks.
    pub count: usize,
    /// Their mean length.
    pub mean_s: f64,
    /// The shortest.
    pub min_s: f64,
    /// The longest.
    pub max_s: f64,
}

/// A figure of merit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FigureOfMerit {
    /// Its step.
    pub step: String,
    /// Its rank.
    pub rank: u32,
    /// Its name.
    pub name: String,
    /// Seconds after the job's start.
    pub time_s: f64,
    /// Its value.
    pub value: f64,
}

/// What is said of a step's ranks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HangVerdict {
    /// The step.
    pub step: String,
    /// The judgement: ranks, nodes, collectives, for how long.
    pub text: String,
}

/// What the record holds of it; `None` if no step asked.
pub(crate) fn measure(record: &JobRecord, frame: Frame) -> Option<Communication> {
    let is_empty = |node: &NodeRecord| {
        node.split_samples.is_empty() && node.mark_samples.is_empty() && node.hangs.is_empty()
    };
    if record.nodes.iter().all(is_empty) {
        return None;
    }
    let mut found = Communication {
        method: method(record),
        hangs: hangs(record, frame.end_ns),
        ..Communication::default()
    };
    for node in &record.nodes {
        for row in last_by_key(&node.split_samples, |row| (row.step, row.rank)) {
            found.lost += row.lost;
            found.ranks.push(rank(node, row));
        }
    }
    found
        .ranks
        .sort_by_key(|rank| (rank.step.clone(), rank.rank));
    found.total = total(&found.ranks);
    found.calls = calls(record);
    marks(record, frame, &mut found);
    Some(found)
}

fn method(record: &JobRecord) -> String {
    let mut methods = record.nodes.iter().map(|node| &node.methods.communication);
    let known = methods.find(|method| !method.is_empty());
    known.cloned().unwrap_or_default()
}

/// The last row of each key, by key: rows are cumulative.
fn last_by_key<R, K: Ord>(rows: &[R], key: impl Fn(&R) -> K) -> Vec<&R> {
    let mut last = BTreeMap::new();
    for row in rows {
        last.insert(key(row), row);
    }
    last.into_values().collect()
}

fn rank(node: &NodeRecord, row: &SplitSample) -> RankSplit {
    let s = |ns: u64| ns as f64 / 1e9;
    let time = Shares {
        watched_s: s(row.compute_ns) + s(row.exposed_ns) + s(row.io_ns) + s(row.idle_ns),
        compute_s: s(row.compute_ns),
        exposed_s: s(row.exposed_ns),
        hidden_s: s(row.hidden_ns),
        io_s: s(row.io_ns),
        idle_s: s(row.idle_ns),
    };
    RankSplit {
        step: StepId(row.step).to_string(),
        rank: row.rank,
        node: node.node.clone(),
        time,
    }
}

fn total(ranks: &[RankSplit]) -> Shares {
    ranks.iter().fold(Shares::default(), |sum, rank| Shares {
        watched_s: sum.watched_s + rank.time.watched_s,
        compute_s: sum.compute_s + rank.time.compute_s,
        exposed_s: sum.exposed_s + rank.time.exposed_s,
        hidden_s: sum.hidden_s + rank.time.hidden_s,
        io_s: sum.io_s + rank.time.io_s,
        idle_s: sum.idle_s + rank.time.idle_s,
    })
}

/// Names of calls and marks are numbered by each node for itself.
fn names(node: &NodeRecord) -> HashMap<u32, &str> {
    let pairs = node.names.iter();
    pairs.map(|name| (name.id, name.name.as_str())).collect()
}

fn calls(record: &JobRecord) -> Vec<CallTotal> {
    let mut totals: BTreeMap<(u32, String), CallTotal> = BTreeMap::new();
    for node in &record.nodes {
        let names = names(node);
        for row in last_by_key(&node.call_samples, |row| (row.step, row.rank, row.call)) {
            let call = names
                .get(&row.call)
                .copied()
                .unwrap_or("a call without a name");
            let total = totals
                .entry((row.step, call.to_owned()))
                .or_insert_with(|| CallTotal {
                    step: StepId(row.step).to_string(),
                    call: call.to_owned(),
                    ranks: 0,
                    count: 0,
                    bytes: 0,
                    time_s: 0.0,
                });
            total.ranks += 1;
            total.count = total.count.saturating_add(row.calls);
            total.bytes = total.bytes.saturating_add(row.bytes);
            total.time_s += row.spent_ns as f64 / 1e9;
        }
    }
    let mut totals: Vec<CallTotal> = totals.into_values().collect();
    totals.sort_by(|a, b| a.step.cmp(&b.step).then(b.time_s.total_cmp(&a.time_s)));
    totals
}

fn marks(record: &JobRecord, frame: Frame, found: &mut Communication) {
    let mut lengths: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for node in &record.nodes {
        let names = names(node);
        // Sections that are open, the innermost last.
        let mut open: HashMap<(u32, u32, u32), Vec<usize>> = HashMap::new();
        for row in &node.mark_samples {
            let name = names
                .get(&row.name)
                .copied()
                .unwrap_or("a mark without a name");
            let time_s = frame.after_start_s(row.time_ns);
            let opened = open.entry((row.step, row.rank, row.name)).or_default();
            match row.kind {
                MARK_BEGIN => {
                    opened.push(found.sections.len());
                    found.sections.push(Section {
                        step: StepId(row.step).to_string(),
                        rank: row.rank,
                        name: name.to_owned(),
                        from_s: time_s,
                        to_s: None,
                    });
                }
                MARK_END => {
                    let section = opened.pop().and_then(|index| found.sections.get_mut(index));
                    if let Some(section) = section {
                        section.to_s = Some(time_s);
                        let length_s = time_s - section.from_s;
                        lengths.entry(name.to_owned()).or_default().push(length_s);
                    }
                }
                _ => found.figures.push(FigureOfMerit {
                    step: StepId(row.step).to_string(),
                    rank: row.rank,
                    name: name.to_owned(),
                    time_s,
                    value: row.value,
                }),
            }
        }
    }
    found.sections.sort_by(|a, b| a.from_s.total_cmp(&b.from_s));
    found.figures.sort_by(|a, b| a.time_s.total_cmp(&b.time_s));
    found.sections_left_out = found.sections.len().saturating_sub(MAX_SECTIONS);
    found.sections.truncate(MAX_SECTIONS);
    found.section_totals = lengths.into_iter().map(section_total).collect();
}

fn section_total((name, lengths): (String, Vec<f64>)) -> SectionTotal {
    SectionTotal {
        name,
        count: lengths.len(),
        mean_s: lengths.iter().sum::<f64>() / lengths.len() as f64,
        min_s: lengths.iter().copied().fold(f64::INFINITY, f64::min),
        max_s: lengths.iter().copied().fold(0.0, f64::max),
    }
}

/// The judgement of all nodes together up to `now_ns`, the end of the record or the clock of a
/// running job: of the ranks of nodes that say nothing, it is only known that they do not wait.
#[must_use]
pub fn hangs(record: &JobRecord, now_ns: i64) -> Vec<HangVerdict> {
    let mut steps: BTreeMap<u32, Vec<Vec<Waiting>>> = BTreeMap::new();
    for node in &record.nodes {
        for word in hang::last_words(node) {
            let words = steps.entry(word.step.0).or_default();
            words.push(word.waiting.clone());
        }
    }
    let verdict = |(step, mut words): (u32, Vec<Vec<Waiting>>)| {
        words.push(silent(record, step, now_ns));
        let joined = hang::join(words);
        let ranks = record.nodes.iter().flat_map(|node| &node.steps);
        let count = ranks
            .filter(|known| known.step.0 == step)
            .map(|known| known.task_count)
            .max();
        // They were judged when their nodes wrote it: any wait counts.
        let text = hang::judge(&joined, count, 0, now_ns)?;
        Some(HangVerdict {
            step: StepId(step).to_string(),
            text,
        })
    };
    steps.into_iter().filter_map(verdict).collect()
}

/// The ranks of a step, as if in no call: said last, it holds where nobody said better.
fn silent(record: &JobRecord, step: u32, now_ns: i64) -> Vec<Waiting> {
    let of_node = |node: &NodeRecord| -> Vec<Waiting> {
        let tasks = node.tasks.iter().filter(|task| task.step.0 == step);
        tasks
            .map(|task| Waiting {
                rank: task.rank,
                node: node.node.clone(),
                call: None,
                sequence: 0,
                since_ns: now_ns,
            })
            .collect()
    };
    record.nodes.iter().flat_map(of_node).collect()
}

#[cfg(test)]
mod tests {
    use mizar_core::ids::Rank;
    use mizar_record::model::{CallSample, Hang, MARK_FIGURE, MarkSample, Name};

    use super::*;
    use crate::synthetic::{START_NS, Shape, record};

    const S: i64 = 1_000_000_000;

    fn split(rank: u32, parts_s: [u64; 5]) -> SplitSample {
        let [compute_ns, exposed_ns, hidden_ns, io_ns, idle_ns] = parts_s.map(|s| s * S as u64);
        SplitSample {
            time_ns: START_NS + 60 * S,
            interval_ns: S,
            compute_ns,
            exposed_ns,
            hidden_ns,
            io_ns,
            idle_ns,
            lost: 0,
            step: 0,
            rank,
        }
    }

    fn call(rank: u32, call: u32, calls: u64, bytes: u64, spent_s: u64) -> CallSample {
        CallSample {
            time_ns: START_NS,
            interval_ns: S,
            calls,
            bytes,
            spent_ns: spent_s * S as u64,
            step: 0,
            rank,
            call,
            reserved: 0,
        }
    }

    fn mark(second: i64, name: u32, kind: u32, value: f64) -> MarkSample {
        MarkSample {
            time_ns: START_NS + second * S,
            value,
            step: 0,
            rank: 0,
            name,
            kind,
        }
    }

    fn name(id: u32, name: &str) -> Name {
        Name {
            id,
            name: name.to_owned(),
        }
    }

    fn analysed(change: impl FnOnce(&mut JobRecord)) -> crate::Report {
        let mut job = record(&Shape::default());
        change(&mut job);
        crate::analyse(&job)
    }

    #[test]
    fn a_job_that_did_not_ask_has_none() {
        assert_eq!(analysed(|_| {}).communication, None);
    }

    #[test]
    fn figures_are_those_of_the_last_rows() {
        let report = analysed(|job| {
            job.nodes[0].split_samples = vec![
                split(0, [1, 0, 0, 0, 0]),
                split(0, [30, 20, 5, 6, 4]),
                split(1, [20, 30, 0, 6, 4]),
            ];
            job.nodes[0].call_samples = vec![
                call(0, 3, 1, 8, 1),
                call(0, 3, 10, 80, 15),
                call(1, 3, 10, 80, 25),
                call(0, 0, 2, 0, 5),
            ];
            job.nodes[0].names = vec![name(3, "MPI_Allreduce"), name(0, "MPI_Barrier")];
            // Another node has its own numbers.
            job.nodes[1].call_samples = vec![call(2, 7, 5, 40, 1)];
            job.nodes[1].names = vec![name(7, "MPI_Allreduce")];
        });
        let found = report.communication.clone().unwrap();
        assert_eq!(found.ranks.len(), 2);
        assert_eq!(found.ranks[0].time.watched_s, 60.0);
        assert_eq!(
            (
                found.total.compute_s,
                found.total.exposed_s,
                found.total.hidden_s
            ),
            (50.0, 50.0, 5.0)
        );
        let page = crate::html::render(&report).unwrap();
        assert!(page.contains("MPI_Allreduce</code>"));
        assert_eq!(page.matches("class=\"exposed\" style").count(), 2);
        let text = crate::text::render(&report);
        assert!(
            text.contains("Time of the ranks") && text.contains("Calls"),
            "{text}"
        );
        let first = &found.calls[0];
        assert_eq!((first.call.as_str(), first.ranks), ("MPI_Allreduce", 3));
        assert_eq!((first.count, first.bytes, first.time_s), (25, 200, 41.0));
        assert_eq!(found.calls[1].call, "MPI_Barrier");
        let kinds: Vec<&str> = report.advice.iter().map(|piece| piece.kind).collect();
        assert!(kinds.contains(&"exposed_communication"), "{kinds:?}");
        assert!(!kinds.contains(&"data_wait"), "{kinds:?}");
    }

    #[test]
    fn marks_become_sections_and_figures() {
        let report = analysed(|job| {
            job.nodes[0].names = vec![name(1, "epoch"), name(2, "loss")];
            job.nodes[0].mark_samples = vec![
                mark(1, 1, MARK_END, f64::NAN),
                mark(2, 1, MARK_BEGIN, f64::NAN),
                mark(3, 1, MARK_BEGIN, f64::NAN),
                mark(5, 1, MARK_END, f64::NAN),
                mark(6, 2, MARK_FIGURE, 0.25),
                mark(8, 1, MARK_END, f64::NAN),
                mark(9, 1, MARK_BEGIN, f64::NAN),
            ];
        });
        let found = report.communication.unwrap();
        let spans: Vec<_> = found.sections.iter().map(|s| (s.from_s, s.to_s)).collect();
        assert_eq!(spans, [(2.0, Some(8.0)), (3.0, Some(5.0)), (9.0, None)]);
        let total = &found.section_totals[0];
        assert_eq!((total.count, total.mean_s, total.max_s), (2, 4.0, 6.0));
        assert_eq!(
            (found.figures[0].value, found.figures[0].time_s),
            (0.25, 6.0)
        );
    }

    #[test]
    fn a_hang_is_judged_over_all_nodes_to_the_end_of_the_record() {
        let waiting = |rank: u32, call: &str| Waiting {
            rank: Rank(rank),
            node: format!("n{}", rank / 2 + 1),
            call: Some(call.to_owned()),
            sequence: 9,
            since_ns: START_NS + 10 * S,
        };
        let hang = |waiting| Hang {
            time_ns: START_NS + 20 * S,
            step: StepId(0),
            waiting,
            text: String::new(),
        };
        let both = |second: &str| {
            analysed(|job| {
                let all =
                    |ranks: [u32; 2], call: &str| ranks.map(|rank| waiting(rank, call)).to_vec();
                job.nodes[0].hangs = vec![hang(all([0, 1], "MPI_Barrier"))];
                job.nodes[1].hangs = vec![hang(all([2, 3], second))];
            })
        };
        assert_eq!(both("MPI_Barrier").communication.unwrap().hangs, []);
        let report = both("MPI_Bcast");
        let text = &report.communication.unwrap().hangs[0].text;
        assert!(text.contains("ranks 2 on n2, 3 on n2 wait in MPI_Bcast, collective 9, for 50 s"));
        assert_eq!(report.advice[0].kind, "hang");
        // Ranks of a node that says nothing do not wait; one that took its word back neither.
        let report = analysed(|job| {
            job.nodes[0].hangs = vec![hang(vec![
                waiting(0, "MPI_Barrier"),
                waiting(1, "MPI_Barrier"),
            ])];
        });
        let text = &report.communication.unwrap().hangs[0].text;
        assert!(
            text.ends_with("ranks 2 on n2, 3 on n2 are in no call"),
            "{text}"
        );
        let report = analysed(|job| {
            job.nodes[0].hangs = vec![hang(vec![waiting(0, "MPI_Barrier")]), hang(Vec::new())];
        });
        assert_eq!(report.communication.unwrap().hangs, []);
    }
}

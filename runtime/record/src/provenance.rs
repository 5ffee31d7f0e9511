//! From a job's record to the plain data that its PROV document is made of.
//!
//! Called by `mizard` at the end of a job and by `mizar report`. Left out: the document
//! itself, which is [`mizar_prov::job`]'s business.

use std::collections::BTreeMap;

use mizar_prov::JobProvenance;
use mizar_prov::job::{FileProvenance, RankProvenance, ScriptProvenance, StepProvenance};

use crate::model::{FileRecord, JobRecord, StepInfo};

/// What `record` knows of the job's provenance: the steps of all nodes joined, files once a
/// node. `mizard_version` is the release that wrote the record; empty if unknown.
#[must_use]
pub fn of_job(record: &JobRecord, mizard_version: &str) -> JobProvenance {
    let job = &record.job;
    let script = record.nodes.iter().find_map(|node| node.script.as_ref());
    JobProvenance {
        id: job.id,
        restart_count: job.restart_count,
        name: job.name.clone(),
        user: job.user.clone(),
        uid: job.uid,
        cluster: job.cluster.clone(),
        partition: job.partition.clone(),
        account: job.account.clone(),
        nodes: job.nodes.clone(),
        start_ns: job.start_ns,
        end_ns: job.end_ns,
        script: script.map(|script| ScriptProvenance {
            path: script.path.clone(),
            size_bytes: script.size_bytes,
            sha256: script.sha256.clone(),
            note: script.note.clone(),
        }),
        steps: steps(record),
        files: record
            .nodes
            .iter()
            .flat_map(|node| node.files.iter().map(file))
            .collect(),
        mizard_version: mizard_version.to_owned(),
        slurm_version: String::new(),
    }
}

/// A step begins on its first node and ends on its last; one that a node has not left is
/// still running.
fn steps(record: &JobRecord) -> Vec<StepProvenance> {
    let mut steps: BTreeMap<_, StepProvenance> = BTreeMap::new();
    for node in &record.nodes {
        for info in &node.steps {
            steps
                .entry(info.step)
                .and_modify(|step| widen(step, info))
                .or_insert_with(|| StepProvenance {
                    step: info.step,
                    command: info.command.clone(),
                    cwd: info.cwd.clone(),
                    start_ns: info.start_ns,
                    end_ns: info.end_ns,
                    ranks: Vec::new(),
                });
        }
        for task in &node.tasks {
            if let Some(step) = steps.get_mut(&task.step) {
                step.ranks.push(RankProvenance {
                    rank: task.rank,
                    node: node.node.clone(),
                    pid: task.pid,
                    start_ns: task.start_ns,
                    end_ns: task.end_ns,
                    status: task.status,
                });
            }
        }
    }
    let mut steps: Vec<_> = steps.into_values().collect();
    for step in &mut steps {
        step.ranks.sort_by_key(|rank| rank.rank);
    }
    steps.sort_by_key(|step| (step.start_ns, step.step));
    steps
}

fn widen(step: &mut StepProvenance, info: &StepInfo) {
    step.start_ns = step.start_ns.min(info.start_ns);
    step.end_ns = step
        .end_ns
        .zip(info.end_ns)
        .map(|(one, other)| one.max(other));
}

fn file(file: &FileRecord) -> FileProvenance {
    FileProvenance {
        step: file.step,
        rank: file.rank,
        generated: file.generated,
        path: file.path.clone(),
        size_bytes: file.size_bytes,
        sha256: file.sha256.clone(),
        note: file.note.clone(),
    }
}

#[cfg(test)]
mod tests {
    use mizar_core::ids::{Rank, StepId};

    use super::*;
    use crate::model::{JobInfo, NodeRecord, TaskInfo};

    fn node(name: &str, rank: u32, start_ns: i64, end_ns: Option<i64>) -> NodeRecord {
        NodeRecord {
            node: name.to_owned(),
            steps: vec![StepInfo {
                step: StepId(0),
                task_count: 2,
                command: vec!["true".to_owned()],
                cwd: "/tmp".into(),
                start_ns,
                end_ns,
            }],
            tasks: vec![TaskInfo {
                step: StepId(0),
                rank: Rank(rank),
                local_rank: 0,
                pid: 100,
                start_ns,
                end_ns,
                status: Some(0),
                visible_gpus: None,
            }],
            ..NodeRecord::default()
        }
    }

    #[test]
    fn a_step_spans_its_nodes_and_runs_until_the_last_has_left() {
        for (ends, end_ns) in [
            ((Some(70), Some(90)), Some(90)),
            ((Some(70), None), None),
            ((None, None), None),
        ] {
            let record = JobRecord {
                job: JobInfo::default(),
                nodes: vec![node("n2", 1, 20, ends.0), node("n1", 0, 10, ends.1)],
                missing_nodes: Vec::new(),
                complete: false,
            };
            let step = &of_job(&record, "0.1.0").steps[0];
            assert_eq!((step.start_ns, step.end_ns), (10, end_ns));
            let ranks: Vec<_> = step
                .ranks
                .iter()
                .map(|r| (r.rank.0, r.node.as_str()))
                .collect();
            assert_eq!(ranks, [(0, "n1"), (1, "n2")]);
        }
    }
}

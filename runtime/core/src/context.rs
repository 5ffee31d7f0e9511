//! Where this process runs: the job, step and rank that Slurm or mpirun told it.
//!
//! The `mizar` command asks once, at its start. The MPI launcher's word on ranks counts before
//! Slurm's: under `mpirun` in a batch script, Slurm sees one task (or one daemon a node) while
//! MPI sees all ranks.
//!
//! Left out: any guess. What no variable says is `None`.

use crate::ids::{JobId, Rank, StepId};

/// What the environment says about this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobContext {
    /// The Slurm job, if this is one.
    pub job: Option<JobId>,
    /// The step; in a batch script [`StepId::BATCH`], in a shell of `salloc` none.
    pub step: Option<StepId>,
    /// This process among all, if a launcher started it.
    pub ranks: Option<Ranks>,
    /// Slurm's name of this node.
    pub node: Option<String>,
    /// The nodes of the step, else of the job, compressed as Slurm writes them.
    pub nodes: Option<String>,
}

/// One process among those started together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranks {
    /// Its rank among all.
    pub rank: Rank,
    /// Its place on its node, if told.
    pub local_rank: Option<u32>,
    /// How many there are.
    pub world_size: u32,
}

/// How each launcher names rank, local rank and world size, the most specific first. PMI
/// libraries stand before Slurm because `mpiexec` may run inside a step of one task a node.
const LAUNCHERS: [[&str; 3]; 5] = [
    [
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_SIZE",
    ],
    [
        "MV2_COMM_WORLD_RANK",
        "MV2_COMM_WORLD_LOCAL_RANK",
        "MV2_COMM_WORLD_SIZE",
    ],
    ["PALS_RANKID", "PALS_LOCAL_RANKID", "PALS_SIZE"],
    ["PMI_RANK", "MPI_LOCALRANKID", "PMI_SIZE"],
    ["SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NUM_TASKS"],
];

impl JobContext {
    /// Reads this process's environment.
    #[must_use]
    pub fn from_env() -> Self {
        Self::read(|name| std::env::var(name).ok())
    }

    /// Reads the environment that `variable` looks up.
    #[must_use]
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let number = |name: &str| variable(name)?.parse::<u32>().ok();
        let job = number("SLURM_JOB_ID").map(JobId);
        Self {
            job,
            step: job.and_then(|_| step(&variable)),
            ranks: LAUNCHERS.iter().find_map(|[rank, local_rank, size]| {
                let (rank, world_size) = (number(rank)?, number(size)?);
                let local_rank = number(local_rank);
                (rank < world_size).then_some(Ranks {
                    rank: Rank(rank),
                    local_rank,
                    world_size,
                })
            }),
            node: variable("SLURMD_NODENAME"),
            nodes: variable("SLURM_STEP_NODELIST").or_else(|| variable("SLURM_JOB_NODELIST")),
        }
    }
}

/// Slurm sets no step id in a batch script, but a task id (always 0).
fn step(variable: impl Fn(&str) -> Option<String>) -> Option<StepId> {
    match variable("SLURM_STEP_ID") {
        Some(text) => text.parse().ok(),
        None => variable("SLURM_PROCID").map(|_| StepId::BATCH),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> JobContext {
        JobContext::read(|name| {
            let found = variables.iter().find(|(given, _)| *given == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn ranks(rank: u32, local_rank: Option<u32>, world_size: u32) -> Option<Ranks> {
        Some(Ranks {
            rank: Rank(rank),
            local_rank,
            world_size,
        })
    }

    const BATCH: [(&str, &str); 6] = [
        ("SLURM_JOB_ID", "12"),
        ("SLURM_PROCID", "0"),
        ("SLURM_LOCALID", "0"),
        ("SLURM_NTASKS", "8"),
        ("SLURM_JOB_NODELIST", "n[1-2]"),
        ("SLURMD_NODENAME", "n1"),
    ];

    #[test]
    fn outside_slurm_nothing_is_known() {
        assert_eq!(read(&[]), JobContext::default());
    }

    #[test]
    fn a_batch_script_is_the_batch_step_without_ranks() {
        let context = read(&BATCH);
        assert_eq!(context.job, Some(JobId(12)));
        assert_eq!(context.step, Some(StepId::BATCH));
        assert_eq!(context.ranks, None);
        assert_eq!(context.nodes.as_deref(), Some("n[1-2]"));
        assert_eq!(context.node.as_deref(), Some("n1"));
    }

    #[test]
    fn a_shell_of_salloc_has_a_job_but_no_step() {
        let context = read(&[("SLURM_JOB_ID", "12"), ("SLURM_NTASKS", "2")]);
        assert_eq!(
            (context.job, context.step, context.ranks),
            (Some(JobId(12)), None, None)
        );
    }

    #[test]
    fn an_srun_step_takes_slurms_ranks_and_the_steps_nodes() {
        let mut variables = BATCH.to_vec();
        variables.extend([("SLURM_STEP_ID", "3"), ("SLURM_STEP_NODELIST", "n2")]);
        variables.push(("SLURM_STEP_NUM_TASKS", "4"));
        let context = read(&variables);
        assert_eq!(context.step, Some(StepId(3)));
        assert_eq!(context.ranks, ranks(0, Some(0), 4));
        assert_eq!(context.nodes.as_deref(), Some("n2"));
    }

    #[test]
    fn mpirun_in_a_batch_script_counts_before_slurm() {
        let mut variables = BATCH.to_vec();
        variables.extend([("OMPI_COMM_WORLD_RANK", "5"), ("OMPI_COMM_WORLD_SIZE", "8")]);
        variables.push(("OMPI_COMM_WORLD_LOCAL_RANK", "1"));
        assert_eq!(read(&variables).ranks, ranks(5, Some(1), 8));
    }

    #[test]
    fn values_that_contradict_themselves_are_passed_over() {
        let lying = [
            ("PMI_RANK", "9"),
            ("PMI_SIZE", "4"),
            ("SLURM_JOB_ID", "twelve"),
        ];
        assert_eq!(read(&lying), JobContext::default());
    }
}

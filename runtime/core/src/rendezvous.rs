//! The environment with which the ranks of a step find each other: PyTorch, Horovod, JAX.
//!
//! The SPANK plugin calls this for every task; it is pure, so that it works with no daemon and
//! can be tested without Slurm. What a step is comes from Slurm ([`Step`]); which variables to
//! leave alone because the user set them is [`may_set`]'s to say.
//!
//! | For | Variables |
//! |---|---|
//! | PyTorch `env://` | `MASTER_ADDR MASTER_PORT WORLD_SIZE RANK LOCAL_RANK LOCAL_WORLD_SIZE GROUP_RANK GROUP_WORLD_SIZE` |
//! | DeepSpeed | PyTorch's, and `CROSS_RANK CROSS_SIZE` |
//! | Horovod | `HOROVOD_{HOSTNAME,RANK,SIZE,LOCAL_RANK,LOCAL_SIZE,CROSS_RANK,CROSS_SIZE}` |
//! | JAX | `JAX_COORDINATOR_ADDRESS`: its own Slurm detection takes the port from the job alone |
//!
//! Left out on purpose: `HOROVOD_CONTROLLER` and `HOROVOD_GLOO_RENDEZVOUS_*`, because they name
//! a server that the user has to start and would take a Horovod built on MPI off MPI; and
//! `CUDA_VISIBLE_DEVICES`, which is Slurm's.

use crate::ids::{JobId, Rank, StepId};
use crate::nodelist::MAX_NODES;

/// The lowest port [`ports`] gives.
///
/// The range 12000-26997 lies below the kernel's ephemeral ports (32768-60999 by default),
/// Kubernetes' NodePorts (30000), PyTorch's own 29500 and the licence servers at 27000, and
/// above most daemons.
pub const FIRST_PORT: u16 = 12_000;

/// How many pairs of ports there are. A prime, so that no stride below it repeats early.
pub const PORT_PAIRS: u16 = 7_499;

/// How many pairs one job's number moves; a step's number moves one. Jobs and steps then form a
/// lattice modulo [`PORT_PAIRS`], and of all strides none keeps equal ports further apart.
const JOB_STRIDE: i64 = 87;

/// Two steps surely have different ports if neither their jobs' nor their own numbers are
/// further apart than this; of those further apart, one in 7499 share theirs.
pub const SURE_DISTANCE: u32 = 85;

/// A step as Slurm laid it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its job.
    pub job: JobId,
    /// The step.
    pub step: StepId,
    /// The host where rank 0 runs.
    pub first_node: String,
    /// Tasks on each node, in the order of the node list.
    pub tasks_per_node: Vec<u32>,
}

/// One task of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its global rank.
    pub rank: Rank,
    /// Its place on its node.
    pub local_rank: u32,
    /// Its node's place in the step's node list.
    pub node_index: u32,
}

/// The two ports of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// `MASTER_PORT`: PyTorch's store listens here.
    pub master: u16,
    /// JAX's coordinator listens here, so that one program may use both.
    pub coordinator: u16,
}

/// A variable and its value.
pub type Variable = (&'static str, String);

/// Returns the ports of a step: the same on every rank, different for steps that may run at
/// the same time (see [`SURE_DISTANCE`]).
#[must_use]
pub fn ports(job: JobId, step: StepId) -> Ports {
    // Slurm's named steps are small negative numbers in two's complement: near step 0.
    let step = i64::from(step.0.cast_signed());
    let place = (i64::from(job.0) * JOB_STRIDE + step).rem_euclid(i64::from(PORT_PAIRS));
    let pair = u16::try_from(place).expect("a remainder is below its divisor");
    let master = FIRST_PORT + 2 * pair;
    Ports {
        master,
        coordinator: master + 1,
    }
}

impl Step {
    /// Ranks over all nodes.
    #[must_use]
    pub fn world_size(&self) -> u64 {
        self.tasks_per_node
            .iter()
            .map(|count| u64::from(*count))
            .sum()
    }

    /// The variables that any process of the step may use, whatever its rank: where to meet.
    #[must_use]
    pub fn meeting_place(&self) -> Vec<Variable> {
        let ports = ports(self.job, self.step);
        vec![
            ("MASTER_ADDR", self.first_node.clone()),
            ("MASTER_PORT", ports.master.to_string()),
            (
                "JAX_COORDINATOR_ADDRESS",
                format!("{}:{}", self.first_node, ports.coordinator),
            ),
        ]
    }

    /// The variables that are the same for all tasks of one node, beside the meeting place.
    #[must_use]
    pub fn of_node(&self, node_index: u32, node: &str) -> Vec<Variable> {
        let world = self.world_size().to_string();
        let local = self.tasks_on(node_index).to_string();
        vec![
            ("WORLD_SIZE", world.clone()),
            ("LOCAL_WORLD_SIZE", local.clone()),
            ("GROUP_RANK", node_index.to_string()),
            ("GROUP_WORLD_SIZE", self.tasks_per_node.len().to_string()),
            ("HOROVOD_HOSTNAME", node.to_owned()),
            ("HOROVOD_SIZE", world),
            ("HOROVOD_LOCAL_SIZE", local),
        ]
    }

    /// The variables that differ between the tasks of a node.
    #[must_use]
    pub fn of_task(&self, task: Task) -> Vec<Variable> {
        let rank = task.rank.to_string();
        let local = task.local_rank.to_string();
        let (cross_rank, cross_size) = self.cross(task);
        let (cross_rank, cross_size) = (cross_rank.to_string(), cross_size.to_string());
        vec![
            ("RANK", rank.clone()),
            ("LOCAL_RANK", local.clone()),
            ("CROSS_RANK", cross_rank.clone()),
            ("CROSS_SIZE", cross_size.clone()),
            ("HOROVOD_RANK", rank),
            ("HOROVOD_LOCAL_RANK", local),
            ("HOROVOD_CROSS_RANK", cross_rank),
            ("HOROVOD_CROSS_SIZE", cross_size),
        ]
    }

    fn tasks_on(&self, node_index: u32) -> u32 {
        let index = usize::try_from(node_index).unwrap_or(usize::MAX);
        self.tasks_per_node.get(index).copied().unwrap_or(0)
    }

    /// A task's place among the tasks with its local rank, one per node that has so many.
    fn cross(&self, task: Task) -> (usize, usize) {
        let index = usize::try_from(task.node_index).unwrap_or(usize::MAX);
        let has_peer = |count: &&u32| **count > task.local_rank;
        let before = self
            .tasks_per_node
            .iter()
            .take(index)
            .filter(has_peer)
            .count();
        let all = self.tasks_per_node.iter().filter(has_peer).count();
        (before, all)
    }
}

/// A task layout that is not one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{found}` is no task layout; expected counts like `4(x2),2` for at most {MAX_NODES} nodes"
)]
pub struct ParseLayoutError {
    found: String,
}

/// Reads `SLURM_STEP_TASKS_PER_NODE`: `4(x2),2` is four tasks on two nodes, then two on one.
///
/// # Errors
/// [`ParseLayoutError`], also for a layout of more than [`MAX_NODES`] nodes.
pub fn parse_tasks_per_node(text: &str) -> Result<Vec<u32>, ParseLayoutError> {
    let bad = || ParseLayoutError {
        found: text.chars().take(60).collect(),
    };
    let mut layout = Vec::new();
    for entry in text.split(',') {
        let (count, repeat) = match entry.split_once("(x") {
            Some((count, repeat)) => (count, repeat.strip_suffix(')').ok_or_else(bad)?),
            None => (entry, "1"),
        };
        let count: u32 = plain_number(count).ok_or_else(bad)?;
        let repeat = plain_number(repeat)
            .and_then(|n| usize::try_from(n).ok())
            .ok_or_else(bad)?;
        if repeat == 0 || repeat > MAX_NODES - layout.len() {
            return Err(bad());
        }
        layout.extend(std::iter::repeat_n(count, repeat));
    }
    Ok(layout)
}

fn plain_number(text: &str) -> Option<u32> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// Remembers in the environment what was set here, so that a step started inside this one (an
/// `srun` in a batch script, which inherits everything) can tell our values from the user's.
pub const MARK: &str = "MIZAR_RENDEZVOUS";

/// Whether `name`, which now has the value `current`, may be set: it has none, or the one that
/// an enclosing step's [`mark`] says was ours.
#[must_use]
pub fn may_set(name: &str, current: Option<&str>, inherited_mark: Option<&str>) -> bool {
    let Some(current) = current else { return true };
    inherited_mark.unwrap_or_default().split(',').any(|entry| {
        entry
            .split_once('=')
            .is_some_and(|(ours, value)| ours == name && value == current)
    })
}

/// The value of [`MARK`] for these variables, and for those of the enclosing step's mark that
/// stay as they are.
#[must_use]
pub fn mark(variables: &[Variable], inherited_mark: Option<&str>) -> String {
    let ours = |entry: &&str| {
        let name = entry.split_once('=').map_or(*entry, |(name, _)| name);
        variables.iter().any(|(ours, _)| *ours == name)
    };
    let inherited = inherited_mark.unwrap_or_default().split(',');
    let kept = inherited
        .filter(|entry| !entry.is_empty() && !ours(entry))
        .map(str::to_owned);
    let entries = variables
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    entries.chain(kept).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn step(tasks_per_node: &[u32]) -> Step {
        Step {
            job: JobId(7),
            step: StepId(0),
            first_node: "n001".to_owned(),
            tasks_per_node: tasks_per_node.to_vec(),
        }
    }

    fn map(variables: Vec<Variable>) -> HashMap<&'static str, String> {
        let count = variables.len();
        let map: HashMap<_, _> = variables.into_iter().collect();
        assert_eq!(map.len(), count, "a variable is given twice");
        map
    }

    #[test]
    fn layouts_expand_as_slurm_writes_them() {
        for (text, layout) in [
            ("1", vec![1]),
            ("4(x2),2", vec![4, 4, 2]),
            ("2,4(x2)", vec![2, 4, 4]),
            ("128(x3)", vec![128, 128, 128]),
            ("1,2,1", vec![1, 2, 1]),
        ] {
            assert_eq!(parse_tasks_per_node(text), Ok(layout), "{text}");
        }
        for text in [
            "",
            "x",
            "4(x)",
            "4(x2",
            "4(2)",
            "-1",
            "+1",
            "4(x0)",
            "1,",
            "4(x99999999)",
            "5000000000",
        ] {
            assert!(parse_tasks_per_node(text).is_err(), "{text}");
        }
        assert!(parse_tasks_per_node("1(x65536)").is_ok());
        assert!(parse_tasks_per_node("1(x65536),1").is_err());
    }

    #[test]
    fn an_uneven_step_gives_each_task_its_places() {
        let step = step(&[2, 3]);
        let node = map(step.of_node(1, "n002"));
        let task = map(step.of_task(Task {
            rank: Rank(4),
            local_rank: 2,
            node_index: 1,
        }));
        for (name, value) in [
            ("WORLD_SIZE", "5"),
            ("LOCAL_WORLD_SIZE", "3"),
            ("GROUP_RANK", "1"),
            ("GROUP_WORLD_SIZE", "2"),
            ("HOROVOD_HOSTNAME", "n002"),
            ("HOROVOD_SIZE", "5"),
            ("HOROVOD_LOCAL_SIZE", "3"),
        ] {
            assert_eq!(node[name], value, "{name}");
        }
        for (name, value) in [
            ("RANK", "4"),
            ("LOCAL_RANK", "2"),
            // The third task of its node has no peer on the first.
            ("CROSS_RANK", "0"),
            ("CROSS_SIZE", "1"),
            ("HOROVOD_RANK", "4"),
            ("HOROVOD_LOCAL_RANK", "2"),
            ("HOROVOD_CROSS_RANK", "0"),
            ("HOROVOD_CROSS_SIZE", "1"),
        ] {
            assert_eq!(task[name], value, "{name}");
        }
        let second = map(step.of_task(Task {
            rank: Rank(3),
            local_rank: 1,
            node_index: 1,
        }));
        assert_eq!(
            (second["CROSS_RANK"].as_str(), second["CROSS_SIZE"].as_str()),
            ("1", "2")
        );
    }

    #[test]
    fn all_meet_at_the_first_node_and_torch_and_jax_do_not_collide() {
        let place = map(step(&[1, 1]).meeting_place());
        let ports = ports(JobId(7), StepId(0));
        assert_eq!(place["MASTER_ADDR"], "n001");
        assert_eq!(place["MASTER_PORT"], ports.master.to_string());
        assert_eq!(
            place["JAX_COORDINATOR_ADDRESS"],
            format!("n001:{}", ports.coordinator)
        );
        assert_ne!(ports.master, ports.coordinator);
    }

    #[test]
    fn steps_within_the_sure_distance_never_share_a_port() {
        // By the lattice's symmetry the differences decide, whatever the job.
        let reach = i64::from(SURE_DISTANCE);
        for jobs in -reach..=reach {
            for steps in -reach..=reach {
                let apart = (jobs * JOB_STRIDE + steps) % i64::from(PORT_PAIRS);
                assert!(
                    apart != 0 || (jobs, steps) == (0, 0),
                    "{jobs} jobs, {steps} steps apart"
                );
            }
        }
    }

    #[test]
    fn the_users_values_win_and_our_own_from_outside_do_not() {
        let ours = [
            ("MASTER_PORT", "12000".to_owned()),
            ("RANK", "0".to_owned()),
        ];
        let outer = mark(&ours, Some("RANK=9,WORLD_SIZE=1,"));
        assert_eq!(outer, "MASTER_PORT=12000,RANK=0,WORLD_SIZE=1");
        assert!(may_set("MASTER_PORT", None, None));
        assert!(may_set("MASTER_PORT", None, Some(&outer)));
        assert!(may_set("MASTER_PORT", Some("12000"), Some(&outer)));
        assert!(!may_set("MASTER_PORT", Some("12000"), None));
        assert!(!may_set("MASTER_PORT", Some("29500"), Some(&outer)));
        assert!(!may_set("PORT", Some("12000"), Some(&outer)));
        assert!(!may_set("MASTER_ADDR", Some(""), Some(&outer)));
    }

    proptest! {
        #[test]
        fn ports_stay_in_their_range_and_keep_the_promise(
            job in 0_u32..u32::MAX,
            step in 0_u32..10_000,
            jobs_apart in 0..=SURE_DISTANCE,
            steps_apart in 0..=SURE_DISTANCE,
        ) {
            for step in [StepId(step), StepId::BATCH, StepId::EXTERN, StepId::INTERACTIVE] {
                let ports = ports(JobId(job), step);
                prop_assert!((12_000..=26_997).contains(&ports.master));
                prop_assert!(ports.coordinator < 27_000);
            }
            prop_assume!((jobs_apart, steps_apart) != (0, 0));
            let other = ports(JobId(job.saturating_sub(jobs_apart)), StepId(step + steps_apart));
            let same_job_and_step = job.saturating_sub(jobs_apart) == job && steps_apart == 0;
            prop_assert!(same_job_and_step || other != ports(JobId(job), StepId(step)));
        }

        #[test]
        fn cross_ranks_number_the_peers_without_gaps(
            layout in prop::collection::vec(0_u32..5, 1..8),
        ) {
            let step = step(&layout);
            for local_rank in 0..5 {
                let nodes = (0..).zip(&layout).filter(|(_, count)| **count > local_rank);
                let cross: Vec<(usize, usize)> = nodes
                    .map(|(node_index, _)| step.cross(Task { rank: Rank(0), local_rank, node_index }))
                    .collect();
                let expected: Vec<_> = (0..cross.len()).map(|rank| (rank, cross.len())).collect();
                prop_assert_eq!(cross, expected);
            }
        }
    }
}

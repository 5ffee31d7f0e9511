//! Job arrays: which tasks a submission has, and which of them a line of Slurm speaks of.
//!
//! A task that waits has no job of its own yet: Slurm gives the array one line for all of those,
//! and each its own id as it starts (the last one keeps the array's).

use std::fmt;

use mizar_core::ids::JobId;

/// Highest index of a task. Slurm's own default of `MaxArraySize` allows one less than 1001.
pub const MAX_INDEX: u32 = 1000;

/// One task of a job array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ArrayTask {
    /// The id of the array.
    pub array: JobId,
    /// The task's index.
    pub index: u32,
}

/// What can be cancelled alone: a job, or a task while it shares its array's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobRef {
    /// A job that has an id of its own.
    Job(JobId),
    /// A task of an array.
    Task(ArrayTask),
}

impl fmt::Display for JobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(id) => id.fmt(f),
            Self::Task(task) => write!(f, "{}_{}", task.array, task.index),
        }
    }
}

impl From<JobId> for JobRef {
    fn from(id: JobId) -> Self {
        Self::Job(id)
    }
}

/// The value of `--array` for these indices, which are in ascending order: `0-3,7`.
#[must_use]
pub fn spec(indices: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &index in indices {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == index => *last = index,
            _ => ranges.push((index, index)),
        }
    }
    let words = ranges.iter().map(|&(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    words.collect::<Vec<_>>().join(",")
}

/// The tasks that a line speaks of, from `0-3,7%2`, with squeue's brackets or without; those of an
/// array larger than any of ours are left out. None if it is no list of tasks.
pub(crate) fn tasks(text: &str) -> Option<Vec<u32>> {
    let inner = text
        .strip_prefix('[')
        .map_or(Some(text), |rest| rest.strip_suffix(']'))?;
    // How many may run at once.
    let list = inner.split_once('%').map_or(inner, |(list, _)| list);
    let mut found = Vec::new();
    for word in list.split(',') {
        // `0-8:2` is each second one.
        let (range, step) = match word.split_once(':') {
            Some((range, step)) => (range, step.parse().ok().filter(|step| *step > 0)?),
            None => (word, 1),
        };
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last {
            return None;
        }
        found.extend((first..=last.min(MAX_INDEX)).step_by(step));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_read_again() {
        for (indices, text) in [
            (&[0][..], "0"),
            (&[0, 1, 2, 3, 7], "0-3,7"),
            (&[1, 3, 4, 1000], "1,3-4,1000"),
        ] {
            assert_eq!(spec(indices), text);
            assert_eq!(tasks(text).unwrap(), indices);
            assert_eq!(tasks(&format!("[{text}%5]")).unwrap(), indices);
        }
        assert_eq!(tasks("0-8:4").unwrap(), [0, 4, 8]);
    }

    #[test]
    fn what_is_no_list_is_none_and_what_is_huge_stays_small() {
        for text in ["", "N/A", "3-1", "1,...", "[1-2", "0-8:0", "-1", "1-x"] {
            assert_eq!(tasks(text), None, "{text}");
        }
        assert_eq!(tasks("0-4000000").unwrap().len(), 1001);
        assert!(tasks("5000-4000000").unwrap().is_empty());
    }

    #[test]
    fn a_task_is_named_as_slurm_does() {
        let task = ArrayTask {
            array: JobId(12),
            index: 3,
        };
        assert_eq!(JobRef::Task(task).to_string(), "12_3");
        assert_eq!(JobRef::from(JobId(12)).to_string(), "12");
    }
}

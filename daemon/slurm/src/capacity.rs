//! What the machine has: the lines of sinfo, summed over the nodes that take jobs.

use std::collections::HashSet;

/// `--Format` of sinfo; a node is there once for each of its partitions.
pub(crate) const NODE_FORMAT: &str = "NodeHost:|,StateLong:|,CPUs:|,Memory:|,Gres:|";

/// Words of the states in which a node takes jobs, perhaps after it was switched on.
const USABLE: [&str; 6] = [
    "allocated",
    "completing",
    "idle",
    "mixed",
    "planned",
    "reserved",
];

/// What the usable nodes have together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Usable nodes.
    pub nodes: u64,
    /// Their CPUs, as Slurm counts them.
    pub cpus: u64,
    /// Their memory.
    pub memory_mib: u64,
    /// Their generic resources: name, type or nothing, count.
    pub gres: Vec<(String, String, u64)>,
}

impl Capacity {
    /// How many there are of a generic resource: `gpu` counts all, `gpu:a100` those of a type.
    #[must_use]
    pub fn gres_count(&self, word: &str) -> u64 {
        let (name, kind) = word.split_once(':').unwrap_or((word, ""));
        let fits =
            |one: &&(String, String, u64)| one.0 == name && (kind.is_empty() || one.1 == kind);
        self.gres.iter().filter(fits).map(|one| one.2).sum()
    }
}

/// Sums the lines; the first that is none of sinfo's is the error.
pub(crate) fn capacity(text: &str) -> Result<Capacity, &str> {
    let mut found = Capacity::default();
    let mut seen = HashSet::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let [name, state, cpus, memory, gres, ..] = fields[..] else {
            return Err(line);
        };
        let cpus: u64 = cpus.parse().map_err(|_| line)?;
        let memory: u64 = memory.parse().map_err(|_| line)?;
        if !seen.insert(name) || !is_usable(state) {
            continue;
        }
        found.nodes += 1;
        found.cpus = found.cpus.saturating_add(cpus);
        found.memory_mib = found.memory_mib.saturating_add(memory);
        found.gres.extend(entries(gres).filter_map(entry));
    }
    Ok(found)
}

/// `idle`, `idle~`, `mixed-`; but not `idle+drain` or `down*`.
fn is_usable(state: &str) -> bool {
    let word: String = state
        .chars()
        .take_while(char::is_ascii_alphabetic)
        .collect();
    let word = word.to_ascii_lowercase();
    let state = state.to_ascii_lowercase();
    let lost = ["drain", "down", "fail", "not_responding"]
        .iter()
        .any(|end| state.contains(end));
    USABLE.contains(&word.as_str()) && !lost && !state.ends_with('*')
}

/// Entries are parted by commas, and sets of sockets in brackets hold some.
fn entries(gres: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    gres.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
}

/// `gpu:2`, `gpu:a100:2(S:0-1)`.
fn entry(text: &str) -> Option<(String, String, u64)> {
    let plain = text.split('(').next()?.trim();
    let mut parts = plain.split(':');
    let name = parts.next().filter(|name| !name.is_empty())?;
    let (first, second) = (parts.next(), parts.next());
    let (kind, count) = match (first, second) {
        (Some(kind), Some(count)) => (kind, count),
        (Some(count), None) => ("", count),
        _ => return None,
    };
    Some((name.to_owned(), kind.to_owned(), count.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usable_nodes_are_counted_once() {
        let text = "n1|idle|4|8000|gpu:a100:2(S:0-1),gpu:1|\nn1|idle|4|8000|gpu:a100:2(S:0-1),gpu:1|\n\
                    n2|mixed|8|16000|(null)|\nn3|down*|4|8000|gpu:2|\nn4|drained|4|8000|gpu:2|\n\
                    n5|idle~|2|1000|gpu:h100:4(S:0,1),nic:1|\nn6|idle*|2|1000||\n";
        let found = capacity(text).unwrap();
        assert_eq!((found.nodes, found.cpus, found.memory_mib), (3, 14, 25_000));
        assert_eq!(found.gres_count("gpu"), 7);
        assert_eq!(found.gres_count("gpu:a100"), 2);
        assert_eq!(found.gres_count("nic"), 1);
        assert_eq!(found.gres_count("fpga"), 0);
        assert_eq!(capacity("n1|idle|x|1||"), Err("n1|idle|x|1||"));
        assert_eq!(capacity("sinfo: hello"), Err("sinfo: hello"));
        assert_eq!(capacity("").unwrap(), Capacity::default());
    }
}

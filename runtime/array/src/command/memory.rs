//! Amounts of memory: as typed, and as Slurm tells them.

/// Of what Slurm gives a rank, the part that series may take.
const SHARE: u64 = 2;

const MIB: u64 = 1 << 20;

/// `512M`, `2G`, `64K`, or bytes.
pub(super) fn parse(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(['B', 'b']).trim_end_matches('i');
    let (digits, unit) = match digits.chars().last()?.to_ascii_uppercase() {
        'K' => (&digits[..digits.len() - 1], 1 << 10),
        'M' => (&digits[..digits.len() - 1], MIB),
        'G' => (&digits[..digits.len() - 1], 1 << 30),
        'T' => (&digits[..digits.len() - 1], 1 << 40),
        _ => (digits, 1),
    };
    let number: f64 = digits.parse().ok()?;
    let bytes = number * unit as f64;
    (1.0..1e18).contains(&bytes).then_some(bytes as u64)
}

/// The share of a rank in what Slurm gave the job: it tells MiB, of a node or of a CPU.
pub(super) fn of_slurm(variable: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let number = |name: &str| {
        let text = variable(name)?;
        // `4(x2),3`: tasks on the first nodes, and on others.
        let digits = text.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse::<u64>().ok().filter(|&number| number > 0)
    };
    let of_rank = match number("SLURM_MEM_PER_CPU") {
        Some(of_cpu) => of_cpu * number("SLURM_CPUS_PER_TASK").unwrap_or(1),
        None => {
            let ranks = number("SLURM_STEP_TASKS_PER_NODE").or(number("SLURM_TASKS_PER_NODE"));
            number("SLURM_MEM_PER_NODE")? / ranks.unwrap_or(1)
        }
    };
    of_rank.checked_mul(MIB / SHARE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read() {
        for (text, expected) in [
            ("2G", Some(2 << 30)),
            ("512M", Some(512 << 20)),
            ("1.5k", Some(1536)),
            ("64MiB", Some(64 << 20)),
            ("1000", Some(1000)),
            ("0", None),
            ("-1G", None),
            ("much", None),
            ("", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn slurm_tells_of_nodes_or_cpus() {
        let of = |pairs: &[(&str, &str)]| {
            of_slurm(|name| {
                let found = pairs.iter().find(|(known, _)| *known == name);
                found.map(|(_, text)| (*text).to_owned())
            })
        };
        assert_eq!(of(&[]), None);
        let node = ("SLURM_MEM_PER_NODE", "1024");
        assert_eq!(of(&[node]), Some(512 << 20));
        let tasks = ("SLURM_TASKS_PER_NODE", "4(x2),3");
        assert_eq!(of(&[node, tasks]), Some(128 << 20));
        let cpu = ("SLURM_MEM_PER_CPU", "100");
        assert_eq!(of(&[cpu, ("SLURM_CPUS_PER_TASK", "4")]), Some(200 << 20));
    }
}

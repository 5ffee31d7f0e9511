//! A job's time limit, from what Slurm puts into its environment.

/// Slurm writes "no limit" as an end far away.
const NO_LIMIT_S: u64 = 10 * 366 * 86_400;

/// The difference of `SLURM_JOB_END_TIME` and `SLURM_JOB_START_TIME` (Unix seconds); `None` of an
/// older Slurm, which has neither, and of a job without a limit.
pub(super) fn from_variables(start: &str, end: &str) -> Option<u64> {
    let limit_s = end.parse::<u64>().ok()?.checked_sub(start.parse().ok()?)?;
    (1..NO_LIMIT_S).contains(&limit_s).then_some(limit_s)
}

#[cfg(test)]
mod tests {
    use super::from_variables;

    #[test]
    fn only_a_real_limit_is_one() {
        assert_eq!(from_variables("1790000000", "1790003600"), Some(3600));
        for (start, end) in [
            ("", ""),
            ("1790000000", ""),
            ("1790000000", "1790000000"),
            ("1790000001", "1790000000"),
            ("0", "4294967294"),
            ("x", "1"),
        ] {
            assert_eq!(from_variables(start, end), None, "{start} to {end}");
        }
    }
}

//! The lines of squeue and sacct, in the formats that [`crate::cli`] asks for.

use crate::marker::PREFIX;
use crate::state::{JobState, exit_code};
use crate::{JobId, JobReport, Marker};

/// `--Format` of squeue. The comment is last because it alone may hold the separator; the
/// name comes before it because a site's submit plugin may replace the comment.
pub(crate) const QUEUE_FORMAT: &str =
    "JobID:|,UserName:|,State:|,exit_code:|,Reason:|,Name:|,Comment:|";

/// `--format` of sacct.
pub(crate) const ACCOUNT_FORMAT: &str = "JobIDRaw,User,State,ExitCode,Reason,JobName,Comment";

/// Fields of both formats.
const FIELDS: usize = 7;

/// Reads one line: a job of ours, None for somebody else's, or the line itself
/// if it is not in the format asked for.
///
/// A job is ours if its comment or its name is a marker.
fn job(line: &str) -> Result<Option<JobReport>, &str> {
    let fields: Vec<&str> = line.splitn(FIELDS, '|').collect();
    let [id, user, state, code, reason, name, comment] = fields[..] else {
        return Err(line);
    };
    let comment = comment.strip_suffix('|').unwrap_or(comment);
    let Ok(marker) = comment
        .trim()
        .parse::<Marker>()
        .or_else(|_| name.trim().parse())
    else {
        return Ok(None);
    };
    let id: JobId = id.trim().parse().map_err(|_| line)?;
    let state = JobState::parse(state).map_err(|_| line)?;
    let reason = match reason.trim() {
        "None" | "(null)" | "Unknown" => String::new(),
        word => word.to_owned(),
    };
    let exit_code = state.phase().is_final().then(|| {
        let own = exit_code(code.trim()).unwrap_or(0);
        if own == 0 {
            state.default_exit_code()
        } else {
            own
        }
    });
    Ok(Some(JobReport {
        id,
        marker,
        user: user.trim().to_owned(),
        state,
        exit_code,
        reason,
    }))
}

/// Reads all lines; jobs of others are left out.
///
/// The name of another's job may hold a line break. What it leaves is passed over where it
/// cannot be of ours and other lines are as expected; a table without any such is an error.
pub(crate) fn jobs(text: &str) -> Result<Vec<JobReport>, &str> {
    let (mut found, mut odd, mut as_expected) = (Vec::new(), None, false);
    for line in text.lines().filter(|line| !line.is_empty()) {
        match job(line) {
            Ok(report) => {
                as_expected = true;
                found.extend(report);
            }
            Err(line) if line.contains(PREFIX) => return Err(line),
            Err(line) => odd = odd.or(Some(line)),
        }
    }
    match odd {
        Some(line) if !as_expected => Err(line),
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const M: &str = "mizar:svc:0123456789abcdef0123456789abcdef";

    #[test]
    fn lines_of_squeue_22_05() {
        let text = format!(
            "1|ann|COMPLETED|0|None|{M}|{M}|\n\
             5|ann|FAILED|768|NonZeroExitCode|f.sh|a|b|\n\
             6|ann|FAILED|9|JobLaunchFailure|x|{M}|\n\
             8|ann|RUNNING|0|None|{M}|(null)|\n\
             9|ann|PENDING|0|Resources|{M}|é x|\n"
        );
        let found = jobs(&text).unwrap();
        let short: Vec<_> = found
            .iter()
            .map(|job| (job.id.0, job.state, job.exit_code, job.reason.as_str()))
            .collect();
        assert_eq!(
            short,
            [
                (1, JobState::Completed, Some(0), ""),
                (6, JobState::Failed, Some(137), "JobLaunchFailure"),
                (8, JobState::Running, None, ""),
                (9, JobState::Pending, None, "Resources"),
            ]
        );
    }

    #[test]
    fn lines_of_sacct() {
        let text =
            format!("12|ann|CANCELLED by 1000|0:15|None|{M}|\n13|ann|TIMEOUT|0:0|TimeLimit|{M}|\n");
        let found = jobs(&text).unwrap();
        assert_eq!(found[0].state, JobState::Cancelled);
        assert_eq!(found[0].exit_code, Some(143));
        assert_eq!(found[1].exit_code, Some(143));
    }

    #[test]
    fn a_strange_name_of_anothers_job_hides_none_of_ours() {
        let text = format!(
            "1|ann|PENDING|0|Resources|two\nlines|x|\n8|ann|RUNNING|0|None|{M}|one\ntwo|\n9|ann|PENDING|0|None|{M}|{M}|\n"
        );
        let ids: Vec<u32> = jobs(&text).unwrap().iter().map(|job| job.id.0).collect();
        assert_eq!(ids, [8, 9]);
        let cut = format!("1|ann|PENDING|0|None|a|b|\n9|ann|PEND\n2|{M}");
        assert!(jobs(&cut).is_err());
    }

    #[test]
    fn an_unknown_format_is_an_error_and_not_an_absence() {
        for line in [
            "garbage",
            "1|ann|RUNNING|0",
            &format!("x|ann|RUNNING|0|None|a|{M}|"),
            &format!("1|ann|HAPPY|0|None|a|{M}|"),
        ] {
            assert_eq!(jobs(line), Err(line));
        }
    }
}

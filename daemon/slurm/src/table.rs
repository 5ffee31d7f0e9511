//! The lines of squeue and sacct, in the formats that [`crate::cli`] asks for.

use crate::array::tasks as tasks_of;
use crate::marker::PREFIX;
use crate::state::{JobState, exit_code};
use crate::{ArrayTask, JobId, JobReport, Marker};

/// `--Format` of squeue. The comment is last because it alone may hold the separator; the
/// name comes before it because a site's submit plugin may replace the comment.
pub(crate) const QUEUE_FORMAT: &str =
    "JobID:|,ArrayJobID:|,ArrayTaskID:|,UserName:|,State:|,exit_code:|,Reason:|,Name:|,Comment:|";

/// `--format` of sacct.
pub(crate) const ACCOUNT_FORMAT: &str = "JobIDRaw,JobID,User,State,ExitCode,Reason,JobName,Comment";

/// What a table calls the tasks of an array.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Form {
    /// squeue: the array's id, then the list of tasks.
    Queue,
    /// sacct: `12_3` or `12_[4-9]`; a plain job has its number alone.
    Account,
}

impl Form {
    /// Fields of a line.
    fn fields(self) -> usize {
        match self {
            Self::Queue => 9,
            Self::Account => 8,
        }
    }
}

/// Reads one line: a job of ours, one for each task if it speaks of several, none if it is
/// somebody else's, or the line itself if it is not in the format asked for.
///
/// A job is ours if its comment or its name is a marker.
fn job(form: Form, line: &str) -> Result<Vec<JobReport>, &str> {
    let fields: Vec<&str> = line.splitn(form.fields(), '|').collect();
    let (id, array, tasks, rest) = match (form, &fields[..]) {
        (Form::Queue, [id, array, tasks, rest @ ..]) => (*id, *array, *tasks, rest),
        (Form::Account, [id, array, rest @ ..]) => {
            let (array, tasks) = array.split_once('_').unwrap_or((array, ""));
            (*id, array, tasks, rest)
        }
        _ => return Err(line),
    };
    let [user, state, code, reason, name, comment] = rest[..] else {
        return Err(line);
    };
    let comment = comment.strip_suffix('|').unwrap_or(comment);
    let Ok(marker) = comment
        .trim()
        .parse::<Marker>()
        .or_else(|_| name.trim().parse())
    else {
        return Ok(Vec::new());
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
    let report = |task| JobReport {
        id,
        task,
        marker: marker.clone(),
        user: user.trim().to_owned(),
        state,
        exit_code,
        reason: reason.clone(),
    };
    match tasks.trim() {
        "" | "N/A" => Ok(vec![report(None)]),
        list => {
            let array: JobId = array.trim().parse().map_err(|_| line)?;
            let indices = tasks_of(list).ok_or(line)?;
            let tasks = indices.into_iter().map(|index| ArrayTask { array, index });
            Ok(tasks.map(|task| report(Some(task))).collect())
        }
    }
}

/// Reads all lines; jobs of others are left out.
///
/// The name of another's job may hold a line break. What it leaves is passed over where it
/// cannot be of ours and other lines are as expected; a table without any such is an error.
pub(crate) fn jobs(form: Form, text: &str) -> Result<Vec<JobReport>, &str> {
    let (mut found, mut odd, mut as_expected) = (Vec::new(), None, false);
    for line in text.lines().filter(|line| !line.is_empty()) {
        match job(form, line) {
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
            "1|1|N/A|ann|COMPLETED|0|None|{M}|{M}|\n\
             5|5|N/A|ann|FAILED|768|NonZeroExitCode|f.sh|a|b|\n\
             6|6|N/A|ann|FAILED|9|JobLaunchFailure|x|{M}|\n\
             8|8|N/A|ann|RUNNING|0|None|{M}|(null)|\n\
             9|9|N/A|ann|PENDING|0|Resources|{M}|é x|\n"
        );
        let found = jobs(Form::Queue, &text).unwrap();
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
        let text = format!(
            "12|12|ann|CANCELLED by 1000|0:15|None|{M}|\n13|13|ann|TIMEOUT|0:0|TimeLimit|{M}|\n"
        );
        let found = jobs(Form::Account, &text).unwrap();
        assert_eq!(found[0].state, JobState::Cancelled);
        assert_eq!(found[0].exit_code, Some(143));
        assert_eq!(found[1].exit_code, Some(143));
    }

    #[test]
    fn a_strange_name_of_anothers_job_hides_none_of_ours() {
        let text = format!(
            "1|1|N/A|ann|PENDING|0|Resources|two\nlines|x|\n8|8|N/A|ann|RUNNING|0|None|{M}|one\ntwo|\n9|9|N/A|ann|PENDING|0|None|{M}|{M}|\n"
        );
        let ids: Vec<u32> = jobs(Form::Queue, &text)
            .unwrap()
            .iter()
            .map(|job| job.id.0)
            .collect();
        assert_eq!(ids, [8, 9]);
        let cut = format!("1|1|N/A|ann|PENDING|0|None|a|b|\n9|9|N/A|ann|PEND\n2|{M}");
        assert!(jobs(Form::Queue, &cut).is_err());
    }

    #[test]
    fn an_unknown_format_is_an_error_and_not_an_absence() {
        for line in [
            "garbage",
            "1|1|N/A|ann|RUNNING|0",
            &format!("x|1|N/A|ann|RUNNING|0|None|a|{M}|"),
            &format!("1|1|N/A|ann|HAPPY|0|None|a|{M}|"),
            &format!("1|1|3,...|ann|PENDING|0|None|a|{M}|"),
            &format!("1|x|3|ann|PENDING|0|None|a|{M}|"),
        ] {
            assert_eq!(jobs(Form::Queue, line), Err(line));
        }
        let cut = format!("1|1_[3-|ann|PENDING|0:0|None|{M}|");
        assert_eq!(jobs(Form::Account, &cut), Err(&*cut));
    }

    #[test]
    fn tasks_of_an_array_are_told_apart() {
        let queue = format!(
            "1|1|2,4-5%2|ann|PENDING|0|JobArrayTaskLimit|{M}|{M}|\n\
             2|1|0|ann|RUNNING|0|None|{M}|{M}|\n3|1|1|ann|FAILED|256|NonZeroExitCode|{M}|{M}|\n"
        );
        let account = format!(
            "1|1_[2,4-5%2]|ann|PENDING|0:0|None|{M}|\n2|1_0|ann|RUNNING|0:0|None|{M}|\n\
             3|1_1|ann|FAILED|1:0|None|{M}|\n"
        );
        for (form, text) in [(Form::Queue, &queue), (Form::Account, &account)] {
            let found = jobs(form, text).unwrap();
            let short = found
                .iter()
                .map(|job| (job.id.0, job.handle().to_string(), job.exit_code));
            let expected = [
                (1, "1_2", None),
                (1, "1_4", None),
                (1, "1_5", None),
                (2, "1_0", None),
                (3, "1_1", Some(1)),
            ];
            assert!(short.eq(expected.map(|(id, task, code)| (id, task.to_owned(), code))));
        }
    }
}

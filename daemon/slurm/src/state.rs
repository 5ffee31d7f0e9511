//! Slurm's job states: parsed as whole tokens, and folded into the phases that matter to a
//! caller.
//!
//! Source: slurm.h (`job_states`, the state flags) and squeue(1), Slurm 22.05 to 24.11.

use std::fmt;

/// Where a job stands, whatever the scheduler calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not started, or waiting to start again.
    Waiting,
    /// Started and not ended.
    Running,
    /// Ended well.
    Completed,
    /// Ended badly.
    Failed,
    /// Ended by a person, a time limit or a more important job.
    Cancelled,
}

impl Phase {
    /// Whether the job will not change any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

macro_rules! states {
    ($($variant:ident $code:literal $name:literal $phase:ident $exit:literal;)+) => {
        /// A job state of Slurm.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum JobState {
            $(#[doc = concat!("`", $name, "`, `", $code, "` for short.")] $variant,)+
        }

        impl JobState {
            /// Every state.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name as squeue and sacct print it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// The compact code.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code),+ }
            }

            /// The phase.
            #[must_use]
            pub fn phase(self) -> Phase {
                match self { $(Self::$variant => Phase::$phase),+ }
            }

            /// What to report for a job that ended in this state and left no code of its own.
            #[must_use]
            pub fn default_exit_code(self) -> i32 {
                match self { $(Self::$variant => $exit),+ }
            }

            /// Parses one whole token: a name or a code.
            fn from_token(token: &str) -> Option<Self> {
                match token { $($name | $code => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

states! {
    Pending "PD" "PENDING" Waiting 0;
    Configuring "CF" "CONFIGURING" Waiting 0;
    Requeued "RQ" "REQUEUED" Waiting 0;
    RequeueFed "RF" "REQUEUE_FED" Waiting 0;
    RequeueHold "RH" "REQUEUE_HOLD" Waiting 0;
    ResvDelHold "RD" "RESV_DEL_HOLD" Waiting 0;
    SpecialExit "SE" "SPECIAL_EXIT" Waiting 0;
    Revoked "RV" "REVOKED" Waiting 0;
    PowerUpNode "PU" "POWER_UP_NODE" Waiting 0;
    Running "R" "RUNNING" Running 0;
    Resizing "RS" "RESIZING" Running 0;
    Signaling "SI" "SIGNALING" Running 0;
    StageOut "SO" "STAGE_OUT" Running 0;
    Suspended "S" "SUSPENDED" Running 0;
    Stopped "ST" "STOPPED" Running 0;
    Completing "CG" "COMPLETING" Running 0;
    Completed "CD" "COMPLETED" Completed 0;
    Failed "F" "FAILED" Failed 1;
    Cancelled "CA" "CANCELLED" Cancelled 143;
    Timeout "TO" "TIMEOUT" Failed 143;
    Preempted "PR" "PREEMPTED" Cancelled 143;
    OutOfMemory "OOM" "OUT_OF_MEMORY" Failed 137;
    NodeFail "NF" "NODE_FAIL" Failed 1;
    BootFail "BF" "BOOT_FAIL" Failed 1;
    Deadline "DL" "DEADLINE" Failed 1;
}

/// Flags that slurmrestd adds to a base state and that change nothing for us.
const IGNORED_FLAGS: [&str; 4] = ["LAUNCH_FAILED", "RECONFIG_FAIL", "UPDATE_DB", "EXPEDITING"];

/// The text names no state of Slurm.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{found}` is not a job state of Slurm")]
pub struct ParseStateError {
    found: String,
}

impl JobState {
    /// Parses a state as any of Slurm's tools writes it: a name, a code, `CANCELLED by 1000`,
    /// or several flags joined by `,`, `+` or `|`. Of several, a waiting or running flag wins
    /// over the base state, because the job has not ended while it is set.
    ///
    /// # Errors
    /// [`ParseStateError`] if a token is unknown or there is none.
    pub fn parse(text: &str) -> Result<Self, ParseStateError> {
        let error = || ParseStateError {
            found: text.to_owned(),
        };
        let mut best: Option<Self> = None;
        for part in text.split([',', '+', '|']) {
            // Only "CANCELLED by <uid>" has more than one word.
            let mut words = part.split_whitespace();
            let Some(word) = words.next() else { continue };
            match (words.next(), words.next(), words.next()) {
                (None, ..) => {}
                (Some("by"), Some(_), None) if word == "CANCELLED" => {}
                _ => return Err(error()),
            }
            if IGNORED_FLAGS.contains(&word) {
                continue;
            }
            let state = Self::from_token(word).ok_or_else(error)?;
            best = Some(match best {
                Some(earlier) if earlier.weight() >= state.weight() => earlier,
                _ => state,
            });
        }
        best.ok_or_else(error)
    }

    /// Flags outweigh base states: COMPLETING over COMPLETED, REQUEUED over FAILED.
    fn weight(self) -> u8 {
        match self {
            Self::Pending | Self::Running | Self::Suspended => 0,
            _ if self.phase().is_final() => 0,
            Self::Completing | Self::Configuring | Self::PowerUpNode => 1,
            _ => 2,
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Reads the exit status of sacct or squeue: `code:signal`, or squeue's raw wait status.
///
/// A signal gives 128 + signal. None if the text is neither.
#[must_use]
pub fn exit_code(text: &str) -> Option<i32> {
    match text.split_once(':') {
        Some((code, signal)) => {
            let (code, signal): (i32, i32) = (code.parse().ok()?, signal.parse().ok()?);
            Some(if signal > 0 {
                128 + (signal & 0x7f)
            } else {
                code
            })
        }
        None => {
            let status: i32 = text.parse().ok()?;
            Some(if status & 0x7f > 0 {
                128 + (status & 0x7f)
            } else {
                status >> 8 & 0xff
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_parses_by_name_and_code() {
        for &state in JobState::ALL {
            assert_eq!(JobState::parse(state.name()), Ok(state));
            assert_eq!(JobState::parse(state.code()), Ok(state));
        }
    }

    #[test]
    fn whole_tokens_only() {
        for (text, expected) in [
            ("CANCELLED by 1000", JobState::Cancelled),
            ("CANCELLED", JobState::Cancelled),
            ("COMPLETING", JobState::Completing),
            ("COMPLETED", JobState::Completed),
            ("FAILED,COMPLETING", JobState::Completing),
            ("COMPLETED+EXPEDITING", JobState::Completed),
            ("FAILED|REQUEUED", JobState::Requeued),
            ("RUNNING,CONFIGURING", JobState::Configuring),
            ("NODE_FAIL+REQUEUED+COMPLETING", JobState::Requeued),
            (" RUNNING ", JobState::Running),
        ] {
            assert_eq!(JobState::parse(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            " ",
            "COMPLETE",
            "COMPLETEDX",
            "running",
            "FAILED by 3",
            "R D",
            "C",
            "LAUNCH_FAILED",
        ] {
            assert!(JobState::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn phases_follow_the_table() {
        for (code, phase) in [
            ("PD", Phase::Waiting),
            ("SE", Phase::Waiting),
            ("RV", Phase::Waiting),
            ("S", Phase::Running),
            ("CG", Phase::Running),
            ("CD", Phase::Completed),
            ("OOM", Phase::Failed),
            ("TO", Phase::Failed),
            ("CA", Phase::Cancelled),
        ] {
            assert_eq!(JobState::parse(code).unwrap().phase(), phase, "{code}");
        }
    }

    #[test]
    fn exit_codes_in_both_spellings() {
        for (text, expected) in [
            ("0:0", Some(0)),
            ("3:0", Some(3)),
            ("0:9", Some(137)),
            ("0:125", Some(253)),
            ("0", Some(0)),
            ("768", Some(3)),
            ("9", Some(137)),
            ("", None),
            ("N/A", None),
            ("1:", None),
        ] {
            assert_eq!(exit_code(text), expected, "{text}");
        }
    }
}

//! The words of the ledger: where a job stands, what a failure means, which door it came through.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::Serialize;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$item:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$item])* $variant,)+ }

        impl $name {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word in the ledger, in answers and on the command line.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The value of a word.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::from(self.word()))
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                Self::from_word(value.as_str()?).ok_or(FromSqlError::InvalidType)
            }
        }
    };
}

words! {
    /// Where an event stands for one service.
    State {
        /// Accepted; waits for submission.
        Received = "received",
        /// sbatch may run at any moment from the time this was on disk.
        Submitting = "submitting",
        /// sbatch gave no certain answer: a look by marker decides.
        Unsure = "unsure",
        /// Waits for the other events that its service's job needs.
        Gathering = "gathering",
        /// In Slurm, not started.
        Submitted = "submitted",
        /// Started.
        Running = "running",
        /// Ended well.
        Completed = "completed",
        /// Ended badly.
        Failed = "failed",
        /// Cancelled or preempted.
        Cancelled = "cancelled",
        /// Started, and Slurm no longer knows how it ended.
        Vanished = "vanished",
        /// One of several events that another job was made for.
        Joined = "joined",
        /// A dead letter: it never became a job.
        Dead = "dead",
    }
}

words! {
    /// What sbatch's failure means if the look finds no job.
    Verdict {
        /// Nothing was sent: again, without counting.
        Unavailable = "unavailable",
        /// Slurm said never: a dead letter.
        Refused = "refused",
        /// It may still arrive: look twice, then again.
        Unknown = "unknown",
        /// The gateway itself was killed: as unknown, without counting.
        Interrupted = "interrupted",
    }
}

words! {
    /// Which front door a job came through; it says how its batch script is made.
    Door {
        /// A configured service: its script, with the event's parameters.
        Event = "event",
        /// A pod of the interLink API.
        Pod = "pod",
        /// A job of a service of the OSCAR API.
        Oscar = "oscar",
        /// A warm worker of the OSCAR API's synchronous calls.
        Worker = "worker",
    }
}

impl State {
    /// Whether nothing more will happen to the job.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Completed
                | Self::Failed
                | Self::Cancelled
                | Self::Vanished
                | Self::Joined
                | Self::Dead
        )
    }

    /// Whether an operator may ask for another job.
    #[must_use]
    pub fn can_retry(self) -> bool {
        matches!(
            self,
            Self::Failed | Self::Cancelled | Self::Vanished | Self::Dead
        )
    }
}

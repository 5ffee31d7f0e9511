//! What Slurm's own words say of a submission that failed: never sent, never to be accepted,
//! or not certain. sbatch and slurmrestd report the same texts, of slurm_errno.c.

use tracing::warn;

use crate::SubmitOutcome;

/// Longest text of Slurm's that is kept in a message.
const MAX_MESSAGE_BYTES: usize = 400;

/// The request never reached the controller. Source: slurm_errno.c and the client's connect
/// path, 20.11 to 24.11; a *receive* failure is deliberately absent, the request was sent by
/// then.
const NOT_SENT: [&str; 2] = [
    "(connect failure)",
    "Could not establish a configuration source",
];

/// The request can never succeed as it is. Source: slurm_errno.c and sbatch's own checks.
const REFUSALS: [&str; 22] = [
    "Invalid partition name",
    "Invalid account or account/partition combination",
    "Invalid qos",
    "Invalid feature specification",
    "Invalid generic resource (gres) specification",
    "Invalid job array specification",
    "Invalid license specification",
    "Invalid Trackable RESource",
    "Invalid wckey",
    "Invalid reservation",
    "Requested reservation is invalid",
    "Requested node configuration is not available",
    "Requested partition configuration not available",
    "Requested time limit is invalid",
    "Node count specification invalid",
    "More processors requested than permitted",
    "Memory required by task is not available",
    "User's group not permitted to use this partition",
    "Access/permission denied",
    "unrecognized option",
    "Unable to open file",
    "This does not look like a batch script",
];

/// What a failure means: `text` is all that Slurm said, `message` the part worth keeping.
pub(crate) fn failure(text: &str, message: String) -> SubmitOutcome {
    let said = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
    if said(&NOT_SENT) {
        SubmitOutcome::Unavailable(message)
    } else if said(&REFUSALS) {
        SubmitOutcome::Refused(message)
    } else {
        warn!(%message, "a submission failed for a reason that is not certain");
        SubmitOutcome::Unknown(message)
    }
}

/// Cuts at a character, and keeps control characters out of logs and tables.
pub(crate) fn shorten(text: &str) -> String {
    let mut short = String::new();
    for c in text
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
    {
        if short.len() + c.len_utf8() > MAX_MESSAGE_BYTES {
            short.push('…');
            break;
        }
        short.push(c);
    }
    short
}

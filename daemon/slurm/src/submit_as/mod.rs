//! Jobs of other users: what is said over the unix socket between a gateway without privileges
//! and `mizar-submit-as`, the small program that has them.
//!
//! An [`Order`] names a user and a task; the [`Reply`] says what came of it. Both are JSON behind
//! their length. The helper runs Slurm's own programs and nothing else, as that user and never
//! as root, and makes folders of jobs below the one place that its configuration names.
//!
//! Invariants:
//! - the socket's peer is the gateway's user by the kernel's word, or is hung up on;
//! - a user is one that the helper's own configuration allows, whatever the order says;
//! - whatever is done for a user is done by a process that has given up every right but theirs;
//! - an order is carried out only if all of it arrived.
//!
//! Left out on purpose: any decision about jobs. A gateway that was taken over can submit as the
//! allowed users, which is what it is for, and can do nothing as anybody else.

mod client;
mod config;
mod ffi;
mod place;
mod server;

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::JobFile;

pub use client::{SubmitAs, SubmitAsError};
pub use config::{Config, ConfigError};
pub use place::prepare_from_stdin;
pub use server::serve;

/// Largest order: a pod with its maps, in base64.
const MAX_ORDER_BYTES: u32 = 32 << 20;

/// Folder below the gateway's `work_dir` that holds a folder for each user.
/// It is the name of no service.
pub const USERS_DIR: &str = "_users";

/// What to make for a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// Relative to the user's folder, without `..`.
    pub path: String,
    /// What goes into it.
    pub files: Vec<JobFile>,
    /// Links from a path in it to a path of the node.
    pub links: Vec<(String, String)>,
}

/// One order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Order {
    /// The Unix user.
    user: String,
    task: Task,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Task {
    /// Says where folders of jobs are.
    Hello,
    /// Makes a job's folder.
    Prepare(Folder),
    /// Runs sbatch.
    Submit {
        arguments: Vec<String>,
        environment: Vec<(String, String)>,
    },
    /// Runs scancel.
    Cancel { job: u32 },
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Hello {
        work_dir: String,
    },
    Prepared,
    /// How a program of Slurm's ended.
    Ran {
        /// None if it was killed at the time limit.
        code: Option<i32>,
        stdout: String,
        stderr: String,
        is_complete: bool,
    },
    /// Nothing was done, and never will be.
    Refused(String),
    /// Nothing was done, or not all of it.
    Failed(String),
}

fn write_frame(stream: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "the message is too long");
    let length = u32::try_from(text.len()).map_err(|_| too_long())?;
    if length > MAX_ORDER_BYTES {
        return Err(too_long());
    }
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(&text);
    stream.write_all(&bytes)
}

fn read_frame<T: for<'a> Deserialize<'a>>(stream: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MAX_ORDER_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the message is too long",
        ));
    }
    let mut text = Vec::new();
    // Memory grows with what arrives, not with what was announced.
    stream.take(u64::from(length)).read_to_end(&mut text)?;
    if text.len() < length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&text)?)
}

/// Whether `name` is a Unix user's name and nothing that a program could take for an option.
fn is_user_name(name: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    name.len() <= 256
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_whole_or_nothing() {
        let order = Order {
            user: "ann".to_owned(),
            task: Task::Cancel { job: 7 },
        };
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &order).unwrap();
        assert_eq!(read_frame::<Order>(&mut bytes.as_slice()).unwrap(), order);
        for cut in 0..bytes.len() {
            assert!(read_frame::<Order>(&mut &bytes[..cut]).is_err(), "{cut}");
        }
        let huge = [0xff, 0xff, 0xff, 0xff, b'{'];
        assert!(read_frame::<Order>(&mut &huge[..]).is_err());
    }

    #[test]
    fn names_are_plain() {
        for name in ["ann", "_svc", "a.b-c"] {
            assert!(is_user_name(name), "{name}");
        }
        for name in ["", "-x", "0", "a b", "a\r\n", "a/b", "a$(id)", ".a"] {
            assert!(!is_user_name(name), "{name}");
        }
    }
}

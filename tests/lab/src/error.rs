//! What can go wrong when a lab is started or used, in words that name the remedy.

use std::path::PathBuf;

/// An error of starting or using a lab.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Programs that the lab starts are not installed.
    #[error(
        "not installed: {}; on Debian: apt-get install --no-install-recommends {}",
        programs.join(", "),
        packages.join(" ")
    )]
    MissingPrograms {
        /// The programs that were looked for.
        programs: Vec<String>,
        /// The Debian packages that hold them.
        packages: Vec<String>,
    },
    /// Something asked for needs root.
    #[error("{what} needs root (and permission to create namespaces and device nodes)")]
    NeedsRoot {
        /// What needs it.
        what: &'static str,
    },
    /// The directory holds something else.
    #[error("{} is not empty and was not made by a lab; choose another directory", dir.display())]
    NotALab {
        /// The directory given.
        dir: PathBuf,
    },
    /// Another process runs a lab there.
    #[error("a lab is already running in {}", dir.display())]
    InUse {
        /// The directory given.
        dir: PathBuf,
    },
    /// Unix sockets below the directory would exceed the kernel's limit.
    #[error("{} is too long for unix sockets below it: at most {limit_bytes} bytes", dir.display())]
    DirTooLong {
        /// The directory given.
        dir: PathBuf,
        /// The longest directory name accepted.
        limit_bytes: usize,
    },
    /// Slurm's configuration could not name the directory.
    #[error("{} cannot be written in Slurm's configuration; use letters, digits and any of / . _ + -", dir.display())]
    DirUnspeakable {
        /// The directory given.
        dir: PathBuf,
    },
    /// A number of nodes, CPUs or GPUs is out of range.
    #[error("{what} must be between {least} and {most}, not {found}")]
    OutOfRange {
        /// The setting.
        what: &'static str,
        /// Its smallest value.
        least: u32,
        /// Its largest value.
        most: u32,
        /// The value given.
        found: u32,
    },
    /// All blocks of ports are taken.
    #[error("no free block of {block} ports on 127.0.0.1")]
    NoPorts {
        /// Ports in a block.
        block: u16,
    },
    /// A built program or plugin is not beside the running executable.
    #[error("{} does not exist; build it first (cargo build -p {package})", path.display())]
    NotBuilt {
        /// Where it was looked for.
        path: PathBuf,
        /// The package that makes it.
        package: &'static str,
    },
    /// No such node.
    #[error("the lab has no node {node}")]
    UnknownNode {
        /// The name given.
        node: String,
    },
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A program could not be started.
    #[error("cannot start {program}")]
    Spawn {
        /// The program.
        program: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A daemon of the lab ended when it should run.
    #[error("{daemon} ended ({status}); its log {} ends:\n{log_tail}", log.display())]
    DaemonEnded {
        /// Its name.
        daemon: String,
        /// How it ended.
        status: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        log_tail: String,
    },
    /// Something did not happen in time.
    #[error("waited {seconds:.1} s in vain for {awaited}{detail}")]
    Timeout {
        /// What was waited for.
        awaited: String,
        /// For how long.
        seconds: f64,
        /// What was seen instead, with a leading separator, or nothing.
        detail: String,
    },
    /// A command failed.
    #[error("{command} failed ({status}):\n{stderr}")]
    Command {
        /// The program and its arguments.
        command: String,
        /// Its exit status.
        status: String,
        /// What it wrote on stderr.
        stderr: String,
    },
    /// A command succeeded but its answer is not understood.
    #[error("{command} answered {answer:?}, which is not {expected}")]
    Answer {
        /// The program and its arguments.
        command: String,
        /// What it printed.
        answer: String,
        /// What was expected.
        expected: &'static str,
    },
}

impl LabError {
    /// Returns true if the machine lacks a package or privilege that the lab needs: a test
    /// then prints `SKIP:` and returns.
    #[must_use]
    pub fn is_missing_requirement(&self) -> bool {
        matches!(self, Self::MissingPrograms { .. } | Self::NeedsRoot { .. })
    }

    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}

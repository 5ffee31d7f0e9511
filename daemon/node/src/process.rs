//! The use of tasks: a first process and all its descendants, over one pass of /proc for all.
//!
//! A pass lists /proc once and reads `stat` only of processes it has not met, to learn their
//! parent; who descends from which task is remembered, so that a process whose parent died is
//! still its task's. Of the processes of tasks `stat` and `io` are read again through files
//! kept open, which also makes a reused pid impossible to mistake: the old file answers ESRCH.
//!
//! CPU time and I/O of ended children are in their parent's counters once it has waited for
//! them. When a process ends that nobody of its tree waits for, what it had used is carried
//! on ([`Tree::carry`]), so counters never run backwards.

mod files;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{SysconfVar, sysconf};

pub use self::files::{Stat, parse_io, parse_stat};
use crate::text::{number, reread};
use crate::{Roots, UNKNOWN, add};

/// Files kept open at most; processes beyond that are opened at each pass.
const MAX_KEPT_FILES: usize = 4096;

/// Passes between two complete readings of all parents, against reused pids.
const REFRESH_PASSES: u32 = 60;

/// A line of `stat` or `io` is shorter than this.
const BUFFER_BYTES: usize = 2048;

/// What one reading of a task gives; counters are cumulative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeUse {
    /// CPU time in nanoseconds.
    pub cpu_ns: u64,
    /// Resident memory, shared pages counted in each process.
    pub rss_bytes: u64,
    /// From the block layer.
    pub read_bytes: u64,
    /// To the block layer.
    pub write_bytes: u64,
    /// Through read(2) and friends.
    pub rchar_bytes: u64,
    /// Through write(2) and friends.
    pub wchar_bytes: u64,
    /// Threads.
    pub threads: u32,
    /// Processes.
    pub processes: u32,
    /// Does the first process still run (zombies do not)?
    pub first_runs: bool,
}

/// The counters that must never run backwards.
type Counters = [u64; 5];

/// One watched task.
#[derive(Debug, Default)]
struct Tree {
    start_ticks: u64,
    last: Counters,
    carry: Counters,
}

impl Tree {
    /// Adds what vanished since the last reading to the carry, and the carry to the counters.
    fn carry(&mut self, counters: &mut Counters) {
        let kept = self.last.iter_mut().zip(&mut self.carry);
        for (counter, (last, carry)) in counters.iter_mut().zip(kept) {
            if *counter == UNKNOWN {
                continue;
            }
            let raw = *counter;
            if *last != UNKNOWN && raw < *last {
                *carry += *last - raw;
            }
            *last = raw;
            *counter = add(raw, *carry);
        }
    }
}

#[derive(Debug)]
struct Known {
    pass: u32,
    parent: i32,
    /// The first process of the task it belongs to.
    task: Option<i32>,
    stat: Option<File>,
    io: Option<File>,
}

/// All processes as of the last pass, and the tasks watched among them.
#[derive(Debug)]
pub struct ProcessTable {
    proc: PathBuf,
    known: HashMap<i32, Known>,
    trees: HashMap<i32, Tree>,
    pass: u32,
    kept_files: usize,
    max_kept_files: usize,
    must_relink: bool,
    tick_ns: u64,
    page_bytes: u64,
    buffer: Vec<u8>,
}

impl ProcessTable {
    /// An empty table over `roots`.
    #[must_use]
    pub fn new(roots: &Roots) -> Self {
        let ask = |variable, usual| {
            sysconf(variable)
                .ok()
                .flatten()
                .and_then(|value| u64::try_from(value).ok())
                .unwrap_or(usual)
        };
        Self {
            proc: roots.proc.clone(),
            known: HashMap::new(),
            trees: HashMap::new(),
            pass: 0,
            kept_files: 0,
            max_kept_files: max_kept_files(),
            must_relink: false,
            tick_ns: 1_000_000_000 / ask(SysconfVar::CLK_TCK, 100).max(1),
            page_bytes: ask(SysconfVar::PAGE_SIZE, 4096),
            buffer: vec![0; BUFFER_BYTES],
        }
    }

    /// When the process began, if it exists: what tells it from a later one of the same pid.
    #[must_use]
    pub fn start_ticks(&mut self, pid: i32) -> Option<u64> {
        self.read_stat(pid)
            .filter(|stat| stat.state != b'Z')
            .map(|stat| stat.start_ticks)
    }

    /// Watches the tree below `pid`; false if there is no such process, or if it is not the
    /// one that began at `start_ticks`, where that is given.
    pub fn watch(&mut self, pid: i32, start_ticks: Option<u64>) -> bool {
        match self.start_ticks(pid) {
            Some(found) if start_ticks.is_none_or(|expected| expected == found) => {
                self.trees.insert(
                    pid,
                    Tree {
                        start_ticks: found,
                        ..Tree::default()
                    },
                );
                // Children may have been met before their task was known.
                self.must_relink = true;
                true
            }
            _ => false,
        }
    }

    /// Forgets the tree below `pid`.
    pub fn unwatch(&mut self, pid: i32) {
        self.trees.remove(&pid);
        for known in self
            .known
            .values_mut()
            .filter(|known| known.task == Some(pid))
        {
            known.task = None;
            self.kept_files -=
                usize::from(known.stat.take().is_some()) + usize::from(known.io.take().is_some());
        }
    }

    /// The first process of the watched tree that a process belongs to, as of the last pass.
    #[must_use]
    pub fn task(&self, pid: i32) -> Option<i32> {
        self.known.get(&pid)?.task
    }

    /// Number of trees watched.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.trees.len()
    }

    /// Lists /proc and finds out to which task new processes belong.
    ///
    /// # Errors
    /// What listing /proc says; the table is then as it was.
    pub fn pass(&mut self) -> io::Result<()> {
        self.pass = self.pass.wrapping_add(1);
        let refresh = self.pass.is_multiple_of(REFRESH_PASSES);
        let relink = std::mem::take(&mut self.must_relink);
        let (mut fresh, mut linked) = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(&self.proc)? {
            let Ok(entry) = entry else { continue };
            let Some(pid) = pid_of(entry.file_name().as_encoded_bytes()) else {
                continue;
            };
            match self.known.get_mut(&pid) {
                Some(known) => {
                    known.pass = self.pass;
                    if known.task.is_none() && refresh {
                        fresh.push(pid);
                    } else if known.task.is_none() && relink {
                        linked.push(pid);
                    }
                }
                None => fresh.push(pid),
            }
        }
        for pid in &fresh {
            if let Some(stat) = self.read_stat(*pid) {
                let known = Known {
                    pass: self.pass,
                    parent: stat.parent,
                    task: None,
                    stat: None,
                    io: None,
                };
                self.known.insert(*pid, known);
            }
        }
        self.forget_gone();
        for pid in fresh.into_iter().chain(linked) {
            let task = self.task_of(pid);
            if let Some(known) = self.known.get_mut(&pid) {
                known.task = task;
            }
        }
        Ok(())
    }

    /// The use of every watched tree, as of now; call [`pass`](Self::pass) before.
    /// A tree whose processes are all gone reports 0 processes.
    pub fn read(&mut self) -> HashMap<i32, TreeUse> {
        let mut uses: HashMap<i32, TreeUse> = self
            .trees
            .keys()
            .map(|pid| (*pid, TreeUse::default()))
            .collect();
        let mut io_readable: HashMap<i32, bool> = HashMap::new();
        let members: Vec<(i32, i32)> = self
            .known
            .iter()
            .filter_map(|(pid, known)| Some((*pid, known.task?)))
            .collect();
        for (pid, task) in members {
            let Some(stat) = self.reread_stat(pid) else {
                self.forget(pid);
                continue;
            };
            let begun = self.trees.get(&task).map_or(0, |tree| tree.start_ticks);
            if pid == task && stat.start_ticks != begun {
                // The pid was reused between the listing and this reading.
                self.forget(pid);
                continue;
            }
            let counts = self.reread_io(pid);
            let Some(sum) = uses.get_mut(&task) else {
                continue;
            };
            sum.first_runs |= pid == task && !matches!(stat.state, b'Z' | b'X');
            sum.cpu_ns = add(sum.cpu_ns, stat.cpu_ticks.saturating_mul(self.tick_ns));
            sum.rss_bytes = add(
                sum.rss_bytes,
                stat.resident_pages.saturating_mul(self.page_bytes),
            );
            sum.threads = sum
                .threads
                .saturating_add(u32::try_from(stat.threads).unwrap_or(u32::MAX));
            sum.processes += 1;
            if let Some([rchar, wchar, read, write]) = counts {
                io_readable.insert(task, true);
                sum.rchar_bytes = add(sum.rchar_bytes, rchar);
                sum.wchar_bytes = add(sum.wchar_bytes, wchar);
                sum.read_bytes = add(sum.read_bytes, read);
                sum.write_bytes = add(sum.write_bytes, write);
            }
        }
        for (task, sum) in &mut uses {
            let readable = io_readable.contains_key(task);
            self.finish(*task, sum, readable);
        }
        uses
    }

    fn finish(&mut self, task: i32, sum: &mut TreeUse, io_readable: bool) {
        let Some(tree) = self.trees.get_mut(&task) else {
            return;
        };
        let io = |value: u64| if io_readable { value } else { UNKNOWN };
        let mut counters = [
            sum.cpu_ns,
            io(sum.read_bytes),
            io(sum.write_bytes),
            io(sum.rchar_bytes),
            io(sum.wchar_bytes),
        ];
        tree.carry(&mut counters);
        [
            sum.cpu_ns,
            sum.read_bytes,
            sum.write_bytes,
            sum.rchar_bytes,
            sum.wchar_bytes,
        ] = counters;
    }

    /// Walks up to the nearest process whose task is known.
    fn task_of(&self, pid: i32) -> Option<i32> {
        const MAX_DEPTH: usize = 1024;
        let mut at = pid;
        for _ in 0..MAX_DEPTH {
            if self.trees.contains_key(&at) {
                return Some(at);
            }
            let known = self.known.get(&at)?;
            if at != pid && known.task.is_some() {
                return known.task;
            }
            at = known.parent;
        }
        None
    }

    fn forget_gone(&mut self) {
        let pass = self.pass;
        let mut closed = 0;
        self.known.retain(|_, known| {
            let stays = known.pass == pass;
            if !stays {
                closed += usize::from(known.stat.is_some()) + usize::from(known.io.is_some());
            }
            stays
        });
        self.kept_files -= closed;
    }

    fn forget(&mut self, pid: i32) {
        if let Some(known) = self.known.remove(&pid) {
            self.kept_files -= usize::from(known.stat.is_some()) + usize::from(known.io.is_some());
        }
    }

    fn read_stat(&mut self, pid: i32) -> Option<Stat> {
        let file = File::open(path(&self.proc, pid, "stat")).ok()?;
        parse_stat(reread(&file, &mut self.buffer)?)
    }

    fn reread_stat(&mut self, pid: i32) -> Option<Stat> {
        let known = self.known.get_mut(&pid)?;
        let opened = known.stat.is_none();
        let file = match known.stat.take() {
            Some(file) => file,
            None => File::open(path(&self.proc, pid, "stat")).ok()?,
        };
        self.kept_files -= usize::from(!opened);
        let stat = parse_stat(reread(&file, &mut self.buffer)?);
        if self.kept_files < self.max_kept_files {
            known.stat = Some(file);
            self.kept_files += 1;
        }
        stat
    }

    fn reread_io(&mut self, pid: i32) -> Option<[u64; 4]> {
        let known = self.known.get_mut(&pid)?;
        let opened = known.io.is_none();
        let file = match known.io.take() {
            Some(file) => file,
            None => File::open(path(&self.proc, pid, "io")).ok()?,
        };
        self.kept_files -= usize::from(!opened);
        let counts = parse_io(reread(&file, &mut self.buffer)?);
        if self.kept_files < self.max_kept_files {
            known.io = Some(file);
            self.kept_files += 1;
        }
        counts
    }
}

fn path(proc: &Path, pid: i32, name: &str) -> PathBuf {
    proc.join(pid.to_string()).join(name)
}

/// Half of what the process may open, so that sockets and records always can.
fn max_kept_files() -> usize {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, 0));
    usize::try_from(soft / 2)
        .unwrap_or(MAX_KEPT_FILES)
        .min(MAX_KEPT_FILES)
}

fn pid_of(name: &[u8]) -> Option<i32> {
    number(name).and_then(|pid| i32::try_from(pid).ok())
}

//! Writes checkpoints while the run goes on.
//!
//! A rank's thread writes a copy of what the rank holds. Ranks tell each other with every step
//! how far they are; once all files are on disk, their checksums go to rank 0, whose thread
//! writes the manifest. Only one checkpoint is under way: the next waits for it.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::CheckpointError;
use super::manifest::{File, Manifest, folder_of, prune};
use super::shard::{self, Array, Facts};
use crate::world::World;
use crate::{CheckpointMade, Result, TrainError};

/// Nothing is under way, or the caller's part of it is not done.
const WRITING: u8 = 0;
/// The caller's file is on disk.
const WRITTEN: u8 = 1;
/// Rank 0 only: the manifest is on disk.
const COMPLETE: u8 = 2;

/// Who writes checkpoints.
pub(crate) struct Keeper {
    folder: PathBuf,
    jobs: Option<Sender<Job>>,
    done: Receiver<std::result::Result<Done, CheckpointError>>,
    thread: Option<JoinHandle<()>>,
    under_way: Option<UnderWay>,
    /// Memory of the last copy: the next need not wait for the system to clear as much.
    spare: Vec<Vec<f32>>,
}

enum Job {
    Shard {
        path: PathBuf,
        arrays: Vec<Array>,
    },
    Manifest {
        folder: PathBuf,
        manifest: Box<Manifest>,
    },
}

enum Done {
    Shard(Facts, Vec<Array>),
    Manifest,
}

struct UnderWay {
    manifest: Manifest,
    begun: Instant,
    stall: Duration,
    facts: Option<Facts>,
    /// All files are on disk, and rank 0 writes the manifest.
    is_last: bool,
    state: u8,
    bytes: u64,
}

impl Keeper {
    pub(crate) fn start(folder: &Path, keep: usize) -> Result<Self> {
        let (jobs, queue) = channel();
        let (tell, done) = channel();
        let all = folder.to_owned();
        let body = move || {
            for job in queue {
                if tell.send(work(&all, keep, job)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("mizar-keep".to_owned())
            .spawn(body)
            .map_err(|source| TrainError::NoThread {
                what: "writing checkpoints",
                source,
            })?;
        Ok(Self {
            folder: folder.to_owned(),
            jobs: Some(jobs),
            done,
            thread: Some(thread),
            under_way: None,
            spare: Vec::new(),
        })
    }

    /// Memory for the arrays of the next checkpoint.
    pub(crate) fn spare(&mut self) -> Vec<Vec<f32>> {
        std::mem::take(&mut self.spare)
    }

    /// Begins a checkpoint of what all ranks hold now. None must be under way.
    pub(crate) fn begin(
        &mut self,
        world: &World,
        manifest: Manifest,
        arrays: Vec<Array>,
        begun: Instant,
    ) {
        let step = manifest.progress.step;
        let path = folder_of(&self.folder, step).join(file_name(world.rank(), world.size()));
        self.send(Job::Shard { path, arrays });
        self.under_way = Some(UnderWay {
            manifest,
            begun,
            stall: begun.elapsed(),
            facts: None,
            is_last: false,
            state: WRITING,
            bytes: 0,
        });
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // If the thread is gone, waiting for what it did says so.
            let _ = jobs.send(job);
        }
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// How far the caller is, for its report. Does not wait.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] if its part could not be written.
    pub(crate) fn state(&mut self, world: &World) -> Result<u8> {
        match self.done.try_recv() {
            Ok(done) => self.note(world, done),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => Ok(self.told()),
        }
    }

    fn told(&self) -> u8 {
        self.under_way.as_ref().map_or(WRITING, |way| way.state)
    }

    fn note(
        &mut self,
        world: &World,
        done: std::result::Result<Done, CheckpointError>,
    ) -> Result<u8> {
        let Some(way) = &mut self.under_way else {
            return Ok(WRITING);
        };
        match done {
            Ok(Done::Shard(facts, arrays)) => {
                // They are taken from the end.
                let memory = arrays.into_iter().rev().map(|array| array.values);
                self.spare = memory.collect();
                way.facts = Some(facts);
                way.state = WRITTEN;
            }
            Ok(Done::Manifest) => way.state = COMPLETE,
            Err(source) => {
                let step = way.manifest.progress.step;
                return Err(self.failed(world, step, source));
            }
        }
        Ok(self.told())
    }

    fn failed(&self, world: &World, step: u64, source: CheckpointError) -> TrainError {
        // What is half written takes space that whoever resumes will want.
        let _ = std::fs::remove_dir_all(folder_of(&self.folder, step));
        let kept = super::manifest::complete(&self.folder).unwrap_or_default();
        let kept = match kept.first() {
            Some(step) => format!("that of step {step} is whole, resume from there"),
            None => "there is no older one".to_owned(),
        };
        TrainError::Checkpoint {
            rank: world.rank(),
            step,
            kept,
            source: Box::new(source),
        }
    }

    /// Goes on once all ranks have told how far they are; returns the checkpoint that is now
    /// complete, if one is. Collective: all ranks bring the same `states`.
    ///
    /// # Errors
    /// A lost rank.
    pub(crate) fn advance(
        &mut self,
        world: &World,
        states: &[u8],
    ) -> Result<Option<CheckpointMade>> {
        let Some(way) = &mut self.under_way else {
            return Ok(None);
        };
        if way.is_last {
            if states[0] != COMPLETE {
                return Ok(None);
            }
            let made = CheckpointMade {
                path: folder_of(&self.folder, way.manifest.progress.step),
                step: way.manifest.progress.step,
                bytes: way.bytes,
                stall_s: way.stall.as_secs_f64(),
                write_s: way.begun.elapsed().as_secs_f64(),
                digest: way.manifest.digest.clone(),
            };
            self.under_way = None;
            return Ok(Some(made));
        }
        if states.iter().any(|state| *state != WRITTEN) {
            return Ok(None);
        }
        way.is_last = true;
        let mut words = vec![0; 5];
        if let Some(facts) = &way.facts {
            words[0] = facts.bytes;
            bytemuck::cast_slice_mut::<u64, u8>(&mut words[1..]).copy_from_slice(&facts.sha256);
        }
        let all = world.exchange_words(&words)?;
        way.bytes = all.iter().map(|words| words[0]).sum();
        if world.rank() == 0 {
            for (rank, words) in all.iter().enumerate() {
                let mut sha256 = [0; 32];
                sha256.copy_from_slice(bytemuck::cast_slice::<u64, u8>(&words[1..]));
                let facts = Facts {
                    bytes: words[0],
                    sha256,
                };
                let name = file_name(rank, world.size());
                way.manifest.files.push(File::new(name, &facts));
            }
            let job = Job::Manifest {
                folder: folder_of(&self.folder, way.manifest.progress.step),
                manifest: Box::new(way.manifest.clone()),
            };
            self.send(job);
        }
        Ok(None)
    }

    /// Waits until what is under way is complete. Collective.
    ///
    /// # Errors
    /// [`TrainError`], on every rank, if any rank cannot write.
    pub(crate) fn finish(&mut self, world: &World) -> Result<Option<CheckpointMade>> {
        let mut begin = Instant::now();
        let mut made = None;
        while let Some(way) = &self.under_way {
            let writes = match way.is_last {
                true => world.rank() == 0 && way.state != COMPLETE,
                false => way.state == WRITING,
            };
            let step = way.manifest.progress.step;
            let state = match writes.then(|| self.done.recv()) {
                Some(Ok(done)) => self.note(world, done),
                Some(Err(_)) => Err(self.failed(world, step, ended(&self.folder))),
                None => Ok(self.told()),
            };
            let (state, fails) = match state {
                Ok(state) => (state, Ok(())),
                Err(error) => (WRITING, Err(error)),
            };
            world.agree(fails)?;
            let states = world.exchange_words(&[u64::from(state)])?;
            let states: Vec<u8> = states.iter().map(|words| words[0] as u8).collect();
            if let Some(way) = &mut self.under_way {
                way.stall += begin.elapsed();
            }
            begin = Instant::now();
            made = self.advance(world, &states)?;
        }
        Ok(made)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn ended(folder: &Path) -> CheckpointError {
    CheckpointError::File {
        path: folder.to_owned(),
        action: "written",
        source: std::io::Error::other("the thread that writes has ended"),
    }
}

fn file_name(rank: usize, ranks: usize) -> String {
    format!("shard-{rank}-of-{ranks}.safetensors")
}

fn work(all: &Path, keep: usize, job: Job) -> std::result::Result<Done, CheckpointError> {
    match job {
        Job::Shard { path, arrays } => {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).map_err(|source| CheckpointError::File {
                    path: folder.to_owned(),
                    action: "made",
                    source,
                })?;
            }
            shard::write(&path, &arrays).map(|facts| Done::Shard(facts, arrays))
        }
        Job::Manifest { folder, manifest } => {
            manifest.write(&folder)?;
            prune(all, manifest.progress.step, keep);
            Ok(Done::Manifest)
        }
    }
}

//! The engine's part in `--mizar=comm`: rings taken in, read at each sample, told of.

use mizar_core::clock::{monotonic_ns, unix_ns};
use mizar_core::ids::JobId;
use mizar_node::process::ProcessTable;

use crate::engine::Engine;
use crate::rings::{Look, RingNews};
use crate::track::{Stamp, Track};

impl Engine {
    /// Takes in the rings that have come.
    pub(super) fn take_rings(&mut self) {
        for arrival in self.shared.take_arrivals() {
            let Some(track) = self.tracks.get_mut(&arrival.job) else {
                continue;
            };
            let start_ticks = self.processes.start_ticks(arrival.pid);
            track.rings.add(arrival, start_ticks);
        }
    }

    /// Reads the rings of a job that is due.
    pub(super) fn read_rings(&mut self, id: JobId, stamp: Stamp) -> Option<(JobId, RingNews)> {
        let track = self.tracks.get_mut(&id)?;
        if track.rings.is_empty() {
            return None;
        }
        let hang_ns = i64::from(self.shared.config.hang_s) * 1_000_000_000;
        let node = &self.shared.config.node;
        let news = read(track, &mut self.processes, (node, hang_ns), stamp);
        Some((id, news))
    }

    /// Puts what the rings said into the registry, for those who ask.
    pub(super) fn tell_of_rings(&self, news: Vec<(JobId, RingNews)>) {
        let mut registry = self.shared.registry();
        for (id, news) in news {
            let Ok(job) = registry.job_mut(id) else {
                continue;
            };
            job.hang = news.hang;
            for rank in news.ranks {
                let Ok(step) = job.step_mut(rank.step) else {
                    continue;
                };
                let task = step
                    .tasks
                    .iter_mut()
                    .find(|task| task.info.rank == rank.rank);
                if let Some(task) = task {
                    task.communication = Some((rank.split, rank.call));
                }
            }
        }
    }
}

fn read(
    track: &mut Track,
    processes: &mut ProcessTable,
    (node, hang_ns): (&str, i64),
    stamp: Stamp,
) -> RingNews {
    let mut look = Look {
        stamp,
        node,
        hang_ns,
        start_ticks: &mut |pid| processes.start_ticks(pid),
    };
    let mut news = track.rings.drain(&mut track.recorder.rows, &mut look);
    let hangs = |event: &_| matches!(event, mizar_record::model::Event::Hang(_));
    // People ask from other nodes while it hangs.
    if news.events.iter().any(hangs) {
        track.flush_due_ns = monotonic_ns();
    }
    track.recorder.post(std::mem::take(&mut news.events));
    news
}

/// Reads the rings of a job that has left, once more.
pub(super) fn last_reading(track: &mut Track, processes: &mut ProcessTable, node: &str) {
    if track.rings.is_empty() {
        return;
    }
    let stamp = Stamp {
        unix_ns: unix_ns(),
        monotonic_ns: monotonic_ns(),
    };
    // A job that has left hangs no more, whatever its processes still say.
    read(track, processes, (node, i64::MAX), stamp);
    track.rings = Default::default();
}

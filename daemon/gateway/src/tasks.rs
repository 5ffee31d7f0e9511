//! From what Slurm says of the tasks of job arrays to the events that they are.
//!
//! A plain job carries its event's marker; a task carries its array's, and the ledger knows which
//! event it is. After this everything is about events, and an array is nothing special.

use std::collections::{BTreeSet, HashMap, HashSet};

use mizar_slurm::{JobReport, Marker};

use crate::ledger::{Followed, Place};
use crate::reconcile::by_marker;

/// The events of the tasks that are followed.
#[derive(Debug)]
pub struct Tasks(HashMap<Place, Marker>);

/// What Slurm says, by event.
#[derive(Debug, Default)]
pub struct Told {
    /// The jobs of each event.
    pub jobs: HashMap<Marker, Vec<JobReport>>,
    /// Tasks of which no event is followed: it has ended, or moved on.
    pub left: Vec<(Place, JobReport)>,
    arrays: HashSet<Marker>,
}

impl Tasks {
    /// Those of these rows.
    #[must_use]
    pub fn new(rows: &[Followed]) -> Self {
        let places = rows.iter().filter_map(|row| {
            let place = row.place.clone()?;
            Some((place, row.marker.clone()))
        });
        Self(places.collect())
    }

    /// Tells by event what Slurm says by job.
    #[must_use]
    pub fn tell(&self, jobs: Vec<JobReport>) -> Told {
        let mut told = Told::default();
        let mut of_events = Vec::with_capacity(jobs.len());
        for mut job in jobs {
            let Some(task) = job.task else {
                of_events.push(job);
                continue;
            };
            if !told.arrays.contains(&job.marker) {
                told.arrays.insert(job.marker.clone());
            }
            let place = Place {
                array: job.marker.clone(),
                task: task.index,
            };
            match self.0.get(&place) {
                Some(marker) => {
                    job.marker = marker.clone();
                    of_events.push(job);
                }
                None => told.left.push((place, job)),
            }
        }
        told.jobs = by_marker(of_events);
        told
    }

    /// The markers by which to ask for the rows that are not among these jobs.
    #[must_use]
    pub fn unseen(&self, rows: &[Followed], seen: &HashMap<Marker, Vec<JobReport>>) -> Vec<Marker> {
        let unseen = rows.iter().filter(|row| !seen.contains_key(&row.marker));
        let asked = unseen.map(|row| row.place.as_ref().map_or(&row.marker, |place| &place.array));
        let once: BTreeSet<&Marker> = asked.collect();
        once.into_iter().cloned().collect()
    }
}

impl Told {
    /// Whether there is some task of the array that a row is in.
    #[must_use]
    pub fn has_array(&self, row: &Followed) -> bool {
        let place = row.place.as_ref();
        place.is_some_and(|place| self.arrays.contains(&place.array))
    }
}

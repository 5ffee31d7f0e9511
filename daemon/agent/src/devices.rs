//! Counters of the node's devices in the records of its jobs: read at most once a second however
//! many jobs there are and however fast they are sampled, since a reading opens a file a counter.

use std::collections::HashSet;

use mizar_core::clock::{monotonic_ns, unix_ns};
use mizar_node::Roots;
use mizar_node::devices::{self, Counter};
use mizar_record::model::{CounterInfo, CounterSample, Event};

use crate::number;
use crate::recorder::Recorder;
use crate::track::Stamp;

/// Between two readings.
const PERIOD_NS: i64 = 1_000_000_000;

/// Samples come on a grid of time, a little early or late.
const SLACK_NS: i64 = 50_000_000;

/// The last reading, for all jobs.
#[derive(Default)]
pub(crate) struct Devices {
    last: Option<(Stamp, Vec<Counter>)>,
}

impl Devices {
    /// The counters, read now unless they were a moment ago.
    pub(crate) fn read(&mut self, roots: &Roots, buffer: &mut Vec<u8>) -> (Stamp, &[Counter]) {
        let now_ns = monotonic_ns();
        let fresh = self
            .last
            .take_if(|(stamp, _)| now_ns - stamp.monotonic_ns < PERIOD_NS - SLACK_NS);
        let (stamp, counters) = self.last.insert(fresh.unwrap_or_else(|| {
            let counters = devices::read(roots, buffer);
            let stamp = Stamp {
                unix_ns: unix_ns(),
                monotonic_ns: monotonic_ns(),
            };
            (stamp, counters)
        }));
        (*stamp, counters)
    }
}

/// What of the counters one job's record has.
#[derive(Default)]
pub(crate) struct DeviceTrack {
    named: HashSet<u32>,
    last_ns: Option<i64>,
}

impl DeviceTrack {
    /// Is it time for rows?
    pub(crate) fn is_due(&self, now_ns: i64) -> bool {
        self.last_ns
            .is_none_or(|last_ns| now_ns - last_ns >= PERIOD_NS - SLACK_NS)
    }

    /// Adds a row for each counter, and the names of those that are new.
    pub(crate) fn sample(&mut self, recorder: &mut Recorder, stamp: Stamp, counters: &[Counter]) {
        let interval_ns = self
            .last_ns
            .map_or(0, |last_ns| stamp.monotonic_ns - last_ns);
        if self.last_ns == Some(stamp.monotonic_ns) {
            return;
        }
        for counter in counters {
            let id = number::of_names(&[counter.class, &counter.device, counter.quantity]);
            if self.named.insert(id) {
                recorder.post([Event::Counter(CounterInfo {
                    id,
                    class: counter.class.to_owned(),
                    device: counter.device.clone(),
                    quantity: counter.quantity.to_owned(),
                    unit: counter.unit.to_owned(),
                })]);
            }
            recorder.rows.counter_samples.push(CounterSample {
                time_ns: stamp.unix_ns,
                interval_ns,
                value: counter.value,
                counter: id,
                reserved: 0,
            });
        }
        self.last_ns = Some(stamp.monotonic_ns);
    }
}

//! What the network devices and network file systems of a node did while the job ran.

use std::collections::BTreeMap;

use mizar_record::model::{CounterSample, NodeRecord};

use crate::schema::{Count, Device};
use crate::series::{Reading, Span, rates};

/// The devices of a node, by class and name.
pub(crate) fn of_node(node: &NodeRecord) -> Vec<Device> {
    let mut readings: BTreeMap<u32, Vec<CounterSample>> = BTreeMap::new();
    for sample in &node.counter_samples {
        readings.entry(sample.counter).or_default().push(*sample);
    }
    let mut devices: BTreeMap<(&str, &str), Vec<Count>> = BTreeMap::new();
    for counter in &node.counters {
        let mut samples = readings.remove(&counter.id).unwrap_or_default();
        samples.sort_by_key(|sample| sample.time_ns);
        let count = count(&samples, &counter.quantity, &counter.unit);
        let key = (counter.class.as_str(), counter.device.as_str());
        devices.entry(key).or_default().push(count);
    }
    let device = |((class, device), mut counts): ((&str, &str), Vec<Count>)| {
        counts.sort_by(|a, b| a.quantity.cmp(&b.quantity));
        Device {
            class: class.to_owned(),
            device: device.to_owned(),
            counts,
        }
    };
    devices.into_iter().map(device).collect()
}

/// The rise over measured intervals, under the rules of all counters ([`rates`]): nothing is said
/// of an interval in which it began anew, or of the first of a daemon.
fn count(samples: &[CounterSample], quantity: &str, unit: &str) -> Count {
    let reading = |s: &CounterSample| Reading::of(s.time_ns, s.interval_ns, s.value);
    let readings: Vec<Reading> = samples.iter().map(reading).collect();
    let spans = rates(&readings, None, i64::MAX);
    let observed_s: f64 = spans.iter().map(Span::seconds).sum();
    let risen: f64 = spans.iter().map(|span| span.value * span.seconds()).sum();
    let is_known = observed_s > 0.0;
    Count {
        quantity: quantity.to_owned(),
        unit: unit.to_owned(),
        value: is_known.then_some(risen),
        mean_per_s: is_known.then(|| risen / observed_s),
        max_per_s: spans.iter().map(|span| span.value).reduce(f64::max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(second: i64, interval_s: i64, value: u64) -> CounterSample {
        CounterSample {
            time_ns: second * 1_000_000_000,
            interval_ns: interval_s * 1_000_000_000,
            value,
            counter: 1,
            reserved: 0,
        }
    }

    #[test]
    fn nothing_is_said_of_a_reset_counter_and_a_restarted_daemon() {
        let samples = [
            sample(0, 0, 1000),
            sample(2, 2, 1500),
            // The port is reset.
            sample(4, 2, 40),
            // The daemon was away: nobody knows when the 9000 came.
            sample(60, 0, 9040),
            sample(61, 1, 9140),
        ];
        let count = count(&samples, "sent", "bytes");
        assert_eq!(count.value, Some(600.0));
        // Three seconds were observed.
        assert_eq!(count.mean_per_s, Some(200.0));
        assert_eq!(count.max_per_s, Some(250.0));
        assert_eq!(super::count(&samples[..1], "sent", "bytes").value, None);
    }
}

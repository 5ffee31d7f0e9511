//! What the network devices and network file systems of a node did while the job ran.

use std::collections::BTreeMap;

use mizar_record::model::{CounterSample, NodeRecord};

use crate::schema::{Count, Device};

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

/// The rise over measured intervals: a counter that begins anew (a reset port, a new mount) has
/// risen by nothing in that interval, and an interval of 0 is the first of a daemon.
fn count(samples: &[CounterSample], quantity: &str, unit: &str) -> Count {
    let mut total = None::<(f64, f64)>;
    let mut max_per_s = None::<f64>;
    for pair in samples.windows(2) {
        let [before, after] = pair else { continue };
        if after.interval_ns <= 0 {
            continue;
        }
        let rise = after.value.saturating_sub(before.value) as f64;
        let length_s = after.interval_ns as f64 * 1e-9;
        let (sum, observed_s) = total.unwrap_or_default();
        total = Some((sum + rise, observed_s + length_s));
        max_per_s = Some(max_per_s.unwrap_or(0.0).max(rise / length_s));
    }
    Count {
        quantity: quantity.to_owned(),
        unit: unit.to_owned(),
        value: total.map(|(sum, _)| sum),
        mean_per_s: total.map(|(sum, observed_s)| sum / observed_s),
        max_per_s,
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
    fn a_reset_counter_and_a_restarted_daemon_add_nothing() {
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
        assert_eq!(count.mean_per_s, Some(120.0));
        assert_eq!(count.max_per_s, Some(250.0));
        assert_eq!(super::count(&samples[..1], "sent", "bytes").value, None);
    }
}

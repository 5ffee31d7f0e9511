//! Energy between two instants, from the counters or the power of devices, with its method and
//! error bound.
//!
//! [`mizar_core::energy`] decides what is believed; here its readings are cut to the time asked
//! for, which is an epoch's and not a reading's: between two readings a counter may have risen at
//! any instant, and the bound holds that. What lies outside the readings, or in a gap of power
//! readings, is unobserved: neither zero nor guessed.

use mizar_core::energy::{self, Rules};
use serde::Serialize;

use crate::series::{GAP_INTERVALS, median};

/// A counter that does not say otherwise lags by up to this long.
pub const REFRESH_S: f64 = energy::USUAL_REFRESH_S;

/// A reading of a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// When, in seconds of any clock that all readings share.
    pub time_s: f64,
    /// What its counter said.
    pub joules: Option<f64>,
    /// The power it showed.
    pub watts: Option<f64>,
}

/// Energy of one device or of several.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Energy {
    /// Joules observed.
    pub joules: f64,
    /// By how much they can be wrong, either way.
    pub bound_joules: f64,
    /// The longest time that was not observed on any device.
    pub unobserved_s: f64,
    /// Of how many devices.
    pub device_count: usize,
    /// Of those, how many by counter, for the most part.
    pub by_counter: usize,
    /// Times that a counter stood still, ran backwards or leapt.
    pub fault_count: u32,
    /// Joules of the warm-up, which are within `joules`.
    pub warm_up_joules: Option<f64>,
    /// Joules of the epochs that were kept.
    pub kept_joules: Option<f64>,
}

impl Energy {
    /// How it was measured, for people.
    #[must_use]
    pub fn method(&self) -> String {
        let by = match self.device_count - self.by_counter.min(self.device_count) {
            0 => "energy counters".to_owned(),
            all if all == self.device_count => "power over measured times".to_owned(),
            some => format!(
                "energy counters; power over measured times for {some} of {}",
                self.device_count
            ),
        };
        match self.fault_count {
            0 => by,
            count => format!("{by}; counters failed {count}×"),
        }
    }

    fn add(&mut self, other: &Self) {
        self.joules += other.joules;
        self.bound_joules += other.bound_joules;
        self.unobserved_s = self.unobserved_s.max(other.unobserved_s);
        self.device_count += other.device_count;
        self.by_counter += other.by_counter;
        self.fault_count += other.fault_count;
    }
}

/// The energy of all devices within a time; `None` if one of them measured nothing there, since
/// a sum without it would be too small. The longest interval of the rules is taken from the
/// readings.
#[must_use]
pub fn of_devices(
    devices: &[Vec<Reading>],
    from_s: f64,
    to_s: f64,
    rules: Rules,
) -> Option<Energy> {
    let mut total = Energy::default();
    for device in devices {
        total.add(&of_device(device, from_s, to_s, rules)?);
    }
    (total.device_count > 0).then_some(total)
}

/// [`of_devices`] over a whole run, with what its warm-up and the kept epochs took.
#[must_use]
pub fn of_run(
    devices: &[Vec<Reading>],
    run_s: (f64, f64),
    kept_s: Option<(f64, f64)>,
    rules: Rules,
) -> Option<Energy> {
    let mut total = of_devices(devices, run_s.0, run_s.1, rules)?;
    if let Some((from_s, to_s)) = kept_s {
        let part = |from_s, to_s| Some(of_devices(devices, from_s, to_s, rules)?.joules);
        total.warm_up_joules = part(run_s.0, from_s);
        total.kept_joules = part(from_s, to_s);
    }
    Some(total)
}

fn of_device(readings: &[Reading], from_s: f64, to_s: f64, rules: Rules) -> Option<Energy> {
    let mut readings = readings.to_vec();
    readings.sort_by(|a, b| a.time_s.total_cmp(&b.time_s));
    readings.dedup_by(|a, b| a.time_s == b.time_s);
    let between = readings
        .windows(2)
        .map(|pair| pair[1].time_s - pair[0].time_s);
    let usual_s = median(between.collect())?;
    let longest_s = GAP_INTERVALS * usual_s;
    let rules = Rules {
        longest_ns: (longest_s * 1e9) as i64,
        ..rules
    };
    let (within, edge_joules) = cut(&readings, from_s, to_s, longest_s);
    let total = energy::total(rules, with_intervals(&within));
    let joules = total.joules?;
    let counted = total.counter_s > 0.0;
    Some(Energy {
        joules,
        bound_joules: total.bound_joules + if counted { edge_joules } else { 0.0 },
        unobserved_s: (to_s - from_s - total.counter_s - total.power_s).max(0.0),
        device_count: 1,
        by_counter: usize::from(total.counter_s > total.power_s),
        fault_count: total.frozen + total.backwards,
        ..Energy::default()
    })
}

/// The readings within a time, with one at either end in proportion between its neighbours, and
/// by how much the counter can be wrong there. Power is not drawn across a gap.
fn cut(readings: &[Reading], from_s: f64, to_s: f64, longest_s: f64) -> (Vec<Reading>, f64) {
    let inside = |reading: &&Reading| (from_s..=to_s).contains(&reading.time_s);
    let mut within: Vec<Reading> = readings.iter().filter(inside).copied().collect();
    let mut error_joules = 0.0;
    for (at_s, is_first) in [(from_s, true), (to_s, false)] {
        let is_around = |pair: &&[Reading]| pair[0].time_s < at_s && at_s < pair[1].time_s;
        let Some(pair) = readings.windows(2).find(is_around) else {
            continue;
        };
        let length_s = pair[1].time_s - pair[0].time_s;
        let share = (at_s - pair[0].time_s) / length_s;
        let between = |of: fn(&Reading) -> Option<f64>| {
            let (low, high) = (of(&pair[0])?, of(&pair[1])?);
            Some((low + share * (high - low), high - low))
        };
        let counter = between(|reading| reading.joules).filter(|(_, rise)| *rise >= 0.0);
        error_joules += counter.map_or(0.0, |(_, rise)| share.max(1.0 - share) * rise);
        let end = Reading {
            time_s: at_s,
            joules: counter.map(|(value, _)| value),
            watts: between(|reading| reading.watts)
                .filter(|_| length_s <= longest_s)
                .map(|(value, _)| value),
        };
        within.insert(if is_first { 0 } else { within.len() }, end);
    }
    (within, error_joules)
}

fn with_intervals(readings: &[Reading]) -> Vec<energy::Reading> {
    let mut before_ns = None;
    let reading = |reading: &Reading| {
        let time_ns = (reading.time_s * 1e9).round() as i64;
        let interval_ns = before_ns.map_or(0, |before_ns| time_ns - before_ns);
        before_ns = Some(time_ns);
        energy::Reading {
            time_ns,
            interval_ns,
            counter_uj: reading
                .joules
                .filter(|joules| joules.is_finite() && *joules >= 0.0)
                .map(|joules| (joules * 1e6).round() as u64),
            watts: reading.watts.filter(|watts| watts.is_finite()),
        }
    };
    readings.iter().map(reading).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(of: impl Fn(u32) -> (Option<f64>, Option<f64>)) -> Vec<Reading> {
        (0..=20)
            .map(|second| {
                let (joules, watts) = of(second);
                Reading {
                    time_s: 100.0 + f64::from(second),
                    joules,
                    watts,
                }
            })
            .collect()
    }

    #[test]
    fn a_counter_wins_and_its_bound_is_that_of_its_refresh() {
        let device = readings(|s| (Some(300.0 * f64::from(s)), Some(1.0)));
        let energy = of_devices(&[device], 105.0, 115.0, Rules::of_device(REFRESH_S, 0)).unwrap();
        assert!((energy.joules - 3000.0).abs() < 1e-6);
        assert!((energy.bound_joules - 30.0).abs() < 1e-6, "0.1 s of 300 W");
        assert_eq!(energy.method(), "energy counters");
    }

    #[test]
    fn between_readings_the_bound_holds_whatever_happened_there() {
        let device = readings(|s| (Some(300.0 * f64::from(s)), None));
        let energy = of_devices(&[device], 105.25, 115.0, Rules::of_device(0.0, 0)).unwrap();
        // The counter may have risen by 300 J at any time of that second.
        assert!((energy.bound_joules - 0.75 * 300.0).abs() < 1e-6);
    }

    #[test]
    fn counters_that_fall_or_stand_still_give_way_to_power() {
        let falls = readings(|s| {
            let counted = 200.0 * f64::from(s) + if s < 10 { 50_000.0 } else { 0.0 };
            (Some(counted), Some(200.0))
        });
        let stands = readings(|_| (Some(5.0), Some(200.0)));
        for (device, by) in [
            (falls, "energy counters"),
            (stands, "power over measured times"),
        ] {
            let energy =
                of_devices(&[device], 100.0, 120.0, Rules::of_device(REFRESH_S, 0)).unwrap();
            assert!((energy.joules - 4000.0).abs() < 1e-6, "{energy:?}");
            assert_eq!(energy.method(), format!("{by}; counters failed 1×"));
        }
    }

    #[test]
    fn power_counts_by_measured_times_not_by_nominal_ones() {
        // Every two seconds, whatever somebody labelled them with.
        let device: Vec<Reading> = (0..=10)
            .map(|index| Reading {
                time_s: f64::from(index) * 2.0,
                joules: None,
                watts: Some(100.0),
            })
            .collect();
        let energy = of_devices(&[device], 0.0, 20.0, Rules::of_device(REFRESH_S, 0)).unwrap();
        assert!((energy.joules - 2000.0).abs() < 1e-6);
        // A twentieth, for the sensor.
        assert!((energy.bound_joules - 100.0).abs() < 1e-6);
    }

    #[test]
    fn stepped_power_lies_within_its_bound() {
        // 100 W until 110.4, then 300 W: the truth is 1040 + 2880 J.
        let device = readings(|s| (None, Some(if s <= 10 { 100.0 } else { 300.0 })));
        let energy = of_devices(&[device], 100.0, 120.0, Rules::of_device(REFRESH_S, 0)).unwrap();
        assert!((energy.joules - 3920.0).abs() <= energy.bound_joules);
    }

    #[test]
    fn gaps_are_unobserved_and_not_drawn_across() {
        let mut device = readings(|_| (None, Some(100.0)));
        device.retain(|reading| !(105.5..115.5).contains(&reading.time_s));
        let energy = of_devices(&[device], 95.0, 120.0, Rules::of_device(REFRESH_S, 0)).unwrap();
        // 11 s between readings, and 5 s before the first.
        assert!((energy.unobserved_s - 16.0).abs() < 1e-6);
        assert!((energy.joules - 900.0).abs() < 1e-6);
    }

    #[test]
    fn a_time_that_ends_in_a_gap_is_unobserved_there() {
        let mut device = readings(|_| (None, Some(100.0)));
        device.retain(|reading| !(105.5..115.5).contains(&reading.time_s));
        let energy = of_devices(&[device], 100.0, 107.0, Rules::of_device(REFRESH_S, 0)).unwrap();
        assert!((energy.joules - 500.0).abs() < 1e-6, "{energy:?}");
        assert!((energy.unobserved_s - 2.0).abs() < 1e-6);
    }

    #[test]
    fn a_device_without_readings_leaves_no_sum() {
        let device = readings(|_| (None, Some(100.0)));
        let blind = readings(|_| (None, None));
        assert_eq!(
            of_devices(&[device, blind], 100.0, 120.0, Rules::of_device(0.1, 0)),
            None
        );
        assert_eq!(
            of_devices(&[], 100.0, 120.0, Rules::of_device(0.1, 0)),
            None
        );
    }
}

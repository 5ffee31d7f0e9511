//! Energy between two instants from counters or power, with its method and error bound.
//!
//! A counter that only rises is believed first; one that runs backwards or stands still while
//! power flows gives way to the integral of power over the times of the readings as measured.
//! What lies outside the readings, or in a gap of more than three intervals of power readings,
//! is unobserved: neither zero nor guessed.

use serde::Serialize;

use crate::series::{GAP_INTERVALS, median};

/// Power sensors are good to about this share of what they show.
pub const SENSOR_SHARE: f64 = 0.05;
/// A counter or sensor that does not say otherwise lags by up to this long.
pub const REFRESH_S: f64 = 0.1;
/// A counter that stood still over fewer readings may just be slow.
const FROZEN_READINGS: usize = 3;

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
    /// Of those, how many by counter.
    pub by_counter: usize,
    /// Joules of the warm-up, which are within `joules`.
    pub warm_up_joules: Option<f64>,
    /// Joules of the epochs that were kept.
    pub kept_joules: Option<f64>,
}

impl Energy {
    /// How it was measured, for people.
    #[must_use]
    pub fn method(&self) -> String {
        match self.device_count - self.by_counter.min(self.device_count) {
            0 => "energy counters".to_owned(),
            all if all == self.device_count => "power over measured times".to_owned(),
            some => format!(
                "energy counters; power over measured times for {some} of {}",
                self.device_count
            ),
        }
    }

    fn add(&mut self, other: &Self) {
        self.joules += other.joules;
        self.bound_joules += other.bound_joules;
        self.unobserved_s = self.unobserved_s.max(other.unobserved_s);
        self.device_count += other.device_count;
        self.by_counter += other.by_counter;
    }
}

/// The energy of all devices within a time; `None` if one of them measured nothing there, since
/// a sum without it would be too small.
#[must_use]
pub fn of_devices(
    devices: &[Vec<Reading>],
    from_s: f64,
    to_s: f64,
    refresh_s: f64,
) -> Option<Energy> {
    let mut total = Energy::default();
    for device in devices {
        total.add(&of_device(device, from_s, to_s, refresh_s)?);
    }
    (total.device_count > 0).then_some(total)
}

/// [`of_devices`] over a whole run, with what its warm-up and the kept epochs took.
#[must_use]
pub fn of_run(
    devices: &[Vec<Reading>],
    run_s: (f64, f64),
    kept_s: Option<(f64, f64)>,
    refresh_s: f64,
) -> Option<Energy> {
    let mut total = of_devices(devices, run_s.0, run_s.1, refresh_s)?;
    if let Some((from_s, to_s)) = kept_s {
        let part = |from_s, to_s| Some(of_devices(devices, from_s, to_s, refresh_s)?.joules);
        total.warm_up_joules = part(run_s.0, from_s);
        total.kept_joules = part(from_s, to_s);
    }
    Some(total)
}

fn of_device(readings: &[Reading], from_s: f64, to_s: f64, refresh_s: f64) -> Option<Energy> {
    let power: Vec<(f64, f64)> = points(readings, |r| r.watts);
    let counter: Vec<(f64, f64)> = points(readings, |r| r.joules);
    let by_power = || of_power(&power, from_s, to_s, refresh_s);
    if is_sound(&counter, &power) {
        of_counter(&counter, from_s, to_s, refresh_s).or_else(by_power)
    } else {
        by_power()
    }
}

fn points(readings: &[Reading], value: fn(&Reading) -> Option<f64>) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = readings
        .iter()
        .filter_map(|reading| Some((reading.time_s, value(reading)?)))
        .filter(|point| point.1.is_finite())
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points.dedup_by(|a, b| a.0 == b.0);
    points
}

/// Does the counter only rise, and does it rise while power flows?
fn is_sound(counter: &[(f64, f64)], power: &[(f64, f64)]) -> bool {
    let rises = counter.windows(2).all(|pair| pair[1].1 >= pair[0].1);
    let stands = counter.first().map(|p| p.1) == counter.last().map(|p| p.1);
    let flows = power.iter().any(|point| point.1 > 0.0);
    let frozen = stands && flows && counter.len() >= FROZEN_READINGS;
    counter.len() >= 2 && rises && !frozen
}

fn of_counter(counter: &[(f64, f64)], from_s: f64, to_s: f64, refresh_s: f64) -> Option<Energy> {
    let (first, last) = (counter.first()?.0, counter.last()?.0);
    let (begin, end) = (from_s.max(first), to_s.min(last));
    (end > begin).then_some(())?;
    let (low, low_error) = level(counter, begin)?;
    let (high, high_error) = level(counter, end)?;
    let joules = high - low;
    let watts = joules / (end - begin);
    Some(Energy {
        joules,
        bound_joules: refresh_s * watts + low_error + high_error,
        unobserved_s: (to_s - from_s) - (end - begin),
        device_count: 1,
        by_counter: 1,
        ..Energy::default()
    })
}

/// The counter at an instant between two readings, in proportion, and by how much that can be
/// wrong: it may have risen at once anywhere between them.
fn level(counter: &[(f64, f64)], at_s: f64) -> Option<(f64, f64)> {
    let after = counter.iter().position(|point| point.0 >= at_s)?;
    let (time, value) = counter[after];
    if time == at_s || after == 0 {
        return Some((value, 0.0));
    }
    let (before_time, before) = counter[after - 1];
    let share = (at_s - before_time) / (time - before_time);
    let rise = value - before;
    Some((before + share * rise, share.max(1.0 - share) * rise))
}

fn of_power(power: &[(f64, f64)], from_s: f64, to_s: f64, refresh_s: f64) -> Option<Energy> {
    let usual = median(power.windows(2).map(|pair| pair[1].0 - pair[0].0).collect())?;
    let (mut joules, mut changes, mut observed_s) = (0.0, 0.0, 0.0);
    for pair in power.windows(2) {
        let [(start, low), (stop, high)] = *pair else {
            continue;
        };
        let (begin, end) = (start.max(from_s), stop.min(to_s));
        if end <= begin || stop - start > GAP_INTERVALS * usual {
            continue;
        }
        let at = |time: f64| low + (high - low) * (time - start) / (stop - start);
        joules += f64::midpoint(at(begin), at(end)) * (end - begin);
        changes += 0.5 * (high - low).abs() * (end - begin);
        observed_s += end - begin;
    }
    (observed_s > 0.0).then(|| {
        let watts = joules / observed_s;
        Energy {
            joules,
            bound_joules: changes.max(SENSOR_SHARE * joules + refresh_s * watts),
            unobserved_s: (to_s - from_s - observed_s).max(0.0),
            device_count: 1,
            ..Energy::default()
        }
    })
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
        let energy = of_devices(&[device], 105.0, 115.0, REFRESH_S).unwrap();
        assert!((energy.joules - 3000.0).abs() < 1e-9);
        assert!((energy.bound_joules - 30.0).abs() < 1e-9, "0.1 s of 300 W");
        assert_eq!(energy.method(), "energy counters");
    }

    #[test]
    fn between_readings_the_bound_holds_whatever_happened_there() {
        let device = readings(|s| (Some(300.0 * f64::from(s)), None));
        let energy = of_devices(&[device], 105.25, 115.0, 0.0).unwrap();
        // The counter may have risen by 300 J at any time of that second.
        assert!((energy.bound_joules - 0.75 * 300.0).abs() < 1e-9);
    }

    #[test]
    fn counters_that_fall_or_stand_still_give_way_to_power() {
        let falls = readings(|s| (Some(f64::from(s % 7)), Some(200.0)));
        let stands = readings(|_| (Some(5.0), Some(200.0)));
        for device in [falls, stands] {
            let energy = of_devices(&[device], 100.0, 120.0, REFRESH_S).unwrap();
            assert!((energy.joules - 4000.0).abs() < 1e-9);
            assert_eq!(energy.method(), "power over measured times");
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
        let energy = of_devices(&[device], 0.0, 20.0, REFRESH_S).unwrap();
        assert!((energy.joules - 2000.0).abs() < 1e-9);
        assert!((energy.bound_joules - (100.0 + 10.0)).abs() < 1e-9);
    }

    #[test]
    fn stepped_power_lies_within_its_bound() {
        // 100 W until 110.4, then 300 W: the truth is 1040 + 2880 J.
        let device = readings(|s| (None, Some(if s <= 10 { 100.0 } else { 300.0 })));
        let energy = of_devices(&[device], 100.0, 120.0, REFRESH_S).unwrap();
        assert!((energy.joules - 3920.0).abs() <= energy.bound_joules);
    }

    #[test]
    fn gaps_are_unobserved_and_not_drawn_across() {
        let mut device = readings(|_| (None, Some(100.0)));
        device.retain(|reading| !(105.5..115.5).contains(&reading.time_s));
        let energy = of_devices(&[device], 95.0, 120.0, REFRESH_S).unwrap();
        // 11 s between readings, and 5 s before the first.
        assert!((energy.unobserved_s - 16.0).abs() < 1e-9);
        assert!((energy.joules - 900.0).abs() < 1e-9);
    }

    #[test]
    fn a_device_without_readings_leaves_no_sum() {
        let device = readings(|_| (None, Some(100.0)));
        let blind = readings(|_| (None, None));
        assert_eq!(of_devices(&[device, blind], 100.0, 120.0, 0.1), None);
        assert_eq!(of_devices(&[], 100.0, 120.0, 0.1), None);
    }
}

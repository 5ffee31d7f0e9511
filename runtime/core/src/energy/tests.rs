//! Scripted devices whose energy is known by other means than the meter's.

use proptest::prelude::*;

use super::*;

const REFRESH_S: f64 = 0.1;

/// A device that draws `watts` until `at_s`, then `then_watts`; its counter refreshes on a
/// grid that begins at `phase_s`.
#[derive(Clone, Copy, Debug)]
struct Device {
    watts: f64,
    at_s: f64,
    then_watts: f64,
    phase_s: f64,
}

impl Device {
    fn constant(watts: f64) -> Self {
        Self {
            watts,
            at_s: 0.0,
            then_watts: watts,
            phase_s: 0.0,
        }
    }

    fn watts_at(&self, second: f64) -> f64 {
        if second < self.at_s {
            self.watts
        } else {
            self.then_watts
        }
    }

    /// Exact.
    fn joules_until(&self, second: f64) -> f64 {
        self.watts * second.min(self.at_s) + self.then_watts * (second - self.at_s).max(0.0)
    }

    fn counter_uj(&self, second: f64) -> u64 {
        let refreshed = ((second - self.phase_s) / REFRESH_S).floor() * REFRESH_S + self.phase_s;
        (1e9 + self.joules_until(refreshed.max(0.0)) * 1e6).round() as u64
    }

    fn reading(&self, second: f64, before: Option<f64>) -> Reading {
        Reading {
            time_ns: (second * 1e9).round() as i64,
            interval_ns: before.map_or(0, |before| ((second - before) * 1e9).round() as i64),
            counter_uj: Some(self.counter_uj(second)),
            watts: Some(self.watts_at(second)),
        }
    }

    fn readings(&self, seconds: &[f64]) -> Vec<Reading> {
        let before = std::iter::once(None).chain(seconds.iter().copied().map(Some));
        let pairs = seconds.iter().zip(before);
        pairs
            .map(|(second, before)| self.reading(*second, before))
            .collect()
    }
}

fn rules() -> Rules {
    Rules::of_device(REFRESH_S, 3_000_000_000)
}

#[test]
fn a_node_may_draw_what_no_device_can() {
    let reading = |second: i64| Reading {
        time_ns: second * 1_000_000_000,
        interval_ns: 1_000_000_000,
        counter_uj: Some(second as u64 * 12_000_000_000),
        watts: None,
    };
    let readings = || (0..10).map(reading);
    let node = total(Rules::of_node(0.1, 3_000_000_000), readings());
    assert_eq!((node.joules, node.backwards), (Some(9.0 * 12_000.0), 0));
    let device = total(rules(), readings());
    assert_eq!((device.joules, device.backwards), (None, 9));
}

fn every(step_s: f64, count: usize) -> Vec<f64> {
    (0..count)
        .map(|index| 0.05 + index as f64 * step_s)
        .collect()
}

fn close(found: Option<f64>, expected: f64, bound: f64) {
    let found = found.expect("measured");
    assert!(
        (found - expected).abs() <= bound,
        "{found} J is not {expected} J ± {bound}"
    );
}

#[test]
fn a_second_at_constant_power_is_known_to_a_tenth_and_ten_seconds_to_a_hundredth() {
    for (length_s, share) in [(1.0, 0.10), (10.0, 0.01)] {
        let device = Device::constant(300.0);
        let found = total(rules(), device.readings(&[0.05, 0.05 + length_s]));
        close(found.joules, 300.0 * length_s, found.bound_joules);
        assert!(
            (found.bound_joules / (300.0 * length_s) - share).abs() < 1e-9,
            "{found:?}"
        );
        assert_eq!((found.power_s, found.unobserved_s), (0.0, 0.0));
        assert_eq!(found.method(), "energy counter");
    }
}

#[test]
fn a_counter_covers_times_without_readings_and_power_does_not() {
    let device = Device::constant(100.0);
    let seconds: Vec<f64> = [0.0, 1.0, 2.0, 62.0, 63.0].into();
    let counted = total(rules(), device.readings(&seconds));
    close(counted.joules, 6300.0, counted.bound_joules);
    let mut readings = device.readings(&seconds);
    readings
        .iter_mut()
        .for_each(|reading| reading.counter_uj = None);
    let integrated = total(rules(), readings);
    assert_eq!(integrated.joules, Some(300.0));
    assert!((integrated.unobserved_s - 60.0).abs() < 1e-9);
    assert!(
        integrated.method().contains("60.0 s unobserved"),
        "{}",
        integrated.method()
    );
}

#[test]
fn power_is_integrated_over_the_time_that_passed_and_not_the_time_asked_for() {
    let mut readings = Device::constant(250.0).readings(&[0.0, 2.0, 4.5]);
    readings
        .iter_mut()
        .for_each(|reading| reading.counter_uj = None);
    let found = total(rules(), readings);
    assert_eq!(found.joules, Some(1125.0));
    assert!((found.bound_joules - SENSOR_SHARE * 1125.0).abs() < 1e-9);
}

#[test]
fn a_frozen_counter_is_noticed_once_and_power_stands_in() {
    let device = Device::constant(200.0);
    let mut readings = device.readings(&every(1.0, 31));
    let stuck = readings[10].counter_uj;
    readings[10..21]
        .iter_mut()
        .for_each(|reading| reading.counter_uj = stuck);
    // From then on it counts again from where it stood: the time between is lost to it.
    let lost = device.counter_uj(20.05) - device.counter_uj(10.05);
    for reading in &mut readings[21..] {
        reading.counter_uj = reading.counter_uj.map(|counter| counter - lost);
    }
    let mut meter = Meter::new(rules());
    let faults: Vec<Fault> = readings
        .into_iter()
        .filter_map(|reading| meter.push(reading))
        .collect();
    assert_eq!(faults, [Fault::Frozen]);
    let found = meter.total();
    close(found.joules, 200.0 * 30.0, found.bound_joules);
    assert!((found.power_s - 11.0).abs() < 1e-6, "{found:?}");
}

#[test]
fn a_counter_that_is_only_slow_is_believed() {
    // Refreshed every 5 s although 0.1 s is promised: it catches up.
    let device = Device::constant(200.0);
    let mut readings = device.readings(&every(1.0, 31));
    for index in 0..readings.len() {
        readings[index].counter_uj = readings[index - index % 5].counter_uj;
    }
    let found = total(rules(), readings);
    close(found.joules, 200.0 * 30.0, found.bound_joules);
}

#[test]
fn an_idle_counter_is_not_called_frozen() {
    let mut readings = Device::constant(0.0).readings(&every(1.0, 61));
    readings
        .iter_mut()
        .for_each(|reading| reading.watts = Some(0.0));
    let found = total(rules(), readings);
    assert_eq!((found.joules, found.frozen), (Some(0.0), 0));
}

#[test]
fn a_counter_that_runs_backwards_is_noticed_and_power_stands_in() {
    let mut readings = Device::constant(150.0).readings(&every(1.0, 21));
    for reading in &mut readings[10..] {
        reading.counter_uj = reading.counter_uj.map(|counter| counter - 900_000_000);
    }
    let mut meter = Meter::new(rules());
    let faults: Vec<Fault> = readings
        .into_iter()
        .filter_map(|reading| meter.push(reading))
        .collect();
    assert_eq!(faults, [Fault::Backwards]);
    let found = meter.total();
    close(found.joules, 150.0 * 20.0, found.bound_joules);
    assert!((found.power_s - 1.0).abs() < 1e-9);
    assert!(
        found.method().contains("ran backwards"),
        "{}",
        found.method()
    );
}

#[test]
fn a_leap_is_no_energy() {
    let mut readings = Device::constant(150.0).readings(&every(1.0, 21));
    for reading in &mut readings[10..] {
        reading.counter_uj = reading.counter_uj.map(|counter| counter + (1 << 50));
    }
    let found = total(rules(), readings);
    assert_eq!(found.backwards, 1);
    close(found.joules, 150.0 * 20.0, found.bound_joules);
}

#[test]
fn counters_of_32_bits_begin_again_without_a_loss() {
    for end_uj in [(1_u64 << 32) * 1000, 1 << 32] {
        let device = Device::constant(400.0);
        let mut readings = device.readings(&every(1.0, 21));
        let shift = end_uj - device.counter_uj(10.05) % end_uj;
        for reading in &mut readings {
            reading.counter_uj = reading.counter_uj.map(|counter| (counter + shift) % end_uj);
        }
        let found = total(rules(), readings);
        assert_eq!((found.wraps, found.backwards), (1, 0), "{found:?}");
        close(found.joules, 400.0 * 20.0, found.bound_joules);
        assert_eq!(found.power_s, 0.0);
    }
}

#[test]
fn nothing_is_measured_of_nothing() {
    let empty = [
        Reading::default(),
        Reading {
            time_ns: 5_000_000_000,
            ..Reading::default()
        },
    ];
    let found = total(rules(), empty);
    assert_eq!((found.joules, found.unobserved_s), (None, 5.0));
    assert_eq!(
        found.method(),
        "not measured; 5.0 s unobserved".split(';').next().unwrap()
    );
}

prop_compose! {
    fn devices()(watts in 20.0..900.0_f64, then_watts in 20.0..900.0_f64, at_s in 0.0..30.0_f64, phase_s in 0.0..0.1_f64) -> Device {
        Device { watts, at_s, then_watts, phase_s }
    }
}

proptest! {
    /// Whatever the rate and however uneven, the truth lies within the bound.
    #[test]
    fn the_truth_lies_within_the_bound(
        device in devices(),
        steps in proptest::collection::vec(0.01..2.5_f64, 2..80),
        without_counter: bool,
    ) {
        let seconds: Vec<f64> = steps.iter().scan(0.2, |at, step| { *at += step; Some(*at) }).collect();
        let mut readings = device.readings(&seconds);
        if without_counter {
            readings.iter_mut().for_each(|reading| reading.counter_uj = None);
        }
        let found = total(rules(), readings);
        let (first, last) = (seconds[0], seconds[seconds.len() - 1]);
        let expected = device.joules_until(last) - device.joules_until(first);
        let error = (found.joules.unwrap() - expected).abs();
        prop_assert!(error <= found.bound_joules + 1e-3, "{error} J off: {found:?}");
    }

    /// Counter and integral agree at constant power within their bounds.
    #[test]
    fn counter_and_integral_agree_at_constant_power(watts in 20.0..900.0_f64, step_s in 0.01..2.5_f64) {
        let readings = Device::constant(watts).readings(&every(step_s, 60));
        let counted = total(rules(), readings.clone());
        let integrated = total(rules(), readings.into_iter().map(|reading| Reading { counter_uj: None, ..reading }));
        let apart = (counted.joules.unwrap() - integrated.joules.unwrap()).abs();
        prop_assert!(apart <= counted.bound_joules + integrated.bound_joules);
    }

    /// Time is counted once: by the counter, by power, or as unobserved.
    #[test]
    fn no_time_is_lost(counters in proptest::collection::vec(proptest::option::of(0..u64::MAX), 2..40),
                       watts in proptest::option::of(0.0..900.0_f64)) {
        let readings = counters.iter().enumerate().map(|(index, counter_uj)| Reading {
            time_ns: index as i64 * 1_000_000_000,
            interval_ns: 1_000_000_000,
            counter_uj: *counter_uj,
            watts,
        });
        let found = total(rules(), readings);
        let all = found.counter_s + found.power_s + found.unobserved_s;
        prop_assert!((all - (counters.len() - 1) as f64).abs() < 1e-6, "{found:?}");
        prop_assert!(found.joules.is_none_or(|joules| joules >= 0.0 && joules.is_finite()));
    }
}

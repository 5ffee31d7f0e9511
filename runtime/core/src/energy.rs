//! The energy of a device from readings of its counter, and from its power where the counter
//! fails: how much, by which method, and how far it can be off.
//!
//! The counter comes first: what it rose by needs no clock and holds across times without
//! readings. It is not believed where it stands still although power is drawn (seen on MI100),
//! runs backwards (seen with AMD SMI) or leaps further than any device can draw; there, and
//! where there is none, power is integrated by the trapezoidal rule over the intervals as
//! measured. A time that neither covers is unobserved: neither zero nor interpolated.
//!
//! `mizard` feeds a [`Meter`] while a job runs, to say at once that a counter fails; the report
//! feeds another from the record. Pure: no clock, no I/O.

mod meter;

pub use meter::Meter;

/// No single device or module draws more; a counter that says so has leapt.
pub const MAX_DEVICE_WATTS: f64 = 5_000.0;

/// The same of a whole node.
pub const MAX_NODE_WATTS: f64 = 100_000.0;

/// How far power sensors are off, as a share of the reading: NVIDIA's header states 5 %, and
/// nobody states less.
pub const SENSOR_SHARE: f64 = 0.05;

/// The refresh of a counter of which nothing is known: NVML's, the slowest seen.
pub const USUAL_REFRESH_S: f64 = 0.1;

/// One reading of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// By the wall clock, nanoseconds.
    pub time_ns: i64,
    /// Since the reading before, by the monotonic clock; 0 if that is not known.
    pub interval_ns: i64,
    /// The energy counter, microjoules.
    pub counter_uj: Option<u64>,
    /// Power.
    pub watts: Option<f64>,
}

/// What a meter must know of the device and of the readings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// The longest time by which the counter lags behind.
    pub refresh_s: f64,
    /// Power is not integrated over longer intervals.
    pub longest_ns: i64,
    /// A counter that rose faster has leapt.
    pub max_watts: f64,
}

impl Rules {
    /// Of a GPU or module.
    #[must_use]
    pub fn of_device(refresh_s: f64, longest_ns: i64) -> Self {
        Self {
            refresh_s,
            longest_ns,
            max_watts: MAX_DEVICE_WATTS,
        }
    }

    /// Of a node with all that is in it.
    #[must_use]
    pub fn of_node(refresh_s: f64, longest_ns: i64) -> Self {
        Self {
            max_watts: MAX_NODE_WATTS,
            ..Self::of_device(refresh_s, longest_ns)
        }
    }
}

/// What is wrong with a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It stands still although power is drawn.
    Frozen,
    /// It ran backwards, or leapt.
    Backwards,
}

/// Energy so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Total {
    /// The energy; `None` if nothing measured any.
    pub joules: Option<f64>,
    /// The true value lies within this of [`Total::joules`].
    pub bound_joules: f64,
    /// Time that the counter covers.
    pub counter_s: f64,
    /// Time that the integral of power covers.
    pub power_s: f64,
    /// Time that neither covers.
    pub unobserved_s: f64,
    /// Times that the counter stood still.
    pub frozen: u32,
    /// Times that the counter ran backwards or leapt.
    pub backwards: u32,
    /// Times that the counter began again at its end, which loses nothing.
    pub wraps: u32,
}

impl Total {
    /// How the energy was obtained, for people.
    #[must_use]
    pub fn method(&self) -> String {
        let mut words = match (self.counter_s > 0.0, self.power_s > 0.0) {
            (false, false) => return "not measured".to_owned(),
            (true, false) => "energy counter".to_owned(),
            (false, true) => "power integrated over the intervals as measured".to_owned(),
            (true, true) => format!(
                "energy counter, and power integrated for {:.1} s in which it failed",
                self.power_s
            ),
        };
        for (count, what) in [
            (self.frozen, "stood still"),
            (self.backwards, "ran backwards or leapt"),
            (self.wraps, "began again at its end"),
        ] {
            if count > 0 {
                words += &format!("; the counter {what} {count}×");
            }
        }
        if self.unobserved_s > 0.0 {
            words += &format!("; {:.1} s unobserved", self.unobserved_s);
        }
        words
    }
}

/// The energy of a device over its readings, in the order of time.
#[must_use]
pub fn total(rules: Rules, readings: impl IntoIterator<Item = Reading>) -> Total {
    let mut meter = Meter::new(rules);
    for reading in readings {
        meter.push(reading);
    }
    meter.total()
}

#[cfg(test)]
mod tests;

//! The meter itself: one reading after the other.

use super::{Fault, Reading, Rules, SENSOR_SHARE, Total};

/// A counter that does not move for so many refreshes, and at least for so long, while so much
/// energy flows by its power, is frozen and not slow.
const FROZEN_REFRESHES: f64 = 20.0;
const FROZEN_S: f64 = 2.0;
const FROZEN_JOULES: f64 = 10.0;

/// A counter that moved again is believed for the time that it stood still if it rose by at
/// least this share of what power says.
const CAUGHT_UP: f64 = 0.5;

/// Where counters begin again: 32 bits of millijoules (NVML), of 15.3 µJ (AMD) and of
/// microjoules. Wider ones outlive their machines.
const WRAPS_UJ: [f64; 3] = [
    4_294_967_296.0 * 1000.0,
    4_294_967_296.0 * 15.3,
    4_294_967_296.0,
];

/// Adds up a device's energy.
#[derive(Clone, Debug)]
pub struct Meter {
    rules: Rules,
    last: Option<Reading>,
    still: Still,
    counter: Counted,
    power: Integral,
    unobserved_s: f64,
    frozen: u32,
    backwards: u32,
    wraps: u32,
}

/// The time since the counter last moved.
#[derive(Clone, Copy, Debug, Default)]
struct Still {
    seconds: f64,
    /// What power says of it, as far as it is observed.
    power: Integral,
    frozen: bool,
}

/// What the counter told.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    joules: f64,
    seconds: f64,
    /// Stretches that the counter covers without a break, each with an end that may lag.
    windows: u32,
    /// Is the last stretch still open?
    open: bool,
    /// The largest power at their ends.
    edge_watts: f64,
}

/// An integral of power.
#[derive(Clone, Copy, Debug, Default)]
struct Integral {
    joules: f64,
    seconds: f64,
    /// Σ|ΔP|Δt / 2.
    spread_joules: f64,
}

impl Integral {
    fn add(&mut self, other: Self) {
        self.joules += other.joules;
        self.seconds += other.seconds;
        self.spread_joules += other.spread_joules;
    }

    fn bound_joules(&self) -> f64 {
        self.spread_joules.max(SENSOR_SHARE * self.joules)
    }
}

impl Meter {
    /// A meter that has read nothing.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            last: None,
            still: Still::default(),
            counter: Counted::default(),
            power: Integral::default(),
            unobserved_s: 0.0,
            frozen: 0,
            backwards: 0,
            wraps: 0,
        }
    }

    /// Takes the next reading in; says so if it shows for the first time that the counter
    /// fails.
    pub fn push(&mut self, now: Reading) -> Option<Fault> {
        let before = self.last.replace(now)?;
        let seconds = elapsed_s(before, now);
        let piece = self.integral(before, now);
        let (Some(from), Some(to)) = (before.counter_uj, now.counter_uj) else {
            self.settle();
            self.counter.open = false;
            self.by_power(seconds, piece);
            return None;
        };
        self.still.seconds += seconds;
        self.still.power.add(piece);
        if from == to {
            return self.stand();
        }
        self.move_on(from, to, before, now)
    }

    /// Energy up to the last reading.
    #[must_use]
    pub fn total(&self) -> Total {
        let mut settled = self.clone();
        settled.settle();
        let Self {
            counter,
            power,
            unobserved_s,
            ..
        } = settled;
        let mean_watts = if counter.seconds > 0.0 {
            counter.joules / counter.seconds
        } else {
            0.0
        };
        let lag_joules =
            f64::from(counter.windows) * self.rules.refresh_s * counter.edge_watts.max(mean_watts);
        Total {
            joules: (counter.seconds + power.seconds > 0.0)
                .then_some(counter.joules + power.joules),
            bound_joules: lag_joules + power.bound_joules(),
            counter_s: counter.seconds,
            power_s: power.seconds,
            unobserved_s,
            frozen: self.frozen,
            backwards: self.backwards,
            wraps: self.wraps,
        }
    }

    fn integral(&self, before: Reading, now: Reading) -> Integral {
        let observed = now.interval_ns > 0 && now.interval_ns <= self.rules.longest_ns;
        match (before.watts, now.watts) {
            (Some(from), Some(to)) if observed => {
                let seconds = now.interval_ns as f64 * 1e-9;
                Integral {
                    joules: 0.5 * (from + to) * seconds,
                    seconds,
                    spread_joules: 0.5 * (to - from).abs() * seconds,
                }
            }
            _ => Integral::default(),
        }
    }

    fn by_power(&mut self, seconds: f64, piece: Integral) {
        self.power.add(piece);
        self.unobserved_s += (seconds - piece.seconds).max(0.0);
    }

    /// The counter did not move.
    fn stand(&mut self) -> Option<Fault> {
        let long_s = (FROZEN_REFRESHES * self.rules.refresh_s).max(FROZEN_S);
        let is_frozen = self.still.seconds > long_s && self.still.power.joules > FROZEN_JOULES;
        if !is_frozen || self.still.frozen {
            return None;
        }
        self.still.frozen = true;
        self.frozen += 1;
        Some(Fault::Frozen)
    }

    /// The counter moved, one way or the other.
    fn move_on(&mut self, from: u64, to: u64, before: Reading, now: Reading) -> Option<Fault> {
        let still = std::mem::take(&mut self.still);
        let room_s = still.seconds + self.rules.refresh_s;
        let possible = |joules: f64| joules <= self.rules.max_watts * room_s;
        let risen = if to > from {
            Some((to - from) as f64 * 1e-6).filter(|&joules| possible(joules))
        } else {
            let wrapped = wrapped_joules(from, to, &still.power, self.rules.refresh_s, before);
            self.wraps += u32::from(wrapped.is_some());
            wrapped
        };
        let Some(joules) = risen else {
            self.backwards += 1;
            self.counter.open = false;
            self.by_power(still.seconds, still.power);
            return Some(Fault::Backwards);
        };
        let slow = still.seconds > 2.0 * self.rules.refresh_s && still.frozen;
        if slow && joules < CAUGHT_UP * still.power.joules {
            self.counter.open = false;
            self.by_power(still.seconds, still.power);
            return None;
        }
        self.count(joules, still.seconds, before, now);
        None
    }

    fn count(&mut self, joules: f64, seconds: f64, before: Reading, now: Reading) {
        let counter = &mut self.counter;
        if !counter.open {
            counter.open = true;
            counter.windows += 1;
            counter.edge_watts = counter.edge_watts.max(before.watts.unwrap_or(0.0));
        }
        counter.joules += joules;
        counter.seconds += seconds;
        counter.edge_watts = counter.edge_watts.max(now.watts.unwrap_or(0.0));
    }

    /// Decides on the time since the counter last moved: it merely lags, or it stood still.
    fn settle(&mut self) {
        let still = std::mem::take(&mut self.still);
        if still.seconds <= 0.0 {
            return;
        }
        let Some(last) = self.last else { return };
        if still.frozen {
            self.by_power(still.seconds, still.power);
        } else {
            self.count(0.0, still.seconds, last, last);
        }
    }
}

fn elapsed_s(before: Reading, now: Reading) -> f64 {
    let ns = if now.interval_ns > 0 {
        now.interval_ns
    } else {
        now.time_ns - before.time_ns
    };
    ns.max(0) as f64 * 1e-9
}

/// What a counter rose by that fell from near its end to near its beginning, if its power
/// agrees; without power nobody can tell an end from a fault.
fn wrapped_joules(
    from: u64,
    to: u64,
    power: &Integral,
    refresh_s: f64,
    before: Reading,
) -> Option<f64> {
    (power.seconds > 0.0).then_some(())?;
    let margin = 0.5 * power.joules + refresh_s * before.watts.unwrap_or(0.0) + 1.0;
    WRAPS_UJ.into_iter().find_map(|end_uj| {
        let joules = (end_uj - from as f64 + to as f64) * 1e-6;
        let agrees = joules >= 0.0 && (joules - power.joules).abs() <= margin;
        ((from as f64) < end_uj && agrees).then_some(joules)
    })
}

//! Time, as cheaply as it can be had: the processor's counter, measured against the monotonic
//! clock, where it runs evenly; else that clock.
//!
//! Some virtual machines take half a microsecond to tell the monotonic time, twice a call.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counter is measured against the clock again after so long.
const ANCHOR_NS: u64 = 100_000_000;

/// The counter's rate is believed after so long.
const CALIBRATION_NS: u64 = 20_000_000;

/// A rate that changes by more is that of another machine: the process was moved.
const MAX_DRIFT: f64 = 0.01;

/// When the process began, as far as this library knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Birth {
    pub(crate) monotonic_ns: u64,
    pub(crate) cpu_ns: u64,
}

static BIRTH_NS: AtomicU64 = AtomicU64::new(0);
static BIRTH_CPU_NS: AtomicU64 = AtomicU64::new(0);
static BIRTH_TICKS: AtomicU64 = AtomicU64::new(0);

/// Run by the linker when the library is loaded: three readings of clocks.
#[used]
#[unsafe(link_section = ".init_array")]
static RECORD_BIRTH: extern "C" fn() = record_birth;

extern "C" fn record_birth() {
    BIRTH_NS.store(monotonic_ns(), Ordering::Relaxed);
    BIRTH_TICKS.store(ticks(), Ordering::Relaxed);
    BIRTH_CPU_NS.store(process_cpu_ns(), Ordering::Relaxed);
}

pub(crate) fn birth() -> Birth {
    Birth {
        monotonic_ns: BIRTH_NS.load(Ordering::Relaxed),
        cpu_ns: BIRTH_CPU_NS.load(Ordering::Relaxed),
    }
}

/// The monotonic clock.
pub(crate) fn monotonic_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// CPU time of the process, all threads.
pub(crate) fn process_cpu_ns() -> u64 {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes to the place given; the clocks used here always exist on Linux.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// Tells the monotonic time by the processor's counter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    is_even: bool,
    /// The pair that the rate is measured from.
    first: (u64, u64),
    /// The last pair of time and counter.
    anchor: (u64, u64),
    ns_per_tick: Option<f64>,
}

impl Clock {
    pub(crate) fn new(birth_ns: u64) -> Self {
        Self {
            is_even: counts_evenly(),
            first: (birth_ns, BIRTH_TICKS.load(Ordering::Relaxed)),
            anchor: (0, 0),
            ns_per_tick: None,
        }
    }

    /// The monotonic time, to some ten nanoseconds.
    pub(crate) fn now_ns(&mut self) -> u64 {
        if !self.is_even {
            return monotonic_ns();
        }
        let now = ticks();
        if let Some(rate) = self.ns_per_tick {
            let since_ns = (now.wrapping_sub(self.anchor.1) as f64 * rate) as u64;
            if since_ns < ANCHOR_NS {
                return self.anchor.0 + since_ns;
            }
        }
        self.set_anchor((monotonic_ns(), ticks()))
    }

    fn set_anchor(&mut self, anchor: (u64, u64)) -> u64 {
        self.anchor = anchor;
        let length_ns = anchor.0.saturating_sub(self.first.0);
        let counted = anchor.1.wrapping_sub(self.first.1);
        let rate =
            (length_ns >= CALIBRATION_NS && counted > 0).then(|| length_ns as f64 / counted as f64);
        let drifts = |known: f64, rate: f64| (rate / known - 1.0).abs() > MAX_DRIFT;
        match (self.ns_per_tick, rate) {
            (Some(known), Some(rate)) if drifts(known, rate) => {
                self.first = anchor;
                self.ns_per_tick = None;
            }
            _ => self.ns_per_tick = rate,
        }
        anchor.0
    }
}

#[cfg(target_arch = "x86_64")]
fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has the counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(target_arch = "aarch64")]
fn ticks() -> u64 {
    let ticks: u64;
    // SAFETY: reads the virtual counter, which Linux lets programs read, and touches nothing.
    unsafe { core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
    ticks
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn ticks() -> u64 {
    0
}

/// Does the counter run at one rate in all states of the processor?
#[cfg(target_arch = "x86_64")]
#[allow(unused_unsafe, reason = "safe in later releases of the compiler")]
fn counts_evenly() -> bool {
    const POWER_LEAF: u32 = 0x8000_0007;
    const INVARIANT: u32 = 1 << 8;
    // SAFETY: every x86-64 processor has the instruction, and the highest leaf is asked first.
    unsafe {
        core::arch::x86_64::__cpuid(0x8000_0000).eax >= POWER_LEAF
            && core::arch::x86_64::__cpuid(POWER_LEAF).edx & INVARIANT != 0
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn counts_evenly() -> bool {
    cfg!(target_arch = "aarch64")
}

//! Inner loops compiled three times: for every processor, for those with AVX2, and with AVX-512.
//!
//! Called by decoding, conversion and statistics. A [`Kernel`] is a loop that the compiler turns
//! into vector instructions; [`run`] picks the widest that this processor has. All give the
//! same bits, because neither reorders nor fuses floating-point operations. Left out:
//! instructions spelled out by hand.

/// A loop over cells.
///
/// `run` and all that it calls in its loop must be `#[inline(always)]`: what is not inlined is
/// compiled for every processor.
pub(crate) trait Kernel {
    /// Does all of it.
    fn run(self);
}

/// Runs a kernel.
pub(crate) fn run(kernel: impl Kernel) {
    #[cfg(target_arch = "x86_64")]
    {
        if ffi::has_avx512() {
            return ffi::with_avx512(kernel);
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            return ffi::with_avx2(kernel);
        }
    }
    kernel.run();
}

/// −0, which changes no number that it is added to, and of which the compiler does not know that.
///
/// A loop that writes either something new or what was there becomes a store under a mask, at which
/// AMD's processors are slow. With this added it stays a plain store.
pub(crate) fn nothing() -> f64 {
    std::hint::black_box(-0.0)
}

#[cfg(target_arch = "x86_64")]
mod ffi {
    #![allow(
        unsafe_code,
        reason = "the compiler cannot see that the processor was asked"
    )]

    use std::arch::is_x86_feature_detected as has;

    use super::Kernel;

    /// Whether this processor has what [`with_avx512`] is compiled for.
    pub(super) fn has_avx512() -> bool {
        has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl")
    }

    /// Called only where [`has_avx512`].
    pub(super) fn with_avx512(kernel: impl Kernel) {
        // SAFETY: the one caller has just asked the processor.
        unsafe { compiled_wide(kernel) }
    }

    /// Called only where the processor has AVX2.
    pub(super) fn with_avx2(kernel: impl Kernel) {
        // SAFETY: the one caller has just asked the processor.
        unsafe { compiled(kernel) }
    }

    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
    fn compiled_wide(kernel: impl Kernel) {
        kernel.run();
    }

    #[target_feature(enable = "avx2")]
    fn compiled(kernel: impl Kernel) {
        kernel.run();
    }
}

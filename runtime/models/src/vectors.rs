//! Runs inner loops with the widest vectors that the processor has.
//!
//! Called by convolutions and activations, whose loops are `pulp::WithSimd`.

use std::sync::LazyLock;

use pulp::{Arch, WithSimd};

/// Runs a loop.
pub(crate) fn run<K: WithSimd>(kernel: K) -> K::Output {
    static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);
    ARCH.dispatch(kernel)
}

//! Operations that were begun and are not known to be complete: MPI requests and NCCL calls.
//! Pure and bounded.

use std::collections::HashMap;

/// Operations in flight that are remembered; more are counted but not timed.
pub(crate) const MAX_IN_FLIGHT: usize = 16_384;

/// An operation in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    /// The number of the call that began it.
    pub(crate) kind: usize,
    /// When it was begun.
    pub(crate) start_ns: u64,
}

/// Names an operation: a handle, and whose it is.
pub(crate) type Key = u64;

/// Sets the integers that Fortran has for requests apart from C's handles.
pub(crate) const FORTRAN: Key = 1 << 63;

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    operations: HashMap<Key, Operation>,
}

impl InFlight {
    /// An operation begins; false if there is no room to remember it. A handle that is known
    /// already was completed unseen.
    pub(crate) fn begin(&mut self, key: Key, operation: Operation) -> bool {
        if self.operations.len() >= MAX_IN_FLIGHT && !self.operations.contains_key(&key) {
            return false;
        }
        self.operations.insert(key, operation);
        true
    }

    /// It is complete.
    pub(crate) fn end(&mut self, key: Key) -> Option<Operation> {
        self.operations.remove(&key)
    }

    /// What is known of it.
    pub(crate) fn find(&self, key: Key) -> Option<Operation> {
        self.operations.get(&key).copied()
    }

    pub(crate) fn count(&self) -> usize {
        self.operations.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_end_once_and_are_bounded() {
        let mut known = InFlight::default();
        let operation = |start_ns| Operation { kind: 3, start_ns };
        assert!(known.begin(7, operation(1)));
        // Ended unseen, and the handle used again.
        assert!(known.begin(7, operation(2)));
        assert!(known.begin(7 | FORTRAN, operation(3)));
        assert_eq!(known.count(), 2);
        assert_eq!(known.end(7), Some(operation(2)));
        assert_eq!(known.end(7), None);
        assert_eq!(known.find(7 | FORTRAN), Some(operation(3)));
        for key in 0..MAX_IN_FLIGHT as u64 {
            known.begin(1000 + key, operation(0));
        }
        assert_eq!(known.count(), MAX_IN_FLIGHT);
        assert!(!known.begin(1, operation(0)));
        assert!(known.begin(1000, operation(0)));
    }
}

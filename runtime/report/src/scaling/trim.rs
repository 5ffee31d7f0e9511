//! Which epochs of a run are its warm-up.
//!
//! The first epoch always is (start-up, compilation, cold caches); then leading ones until three
//! in a row lie close to the median of what remains. How many were dropped is part of every
//! report.

use serde::Serialize;

use super::statistics::median;

/// Three in a row within this share of the remaining median are steady.
pub const STEADY_SHARE: f64 = 0.02;
/// How many in a row.
pub const STEADY_COUNT: usize = 3;

/// What was dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Trim {
    /// Leading epochs that were dropped.
    pub dropped: usize,
    /// Did the rest become steady? If not, only the first epoch was dropped.
    pub steady: bool,
}

/// Finds the warm-up of a run's epochs, in their order.
#[must_use]
pub fn warm_up(epochs_s: &[f64]) -> Trim {
    let last_start = epochs_s.len().saturating_sub(STEADY_COUNT);
    let steady_from = |&start: &usize| {
        let rest = &epochs_s[start..];
        median(rest).is_some_and(|middle| {
            rest[..STEADY_COUNT]
                .iter()
                .all(|epoch| (epoch - middle).abs() <= STEADY_SHARE * middle)
        })
    };
    match (1..=last_start).find(steady_from) {
        Some(dropped) => Trim {
            dropped,
            steady: true,
        },
        None => Trim {
            dropped: epochs_s.len().min(1),
            steady: false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_epoch_is_always_dropped() {
        let check = |epochs: &[f64], dropped, steady| {
            assert_eq!(warm_up(epochs), Trim { dropped, steady }, "{epochs:?}");
        };
        check(&[], 0, false);
        check(&[9.0], 1, false);
        check(&[9.0, 1.0, 1.0], 1, false);
        check(&[1.0, 1.0, 1.0, 1.0], 1, true);
    }

    #[test]
    fn leading_epochs_go_until_three_in_a_row_are_near_the_median() {
        let epochs = [30.0, 14.0, 10.5, 10.1, 10.0, 9.9, 10.0, 10.1, 12.0, 10.0];
        // From the fourth: 10.1, 10.0, 9.9 around 10.0.
        assert_eq!(
            warm_up(&epochs),
            Trim {
                dropped: 3,
                steady: true
            }
        );
    }

    #[test]
    fn epochs_that_never_settle_lose_the_first_alone_and_say_so() {
        let epochs: Vec<f64> = (0..20).map(|epoch| 1.3_f64.powi(epoch)).collect();
        assert_eq!(
            warm_up(&epochs),
            Trim {
                dropped: 1,
                steady: false
            }
        );
    }
}

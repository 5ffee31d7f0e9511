//! What is varied: named parameters, each a range or a list.

use serde::{Deserialize, Serialize};

/// One parameter's values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Parameter {
    /// One of a list.
    Choice {
        /// The list.
        values: Vec<Value>,
    },
    /// A number between two.
    Range {
        /// The least.
        low: f64,
        /// The greatest.
        high: f64,
        /// Are ratios what counts, as for learning rates?
        #[serde(default)]
        log: bool,
        /// Only whole numbers?
        #[serde(default)]
        whole: bool,
    },
}

/// A value of a parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A whole number.
    Whole(i64),
    /// A number.
    Number(f64),
    /// `true` or `false`.
    Flag(bool),
    /// A word.
    Text(String),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(number) => write!(f, "{number}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Parameter {
    /// What is wrong with it, if anything.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        match self {
            Self::Choice { values } if values.is_empty() => Some("has no values"),
            Self::Range { low, high, .. } if !(low.is_finite() && high.is_finite()) => {
                Some("has a bound that is no number")
            }
            Self::Range { low, high, .. } if low >= high => Some("has low at or above high"),
            Self::Range { low, log: true, .. } if *low <= 0.0 => {
                Some("has log = true and a low that is not above 0")
            }
            _ => None,
        }
    }

    /// The value at a place in [0, 1).
    pub(crate) fn at(&self, unit: f64) -> Value {
        let unit = unit.clamp(0.0, 1.0);
        match *self {
            Self::Choice { ref values } => {
                let index = (unit * values.len() as f64) as usize;
                values[index.min(values.len() - 1)].clone()
            }
            Self::Range {
                low,
                high,
                log,
                whole,
            } => {
                let number = if log {
                    (low.ln() + unit * (high.ln() - low.ln())).exp()
                } else {
                    low + unit * (high - low)
                };
                // The ends are whole numbers' too: half a step beyond them belongs to them.
                let number = number.clamp(low, high);
                if whole {
                    Value::Whole(number.round() as i64)
                } else {
                    Value::Number(number)
                }
            }
        }
    }

    /// The place of a value: the inverse of [`at`](Self::at), for a list the middle of its part.
    pub(crate) fn place(&self, value: &Value) -> Option<f64> {
        match *self {
            Self::Choice { ref values } => {
                let index = values.iter().position(|known| known == value)?;
                Some((index as f64 + 0.5) / values.len() as f64)
            }
            Self::Range { low, high, log, .. } => {
                let number = match *value {
                    Value::Whole(number) => number as f64,
                    Value::Number(number) => number,
                    _ => return None,
                };
                let place = if log {
                    (number.ln() - low.ln()) / (high.ln() - low.ln())
                } else {
                    (number - low) / (high - low)
                };
                (0.0..=1.0).contains(&place).then_some(place)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_place_is_the_inverse_of_a_value(unit in 0.0..1.0_f64, low in 1e-6..1.0_f64, log: bool) {
            let parameter = Parameter::Range { low, high: low * 1000.0, log, whole: false };
            let value = parameter.at(unit);
            let back = parameter.place(&value).unwrap();
            prop_assert!((back - unit).abs() < 1e-9);
        }

        #[test]
        fn values_lie_in_their_range(unit in -1.0..2.0_f64, log: bool, whole: bool) {
            let parameter = Parameter::Range { low: 1.0, high: 64.0, log, whole };
            let number = match parameter.at(unit) {
                Value::Whole(number) => number as f64,
                Value::Number(number) => number,
                other => panic!("{other}"),
            };
            prop_assert!((1.0..=64.0).contains(&number));
        }
    }

    #[test]
    fn ratios_count_on_a_logarithmic_range() {
        let rate = Parameter::Range {
            low: 1e-4,
            high: 1e-2,
            log: true,
            whole: false,
        };
        let Value::Number(middle) = rate.at(0.5) else {
            panic!()
        };
        assert!((middle - 1e-3).abs() < 1e-9);
        let list = Parameter::Choice {
            values: vec![Value::Whole(8), Value::Text("x".into())],
        };
        assert_eq!(list.at(0.49), Value::Whole(8));
        assert_eq!(list.at(1.0), Value::Text("x".into()));
    }
}

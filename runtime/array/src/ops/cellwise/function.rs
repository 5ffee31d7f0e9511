//! The functions of cells, on short runs of cells so that the compiler can use wide
//! instructions.
//!
//! A missing value is NaN and spreads. What is outside a function's domain is missing: 1/0, the
//! logarithm of 0, the root of -1. Overflow is infinity, as in IEEE 754.

/// A function of one cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Unary {
    Negate,
    Absolute,
    /// Towards zero.
    Truncate,
    /// To the nearest, halves away from zero.
    Round,
    Floor,
    Ceiling,
    Square,
    SquareRoot,
    Exponential,
    Logarithm,
    Logarithm10,
    Sine,
    Cosine,
    Tangent,
    ArcSine,
    ArcCosine,
    ArcTangent,
    HyperbolicSine,
    HyperbolicCosine,
    HyperbolicTangent,
    AreaSine,
    AreaCosine,
    AreaTangent,
    Reciprocal,
    /// 1 if zero, else 0.
    Not,
    /// 1 if missing, else 0.
    IsMissing,
    Radians,
    Degrees,
    /// Rounded to single precision.
    Single,
}

/// A function of two cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    /// The sign is that of the first.
    Remainder,
    Power,
    /// Of the first over the second.
    ArcTangent,
    Hypotenuse,
    Minimum,
    Maximum,
    /// The other, if one is missing.
    MinimumOfValid,
    /// The other, if one is missing.
    MaximumOfValid,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// -1, 0 or 1.
    Order,
    And,
    Or,
    /// The first, or the second if that is missing.
    Valid,
}

impl Unary {
    /// Computes some cells.
    pub(crate) fn apply(self, from: &[f64], out: &mut [f64]) {
        match self {
            Self::Negate => each(from, out, |x| -x),
            Self::Absolute => each(from, out, f64::abs),
            Self::Truncate => each(from, out, f64::trunc),
            Self::Round => each(from, out, f64::round),
            Self::Floor => each(from, out, f64::floor),
            Self::Ceiling => each(from, out, f64::ceil),
            Self::Square => each(from, out, |x| x * x),
            Self::SquareRoot => each(from, out, f64::sqrt),
            Self::Exponential => each(from, out, f64::exp),
            Self::Logarithm => each(from, out, |x| if x > 0.0 { x.ln() } else { f64::NAN }),
            Self::Logarithm10 => each(from, out, |x| if x > 0.0 { x.log10() } else { f64::NAN }),
            Self::Sine => each(from, out, f64::sin),
            Self::Cosine => each(from, out, f64::cos),
            Self::Tangent => each(from, out, f64::tan),
            Self::ArcSine => each(from, out, f64::asin),
            Self::ArcCosine => each(from, out, f64::acos),
            Self::ArcTangent => each(from, out, f64::atan),
            Self::HyperbolicSine => each(from, out, f64::sinh),
            Self::HyperbolicCosine => each(from, out, f64::cosh),
            Self::HyperbolicTangent => each(from, out, f64::tanh),
            Self::AreaSine => each(from, out, f64::asinh),
            Self::AreaCosine => each(from, out, f64::acosh),
            Self::AreaTangent => {
                each(
                    from,
                    out,
                    |x| if x.abs() < 1.0 { x.atanh() } else { f64::NAN },
                );
            }
            Self::Reciprocal => each(from, out, |x| quotient(1.0, x)),
            Self::Not => each(from, out, |x| truth(x == 0.0, x)),
            Self::IsMissing => each(from, out, |x| f64::from(u8::from(x.is_nan()))),
            Self::Radians => each(from, out, f64::to_radians),
            Self::Degrees => each(from, out, f64::to_degrees),
            Self::Single => each(from, out, |x| f64::from(x as f32)),
        }
    }

    /// Of one value.
    pub(crate) fn of(self, value: f64) -> f64 {
        let mut out = [0.0];
        self.apply(&[value], &mut out);
        out[0]
    }
}

impl Binary {
    /// Computes some cells.
    pub(crate) fn apply(self, left: &[f64], right: &[f64], out: &mut [f64]) {
        let of_valid = |l: f64, r: f64, take_left: bool| {
            if l.is_nan() {
                r
            } else if r.is_nan() || take_left {
                l
            } else {
                r
            }
        };
        let compared = |holds: bool, l: f64, r: f64| truth(holds, if r.is_nan() { r } else { l });
        match self {
            Self::Add => pairs(left, right, out, |l, r| l + r),
            Self::Subtract => pairs(left, right, out, |l, r| l - r),
            Self::Multiply => pairs(left, right, out, |l, r| l * r),
            Self::Divide => pairs(left, right, out, quotient),
            Self::Remainder => pairs(left, right, out, |l, r| l % r),
            Self::Power => pairs(left, right, out, power),
            Self::ArcTangent => pairs(left, right, out, f64::atan2),
            Self::Hypotenuse => pairs(left, right, out, |l, r| {
                if l.is_nan() || r.is_nan() {
                    f64::NAN
                } else {
                    l.hypot(r)
                }
            }),
            Self::Minimum => pairs(
                left,
                right,
                out,
                |l, r| {
                    if l.is_nan() || l < r { l } else { r }
                },
            ),
            Self::Maximum => pairs(
                left,
                right,
                out,
                |l, r| {
                    if l.is_nan() || l > r { l } else { r }
                },
            ),
            Self::MinimumOfValid => pairs(left, right, out, |l, r| of_valid(l, r, l < r)),
            Self::MaximumOfValid => pairs(left, right, out, |l, r| of_valid(l, r, l > r)),
            Self::Equal => pairs(left, right, out, |l, r| compared(l == r, l, r)),
            Self::NotEqual => pairs(left, right, out, |l, r| compared(l != r, l, r)),
            Self::Less => pairs(left, right, out, |l, r| compared(l < r, l, r)),
            Self::LessOrEqual => pairs(left, right, out, |l, r| compared(l <= r, l, r)),
            Self::Greater => pairs(left, right, out, |l, r| compared(l > r, l, r)),
            Self::GreaterOrEqual => pairs(left, right, out, |l, r| compared(l >= r, l, r)),
            Self::Order => pairs(left, right, out, |l, r| {
                compared(l > r, l, r) - compared(l < r, l, r)
            }),
            Self::And => pairs(left, right, out, |l, r| {
                compared(l != 0.0 && r != 0.0, l, r)
            }),
            Self::Or => pairs(left, right, out, |l, r| {
                compared(l != 0.0 || r != 0.0, l, r)
            }),
            Self::Valid => pairs(left, right, out, |l, r| if l.is_nan() { r } else { l }),
        }
    }

    /// Of two values.
    pub(crate) fn of(self, left: f64, right: f64) -> f64 {
        let mut out = [0.0];
        self.apply(&[left], &[right], &mut out);
        out[0]
    }
}

/// The first of `choices` where the condition is not zero, else the second; missing where the
/// condition is.
pub(crate) fn choose(condition: &[f64], choices: [&[f64]; 2], out: &mut [f64]) {
    let choices = choices[0].iter().zip(choices[1]);
    for (out, (&condition, (&yes, &no))) in out.iter_mut().zip(condition.iter().zip(choices)) {
        *out = if condition.is_nan() {
            f64::NAN
        } else if condition != 0.0 {
            yes
        } else {
            no
        };
    }
}

#[inline]
fn each(from: &[f64], out: &mut [f64], function: impl Fn(f64) -> f64) {
    for (out, &value) in out.iter_mut().zip(from) {
        *out = function(value);
    }
}

#[inline]
fn pairs(left: &[f64], right: &[f64], out: &mut [f64], function: impl Fn(f64, f64) -> f64) {
    for (out, (&left, &right)) in out.iter_mut().zip(left.iter().zip(right)) {
        *out = function(left, right);
    }
}

/// 1 or 0, but missing if `of` is.
#[inline]
fn truth(holds: bool, of: f64) -> f64 {
    if of.is_nan() {
        f64::NAN
    } else {
        f64::from(u8::from(holds))
    }
}

#[inline]
fn quotient(left: f64, right: f64) -> f64 {
    if right == 0.0 { f64::NAN } else { left / right }
}

/// IEEE 754 gives NaN to the power 0, and 1 to the power NaN, a value.
#[inline]
fn power(base: f64, exponent: f64) -> f64 {
    if base.is_nan() || exponent.is_nan() || (base == 0.0 && exponent < 0.0) {
        f64::NAN
    } else {
        base.powf(exponent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_value_is_missing() {
        for (function, value) in [
            (Unary::Logarithm, 0.0),
            (Unary::Logarithm10, -1.0),
            (Unary::SquareRoot, -1.0),
            (Unary::ArcSine, 2.0),
            (Unary::ArcCosine, -2.0),
            (Unary::Reciprocal, -0.0),
            (Unary::AreaTangent, 1.0),
            (Unary::Not, f64::NAN),
        ] {
            assert!(function.of(value).is_nan(), "{function:?} of {value}");
        }
        for (function, left, right) in [
            (Binary::Divide, 1.0, 0.0),
            (Binary::Power, 0.0, -1.0),
            (Binary::Power, -1.0, 0.5),
            (Binary::Power, f64::NAN, 0.0),
            (Binary::Power, 1.0, f64::NAN),
            (Binary::Remainder, 1.0, 0.0),
            (Binary::NotEqual, f64::NAN, 1.0),
            (Binary::Or, 1.0, f64::NAN),
            (Binary::Minimum, f64::NAN, 1.0),
            (Binary::Minimum, 1.0, f64::NAN),
            (Binary::Maximum, 1.0, f64::NAN),
            (Binary::Hypotenuse, f64::INFINITY, f64::NAN),
        ] {
            assert!(
                function.of(left, right).is_nan(),
                "{function:?} of {left} and {right}"
            );
        }
        assert_eq!(Binary::MinimumOfValid.of(f64::NAN, 1.0), 1.0);
        assert_eq!(Binary::MaximumOfValid.of(2.0, f64::NAN), 2.0);
        assert_eq!(Binary::Less.of(1.0, f64::INFINITY), 1.0);
        assert_eq!(Binary::Equal.of(f64::INFINITY, f64::INFINITY), 1.0);
        assert_eq!(Unary::Round.of(-1.5), -2.0);
    }
}

//! Round numbers for axes and colour bars.

/// Round numbers that span `low..=high` in about `count` steps of 1, 2, 2.5 or 5 times a power
/// of ten; all of them lie within. Empty for a range that is empty or not finite.
#[must_use]
pub fn ticks(low: f64, high: f64, count: u32) -> Vec<f64> {
    let span = high - low;
    if !span.is_finite() || span <= 0.0 || count == 0 {
        return Vec::new();
    }
    let rough = span / f64::from(count);
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough * 0.999_999)
        .unwrap_or(rough);
    let first = (low / step - 1e-9).ceil();
    let last = (high / step + 1e-9).floor();
    (0..=(last - first).max(0.0) as u32)
        .map(|index| (first + f64::from(index)) * step)
        .collect()
}

/// A number as short as its step allows, with a real minus sign.
#[must_use]
pub fn label(value: f64, step: f64) -> String {
    let text = if value != 0.0 && (step.abs() < 1e-4 || value.abs() >= 1e6) {
        format!("{value:.2e}")
    } else {
        let digits = (-step.abs().max(1e-12).log10()).ceil().clamp(0.0, 6.0) as usize;
        // A step of 0.25 or 2.5 needs one digit more than its power of ten tells.
        let exact = (0..=6).find(|&digits| {
            let scaled = step * 10_f64.powi(digits);
            (scaled - scaled.round()).abs() < 1e-6 * scaled.abs().max(1.0)
        });
        let digits = exact.map_or(digits, |digits| digits as usize);
        let zero = if value.abs() < step.abs() * 1e-9 {
            0.0
        } else {
            value
        };
        format!("{zero:.digits$}")
    };
    text.replace('-', "\u{2212}")
}

/// A number with six digits that say something, with a real minus sign.
#[must_use]
pub fn significant(value: f64) -> String {
    const DIGITS: i32 = 6;
    let magnitude = if value == 0.0 {
        0
    } else {
        value.abs().log10().floor() as i32
    };
    let text = if (-4..DIGITS).contains(&magnitude) {
        format!("{value:.*}", (DIGITS - 1 - magnitude) as usize)
    } else {
        format!("{value:.*e}", DIGITS as usize - 1)
    };
    text.replace('-', "\u{2212}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        let texts = |low, high, count| -> Vec<String> {
            let ticks = ticks(low, high, count);
            let step = ticks.get(1).map_or(1.0, |second| second - ticks[0]);
            ticks.iter().map(|tick| label(*tick, step)).collect()
        };
        assert_eq!(
            texts(0.0, 1.0, 5),
            ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        assert_eq!(texts(-3.0, 7.0, 4), ["\u{2212}2.5", "0.0", "2.5", "5.0"]);
        assert_eq!(texts(201.3, 309.8, 5), ["225", "250", "275", "300"]);
        assert_eq!(significant(-10_288.333), "\u{2212}10288.3");
        assert_eq!(significant(287.997_84), "287.998");
        assert_eq!(significant(1.25e-7), "1.25000e\u{2212}7");
        assert_eq!(texts(1.0, 1.0, 4), [""; 0]);
        assert_eq!(texts(f64::NAN, 1.0, 4), [""; 0]);
    }
}

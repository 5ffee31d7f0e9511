//! Numbers as C's `printf` writes them by `%g`: scripts that read CDO's texts expect those.

/// `%.<digits>g`.
pub(super) fn general(value: f64, digits: usize) -> String {
    write(value, digits, false)
}

/// `%#.<digits>g`: zeros at the end stay.
pub(super) fn padded(value: f64, digits: usize) -> String {
    write(value, digits, true)
}

fn write(value: f64, digits: usize, keeps_zeros: bool) -> String {
    if !value.is_finite() {
        return value.to_string().to_lowercase();
    }
    let scientific = format!("{value:.*e}", digits.max(1) - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= digits as i32 {
        let mantissa = trimmed(mantissa, keeps_zeros);
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
    let mut fixed = format!("{value:.decimals$}");
    if keeps_zeros && decimals == 0 {
        fixed.push('.');
    }
    trimmed(&fixed, keeps_zeros)
}

fn trimmed(text: &str, keeps_zeros: bool) -> String {
    if keeps_zeros || !text.contains('.') {
        return text.to_owned();
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_by_printf() {
        for (value, of_padded, of_general) in [
            (249.494, "249.49", "249.49"),
            (2.0, "2.0000", "2"),
            (90536.4, "90536.", "90536"),
            (-130_320.0, "-1.3032e+05", "-1.3032e+05"),
            (1e-7, "1.0000e-07", "1e-07"),
            (0.0, "0.0000", "0"),
            (0.000_123, "0.00012300", "0.000123"),
            (99_999.6, "1.0000e+05", "1e+05"),
            (f64::NAN, "nan", "nan"),
        ] {
            assert_eq!(padded(value, 5), of_padded);
            assert_eq!(general(value, 5), of_general);
        }
    }
}

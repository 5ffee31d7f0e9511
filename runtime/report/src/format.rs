//! Figures as people read them; text and HTML share these, so that they agree.

use mizar_core::units::{Bytes, Joules, Watts};
use time::OffsetDateTime;

/// What stands where nothing was measured.
pub const NOT_MEASURED: &str = "not measured";

/// What people call a job: the service's name for a job of the gateway, whose name in Slurm is
/// a marker (`mizar:<service>:<32 digits>`, perhaps with `.<n>`), else its name.
#[must_use]
pub fn job_title(name: &str) -> &str {
    let service = || {
        let (service, key) = name.strip_prefix("mizar:")?.split_once(':')?;
        let hash = key.split('.').next()?;
        let is_marker = hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_marker && !service.is_empty()).then_some(service)
    };
    service().unwrap_or(name)
}

/// `1.20 GiB`.
#[must_use]
pub fn bytes(count: Option<u64>) -> String {
    count.map_or_else(|| NOT_MEASURED.to_owned(), |count| Bytes(count).to_string())
}

/// `1.20 GiB/s`.
#[must_use]
pub fn byte_rate(rate: Option<f64>) -> String {
    rate.map_or_else(
        || NOT_MEASURED.to_owned(),
        |rate| format!("{}/s", Bytes(rate.round().max(0.0) as u64)),
    )
}

/// How much was counted: bytes as such, else `12 packets`.
#[must_use]
pub fn counted(value: Option<f64>, unit: &str) -> String {
    let Some(value) = value.map(|value| value.round().max(0.0)) else {
        return NOT_MEASURED.to_owned();
    };
    match unit {
        "bytes" => Bytes(value as u64).to_string(),
        _ => format!("{value} {unit}"),
    }
}

/// The same per second.
#[must_use]
pub fn counted_rate(rate: Option<f64>, unit: &str) -> String {
    match unit {
        "bytes" => byte_rate(rate),
        _ => rate.map_or_else(
            || NOT_MEASURED.to_owned(),
            |rate| format!("{rate:.1} {unit}/s"),
        ),
    }
}

/// `52.3 %`.
#[must_use]
pub fn share(share: Option<f64>) -> String {
    share.map_or_else(
        || NOT_MEASURED.to_owned(),
        |share| format!("{:.1} %", share * 100.0),
    )
}

/// `2 h 03 min`, `4 min 05 s`, `12.3 s`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    match whole {
        86_400.. => format!("{} d {:02} h", whole / 86_400, whole % 86_400 / 3600),
        3600.. => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
        60.. => format!("{} min {:02} s", whole / 60, whole % 60),
        _ if seconds < 9.995 => format!("{seconds:.2} s"),
        _ => format!("{seconds:.1} s"),
    }
}

/// CPU time, or that it was not measured.
#[must_use]
pub fn cpu_time(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| NOT_MEASURED.to_owned(), duration)
}

/// `3.21 Wh`.
#[must_use]
pub fn energy(joules: Option<f64>) -> String {
    joules.map_or_else(
        || NOT_MEASURED.to_owned(),
        |joules| Joules(joules).to_string(),
    )
}

/// `250.0 W`.
#[must_use]
pub fn power(watts: Option<f64>) -> String {
    watts.map_or_else(|| NOT_MEASURED.to_owned(), |watts| Watts(watts).to_string())
}

/// `2026-11-23 16:05:00 UTC`.
#[must_use]
pub fn instant(unix_s: f64) -> String {
    let format =
        time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    OffsetDateTime::from_unix_timestamp(unix_s.floor() as i64)
        .ok()
        .and_then(|instant| instant.format(format).ok())
        .unwrap_or_else(|| format!("{unix_s} s"))
}

/// A number with at most three digits that say something: `0.52`, `3.4`, `120`.
#[must_use]
pub fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 99.95 => format!("{value:.0}"),
        middle if middle >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_of_the_gateway_is_called_by_its_service() {
        let hash = "0123456789abcdef0123456789abcdef";
        for (name, title) in [
            (format!("mizar:monthly-mean:{hash}"), "monthly-mean"),
            (format!("mizar:monthly-mean:{hash}.2"), "monthly-mean"),
            ("mizar:mine:2".to_owned(), "mizar:mine:2"),
            ("mizar:cube".to_owned(), "mizar:cube"),
            ("climatology".to_owned(), "climatology"),
        ] {
            assert_eq!(job_title(&name), title);
        }
    }

    #[test]
    fn figures_read_as_people_say_them() {
        assert_eq!(duration(0.25), "0.25 s");
        assert_eq!(duration(59.96), "1 min 00 s");
        assert_eq!(duration(7384.0), "2 h 03 min");
        assert_eq!(duration(90_000.0), "1 d 01 h");
        assert_eq!(share(Some(0.5234)), "52.3 %");
        assert_eq!(byte_rate(Some(2048.4)), "2.00 KiB/s");
        assert_eq!(instant(0.9), "1970-01-01 00:00:00 UTC");
        assert_eq!(energy(None), "not measured");
        assert_eq!(number(12.34), "12.3");
    }
}

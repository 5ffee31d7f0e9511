//! sbatch's options as fields of slurmrestd's job.
//!
//! What is not in the table, or has a value that would need sbatch's own parser, has no
//! translation, and its job goes through sbatch: rather slow than different.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::api::{Api, Shape, number};

/// What an option's value is.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Integer,
    /// Megabytes, or with a unit.
    Memory,
    /// In one of sbatch's spellings.
    Minutes,
    /// A count of nodes; a range has no translation.
    Nodes,
    /// A bare flag that sets this.
    Flag(bool),
    /// A bare flag whose field is a text.
    FlagText,
}

/// Option, kind, and the names its field has had.
const TABLE: [(&str, Kind, &[&str]); 25] = [
    ("account", Kind::Text, &["account"]),
    ("array", Kind::Text, &["array"]),
    ("constraint", Kind::Text, &["constraints"]),
    ("cpus-per-gpu", Kind::Text, &["cpus_per_gpu"]),
    ("cpus-per-task", Kind::Integer, &["cpus_per_task"]),
    ("exclusive", Kind::FlagText, &["exclusive"]),
    ("gpus", Kind::Text, &["gpus"]),
    ("gpus-per-node", Kind::Text, &["gpus_per_node"]),
    ("gpus-per-task", Kind::Text, &["gpus_per_task"]),
    ("gres", Kind::Text, &["gres"]),
    ("hold", Kind::Flag(true), &["hold"]),
    ("licenses", Kind::Text, &["licenses"]),
    ("mem", Kind::Memory, &["memory_per_node"]),
    ("mem-per-cpu", Kind::Memory, &["memory_per_cpu"]),
    ("nice", Kind::Integer, &["nice"]),
    ("no-requeue", Kind::Flag(false), &["requeue"]),
    ("nodes", Kind::Nodes, &["nodes"]),
    ("ntasks", Kind::Integer, &["tasks"]),
    ("ntasks-per-node", Kind::Integer, &["tasks_per_node"]),
    ("partition", Kind::Text, &["partition"]),
    ("qos", Kind::Text, &["qos"]),
    ("requeue", Kind::Flag(true), &["requeue"]),
    ("reservation", Kind::Text, &["reservation"]),
    ("time", Kind::Minutes, &["time_limit"]),
    ("wckey", Kind::Text, &["wckey"]),
];

/// Pairs that contradict each other: sbatch has rules for which wins.
const RIVALS: [(&str, &str); 2] = [("mem", "mem-per-cpu"), ("requeue", "no-requeue")];

/// Sets the fields of `options` in `job`; later ones of the same name win.
///
/// # Errors
/// The option that has no translation.
pub(super) fn set(
    job: &mut Map<String, Value>,
    api: &Api,
    options: &BTreeMap<String, String>,
) -> Result<(), String> {
    for (one, other) in RIVALS {
        if options.contains_key(one) && options.contains_key(other) {
            return Err(format!("--{one} beside --{other}"));
        }
    }
    for (name, text) in options {
        let none = || format!("--{name}{}{text}", if text.is_empty() { "" } else { "=" });
        let (_, kind, names) = TABLE
            .iter()
            .find(|(option, ..)| option == name)
            .ok_or_else(none)?;
        let (field, shape) = api.field(names).ok_or_else(none)?;
        let value = translate(*kind, shape, text).ok_or_else(none)?;
        job.insert(field.to_owned(), value);
    }
    Ok(())
}

fn translate(kind: Kind, shape: Shape, text: &str) -> Option<Value> {
    match kind {
        Kind::Flag(value) => (text.is_empty() && shape == Shape::Boolean).then(|| json!(value)),
        Kind::FlagText => (text.is_empty() && shape == Shape::Text).then(|| json!("true")),
        Kind::Text => (!text.is_empty() && shape == Shape::Text).then(|| json!(text)),
        Kind::Integer => number(shape, text.parse().ok()?),
        Kind::Memory => number(shape, megabytes(text)?),
        Kind::Minutes => number(shape, minutes(text)?),
        Kind::Nodes => {
            let count: u32 = text.parse().ok()?;
            match shape {
                Shape::IntegerList => Some(json!([count, count])),
                Shape::Text => Some(json!(text)),
                _ => None,
            }
        }
    }
}

/// `4096`, `4096M`, `4G`, `1T`; kilobytes are rounded up.
fn megabytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let count: u64 = digits.parse().ok()?;
    match &text[digits.len()..] {
        "" | "M" | "m" | "MB" => Some(count),
        "K" | "k" | "KB" => Some(count.div_ceil(1024)),
        "G" | "g" | "GB" => count.checked_mul(1024),
        "T" | "t" | "TB" => count.checked_mul(1024 * 1024),
        _ => None,
    }
    // To sbatch zero is all of the node's memory.
    .filter(|count| *count > 0)
}

/// `m`, `m:s`, `h:m:s`, `d-h`, `d-h:m`, `d-h:m:s`; seconds are rounded up.
fn minutes(text: &str) -> Option<u64> {
    let (days, rest) = match text.split_once('-') {
        Some((days, rest)) => (Some(days.parse::<u64>().ok()?), rest),
        None => (None, text),
    };
    let parts: Vec<u64> = rest
        .split(':')
        .map(|part| part.parse().ok().filter(|number| *number < 1_000_000))
        .collect::<Option<_>>()?;
    let (hours, minutes, seconds) = match (days, &parts[..]) {
        (None, [m]) => (0, *m, 0),
        (None, [m, s]) => (0, *m, *s),
        (Some(_), [h]) => (*h, 0, 0),
        (Some(_), [h, m]) => (*h, *m, 0),
        (_, [h, m, s]) => (*h, *m, *s),
        _ => return None,
    };
    let days = days.unwrap_or(0);
    let total = days
        .checked_mul(1440)?
        .checked_add(hours * 60 + minutes + seconds.div_ceil(60))?;
    // To sbatch zero is no limit.
    (total > 0 && total < u64::from(u32::MAX)).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::super::api::tests::{of_22_05, of_24_11};
    use super::*;

    fn fields(api: &Api, options: &[(&str, &str)]) -> Result<Value, String> {
        let mut job = Map::new();
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        set(&mut job, api, &options.iter().map(owned).collect()).map(|()| Value::Object(job))
    }

    #[test]
    fn options_take_the_shape_of_the_version() {
        let options = [
            ("time", "1-2:30"),
            ("mem", "4G"),
            ("nodes", "2"),
            ("ntasks", "8"),
            ("partition", "cpu"),
            ("no-requeue", ""),
        ];
        let old = fields(&Api::read(&of_22_05()).unwrap(), &options).unwrap();
        assert_eq!(
            old,
            json!({"time_limit": 1590, "memory_per_node": 4096, "nodes": [2, 2], "tasks": 8,
                "partition": "cpu", "requeue": false})
        );
        let new = fields(&Api::read(&of_24_11()).unwrap(), &options).unwrap();
        let number = |n: u64| json!({"set": true, "infinite": false, "number": n});
        assert_eq!(
            new,
            json!({"time_limit": number(1590), "memory_per_node": number(4096), "nodes": "2",
                "tasks": 8, "partition": "cpu", "requeue": false})
        );
    }

    #[test]
    fn what_has_no_translation_is_named() {
        let api = Api::read(&of_22_05()).unwrap();
        for (option, value) in [
            ("mizar", ""),
            ("nodes", "2-4"),
            ("mem", "0"),
            ("mem", "4X"),
            ("time", "0"),
            ("time", "UNLIMITED"),
            ("ntasks", "-1"),
            ("requeue", "x"),
            ("partition", ""),
            ("exclusive", "user"),
            ("licenses", "x"),
        ] {
            let refused = fields(&api, &[(option, value)]).unwrap_err();
            assert!(refused.starts_with(&format!("--{option}")), "{refused}");
        }
        assert!(fields(&api, &[("mem", "1"), ("mem-per-cpu", "1")]).is_err());
    }

    #[test]
    fn times_and_sizes_in_all_spellings() {
        for (text, expected) in [
            ("90", Some(90)),
            ("1:30", Some(2)),
            ("1:30:00", Some(90)),
            ("2-0", Some(2880)),
            ("1-1:1:1", Some(1502)),
            ("", None),
            ("x", None),
            ("1:2:3:4", None),
            ("1--1", None),
        ] {
            assert_eq!(minutes(text), expected, "{text}");
        }
        for (text, expected) in [
            ("500", Some(500)),
            ("500K", Some(1)),
            ("2T", Some(2 << 20)),
            ("", None),
            ("G", None),
            ("1.5G", None),
        ] {
            assert_eq!(megabytes(text), expected, "{text}");
        }
    }
}

//! Quantities of Kubernetes (`500m`, `1Gi`, `1e3`) and what a pod needs in all: sums over its
//! containers, because they run at once, and the largest of its init containers, because they
//! do not.

use std::collections::BTreeMap;

use serde_json::Value;

use super::PodError;
use super::pod::{Container, Spec};

/// Most of anything: far beyond any machine, and far from the end of the numbers.
const MOST: f64 = 1e18;

/// What a pod needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Needs {
    /// CPUs, in thousandths.
    pub cpu_milli: Option<u64>,
    /// Memory.
    pub memory_bytes: Option<u64>,
    /// Accelerators by their names in Kubernetes.
    pub accelerators: BTreeMap<String, u64>,
}

/// A quantity, as a number of its unit.
///
/// # Errors
/// What is wrong with it.
pub fn quantity(value: &Value) -> Result<f64, String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return Err("is neither a text nor a number".to_owned()),
    };
    let odd = || format!("`{}` is no quantity", text.escape_debug());
    let (number, factor) = split(&text);
    let plain = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
    if number.is_empty() || !number.bytes().all(plain) {
        return Err(odd());
    }
    let parsed: f64 = number.parse().map_err(|_| odd())?;
    let product = parsed * factor;
    if !(0.0..=MOST).contains(&product) {
        return Err(format!(
            "`{}` is negative or beyond all bounds",
            text.escape_debug()
        ));
    }
    Ok(product)
}

fn split(text: &str) -> (&str, f64) {
    const UNITS: [(&str, f64); 15] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    for (unit, factor) in UNITS {
        if let Some(number) = text.strip_suffix(unit) {
            return (number, factor);
        }
    }
    (text, 1.0)
}

/// What the pod needs in all.
///
/// # Errors
/// [`PodError`] for what is no quantity.
pub fn needs(spec: &Spec) -> Result<Needs, PodError> {
    let mut all = Needs::default();
    for container in &spec.containers {
        let one = of(container)?;
        all.cpu_milli = add(all.cpu_milli, one.cpu_milli);
        all.memory_bytes = add(all.memory_bytes, one.memory_bytes);
        for (name, count) in one.accelerators {
            *all.accelerators.entry(name).or_default() += count;
        }
    }
    for container in &spec.init_containers {
        let one = of(container)?;
        all.cpu_milli = all.cpu_milli.max(one.cpu_milli);
        all.memory_bytes = all.memory_bytes.max(one.memory_bytes);
        for (name, count) in one.accelerators {
            let most = all.accelerators.entry(name).or_default();
            *most = count.max(*most);
        }
    }
    Ok(all)
}

fn add(sum: Option<u64>, one: Option<u64>) -> Option<u64> {
    match (sum, one) {
        (None, one) => one,
        (sum, one) => sum.map(|sum| sum.saturating_add(one.unwrap_or(0))),
    }
}

/// What one container needs: its limits, and its requests where it has none.
fn of(container: &Container) -> Result<Needs, PodError> {
    let mut needs = Needs::default();
    let mut values = container.resources.requests.clone();
    values.extend(container.resources.limits.clone());
    for (name, value) in values {
        let at = || {
            format!(
                "spec.containers[{}].resources.{}",
                container.name,
                name.escape_debug()
            )
        };
        let amount = quantity(&value).map_err(|problem| PodError::new(at(), problem))?;
        match name.as_str() {
            "cpu" => needs.cpu_milli = Some(whole(amount * 1000.0)),
            "memory" => needs.memory_bytes = Some(whole(amount)),
            // Nodes have no quota on their disks that a job could be given a part of.
            "ephemeral-storage" => {}
            _ if amount == 0.0 => {}
            _ => drop(needs.accelerators.insert(name, whole(amount))),
        }
    }
    Ok(needs)
}

/// Rounded up; [`quantity`] has bounded it.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "0 to 1e21, and casts saturate"
)]
fn whole(amount: f64) -> u64 {
    // 0.1 * 1000 and the like must not become one more than they are.
    (amount - 1e-6).ceil().max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities_of_kubernetes() {
        for (text, expected) in [
            (json!("500m"), 0.5),
            (json!("1Gi"), 1_073_741_824.0),
            (json!("1.5Ki"), 1536.0),
            (json!("2e3"), 2000.0),
            (json!("1E"), 1e18),
            (json!(3), 3.0),
            (json!("100M"), 1e8),
        ] {
            assert_eq!(quantity(&text), Ok(expected), "{text}");
        }
        for odd in [
            json!("-1"),
            json!("1 Gi"),
            json!(""),
            json!("inf"),
            json!("NaN"),
            json!("1$(id)"),
            json!([]),
            json!("9E19"),
        ] {
            assert!(quantity(&odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn containers_add_up_and_init_containers_do_not() {
        let spec: Spec = serde_json::from_value(json!({
            "containers": [
                {"name": "a", "resources": {"limits": {"cpu": "1500m", "memory": "1Gi", "nvidia.com/gpu": 1}}},
                {"name": "b", "resources": {"requests": {"cpu": "0.1"}, "limits": {"memory": "1Mi", "nvidia.com/gpu": "2"}}},
            ],
            "initContainers": [{"name": "i", "resources": {"limits": {"cpu": 4, "memory": "1Mi"}}}],
        })).unwrap();
        let needs = needs(&spec).unwrap();
        assert_eq!(needs.cpu_milli, Some(4000));
        assert_eq!(needs.memory_bytes, Some((1 << 30) + (1 << 20)));
        assert_eq!(needs.accelerators["nvidia.com/gpu"], 3);
        let none = Spec::default();
        assert_eq!(
            super::needs(&none).unwrap(),
            Needs::default(),
            "no limit is no number"
        );
    }
}

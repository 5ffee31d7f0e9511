//! Variables of a container: given, taken from maps, and put into one another by `$(NAME)`, which
//! is Kubernetes' own replacement and has nothing to do with a shell.

use std::collections::BTreeMap;

use super::PodError;
use super::maps::Maps;
use super::pod::{Container, Metadata, VariableFrom};

/// Most variables of one container.
const MAX_VARIABLES: usize = 10_000;

/// All variables of a container, in order.
///
/// # Errors
/// [`PodError`] for what came unresolved and cannot be resolved here.
pub fn variables(
    metadata: &Metadata,
    container: &Container,
    maps: &Maps,
) -> Result<Vec<(String, String)>, PodError> {
    let mut found: Vec<(String, String)> = Vec::new();
    for source in &container.env_from {
        let at = || format!("spec.containers[{}].envFrom", container.name);
        let whole = match (&source.config_map_ref, &source.secret_ref) {
            (Some(name), None) => (maps.texts(&name.name), name),
            (None, Some(name)) => (maps.secrets(&name.name), name),
            _ => return Err(PodError::new(at(), "names neither one map nor one secret")),
        };
        let (Some(whole), name) = whole else {
            if whole.1.optional {
                continue;
            }
            return Err(PodError::new(
                at(),
                format!(
                    "needs `{}`, which did not come with the pod",
                    whole.1.name.escape_debug()
                ),
            ));
        };
        for (key, value) in whole {
            let text = text_of(value).ok_or_else(|| {
                PodError::new(
                    at(),
                    format!(
                        "`{}` of `{}` is no text",
                        key.escape_debug(),
                        name.name.escape_debug()
                    ),
                )
            })?;
            found.push((format!("{}{key}", source.prefix), text));
        }
    }
    for variable in &container.env {
        let at = || {
            format!(
                "spec.containers[{}].env[{}]",
                container.name,
                variable.name.escape_debug()
            )
        };
        let value = match (&variable.value, &variable.value_from) {
            (value, None) => Some(expand(value.as_deref().unwrap_or_default(), &found)),
            (None, Some(from)) => {
                resolve(metadata, from, maps).map_err(|problem| PodError::new(at(), problem))?
            }
            (Some(value), Some(_)) if value.is_empty() => {
                return Err(PodError::new(
                    at(),
                    "has both a value and a place where it is",
                ));
            }
            // Virtual Kubelet resolves and leaves the place in.
            (Some(value), Some(_)) => Some(value.clone()),
        };
        if let Some(value) = value {
            if value.contains('\0') {
                return Err(PodError::new(at(), "holds a zero byte"));
            }
            found.push((variable.name.clone(), value));
        }
    }
    if found.len() > MAX_VARIABLES {
        return Err(PodError::new(
            format!("spec.containers[{}].env", container.name),
            "has more than 10,000 variables",
        ));
    }
    Ok(found)
}

fn text_of(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    (!text.contains('\0')).then(|| text.to_owned())
}

fn resolve(
    metadata: &Metadata,
    from: &VariableFrom,
    maps: &Maps,
) -> Result<Option<String>, String> {
    let (whole, key, kind) = match from {
        VariableFrom {
            config_map_key_ref: Some(key),
            ..
        } => (maps.texts(&key.name), key, "map"),
        VariableFrom {
            secret_key_ref: Some(key),
            ..
        } => (maps.secrets(&key.name), key, "secret"),
        VariableFrom {
            field_ref: Some(field),
            ..
        } => return field_of(metadata, &field.field_path).map(Some),
        _ => {
            return Err(
                "is to be taken from something that is not supported: give its value".to_owned(),
            );
        }
    };
    match whole.and_then(|whole| whole.get(&key.key)) {
        Some(value) => text_of(value)
            .map(Some)
            .ok_or_else(|| format!("the {kind}'s value is no text")),
        None if key.optional => Ok(None),
        None => Err(format!(
            "needs `{}` of the {kind} `{}`, which did not come with the pod",
            key.key.escape_debug(),
            key.name.escape_debug()
        )),
    }
}

fn field_of(metadata: &Metadata, path: &str) -> Result<String, String> {
    let entry = |map: &BTreeMap<String, String>, rest: &str| {
        let key = rest.strip_prefix("['")?.strip_suffix("']")?;
        Some(map.get(key).cloned().unwrap_or_default())
    };
    let found = match path {
        "metadata.name" => Some(metadata.name.clone()),
        "metadata.namespace" => Some(metadata.namespace.clone()),
        "metadata.uid" => Some(metadata.uid.clone()),
        _ => {
            let labels = path
                .strip_prefix("metadata.labels")
                .and_then(|rest| entry(&metadata.labels, rest));
            let notes = || {
                path.strip_prefix("metadata.annotations")
                    .and_then(|rest| entry(&metadata.annotations, rest))
            };
            labels.or_else(notes)
        }
    };
    found.ok_or_else(|| {
        format!(
            "needs the field `{}`, which is not known here: give its value",
            path.escape_debug()
        )
    })
}

/// Puts variables in the place of `$(NAME)`; `$$` is one `$`, and what is not known stays.
#[must_use]
pub fn expand(text: &str, variables: &[(String, String)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let named = rest
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(')'));
        let known = named.and_then(|(name, after)| {
            let value = variables.iter().rev().find(|(other, _)| other == name)?;
            Some((value.1.as_str(), after))
        });
        match known {
            Some((value, after)) => {
                out.push_str(value);
                rest = after;
            }
            None => out.push('$'),
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacement_as_kubernetes_has_it() {
        let variables = [
            ("A".to_owned(), "1".to_owned()),
            ("B".to_owned(), "$(A)".to_owned()),
        ];
        for (text, expected) in [
            ("$(A)", "1"),
            ("x$(A)y$(B)", "x1y$(A)"),
            ("$$(A)", "$(A)"),
            ("$(C)", "$(C)"),
            ("$(id)`id`$A ${A}", "$(id)`id`$A ${A}"),
            ("$(A", "$(A"),
            ("$", "$"),
            ("ü$(A)ü", "ü1ü"),
        ] {
            assert_eq!(expand(text, &variables), expected, "{text}");
        }
    }
}

//! The live page of this node at `/`, and the figures that it polls at `/live.json`.
//!
//! Both are served where the metrics are, and are made from the text of the metrics: so they
//! cannot tell more than `/metrics` does, such as another user's command line.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName};
use axum::response::{Html, IntoResponse};
use mizar_core::clock::unix_ns;
use serde::Serialize;

use crate::metrics;
use crate::shared::Shared;

/// The name of the JSON's layout; fields may be added under it.
const SCHEMA: &str = "mizard-live/1";
const PAGE: &str = include_str!("live.html");
/// The page asks this server alone, and nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                      img-src data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What `/live.json` answers.
#[derive(Debug, Serialize)]
pub(crate) struct Live {
    schema: &'static str,
    /// When, Unix seconds.
    time_s: f64,
    /// Milliseconds between samples.
    sample_ms: u32,
    samples: Vec<Sample>,
}

/// A value of the metrics.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) value: f64,
}

impl Sample {
    /// A label's value.
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| &value[..])
    }
}

/// The page.
pub(crate) async fn page() -> impl IntoResponse {
    const NO_SNIFF: (HeaderName, &str) = (axum::http::header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    ([(CONTENT_SECURITY_POLICY, POLICY), NO_SNIFF], Html(PAGE))
}

/// The figures.
pub(crate) async fn figures(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let live = Live {
        schema: SCHEMA,
        time_s: unix_ns() as f64 / 1e9,
        sample_ms: shared.config.sample_ms,
        samples: samples(&metrics::own(&shared)),
    };
    ([(CACHE_CONTROL, "no-store")], Json(live))
}

/// The values of a text in Prometheus' format; lines that are none are passed over.
pub(crate) fn samples(text: &str) -> Vec<Sample> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(sample).collect()
}

fn sample(line: &str) -> Option<Sample> {
    let (head, value) = line.rsplit_once(' ')?;
    let value: f64 = value.parse().ok()?;
    let (name, labels) = match head.split_once('{') {
        Some((name, labels)) => (name, parse_labels(labels.strip_suffix('}')?)?),
        None => (head, Vec::new()),
    };
    // JSON has no words for what is not finite.
    value.is_finite().then(|| Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

fn parse_labels(text: &str) -> Option<Vec<(String, String)>> {
    let mut labels = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (key, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        };
        labels.push((key.to_owned(), value));
        rest = &after[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_the_metrics_is_read_back() {
        let text = "# HELP a b\n# TYPE a gauge\na 1.5\n\
                    b{job=\"7\",name=\"x \\\"y\\\" {z}, \\\\ \\n\"} -2e-3\nc NaN\nnonsense\nd{x=\"1} 2\n";
        let read = samples(text);
        assert_eq!(read.len(), 2, "{read:?}");
        assert_eq!((&read[0].name[..], read[0].value), ("a", 1.5));
        assert_eq!(read[1].label("job"), Some("7"));
        assert_eq!(read[1].label("name"), Some("x \"y\" {z}, \\ \n"));
        assert_eq!(read[1].value, -2e-3);
    }
}

//! What a model says of itself to those who ask a server: which numbers go in, and what becomes of
//! them.

use std::collections::BTreeMap;

use mizar_models::{Port, Predictor, Reference, Role, Sample, missing_months};

const PHYSICAL: &str = "physical units in, physical units out: climatology and normalisation are \
                        the model's own business";

const ARRAYS: &str = "as in the arrays that it was trained on, in and out";

pub(crate) fn metadata(predictor: &Predictor) -> BTreeMap<String, String> {
    let header = predictor.header();
    let named = |ports: Vec<Port>| {
        let values = ports.into_iter().filter(|port| port.role == Role::Values);
        let text = values.map(|port| match port.units.as_str() {
            "" => port.name,
            units => format!("{}:{units}", port.name),
        });
        text.collect::<Vec<_>>().join(",")
    };
    let mut pairs = vec![
        ("outputs", named(predictor.outputs())),
        ("inputs", named(predictor.inputs())),
        ("parameters_sha256", header.digest.clone()),
    ];
    if header.arrays.is_some() {
        pairs.push(("values", ARRAYS.to_owned()));
    } else {
        let sample = match header.sample {
            Sample::Field => "field",
            Sample::Cell => "cell",
        };
        let relative = match header.relative_to {
            Reference::None => "none",
            Reference::Persistence => "persistence",
        };
        let missing = match header.missing {
            mizar_models::Missing::Refuse => "refused",
            mizar_models::Missing::Mask => "NaN (null in JSON), where nothing is forecast",
        };
        pairs.extend([
            ("values", PHYSICAL.to_owned()),
            ("sample", sample.to_owned()),
            ("history", header.history.to_string()),
            ("lead", header.lead.to_string()),
            ("anomalies", header.anomalies.to_string()),
            ("relative_to", relative.to_owned()),
            ("missing", missing.to_owned()),
            ("operators", header.operators.join(" ")),
        ]);
    }
    let key = |(key, value)| (format!("mizar.{key}"), value);
    pairs.into_iter().map(key).collect()
}

/// What whoever gives samples should know.
pub(crate) fn notes(predictor: &Predictor) -> Vec<String> {
    let mut notes = Vec::new();
    let operators = &predictor.header().operators;
    if !operators.is_empty() {
        notes.push(format!(
            "the model was trained on what these operators make: {}; give it such samples",
            operators.join(" ")
        ));
    }
    notes.extend(missing_months(predictor.climatology()).map(|months| {
        format!(
            "the model was trained without any {months}: samples and forecasts of these months are \
             missing (NaN)"
        )
    }));
    notes
}

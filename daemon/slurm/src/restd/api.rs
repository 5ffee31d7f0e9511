//! Which API slurmrestd speaks, read from its own description (OpenAPI) when we meet it: the
//! newest version that we know, and in which shape each field of a job is wanted there.
//!
//! Slurm changed those shapes with nearly every release (a time limit is a number up to
//! v0.0.39 and an object since; the environment is a map up to v0.0.38 and a list since), so
//! they are looked up and not remembered.

use std::collections::HashMap;

use serde_json::{Value, json};

/// Versions that are known to keep to the rules here. 36 to 38 are those of Slurm 22.05,
/// against which the tests run; of 39 to 44 the published descriptions were read.
const KNOWN: std::ops::RangeInclusive<u32> = 36..=44;

/// Before this version `argv` ends slurmrestd, after it queued the job (22.05: a bad free).
const ARGV_SINCE: u32 = 39;

/// Where slurmrestd describes itself.
pub(super) const DESCRIPTIONS: [&str; 2] = ["/openapi/v3", "/openapi"];

/// How a field of a job is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    Integer,
    Boolean,
    /// `{"set": true, "number": 5}`.
    Number,
    TextList,
    IntegerList,
    /// Names and values.
    Map,
}

/// One version of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Api {
    pub(super) number: u32,
    /// Whether the script is a field of the job, and not beside it.
    pub(super) script_in_job: bool,
    /// What slurmctld answers to whom it knows.
    pub(super) probe_path: String,
    fields: HashMap<String, Shape>,
}

impl Api {
    /// The newest version that `description` has and we know.
    pub(super) fn read(description: &Value) -> Result<Self, String> {
        let paths = description["paths"]
            .as_object()
            .ok_or("its description lists no paths")?;
        let number = paths
            .keys()
            .filter_map(|path| version_of(path))
            .filter(|number| KNOWN.contains(number))
            .max()
            .ok_or_else(|| {
                format!(
                    "it offers no submission in a version from v0.0.{} to v0.0.{}",
                    KNOWN.start(),
                    KNOWN.end()
                )
            })?;
        let post = &description["paths"][submit_path(number)]["post"]["requestBody"];
        let body = resolve(description, &post["content"]["application/json"]["schema"]);
        let outer = &body["properties"];
        let job = resolve(description, &outer["job"]);
        let fields: HashMap<String, Shape> = job["properties"]
            .as_object()
            .ok_or("its description does not say what a job is")?
            .iter()
            .filter_map(|(name, schema)| Some((name.clone(), shape(description, schema)?)))
            .collect();
        let probe = format!("/slurm/v0.0.{number}/diag");
        let probe_path = paths.keys().find(|path| path.starts_with(&probe));
        Ok(Self {
            number,
            probe_path: probe_path.cloned().unwrap_or(probe),
            script_in_job: outer.get("script").is_none() && fields.contains_key("script"),
            fields,
        })
    }

    pub(super) fn submit_path(&self) -> String {
        submit_path(self.number)
    }

    /// Whether arguments of the script can be sent.
    pub(super) fn takes_arguments(&self) -> bool {
        self.number >= ARGV_SINCE && self.fields.get("argv") == Some(&Shape::TextList)
    }

    /// The first of `names` that this version has, and its shape.
    pub(super) fn field<'a>(&self, names: &[&'a str]) -> Option<(&'a str, Shape)> {
        names
            .iter()
            .find_map(|name| Some((*name, *self.fields.get(*name)?)))
    }
}

/// The version's name.
impl std::fmt::Display for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "v0.0.{}", self.number)
    }
}

fn submit_path(number: u32) -> String {
    format!("/slurm/v0.0.{number}/job/submit")
}

fn version_of(path: &str) -> Option<u32> {
    path.strip_prefix("/slurm/v0.0.")?
        .strip_suffix("/job/submit")?
        .parse()
        .ok()
}

/// Follows `$ref`, a few times at most.
fn resolve<'a>(description: &'a Value, mut schema: &'a Value) -> &'a Value {
    for _ in 0..8 {
        let Some(place) = schema["$ref"].as_str() else {
            break;
        };
        let pointer = place.trim_start_matches('#');
        schema = description.pointer(pointer).unwrap_or(&Value::Null);
    }
    schema
}

fn shape(description: &Value, schema: &Value) -> Option<Shape> {
    let schema = resolve(description, schema);
    match schema["type"].as_str()? {
        "string" => Some(Shape::Text),
        "integer" => Some(Shape::Integer),
        "boolean" => Some(Shape::Boolean),
        "array" => match resolve(description, &schema["items"])["type"].as_str()? {
            "string" => Some(Shape::TextList),
            "integer" => Some(Shape::IntegerList),
            _ => None,
        },
        "object" if schema["properties"].get("number").is_some() => Some(Shape::Number),
        "object" if schema["properties"].is_null() => Some(Shape::Map),
        _ => None,
    }
}

/// A number in the wanted shape.
pub(super) fn number(shape: Shape, value: u64) -> Option<Value> {
    match shape {
        Shape::Integer => Some(json!(value)),
        Shape::Text => Some(json!(value.to_string())),
        Shape::Number => Some(json!({"set": true, "infinite": false, "number": value})),
        Shape::Boolean | Shape::TextList | Shape::IntegerList | Shape::Map => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A description with the shapes of Slurm 22.05, abridged from its own.
    pub(in crate::restd) fn of_22_05() -> Value {
        json!({
            "paths": {
                "/slurm/v0.0.36/job/submit": {},
                "/slurm/v0.0.38/job/submit": {"post": {"requestBody": {"content": {
                    "application/json": {"schema": {"$ref": "#/components/schemas/submission"}}}}}},
                "/slurm/v0.0.38/job/{job_id}": {},
                "/slurm/v0.0.99/job/submit": {},
            },
            "components": {"schemas": {
                "submission": {"properties": {"script": {"type": "string"},
                    "job": {"$ref": "#/components/schemas/job"}}},
                "job": {"properties": {
                    "name": {"type": "string"}, "comment": {"type": "string"},
                    "current_working_directory": {"type": "string"},
                    "standard_output": {"type": "string"},
                    "argv": {"type": "array", "items": {"type": "string"}},
                    "environment": {"type": "object"},
                    "time_limit": {"type": "integer"}, "memory_per_node": {"type": "integer"},
                    "nodes": {"type": "array", "items": {"type": "integer"}},
                    "tasks": {"type": "integer"}, "partition": {"type": "string"},
                    "requeue": {"type": "boolean"}, "hold": {"type": "boolean"},
                    "exclusive": {"type": "string"}, "array": {"type": "string"},
                }},
            }},
        })
    }

    /// A description with the shapes of later releases (v0.0.42), in their words.
    pub(in crate::restd) fn of_24_11() -> Value {
        json!({
            "paths": {
                "/slurm/v0.0.42/job/submit": {"post": {"requestBody": {"content": {
                    "application/json": {"schema": {"$ref": "#/components/schemas/job_submit_req"}}}}}},
            },
            "components": {"schemas": {
                "uint32_no_val": {"type": "object", "properties": {"set": {"type": "boolean"},
                    "infinite": {"type": "boolean"}, "number": {"type": "integer"}}},
                "texts": {"type": "array", "items": {"type": "string"}},
                "job_submit_req": {"type": "object", "properties": {
                    "job": {"$ref": "#/components/schemas/job_desc_msg"}}},
                "job_desc_msg": {"type": "object", "properties": {
                    "script": {"type": "string"},
                    "name": {"type": "string"}, "comment": {"type": "string"},
                    "current_working_directory": {"type": "string"},
                    "standard_output": {"type": "string"},
                    "argv": {"$ref": "#/components/schemas/texts"},
                    "environment": {"$ref": "#/components/schemas/texts"},
                    "time_limit": {"$ref": "#/components/schemas/uint32_no_val"},
                    "memory_per_node": {"$ref": "#/components/schemas/uint32_no_val"},
                    "nodes": {"type": "string"}, "tasks": {"type": "integer"},
                    "partition": {"type": "string"}, "requeue": {"type": "boolean"},
                    "hold": {"type": "boolean"}, "array": {"type": "string"},
                }},
            }},
        })
    }

    #[test]
    fn the_newest_known_version_is_taken() {
        let api = Api::read(&of_22_05()).unwrap();
        assert_eq!(api.to_string(), "v0.0.38");
        assert_eq!(api.submit_path(), "/slurm/v0.0.38/job/submit");
        assert!(!api.takes_arguments(), "argv ends slurmrestd 22.05");
        assert!(!api.script_in_job);
        assert_eq!(
            api.field(&["no", "environment"]),
            Some(("environment", Shape::Map))
        );

        let api = Api::read(&of_24_11()).unwrap();
        assert_eq!(api.to_string(), "v0.0.42");
        assert!(api.takes_arguments() && api.script_in_job);
        assert_eq!(
            api.field(&["environment"]),
            Some(("environment", Shape::TextList))
        );
        assert_eq!(
            api.field(&["time_limit"]),
            Some(("time_limit", Shape::Number))
        );
    }

    #[test]
    fn a_description_without_a_known_version_is_refused() {
        for description in [
            json!(null),
            json!({}),
            json!({"paths": {"/slurm/v0.0.35/job/submit": {}}}),
            json!({"paths": {"/slurm/v0.0.38/job/submit": {}}}),
        ] {
            assert!(Api::read(&description).is_err(), "{description}");
        }
    }
}

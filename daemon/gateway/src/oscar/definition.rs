//! What a service of OSCAR is: the keys that matter to a Slurm job, checked; the others kept as
//! they came, because clients expect to read them again.

use std::collections::BTreeMap;

use mizar_slurm::marker::is_label;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use super::settings::check_endpoint;
use crate::interlink::quantity::quantity;

/// Longest name of a service.
const MAX_NAME_BYTES: usize = 39;

/// Log levels that are known; others become INFO.
const LOG_LEVELS: [&str; 6] = ["NOTSET", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];

/// What stands in the place of a secret.
pub const HIDDEN: &str = "hidden";

fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

macro_rules! parts {
    ($($(#[$doc:meta])* $name:ident { $($(#[$attr:meta])* $field:ident: $kind:ty,)* })+) => {
        $($(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        #[allow(missing_docs, reason = "the fields are those of OSCAR's service definition")]
        pub struct $name { $($(#[$attr])* #[serde(deserialize_with = "or_default")] pub $field: $kind,)*
            /// What matters to others.
            #[serde(flatten)]
            pub rest: Map<String, Value>,
        })+
    };
}

parts! {
    /// A service.
    Definition {
        name: String,
        image: String,
        script: String,
        memory: String,
        cpu: Value,
        log_level: String,
        visibility: String,
        isolation_level: String,
        enable_gpu: bool,
        file_stage_in: bool,
        input: Vec<Place>,
        output: Vec<Place>,
        environment: Environment,
        annotations: BTreeMap<String, String>,
        labels: BTreeMap<String, String>,
        storage_providers: BTreeMap<String, BTreeMap<String, Provider>>,
    }
    /// Where input comes from, or output goes to.
    Place {
        storage_provider: String,
        path: String,
        prefix: Vec<String>,
        suffix: Vec<String>,
    }
    /// Variables of the script.
    Environment {
        variables: BTreeMap<String, String>,
        secrets: BTreeMap<String, String>,
    }
    /// A store that the service brings along.
    Provider {
        endpoint: String,
        region: String,
        access_key: String,
        secret_key: String,
        verify: Option<bool>,
    }
}

/// Why a service is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// It is wrong.
    #[error("{0}")]
    Invalid(String),
    /// It is right, and not for a Slurm cluster.
    #[error("{0}")]
    Unsupported(String),
}

impl Definition {
    /// Reads a definition, fills in OSCAR's defaults and checks it.
    ///
    /// # Errors
    /// [`DefinitionError`].
    pub fn read(value: Value) -> Result<Self, DefinitionError> {
        let mut found: Self = serde_json::from_value(value).map_err(|error| {
            DefinitionError::Invalid(format!("the service definition is not valid: {error}"))
        })?;
        found.fill();
        found.check()?;
        found.check_supported()?;
        Ok(found)
    }

    fn fill(&mut self) {
        let or = |text: &mut String, usual: &str| {
            if text.is_empty() {
                usual.clone_into(text);
            }
        };
        or(&mut self.memory, "256Mi");
        or(&mut self.visibility, "private");
        or(&mut self.isolation_level, "SERVICE");
        self.isolation_level = self.isolation_level.to_uppercase();
        if self.cpu.is_null() || self.cpu == "" {
            self.cpu = json!("0.2");
        }
        if let Value::Number(number) = &self.cpu {
            self.cpu = json!(number.to_string());
        }
        if !LOG_LEVELS.contains(&self.log_level.as_str()) {
            "INFO".clone_into(&mut self.log_level);
        }
        self.script = self.script.replace("\r\n", "\n");
        for read_only in [
            "token",
            "owner",
            "namespace",
            "bucket_list",
            "deployment",
            "volume_status",
        ] {
            self.rest.remove(read_only);
        }
        let name = self.name.clone();
        for place in self.input.iter_mut().chain(&mut self.output) {
            let kind = place.storage_provider.clone();
            if !kind.contains('.') {
                place.storage_provider = format!("{kind}.default");
            }
            place.path = place.path.trim_matches('/').to_owned();
            let is_store = matches!(kind.split('.').next(), Some("minio" | "s3"));
            if is_store && !place.path.is_empty() && !place.path.contains('/') {
                place.path = format!("{name}/{}", place.path);
            }
        }
    }

    fn check(&self) -> Result<(), DefinitionError> {
        let invalid = |text: String| Err(DefinitionError::Invalid(text));
        if !is_label(&self.name) || self.name.len() > MAX_NAME_BYTES {
            return invalid(format!(
                "`name` must be a DNS label of at most {MAX_NAME_BYTES} characters"
            ));
        }
        if self.image.is_empty() || self.script.is_empty() {
            return invalid("`image` and `script` are needed".to_owned());
        }
        if self.script.contains('\0') {
            return invalid("`script` holds a zero byte".to_owned());
        }
        for (name, value) in [("cpu", &self.cpu), ("memory", &json!(self.memory))] {
            quantity(value)
                .map_err(|problem| DefinitionError::Invalid(format!("`{name}` {problem}")))?;
        }
        if !["private", "restricted", "public"].contains(&self.visibility.as_str()) {
            return invalid("`visibility` must be private, restricted or public".to_owned());
        }
        if !["SERVICE", "USER"].contains(&self.isolation_level.as_str()) {
            return invalid("`isolation_level` must be SERVICE or USER".to_owned());
        }
        super::warm::scale_of(self).map_err(DefinitionError::Invalid)?;
        for place in self.input.iter().chain(&self.output) {
            let odd =
                |part: &str| part == ".." || part == "." || part.chars().any(char::is_control);
            if place.path.is_empty() || place.path.split('/').any(odd) {
                return invalid(
                    "a `path` of input or output is empty or leads elsewhere".to_owned(),
                );
            }
        }
        for (name, value) in self
            .environment
            .variables
            .iter()
            .chain(&self.environment.secrets)
        {
            let plain = name.bytes().enumerate().all(|(index, byte)| {
                byte == b'_' || byte.is_ascii_alphabetic() || (index > 0 && byte.is_ascii_digit())
            });
            if name.is_empty() || !plain || value.contains('\0') {
                return invalid(format!(
                    "`{}` cannot be the name of a variable, or its value holds a zero byte",
                    name.escape_debug()
                ));
            }
        }
        for (kind, id, provider) in self.providers() {
            let at = format!("{}.{}", kind.escape_debug(), id.escape_debug());
            if !provider.endpoint.is_empty() {
                check_endpoint(&provider.endpoint).map_err(|problem| {
                    DefinitionError::Invalid(format!("the endpoint of {at} {problem}"))
                })?;
            }
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            if !provider.region.bytes().all(plain) {
                return invalid(format!("the region of {at} is no name of one"));
            }
        }
        Ok(())
    }

    fn check_supported(&self) -> Result<(), DefinitionError> {
        let set = |pointer: &str| {
            let found = self
                .rest
                .get(pointer.split('/').next().unwrap_or_default())?;
            let inner = pointer
                .split_once('/')
                .map_or(Some(found), |(_, rest)| found.get(rest))?;
            let is_empty = match inner {
                Value::Null => true,
                Value::String(text) => text.is_empty() || text == "none",
                Value::Array(list) => list.is_empty() || list.iter().all(|one| *one == 0),
                Value::Number(number) => number.as_f64() == Some(0.0),
                _ => false,
            };
            (!is_empty).then_some(())
        };
        let unsupported = |text: &str| Err(DefinitionError::Unsupported(text.to_owned()));
        if set("expose/api_port").is_some() || set("expose/nodePort").is_some() {
            return unsupported(
                "exposed services need a network address of their own for as long as they live, which a batch job does not have",
            );
        }
        if set("kserve/type").is_some() {
            return unsupported("KServe needs a Kubernetes cluster; call the model from a script");
        }
        if set("federation/topology").is_some() {
            return unsupported(
                "federations are not kept here; delegate to this service from elsewhere instead",
            );
        }
        if set("volume/name").is_some()
            || set("volume/size").is_some()
            || set("mount/path").is_some()
        {
            return unsupported(
                "volumes and mounts need Kubernetes; the shared file system of the cluster is there anyway",
            );
        }
        for place in self.input.iter().chain(&self.output) {
            if !matches!(
                place.storage_provider.split('.').next(),
                Some("minio" | "s3")
            ) {
                return Err(DefinitionError::Unsupported(format!(
                    "the storage provider `{}` is not supported; there are minio and s3",
                    place.storage_provider.escape_debug()
                )));
            }
        }
        Ok(())
    }

    fn providers(&self) -> impl Iterator<Item = (&str, &str, &Provider)> {
        let kinds = self.storage_providers.iter();
        kinds.flat_map(|(kind, all)| {
            all.iter()
                .map(|(id, one)| (kind.as_str(), id.as_str(), one))
        })
    }

    /// As it is kept.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// As clients read it: with the token, without secrets.
    #[must_use]
    pub fn shown(&self, owner: &str, token: &str) -> Value {
        let mut shown = self.clone();
        for value in shown.environment.secrets.values_mut() {
            value.clear();
        }
        for provider in shown
            .storage_providers
            .values_mut()
            .flat_map(BTreeMap::values_mut)
        {
            for secret in [&mut provider.access_key, &mut provider.secret_key] {
                if !secret.is_empty() {
                    HIDDEN.clone_into(secret);
                }
            }
            for (name, value) in &mut provider.rest {
                if ["password", "token", "refresh_token"].contains(&name.as_str()) {
                    *value = json!(HIDDEN);
                }
            }
        }
        for cluster in shown
            .rest
            .get_mut("clusters")
            .and_then(Value::as_object_mut)
            .into_iter()
            .flatten()
        {
            if let Some(password) = cluster.1.get_mut("auth_password") {
                *password = json!(HIDDEN);
            }
        }
        let minio = shown
            .storage_providers
            .entry("minio".to_owned())
            .or_default();
        minio
            .entry("default".to_owned())
            .or_insert_with(|| Provider {
                access_key: HIDDEN.to_owned(),
                secret_key: HIDDEN.to_owned(),
                verify: Some(true),
                ..Provider::default()
            });
        let mut value = json!(shown);
        value["token"] = json!(token);
        value["owner"] = json!(owner);
        value["namespace"] = json!("oscar-svc");
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(change: impl FnOnce(&mut Value)) -> Result<Definition, DefinitionError> {
        let mut value =
            json!({"name": "plants", "image": "img", "script": "#!/bin/sh\r\necho\r\n"});
        change(&mut value);
        Definition::read(value)
    }

    #[test]
    fn defaults_are_those_of_oscar() {
        let found = read(|value| {
            value["input"] = json!([{"storage_provider": "minio", "path": "in"}]);
            value["output"] = json!([{"storage_provider": "s3.x", "path": "/b/out/"}]);
            value["cpu"] = json!(1.5);
            value["log_level"] = json!("LOUD");
        })
        .unwrap();
        assert_eq!(found.script, "#!/bin/sh\necho\n");
        assert_eq!(
            (found.memory.as_str(), &found.cpu, found.log_level.as_str()),
            ("256Mi", &json!("1.5"), "INFO")
        );
        assert_eq!(
            (
                found.input[0].storage_provider.as_str(),
                found.input[0].path.as_str()
            ),
            ("minio.default", "plants/in")
        );
        assert_eq!(found.output[0].path, "b/out");
        assert_eq!(
            Definition::read(serde_json::from_str(&found.text()).unwrap()).unwrap(),
            found
        );
    }

    #[test]
    fn secrets_are_shown_to_nobody() {
        let found = read(|value| {
            value["environment"] = json!({"variables": {"A": "1"}, "secrets": {"PW": "s3cret"}});
            value["storage_providers"] = json!({"minio": {"x": {"endpoint": "http://h:9000", "access_key": "s3cret", "secret_key": "s3cret"}},
                "webdav": {"w": {"hostname": "h", "login": "l", "password": "s3cret"}}});
            value["clusters"] = json!({"c": {"endpoint": "https://c", "auth_user": "u", "auth_password": "s3cret"}});
        })
        .unwrap();
        let shown = found.shown("ann", "tok").to_string();
        assert!(
            !shown.contains("s3cret") && shown.contains("hidden") && shown.contains("tok"),
            "{shown}"
        );
        assert!(found.text().contains("s3cret"));
    }

    #[test]
    fn what_is_wrong_and_what_cannot_be() {
        for (key, odd) in [
            ("name", json!("A b")),
            ("name", json!("")),
            ("name", json!("x".repeat(40))),
            ("name", json!("a\nb")),
            ("image", json!("")),
            ("script", json!("")),
            ("memory", json!("lots")),
            ("cpu", json!("-1")),
            ("visibility", json!("secret")),
            (
                "output",
                json!([{"storage_provider": "minio", "path": "a/../../b"}]),
            ),
            ("output", json!([{"storage_provider": "minio", "path": ""}])),
            ("environment", json!({"variables": {"A B": "1"}})),
            ("environment", json!({"variables": {"A": "\u{0}"}})),
            (
                "storage_providers",
                json!({"minio": {"x": {"endpoint": "file:///etc/passwd"}}}),
            ),
            ("input", json!(5)),
        ] {
            let error = read(|value| value[key] = odd.clone());
            assert!(
                matches!(error, Err(DefinitionError::Invalid(_))),
                "{key} {odd}: {error:?}"
            );
        }
        for (key, odd) in [
            ("expose", json!({"api_port": [80]})),
            ("expose", json!({"api_port": 80})),
            ("kserve", json!({"type": "inference"})),
            ("volume", json!({"name": "v", "size": "1Gi"})),
            ("federation", json!({"topology": "star"})),
            (
                "output",
                json!([{"storage_provider": "webdav.x", "path": "a/b"}]),
            ),
        ] {
            let error = read(|value| value[key] = odd.clone());
            assert!(
                matches!(error, Err(DefinitionError::Unsupported(_))),
                "{key} {odd}: {error:?}"
            );
        }
        assert!(read(|value| value["expose"] = json!({"api_port": [], "min_scale": 1})).is_ok());
    }
}

//! The parts of a Kubernetes pod that a job is made of, in both shapes of a create request.
//!
//! Unknown fields are passed over: Kubernetes grows, and most of a pod is for its own side. What
//! would change the job and cannot be done is kept here, so that [`super::check`] can refuse it
//! by name instead of dropping it. `null` means absent, as Go writes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

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
        #[serde(rename_all = "camelCase", default)]
        #[allow(missing_docs, reason = "the fields are those of the Kubernetes API")]
        pub struct $name { $($(#[$attr])* #[serde(deserialize_with = "or_default")] pub $field: $kind,)* })+
    };
}

parts! {
    /// A create request: the plugin's own shape (`pod`, `container`), and that of the API server
    /// (`pod`, `configmaps`, `secrets`, `projectedvolumesmaps`).
    Create {
        pod: Pod,
        container: Vec<Carried>,
        #[serde(alias = "configmaps")]
        config_maps: Vec<ConfigMap>,
        secrets: Vec<Secret>,
        #[serde(alias = "projectedvolumesmaps")]
        projected_volumes_maps: Vec<ConfigMap>,
        job_script: String,
        #[serde(alias = "jobscriptURL")]
        jobscript_url: String,
    }
    /// What comes with one container.
    Carried {
        name: String,
        config_maps: Vec<ConfigMap>,
        #[serde(alias = "projectedvolumemaps")]
        projected_volume_maps: Vec<ConfigMap>,
        secrets: Vec<Secret>,
    }
    /// A pod.
    Pod {
        metadata: Metadata,
        spec: Spec,
    }
    /// Who it is.
    Metadata {
        name: String,
        namespace: String,
        uid: String,
        annotations: BTreeMap<String, String>,
        labels: BTreeMap<String, String>,
    }
    /// What it does.
    Spec {
        containers: Vec<Container>,
        init_containers: Vec<Container>,
        volumes: Vec<Volume>,
        active_deadline_seconds: Option<i64>,
        termination_grace_period_seconds: Option<i64>,
        security_context: Security,
    }
    /// One container.
    Container {
        name: String,
        image: String,
        command: Vec<String>,
        args: Vec<String>,
        working_dir: String,
        env: Vec<Variable>,
        env_from: Vec<VariableSource>,
        resources: Resources,
        volume_mounts: Vec<Mount>,
        volume_devices: Vec<Value>,
        liveness_probe: Option<Probe>,
        readiness_probe: Option<Probe>,
        startup_probe: Option<Probe>,
        lifecycle: Lifecycle,
        restart_policy: Option<String>,
        security_context: Security,
        ports: Vec<Port>,
        stdin: bool,
    }
    /// A port that has a name.
    Port {
        name: String,
        container_port: u16,
    }
    /// What could change who runs it.
    Security {
        run_as_user: Option<i64>,
        privileged: Option<bool>,
    }
    /// One variable.
    Variable {
        name: String,
        value: Option<String>,
        value_from: Option<VariableFrom>,
    }
    /// Where a variable's value is.
    VariableFrom {
        config_map_key_ref: Option<KeyRef>,
        secret_key_ref: Option<KeyRef>,
        field_ref: Option<FieldRef>,
        resource_field_ref: Option<Value>,
        file_key_ref: Option<Value>,
    }
    /// Many variables at once.
    VariableSource {
        prefix: String,
        config_map_ref: Option<NameRef>,
        secret_ref: Option<NameRef>,
    }
    /// A key of a map.
    KeyRef {
        name: String,
        key: String,
        optional: bool,
    }
    /// A map.
    NameRef {
        name: String,
        optional: bool,
    }
    /// A field of the pod.
    FieldRef {
        field_path: String,
    }
    /// What it may use. Quantities are text or numbers.
    Resources {
        limits: BTreeMap<String, Value>,
        requests: BTreeMap<String, Value>,
    }
    /// Where a volume is seen.
    Mount {
        name: String,
        mount_path: String,
        sub_path: String,
        sub_path_expr: String,
        read_only: bool,
    }
    /// A volume: exactly one source.
    Volume {
        name: String,
        #[serde(flatten)]
        source: BTreeMap<String, Value>,
    }
    /// Source: a map of texts.
    ConfigMapSource {
        name: String,
        items: Vec<Item>,
        default_mode: Option<u32>,
        optional: bool,
    }
    /// Source: secrets.
    SecretSource {
        #[serde(alias = "name")]
        secret_name: String,
        items: Vec<Item>,
        default_mode: Option<u32>,
        optional: bool,
    }
    /// Source: several of the above in one.
    ProjectedSource {
        sources: Vec<BTreeMap<String, Value>>,
        default_mode: Option<u32>,
    }
    /// Source: a folder of the node.
    HostPathSource {
        path: String,
        r#type: String,
    }
    /// One key and the file it becomes.
    Item {
        key: String,
        path: String,
        mode: Option<u32>,
    }
    /// A map of texts.
    ConfigMap {
        metadata: Metadata,
        data: BTreeMap<String, String>,
        binary_data: BTreeMap<String, String>,
    }
    /// Secrets: `data` is base64.
    Secret {
        metadata: Metadata,
        data: BTreeMap<String, String>,
        string_data: BTreeMap<String, String>,
    }
    /// A probe.
    Probe {
        exec: Option<Exec>,
        http_get: Option<HttpGet>,
        tcp_socket: Option<TcpSocket>,
        grpc: Option<Value>,
        initial_delay_seconds: Option<u32>,
        period_seconds: Option<u32>,
        timeout_seconds: Option<u32>,
        failure_threshold: Option<u32>,
        success_threshold: Option<u32>,
    }
    /// What runs around it.
    Lifecycle {
        post_start: Option<Probe>,
        pre_stop: Option<Probe>,
    }
    /// A command.
    Exec {
        command: Vec<String>,
    }
    /// A request.
    HttpGet {
        path: String,
        port: Value,
        host: String,
        scheme: String,
        http_headers: Vec<Header>,
    }
    /// A connection.
    TcpSocket {
        port: Value,
        host: String,
    }
    /// A header.
    Header {
        name: String,
        value: String,
    }
}

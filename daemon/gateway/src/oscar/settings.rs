//! The OSCAR API of a site: the table `[oscar]` of the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::warm::WarmSettings;
use crate::supervise::event::Store;
use crate::supervise::s3::S3;

/// The table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oscar {
    /// File with `user:password` lines, readable by its owner only; without it users come by
    /// `[identity]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_file: Option<PathBuf>,
    /// Name of the cluster, as clients are told.
    #[serde(default = "default_name")]
    pub name: String,
    /// Longest wait of a synchronous call.
    #[serde(default = "default_run_ms")]
    pub run_ms: u64,
    /// Stores that every service may use, by `<type>.<id>`: `minio.default`.
    #[serde(default)]
    pub stores: BTreeMap<String, StoreSettings>,
    /// The generic resource of a service with `enable_gpu`.
    #[serde(default = "default_gpu")]
    pub gpu: String,
    /// Workers that answer synchronous calls; without the table each of those is a batch job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm: Option<WarmSettings>,
}

/// A store of the site: a folder, or an object store with its keys in a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum StoreSettings {
    /// Buckets are the folders in it.
    Folder {
        /// The folder, seen by the nodes.
        folder: PathBuf,
    },
    /// An object store.
    S3 {
        /// `http://` or `https://`, host and port.
        endpoint: String,
        /// Region.
        #[serde(default = "default_region")]
        region: String,
        /// File of two lines, access key and secret key, readable by its owner only.
        key_file: PathBuf,
    },
}

fn default_name() -> String {
    "mizar".to_owned()
}

fn default_run_ms() -> u64 {
    60_000
}

fn default_gpu() -> String {
    "gpu:1".to_owned()
}

/// The region of stores that have none.
pub(super) fn default_region() -> String {
    "us-east-1".to_owned()
}

impl Oscar {
    /// Checks what can be known before a service comes.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), String> {
        if let Some(warm) = &self.warm {
            warm.check()?;
        }
        for (name, store) in &self.stores {
            if !matches!(name.split_once('.'), Some(("minio" | "s3", id)) if !id.is_empty()) {
                return Err(format!(
                    "has the store `{name}`; stores are named minio.<id> or s3.<id>"
                ));
            }
            match store {
                StoreSettings::Folder { folder } if !folder.is_absolute() => {
                    return Err(format!(
                        "has the store `{name}`, whose folder is not absolute"
                    ));
                }
                StoreSettings::S3 { endpoint, .. } => {
                    check_endpoint(endpoint).map_err(|problem| {
                        format!("has the store `{name}`, whose endpoint {problem}")
                    })?
                }
                StoreSettings::Folder { .. } => {}
            }
        }
        Ok(())
    }

    /// The stores with their keys.
    ///
    /// # Errors
    /// If a file of keys cannot be read, or holds none.
    pub fn load_stores(&self) -> Result<BTreeMap<String, Store>, String> {
        let mut found = BTreeMap::new();
        for (name, store) in &self.stores {
            let store = match store {
                StoreSettings::Folder { folder } => Store::Folder(folder.clone()),
                StoreSettings::S3 {
                    endpoint,
                    region,
                    key_file,
                } => {
                    let text = std::fs::read_to_string(key_file)
                        .map_err(|error| format!("cannot read {}: {error}", key_file.display()))?;
                    let mut lines = text.lines().map(str::trim);
                    let (Some(access_key), Some(secret_key)) = (lines.next(), lines.next()) else {
                        return Err(format!("{} does not hold two lines", key_file.display()));
                    };
                    Store::S3(S3 {
                        endpoint: endpoint.clone(),
                        region: region.clone(),
                        access_key: access_key.to_owned(),
                        secret_key: secret_key.to_owned(),
                    })
                }
            };
            found.insert(name.clone(), store);
        }
        Ok(found)
    }
}

/// Refuses what is no address of a server.
pub(super) fn check_endpoint(endpoint: &str) -> Result<(), &'static str> {
    let rest = endpoint
        .strip_prefix("http://")
        .or_else(|| endpoint.strip_prefix("https://"));
    let Some(rest) = rest else {
        return Err("begins with neither http:// nor https://");
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".:-[]".contains(&byte);
    match rest.trim_end_matches('/') {
        "" => Err("names no host"),
        host if host.bytes().all(plain) => Ok(()),
        _ => Err("is more than a host and a port"),
    }
}

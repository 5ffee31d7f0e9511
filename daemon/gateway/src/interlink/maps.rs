//! The maps and secrets that came with a pod, whichever shape of the request they were in.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::PodError;
use super::pod::{ConfigMap, Create, Secret};

/// The contents of one map.
pub type Contents = BTreeMap<String, Vec<u8>>;

/// Everything that came with a pod, by name.
#[derive(Clone, Default)]
pub struct Maps {
    texts: BTreeMap<String, Contents>,
    secrets: BTreeMap<String, Contents>,
    projected: BTreeMap<String, Contents>,
}

impl std::fmt::Debug for Maps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Maps({} + {} + {}, hidden)",
            self.texts.len(),
            self.secrets.len(),
            self.projected.len()
        )
    }
}

impl Maps {
    /// Collects them.
    ///
    /// # Errors
    /// [`PodError`] for data that is not base64 where it must be.
    pub fn collect(create: &Create) -> Result<Self, PodError> {
        let mut maps = Self::default();
        let carried = || create.container.iter();
        for map in create
            .config_maps
            .iter()
            .chain(carried().flat_map(|one| &one.config_maps))
        {
            maps.texts.insert(map.metadata.name.clone(), contents(map)?);
        }
        for secret in create
            .secrets
            .iter()
            .chain(carried().flat_map(|one| &one.secrets))
        {
            maps.secrets
                .insert(secret.metadata.name.clone(), decoded(secret)?);
        }
        let projected = create.projected_volumes_maps.iter();
        for map in projected.chain(carried().flat_map(|one| &one.projected_volume_maps)) {
            maps.projected
                .insert(map.metadata.name.clone(), contents(map)?);
        }
        Ok(maps)
    }

    /// A map of texts.
    #[must_use]
    pub fn texts(&self, name: &str) -> Option<&Contents> {
        self.texts.get(name)
    }

    /// A secret, decoded.
    #[must_use]
    pub fn secrets(&self, name: &str) -> Option<&Contents> {
        self.secrets.get(name)
    }

    /// The files of a projected volume: by its name, or the only ones that came.
    #[must_use]
    pub fn projected(&self, volume: &str) -> Option<&Contents> {
        self.projected
            .get(volume)
            .or_else(|| match self.projected.len() {
                1 => self.projected.values().next(),
                _ => None,
            })
    }
}

fn contents(map: &ConfigMap) -> Result<Contents, PodError> {
    let mut found: Contents = map
        .data
        .iter()
        .map(|(key, value)| (key.clone(), value.clone().into_bytes()))
        .collect();
    for (key, value) in &map.binary_data {
        found.insert(
            key.clone(),
            decode("configMap", &map.metadata.name, key, value)?,
        );
    }
    Ok(found)
}

fn decoded(secret: &Secret) -> Result<Contents, PodError> {
    let mut found = Contents::new();
    for (key, value) in &secret.data {
        found.insert(
            key.clone(),
            decode("secret", &secret.metadata.name, key, value)?,
        );
    }
    let plain = secret.string_data.iter();
    found.extend(plain.map(|(key, value)| (key.clone(), value.clone().into_bytes())));
    Ok(found)
}

/// The value is never shown, not even the part that is wrong.
fn decode(kind: &str, name: &str, key: &str, value: &str) -> Result<Vec<u8>, PodError> {
    let at = || {
        format!(
            "{kind}[{}].data[{}]",
            name.escape_debug(),
            key.escape_debug()
        )
    };
    STANDARD
        .decode(value)
        .map_err(|_| PodError::new(at(), "is not base64"))
}

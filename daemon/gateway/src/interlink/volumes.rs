//! Volumes: which files and folders they are in the job's folder, and where containers see them.

use mizar_slurm::JobFile;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::PodError;
use super::maps::{Contents, Maps};
use super::pod::{
    ConfigMapSource, Container, HostPathSource, Item, ProjectedSource, SecretSource, Volume,
};
use crate::container_runtime::{Bind, Containers};

/// Folder of the volumes in the job's folder.
pub const VOLUMES: &str = "volumes";

/// Most files of one pod.
const MAX_FILES: usize = 10_000;

/// Where a volume is on the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its name in the pod.
    pub name: String,
    /// Its path.
    pub path: String,
    /// Whether nothing may be written into it.
    pub read_only: bool,
}

/// Lays out a volume: what has to be written for it, and where it is. Paths of files are relative
/// to `folder`, the job's.
///
/// # Errors
/// [`PodError`] for a kind of volume that is not supported, or a path that leads elsewhere.
pub fn lay_out(
    volume: &Volume,
    maps: &Maps,
    folder: &str,
    site: &Containers,
    files: &mut Vec<JobFile>,
) -> Result<Place, PodError> {
    let at = || format!("spec.volumes[{}]", volume.name.escape_debug());
    if !mizar_slurm::marker::is_label(&volume.name) {
        return Err(PodError::new(at(), "is not named by a DNS label"));
    }
    let mut sources = volume.source.iter().filter(|(_, value)| !value.is_null());
    let own = format!("{VOLUMES}/{}", volume.name);
    let mut read_only = true;
    match (sources.next(), sources.next()) {
        // An empty directory is also what a volume without a source is.
        (None, _) => read_only = false,
        (Some((kind, _)), None) if kind == "emptyDir" => read_only = false,
        (Some((kind, value)), None) if kind == "hostPath" => {
            let path = host_path(&parse(&at(), value)?, site)
                .map_err(|problem| PodError::new(at(), problem))?;
            return Ok(Place {
                name: volume.name.clone(),
                path,
                read_only: false,
            });
        }
        (Some((kind, value)), None) if kind == "configMap" => {
            let source: ConfigMapSource = parse(&at(), value)?;
            let found = maps.texts(&source.name);
            add(
                &at(),
                &own,
                files,
                found,
                &source.name,
                &source.items,
                source.default_mode,
                source.optional,
            )?;
        }
        (Some((kind, value)), None) if kind == "secret" => {
            let source: SecretSource = parse(&at(), value)?;
            let found = maps.secrets(&source.secret_name);
            add(
                &at(),
                &own,
                files,
                found,
                &source.secret_name,
                &source.items,
                source.default_mode,
                source.optional,
            )?;
        }
        (Some((kind, value)), None) if kind == "projected" => {
            project(
                &at(),
                &own,
                files,
                &volume.name,
                &parse(&at(), value)?,
                maps,
            )?;
        }
        (Some((kind, _)), None) => {
            let supported = "configMap, secret, projected, emptyDir and hostPath";
            return Err(PodError::new(
                at(),
                format!(
                    "is of the kind `{}`; supported are {supported}",
                    kind.escape_debug()
                ),
            ));
        }
        (Some(_), Some(_)) => return Err(PodError::new(at(), "has more than one source")),
    }
    if files.len() > MAX_FILES {
        return Err(PodError::new(at(), "has more files than a pod may have"));
    }
    files.push(JobFile::folder(own.as_str()));
    Ok(Place {
        name: volume.name.clone(),
        path: format!("{folder}/{own}"),
        read_only,
    })
}

fn parse<T: DeserializeOwned>(at: &str, value: &Value) -> Result<T, PodError> {
    serde_json::from_value(value.clone()).map_err(|error| PodError::new(at, error.to_string()))
}

fn host_path(source: &HostPathSource, site: &Containers) -> Result<String, String> {
    if !matches!(source.r#type.as_str(), "" | "Directory" | "File") {
        return Err(format!(
            "has the type `{}`; supported are Directory and File",
            source.r#type.escape_debug()
        ));
    }
    let path = std::path::Path::new(&source.path);
    let plain = path.is_absolute()
        && !source
            .path
            .split('/')
            .any(|part| part == ".." || part == ".");
    if !plain || source.path.chars().any(char::is_control) {
        return Err("is no absolute path without `..`".to_owned());
    }
    if !site
        .host_paths
        .iter()
        .any(|allowed| path.starts_with(allowed))
    {
        return Err(format!(
            "`{}` is below no folder that this site gives to containers",
            source.path
        ));
    }
    Ok(source.path.clone())
}

#[allow(
    clippy::too_many_arguments,
    reason = "two kinds of volumes differ in nothing else"
)]
fn add(
    at: &str,
    folder: &str,
    files: &mut Vec<JobFile>,
    found: Option<&Contents>,
    name: &str,
    items: &[Item],
    mode: Option<u32>,
    optional: bool,
) -> Result<(), PodError> {
    let Some(contents) = found else {
        if optional {
            return Ok(());
        }
        return Err(PodError::new(
            at,
            format!(
                "needs `{}`, which did not come with the pod",
                name.escape_debug()
            ),
        ));
    };
    if items.is_empty() {
        for (key, data) in contents {
            push(at, folder, files, key, data, mode)?;
        }
        return Ok(());
    }
    for item in items {
        match contents.get(&item.key) {
            Some(data) => push(at, folder, files, &item.path, data, item.mode.or(mode))?,
            None if optional => {}
            None => {
                return Err(PodError::new(
                    at,
                    format!(
                        "needs the key `{}`, which is not there",
                        item.key.escape_debug()
                    ),
                ));
            }
        }
    }
    Ok(())
}

fn push(
    at: &str,
    folder: &str,
    files: &mut Vec<JobFile>,
    path: &str,
    data: &[u8],
    mode: Option<u32>,
) -> Result<(), PodError> {
    check_relative(path).map_err(|problem| {
        PodError::new(
            at,
            format!("has the path `{}`, {problem}", path.escape_debug()),
        )
    })?;
    files.push(JobFile {
        is_executable: mode.is_some_and(|mode| mode & 0o111 != 0),
        ..JobFile::new(format!("{folder}/{path}"), data)
    });
    Ok(())
}

/// Longest path in a volume: with the volume's own folder it fits what [`mizar_slurm::jobfile`] takes.
const MAX_PATH_BYTES: usize = 900;

/// Refuses every path that could name something outside its folder.
///
/// # Errors
/// Why.
pub fn check_relative(path: &str) -> Result<(), &'static str> {
    if path.is_empty() || path.starts_with('/') {
        Err("which is not relative")
    } else if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        Err("which has an empty part, `.` or `..`")
    } else if path.chars().any(char::is_control) {
        Err("which holds a control character")
    } else if path.len() > MAX_PATH_BYTES || path.split('/').any(|part| part.len() > 250) {
        Err("which is too long, or has too long a part")
    } else {
        Ok(())
    }
}

/// A projected volume comes as files already; what it names itself is a fallback.
fn project(
    at: &str,
    folder: &str,
    files: &mut Vec<JobFile>,
    name: &str,
    source: &ProjectedSource,
    maps: &Maps,
) -> Result<(), PodError> {
    let ready = maps.projected(name);
    if let Some(contents) = ready {
        for (path, data) in contents {
            push(at, folder, files, path, data, source.default_mode)?;
        }
    }
    for one in &source.sources {
        for (kind, value) in one.iter().filter(|(_, value)| !value.is_null()) {
            match kind.as_str() {
                "configMap" => {
                    let map: ConfigMapSource = parse(at, value)?;
                    let optional = map.optional || ready.is_some();
                    add(
                        at,
                        folder,
                        files,
                        maps.texts(&map.name),
                        &map.name,
                        &map.items,
                        source.default_mode,
                        optional,
                    )?;
                }
                "secret" => {
                    let secret: SecretSource = parse(at, value)?;
                    let optional = secret.optional || ready.is_some();
                    let found = maps.secrets(&secret.secret_name);
                    add(
                        at,
                        folder,
                        files,
                        found,
                        &secret.secret_name,
                        &secret.items,
                        source.default_mode,
                        optional,
                    )?;
                }
                // Tokens and fields of the pod are Kubernetes' to make.
                _ if ready.is_some() => {}
                _ => {
                    return Err(PodError::new(
                        at,
                        format!("needs its `{}` as a file with the pod", kind.escape_debug()),
                    ));
                }
            }
        }
    }
    Ok(())
}

/// What a container sees of the volumes.
///
/// # Errors
/// [`PodError`] for a mount of nothing, or of a path that leads elsewhere.
pub fn binds(container: &Container, places: &[Place]) -> Result<Vec<Bind>, PodError> {
    let mut found = Vec::new();
    for mount in &container.volume_mounts {
        let at = || {
            format!(
                "spec.containers[{}].volumeMounts[{}]",
                container.name,
                mount.name.escape_debug()
            )
        };
        if !mount.sub_path_expr.is_empty() {
            return Err(PodError::new(
                at(),
                "has a subPathExpr, which is not supported: give the subPath",
            ));
        }
        let Some(place) = places.iter().find(|place| place.name == mount.name) else {
            return Err(PodError::new(at(), "is of no volume of the pod"));
        };
        let mut from = place.path.clone();
        if !mount.sub_path.is_empty() {
            check_relative(&mount.sub_path).map_err(|problem| {
                PodError::new(
                    at(),
                    format!(
                        "has the subPath `{}`, {problem}",
                        mount.sub_path.escape_debug()
                    ),
                )
            })?;
            from = format!("{from}/{}", mount.sub_path);
        }
        let plain = mount.mount_path.starts_with('/')
            && !mount
                .mount_path
                .split('/')
                .any(|part| part == ".." || part == ".");
        if !plain || mount.mount_path.trim_matches('/').is_empty() {
            return Err(PodError::new(
                at(),
                "has a mountPath that is no absolute path without `..`",
            ));
        }
        let same =
            |other: &Bind| other.to.trim_end_matches('/') == mount.mount_path.trim_end_matches('/');
        if found.iter().any(same) {
            return Err(PodError::new(at(), "has the mountPath of another mount"));
        }
        found.push(Bind {
            from,
            to: mount.mount_path.clone(),
            read_only: mount.read_only || place.read_only,
        });
    }
    Ok(found)
}

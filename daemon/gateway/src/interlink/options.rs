//! What a pod's annotations and limits ask for: options of sbatch, and what is added to the command
//! lines of its containers where the site lets pods do that.

use super::PodError;
use super::flags::{self, Options};
use super::pod::Pod;
use super::quantity::Needs;
use super::settings::Interlink;

/// Annotations that we know.
const PREFIX: &str = "slurm-job.vk.io/";

/// Flavor, then annotation, then the pod's own limits: the later wins.
pub(super) fn options(
    pod: &Pod,
    needs: &Needs,
    settings: &Interlink,
) -> Result<Vec<(String, String)>, PodError> {
    let mut options = Options::new();
    let annotation = |name: &str| pod.metadata.annotations.get(&format!("{PREFIX}{name}"));
    let flavor = annotation("flavor").or(settings.default_flavor.as_ref());
    if let Some(name) = flavor {
        let at = format!("metadata.annotations[{PREFIX}flavor]");
        let flavor = settings.flavors.get(name).ok_or_else(|| {
            let known: Vec<_> = settings.flavors.keys().map(String::as_str).collect();
            PodError::new(
                &at,
                format!(
                    "`{}` is no flavor; there are: {}",
                    name.escape_debug(),
                    known.join(", ")
                ),
            )
        })?;
        flags::merge(&mut options, &at, &flavor.flags)?;
    }
    if let Some(text) = annotation("flags") {
        let name = format!("{PREFIX}flags");
        flags::merge(
            &mut options,
            &format!("metadata.annotations[{name}]"),
            &flags::words(&name, text)?,
        )?;
    }
    if let Some(milli) = needs.cpu_milli.filter(|milli| *milli > 0) {
        options.insert("cpus-per-task".to_owned(), milli.div_ceil(1000).to_string());
    }
    if let Some(bytes) = needs.memory_bytes.filter(|bytes| *bytes > 0) {
        for other in ["mem-per-cpu", "mem-per-gpu"] {
            options.remove(other);
        }
        options.insert("mem".to_owned(), format!("{}M", bytes.div_ceil(1 << 20)));
    }
    let mut gres: Vec<String> = Vec::new();
    for (name, count) in &needs.accelerators {
        let Some(word) = settings.accelerators.get(name) else {
            let known: Vec<_> = settings.accelerators.keys().map(String::as_str).collect();
            return Err(PodError::new(
                "spec.containers",
                format!(
                    "need `{}`, which no node has; there are: cpu, memory, {}",
                    name.escape_debug(),
                    known.join(", ")
                ),
            ));
        };
        gres.push(format!("{word}:{count}"));
    }
    if !gres.is_empty() {
        options.insert("gres".to_owned(), gres.join(","));
    }
    if let Some(seconds) = pod.spec.active_deadline_seconds {
        let minutes = u64::try_from(seconds).unwrap_or(0).div_ceil(60).max(1);
        options.insert("time".to_owned(), minutes.to_string());
    }
    Ok(options.into_iter().collect())
}

/// What annotations add to the containers of a pod.
#[derive(Clone, Debug, Default)]
pub(super) struct Annotations {
    pub(super) before: Option<String>,
    pub(super) image_root: Option<String>,
    pub(super) options: Vec<String>,
    pub(super) launcher: Vec<String>,
}

impl Annotations {
    pub(super) fn read(pod: &Pod, settings: &Interlink) -> Result<Self, PodError> {
        let mut found = Self::default();
        for (name, text) in &pod.metadata.annotations {
            let Some(key) = name.strip_prefix(PREFIX) else {
                continue;
            };
            let at = format!("metadata.annotations[{}]", name.escape_debug());
            match key {
                "flags" | "flavor" => continue,
                "image-root" => {
                    if text.chars().any(|c| c.is_control() || c.is_whitespace())
                        || text.starts_with('-')
                    {
                        return Err(PodError::new(at, "is no beginning of an image's name"));
                    }
                    found.image_root = Some(text.clone());
                    continue;
                }
                "pre-exec"
                | "mpi-flags"
                | "singularity-mounts"
                | "singularity-options"
                | "enroot-mounts"
                | "enroot-options" => {}
                _ => return Err(PodError::new(at, "is not known")),
            }
            if !settings.host_commands {
                return Err(PodError::new(
                    at,
                    "runs commands or options on the node, which this site does not allow (interlink.host_commands)",
                ));
            }
            match key {
                "pre-exec" => found.before = Some(text.clone()),
                "mpi-flags" => {
                    found.launcher.clone_from(&settings.mpi_launcher);
                    found.launcher.extend(flags::words(name, text)?);
                }
                _ => found.options.extend(flags::words(name, text)?),
            }
        }
        Ok(found)
    }
}

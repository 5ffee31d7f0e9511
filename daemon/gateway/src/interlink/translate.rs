//! From a pod to a job: options of sbatch, the supervisor's plan, and the files it needs. Pure.
//!
//! Nothing of the pod becomes a line of a script. What cannot be done is refused with its place
//! and the reason, because a pod that runs otherwise than it says is worse than one that does not.

use std::collections::BTreeSet;

use mizar_slurm::JobFile;
use mizar_slurm::marker::is_label;

use super::PodError;
use super::maps::Maps;
use super::options::{Annotations, options};
use super::pod::{Container, Create, Lifecycle, Pod, Probe, Security};
use super::probes::{Runner, check_of, probe_of};
use super::quantity::needs;
use super::settings::Interlink;
use super::variables::{expand, variables};
use super::volumes::{Place, binds, lay_out};
use crate::container_runtime::{Bind, Containers, Runtime, Wanted};
use crate::jobfiles::Planned;
use crate::supervise::plan::{self, Plan};

/// Most containers of a pod.
const MAX_CONTAINERS: usize = 100;

/// Most words of a container's command line; the system takes 2 MiB of them.
const MAX_WORDS_BYTES: usize = 1 << 20;

/// Time of grace where a pod sets none, as in Kubernetes.
const GRACE_SECONDS: i64 = 30;

/// Longest time of grace: Slurm's own is rarely longer.
const GRACE_MAX_SECONDS: i64 = 3600;

/// The site, and the job's folder.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// How containers are run.
    pub containers: &'a Containers,
    /// What pods may do.
    pub interlink: &'a Interlink,
    /// The job's folder.
    pub folder: &'a str,
    /// The number of the Unix user that the job runs as.
    pub uid: u32,
}

/// Translates a pod.
///
/// # Errors
/// [`PodError`] with the place of what is wrong or cannot be done.
pub fn translate(create: &Create, site: Site<'_>) -> Result<Planned, PodError> {
    let pod = &create.pod;
    check_names(pod, site.uid)?;
    let maps = Maps::collect(create)?;
    let needs = needs(&pod.spec)?;
    let mut planned = Planned {
        options: options(pod, &needs, site.interlink)?,
        ..Planned::default()
    };
    let extra = Annotations::read(pod, site.interlink)?;
    let mut places = Vec::new();
    for volume in &pod.spec.volumes {
        places.push(lay_out(
            volume,
            &maps,
            site.folder,
            site.containers,
            &mut planned.files,
        )?);
    }
    check_folders(&planned.files)?;
    let grace = pod
        .spec
        .termination_grace_period_seconds
        .unwrap_or(GRACE_SECONDS);
    let seconds = grace.clamp(0, GRACE_MAX_SECONDS).unsigned_abs();
    planned.plan = Plan {
        before: extra.before.clone(),
        grace_ms: seconds * 1000,
        ..Plan::default()
    };
    let mut own = |container: &Container| {
        one(
            pod,
            container,
            &maps,
            &places,
            &extra,
            site,
            &mut planned.links,
        )
    };
    for container in &pod.spec.init_containers {
        planned.plan.init.push(own(container)?);
    }
    for container in &pod.spec.containers {
        planned.plan.apps.push(own(container)?);
    }
    replace_script(create, site, &mut planned)?;
    Ok(planned)
}

/// Whether this is the name of a pod: a DNS subdomain.
fn is_subdomain(name: &str) -> bool {
    !name.is_empty() && name.len() <= 253 && name.split('.').all(is_label)
}

/// Whether this is a UID as Kubernetes makes them: a lower-case UUID.
#[must_use]
pub fn is_uid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

fn check_names(pod: &Pod, own: u32) -> Result<(), PodError> {
    let metadata = &pod.metadata;
    if !is_uid(&metadata.uid) {
        return Err(PodError::new(
            "metadata.uid",
            "is no UUID of lower-case digits",
        ));
    }
    if !is_label(&metadata.namespace) {
        return Err(PodError::new("metadata.namespace", "is no DNS label"));
    }
    if !is_subdomain(&metadata.name) {
        return Err(PodError::new("metadata.name", "is no DNS name"));
    }
    check_security("spec.securityContext", &pod.spec.security_context, own)?;
    let all = || pod.spec.init_containers.iter().chain(&pod.spec.containers);
    if pod.spec.containers.is_empty() || all().count() > MAX_CONTAINERS {
        return Err(PodError::new(
            "spec.containers",
            format!("must be 1 to {MAX_CONTAINERS}"),
        ));
    }
    for (index, container) in all().enumerate() {
        let at = || format!("spec.containers[{}]", container.name.escape_debug());
        if !is_label(&container.name) {
            return Err(PodError::new(at(), "is not named by a DNS label"));
        }
        if all().take(index).any(|other| other.name == container.name) {
            return Err(PodError::new(at(), "has the name of another container"));
        }
        if container
            .restart_policy
            .as_deref()
            .is_some_and(|policy| policy != "Never")
        {
            return Err(PodError::new(
                at(),
                "has a restartPolicy of its own, which is not supported",
            ));
        }
        if !container.volume_devices.is_empty() {
            return Err(PodError::new(
                at(),
                "has volumeDevices, which are not supported",
            ));
        }
        check_security(&at(), &container.security_context, own)?;
    }
    Ok(())
}

fn check_security(at: &str, security: &Security, own: u32) -> Result<(), PodError> {
    if security.privileged == Some(true) {
        return Err(PodError::new(at, "is privileged, which no job is"));
    }
    match security.run_as_user {
        None => Ok(()),
        Some(0) => Err(PodError::new(at, "runs as user 0, which no pod may")),
        Some(uid) if uid == i64::from(own) => Ok(()),
        Some(uid) => Err(PodError::new(
            at,
            format!("runs as user {uid}, to whom its sender is not mapped"),
        )),
    }
}

/// Two files of volumes with one path, or one in the other: neither may win silently.
fn check_folders(files: &[JobFile]) -> Result<(), PodError> {
    let paths: BTreeSet<&str> = files
        .iter()
        .filter(|file| file.data.is_some())
        .map(|file| file.path.as_str())
        .collect();
    for path in &paths {
        let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
        if let Some(both) = folders.into_iter().find(|folder| paths.contains(folder)) {
            return Err(PodError::new(
                "spec.volumes",
                format!("`{both}` is both a file and a folder"),
            ));
        }
    }
    Ok(())
}

fn one(
    pod: &Pod,
    container: &Container,
    maps: &Maps,
    places: &[Place],
    extra: &Annotations,
    site: Site<'_>,
    links: &mut Vec<(String, String)>,
) -> Result<plan::Container, PodError> {
    let at = || format!("spec.containers[{}]", container.name);
    let mut env = variables(&pod.metadata, container, maps)?;
    let words = |list: &[String]| -> Result<Vec<String>, PodError> {
        let found: Vec<String> = list.iter().map(|word| expand(word, &env)).collect();
        let length: usize = found.iter().map(|word| word.len() + 1).sum();
        if length > MAX_WORDS_BYTES {
            return Err(PodError::new(
                at(),
                "has a longer command line than the system takes",
            ));
        }
        match found.iter().any(|word| word.contains('\0')) {
            true => Err(PodError::new(at(), "has a zero byte in its command")),
            false => Ok(found),
        }
    };
    let (command, args) = (words(&container.command)?, words(&container.args)?);
    let mut seen = binds(container, places)?;
    if site.containers.runtime == Runtime::None {
        let inside = |bind: &Bind| {
            let folder = format!("{}/", bind.to.trim_end_matches('/'));
            seen.iter()
                .any(|other| other.to.starts_with(&folder) && other.to.len() > folder.len())
        };
        if let Some(outer) = seen.iter().find(|bind| inside(bind)) {
            let problem = format!(
                "has a mount inside of {}, which needs a container runtime",
                outer.to
            );
            return Err(PodError::new(at(), problem));
        }
        link(site.folder, container, &seen, links, &mut env);
        seen.clear();
    }
    let directory = &container.working_dir;
    if !directory.is_empty()
        && (!directory.starts_with('/') || directory.chars().any(char::is_control))
    {
        return Err(PodError::new(
            at(),
            "has a workingDir that is no absolute path",
        ));
    }
    let wanted = Wanted {
        image: container.image.clone(),
        image_root: extra.image_root.clone(),
        command,
        args,
        env,
        directory: (!directory.is_empty()).then(|| directory.clone()),
        binds: seen,
        options: [
            extra.options.clone(),
            gpu_options(container, site.containers),
        ]
        .concat(),
        later: Vec::new(),
    };
    let line = site
        .containers
        .command_line(&wanted)
        .map_err(|problem| PodError::new(at(), problem))?;
    let mut planned = plan::Container {
        name: container.name.clone(),
        image: container.image.clone(),
        argv: [extra.launcher.clone(), line.argv].concat(),
        env: line.env,
        directory: line.directory,
        ..plan::Container::default()
    };
    let run = |command: &[String]| -> Result<Vec<String>, PodError> {
        let inside = Wanted {
            command: command.to_vec(),
            args: Vec::new(),
            ..wanted.clone()
        };
        let line = site.containers.command_line(&inside);
        line.map(|line| line.argv)
            .map_err(|problem| PodError::new(at(), problem))
    };
    add_checks(&mut planned, container, site.interlink.probes, &run)?;
    Ok(planned)
}

/// Adds the probes, if the site asks them, and the hooks.
fn add_checks(
    planned: &mut plan::Container,
    container: &Container,
    wants_probes: bool,
    run: Runner<'_>,
) -> Result<(), PodError> {
    let at = |kind: &str| format!("spec.containers[{}].{kind}", container.name);
    let ports = &container.ports;
    let probe = |kind: &str, given: &Option<Probe>| {
        let given = given.as_ref().filter(|_| wants_probes);
        given
            .map(|given| probe_of(&at(kind), given, ports, run))
            .transpose()
    };
    let hook = |kind: &str, given: &Option<Probe>| {
        let given = given.as_ref();
        given
            .map(|given| check_of(&at(kind), given, ports, run))
            .transpose()
    };
    planned.liveness = probe("livenessProbe", &container.liveness_probe)?;
    planned.readiness = probe("readinessProbe", &container.readiness_probe)?;
    planned.startup = probe("startupProbe", &container.startup_probe)?;
    let Lifecycle {
        post_start,
        pre_stop,
    } = &container.lifecycle;
    planned.post_start = hook("lifecycle.postStart", post_start)?;
    planned.pre_stop = hook("lifecycle.preStop", pre_stop)?;
    Ok(())
}

/// Where nothing can be mounted, mounts are links below a folder that a variable names.
fn link(
    folder: &str,
    container: &Container,
    seen: &[Bind],
    links: &mut Vec<(String, String)>,
    env: &mut Vec<(String, String)>,
) {
    let root = format!("roots/{}", container.name);
    for bind in seen {
        links.push((
            format!("{root}{}", bind.to.trim_end_matches('/')),
            bind.from.clone(),
        ));
    }
    env.push(("MIZAR_ROOT".to_owned(), format!("{folder}/{root}")));
}

fn gpu_options(container: &Container, site: &Containers) -> Vec<String> {
    let wants = |vendor: &str| {
        container
            .resources
            .limits
            .keys()
            .any(|name| name.starts_with(vendor))
    };
    let mut options = Vec::new();
    if matches!(site.runtime, Runtime::Apptainer | Runtime::Singularity) {
        options.extend(wants("nvidia.com/").then(|| "--nv".to_owned()));
        options.extend(wants("amd.com/").then(|| "--rocm".to_owned()));
    }
    options
}

/// A script that came ready replaces the containers' own.
fn replace_script(create: &Create, site: Site<'_>, planned: &mut Planned) -> Result<(), PodError> {
    if !create.jobscript_url.is_empty() {
        return Err(PodError::new(
            "jobscriptURL",
            "is not fetched: send the script as jobScript",
        ));
    }
    if create.job_script.is_empty() {
        return Ok(());
    }
    if !site.interlink.host_commands {
        return Err(PodError::new(
            "jobScript",
            "runs on the node, which this site does not allow (interlink.host_commands)",
        ));
    }
    let file = JobFile::program("job-script", create.job_script.as_str());
    planned.files.push(file);
    planned.plan.init.clear();
    planned.plan.apps.truncate(1);
    for app in &mut planned.plan.apps {
        app.argv = vec![
            "/bin/bash".to_owned(),
            format!("{}/job-script", site.folder),
        ];
        (app.liveness, app.readiness, app.startup) = (None, None, None);
        (app.post_start, app.pre_stop) = (None, None);
    }
    Ok(())
}

#[cfg(test)]
#[path = "translate_tests.rs"]
mod tests;

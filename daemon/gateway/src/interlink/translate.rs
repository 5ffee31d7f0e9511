//! From a pod to a job: options of sbatch, the supervisor's plan, and the files it needs. Pure.
//!
//! Nothing of the pod becomes a line of a script. What cannot be done is refused with its place
//! and the reason, because a pod that runs otherwise than it says is worse than one that does not.

use std::collections::BTreeSet;

use mizar_slurm::marker::is_label;
use serde_json::Value;

use super::PodError;
use super::flags::{self, Options};
use super::maps::Maps;
use super::pod::{Container, Create, Lifecycle, Pod, Port, Probe, Security};
use super::quantity::{Needs, needs};
use super::settings::Interlink;
use super::variables::{expand, variables};
use super::volumes::{Place, binds, lay_out};
use crate::container_runtime::{Bind, Containers, Runtime, Wanted};
use crate::jobfiles::{JobFile, Planned};
use crate::supervise::plan::{self, Check, Plan};

/// Most containers of a pod.
const MAX_CONTAINERS: usize = 100;

/// Most words of a container's command line; the system takes 2 MiB of them.
const MAX_WORDS_BYTES: usize = 1 << 20;

/// Time of grace where a pod sets none, as in Kubernetes.
const GRACE_SECONDS: i64 = 30;

/// Longest time of grace: Slurm's own is rarely longer.
const GRACE_MAX_SECONDS: i64 = 3600;

/// Annotations that we know.
const PREFIX: &str = "slurm-job.vk.io/";

/// The site, and the job's folder.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// How containers are run.
    pub containers: &'a Containers,
    /// What pods may do.
    pub interlink: &'a Interlink,
    /// The job's folder.
    pub folder: &'a str,
}

/// Translates a pod.
///
/// # Errors
/// [`PodError`] with the place of what is wrong or cannot be done.
pub fn translate(create: &Create, site: Site<'_>) -> Result<Planned, PodError> {
    let pod = &create.pod;
    check_names(pod)?;
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

fn check_names(pod: &Pod) -> Result<(), PodError> {
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
    check_security("spec.securityContext", &pod.spec.security_context)?;
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
        check_security(&at(), &container.security_context)?;
    }
    Ok(())
}

fn check_security(at: &str, security: &Security) -> Result<(), PodError> {
    if security.privileged == Some(true) {
        return Err(PodError::new(at, "is privileged, which no job is"));
    }
    let own = i64::from(nix::unistd::getuid().as_raw());
    match security.run_as_user {
        None => Ok(()),
        Some(0) => Err(PodError::new(at, "runs as user 0, which no pod may")),
        Some(uid) if uid == own => Ok(()),
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

/// Flavor, then annotation, then the pod's own limits: the later wins.
fn options(
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
struct Annotations {
    before: Option<String>,
    image_root: Option<String>,
    options: Vec<String>,
    launcher: Vec<String>,
}

impl Annotations {
    fn read(pod: &Pod, settings: &Interlink) -> Result<Self, PodError> {
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
    let probe = |kind: &str, given: &Option<Probe>| -> Result<Option<plan::Probe>, PodError> {
        let Some(given) = given.as_ref().filter(|_| site.interlink.probes) else {
            return Ok(None);
        };
        let place = format!("{}.{kind}", at());
        Ok(Some(probe_of(&place, given, &container.ports, &run)?))
    };
    let Lifecycle {
        post_start,
        pre_stop,
    } = &container.lifecycle;
    let hook = |kind: &str, given: &Option<Probe>| {
        let place = format!("{}.lifecycle.{kind}", at());
        given
            .as_ref()
            .map(|given| check_of(&place, given, &container.ports, &run))
            .transpose()
    };
    Ok(plan::Container {
        name: container.name.clone(),
        image: container.image.clone(),
        argv: [extra.launcher.clone(), line.argv].concat(),
        env: line.env,
        directory: line.directory,
        liveness: probe("livenessProbe", &container.liveness_probe)?,
        readiness: probe("readinessProbe", &container.readiness_probe)?,
        startup: probe("startupProbe", &container.startup_probe)?,
        post_start: hook("postStart", post_start)?,
        pre_stop: hook("preStop", pre_stop)?,
    })
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

type Runner<'a> = &'a dyn Fn(&[String]) -> Result<Vec<String>, PodError>;

fn probe_of(
    at: &str,
    given: &Probe,
    ports: &[Port],
    run: Runner<'_>,
) -> Result<plan::Probe, PodError> {
    let ms = |seconds: Option<u32>, usual: u32, least: u32| {
        u64::from(seconds.unwrap_or(usual).max(least)) * 1000
    };
    Ok(plan::Probe {
        check: check_of(at, given, ports, run)?,
        delay_ms: ms(given.initial_delay_seconds, 0, 0),
        period_ms: ms(given.period_seconds, 10, 1),
        timeout_ms: ms(given.timeout_seconds, 1, 1),
        failures: given.failure_threshold.unwrap_or(3).max(1),
        successes: given.success_threshold.unwrap_or(1).max(1),
    })
}

fn check_of(at: &str, given: &Probe, ports: &[Port], run: Runner<'_>) -> Result<Check, PodError> {
    let host = |host: &str| -> Result<String, PodError> {
        match host {
            "" => Ok("127.0.0.1".to_owned()),
            _ if host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".:-".contains(&byte)) =>
            {
                Ok(host.to_owned())
            }
            _ => Err(PodError::new(at, "names no host")),
        }
    };
    match (&given.exec, &given.http_get, &given.tcp_socket) {
        (Some(exec), None, None) if !exec.command.is_empty() => {
            if exec.command.iter().any(|word| word.contains('\0')) {
                return Err(PodError::new(at, "has a zero byte in its command"));
            }
            Ok(Check::Run(run(&exec.command)?))
        }
        (None, Some(get), None) => {
            if !matches!(get.scheme.as_str(), "" | "HTTP") {
                return Err(PodError::new(
                    at,
                    "asks by HTTPS, which is not supported: ask by HTTP",
                ));
            }
            let path = if get.path.is_empty() { "/" } else { &get.path };
            let odd = |text: &str| text.chars().any(|c| c.is_control() || c == ' ');
            let header_odd = |text: &str| text.chars().any(char::is_control);
            if odd(path)
                || get
                    .http_headers
                    .iter()
                    .any(|one| odd(&one.name) || header_odd(&one.value))
            {
                return Err(PodError::new(
                    at,
                    "has a path or header with a space or control character",
                ));
            }
            Ok(Check::Get {
                host: host(&get.host)?,
                port: port_of(at, &get.port, ports)?,
                path: path.to_owned(),
                headers: get
                    .http_headers
                    .iter()
                    .map(|one| (one.name.clone(), one.value.clone()))
                    .collect(),
            })
        }
        (None, None, Some(tcp)) => Ok(Check::Connect {
            host: host(&tcp.host)?,
            port: port_of(at, &tcp.port, ports)?,
        }),
        _ => Err(PodError::new(
            at,
            "is none of exec, httpGet and tcpSocket, or several of them",
        )),
    }
}

fn port_of(at: &str, port: &Value, ports: &[Port]) -> Result<u16, PodError> {
    let number = match port {
        Value::Number(number) => number
            .as_u64()
            .and_then(|number| u16::try_from(number).ok()),
        Value::String(name) => ports
            .iter()
            .find(|port| port.name == *name)
            .map(|port| port.container_port)
            .or_else(|| name.parse().ok()),
        _ => None,
    };
    number
        .filter(|port| *port > 0)
        .ok_or_else(|| PodError::new(at, "names no port"))
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
    let file = JobFile {
        path: "job-script".to_owned(),
        data: Some(create.job_script.clone().into_bytes()),
        is_executable: true,
    };
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

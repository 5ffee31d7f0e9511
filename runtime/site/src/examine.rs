//! A profile against the facts of a node.

use serde::Serialize;

use crate::facts::Facts;
use crate::profile::{Avoid, Profile, Setting};

/// Less in `/dev/shm` than this is too little for the exchange of a node's ranks and of NCCL.
const SHARED_MEMORY_BYTES_MIN: u64 = 256 << 20;

/// Less lockable memory than this and InfiniBand cannot register its buffers.
const LOCKED_BYTES_MIN: u64 = 1 << 30;

/// Fewer open files than this and many ranks or many inputs end with "too many open files".
const OPEN_FILES_MIN: u64 = 4096;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Judgement {
    /// As it should be.
    Fine,
    /// It works, but not as it could, or cannot be told.
    Warning,
    /// A run will fail or hang.
    Fault,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad.
    pub judgement: Judgement,
    /// What it is about: `environment`, `network`, `memory`, `limits`, `gpu`, `slurm`, `mizard`.
    pub part: &'static str,
    /// What was found.
    pub found: String,
    /// What to do, where something is to be done.
    pub fix: Option<String>,
    /// A line of a shell that does it, for variables.
    pub export: Option<(String, String)>,
}

impl Finding {
    /// A finding that needs nothing done.
    #[must_use]
    pub fn fine(part: &'static str, found: impl Into<String>) -> Self {
        Self {
            judgement: Judgement::Fine,
            part,
            found: found.into(),
            fix: None,
            export: None,
        }
    }

    /// One that does.
    #[must_use]
    pub fn bad(
        judgement: Judgement,
        part: &'static str,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            judgement,
            fix: Some(fix.into()),
            ..Self::fine(part, found)
        }
    }
}

/// Compares a site's profile with a node.
#[must_use]
pub fn examine(profile: &Profile, facts: &Facts) -> Vec<Finding> {
    let settings = profile
        .settings
        .iter()
        .filter_map(|setting| setting_is(setting, facts));
    let harms = profile.avoid.iter().filter_map(|avoid| harm(avoid, facts));
    let mut findings: Vec<Finding> = settings.chain(harms).collect();
    findings.extend(named_interfaces(facts));
    findings.extend(expected_interfaces(profile, facts));
    findings.extend(machine(facts));
    findings.extend(devices(facts));
    findings
}

/// What a value of a profile means here; `None` if something that it holds is not known.
fn filled(value: &str, facts: &Facts) -> Option<String> {
    let mut filled = value.to_owned();
    let of = |variable: &str| facts.environment.get(variable).cloned();
    for (hole, known) in [
        ("{user}", of("USER")),
        ("{job}", of("SLURM_JOB_ID")),
        ("{cpus_per_task}", of("SLURM_CPUS_PER_TASK")),
    ] {
        if filled.contains(hole) {
            filled = filled.replace(hole, &known?);
        }
    }
    Some(filled)
}

fn setting_is(setting: &Setting, facts: &Facts) -> Option<Finding> {
    let Setting {
        variable,
        reason,
        source,
        ..
    } = setting;
    // What depends on the job is not asked for outside one.
    let value = filled(&setting.value, facts)?;
    match facts.environment.get(variable) {
        Some(own) if *own == value => {
            Some(Finding::fine("environment", format!("{variable}={value}")))
        }
        Some(own) => Some(Finding {
            judgement: Judgement::Fine,
            fix: Some(format!(
                "yours is kept; the profile has {value}, because {reason} ({source})"
            )),
            ..Finding::fine("environment", format!("{variable}={own}, your own value"))
        }),
        None => Some(Finding {
            export: Some((variable.clone(), value.clone())),
            ..Finding::bad(
                Judgement::Warning,
                "environment",
                format!("{variable} is not set: {reason}"),
                format!("export {variable}={value} ({source})"),
            )
        }),
    }
}

fn harm(avoid: &Avoid, facts: &Facts) -> Option<Finding> {
    let Avoid {
        variable,
        reason,
        source,
        ..
    } = avoid;
    let own = facts.environment.get(variable)?;
    avoid.is(variable, own).then(|| {
        Finding::bad(
            Judgement::Fault,
            "environment",
            format!("{variable}={own}: {reason}"),
            format!("unset {variable} ({source})"),
        )
    })
}

/// Variables that name interfaces must name those there are: else a run hangs or ends at start.
fn named_interfaces(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for variable in ["NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"] {
        let Some(value) = facts.environment.get(variable) else {
            continue;
        };
        // `^` excludes, `=` is exact; a name without it is the beginning of one.
        if value.starts_with('^') || facts.interfaces.is_empty() {
            continue;
        }
        let (names, exact) = match value.strip_prefix('=') {
            Some(names) => (names, true),
            None => (value.as_str(), variable == "GLOO_SOCKET_IFNAME"),
        };
        let is_there = |name: &&str| {
            let mut there = facts.interfaces.keys();
            there.any(|known| known == name || (!exact && known.starts_with(name)))
        };
        let names: Vec<&str> = names.split(',').map(str::trim).collect();
        let missing: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| !is_there(name))
            .collect();
        let known: Vec<&str> = facts.interfaces.keys().map(String::as_str).collect();
        if missing.is_empty() {
            findings.push(Finding::fine(
                "network",
                format!("the interfaces of {variable}={value} are up"),
            ));
            continue;
        }
        let judgement = match missing.len() == names.len() {
            true => Judgement::Fault,
            false => Judgement::Warning,
        };
        findings.push(Finding::bad(
            judgement,
            "network",
            format!(
                "{variable}={value}, but this node has no {}",
                missing.join(", ")
            ),
            format!("name one of {}", known.join(", ")),
        ));
    }
    findings
}

fn expected_interfaces(profile: &Profile, facts: &Facts) -> Option<Finding> {
    let is_missing = |name: &&String| !facts.interfaces.contains_key(*name);
    let missing: Vec<&str> = profile
        .interfaces
        .iter()
        .filter(is_missing)
        .map(String::as_str)
        .collect();
    if missing.is_empty() {
        return None;
    }
    let (site, missing) = (&profile.name, missing.join(", "));
    Some(Finding::bad(
        Judgement::Warning,
        "network",
        format!("compute nodes of {site} have {missing}, this one has not, or it is down"),
        "on a login node that is as it should be; on a compute node tell the site",
    ))
}

fn machine(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some((size_bytes, free_bytes)) = facts.shared_memory_bytes {
        let mib = |bytes: u64| bytes >> 20;
        findings.push(if free_bytes < SHARED_MEMORY_BYTES_MIN {
            Finding::bad(
                Judgement::Fault,
                "memory",
                format!(
                    "/dev/shm has {} MiB free of {}: ranks of a node cannot exchange through it",
                    mib(free_bytes),
                    mib(size_bytes)
                ),
                "remove what ended jobs left in /dev/shm; in a container give it more, as by --shm-size=1g",
            )
        } else {
            let (free, size) = (mib(free_bytes), mib(size_bytes));
            Finding::fine("memory", format!("/dev/shm has {free} MiB free of {size}"))
        });
    }
    if let Some(bytes) = facts.locked_bytes_max
        && !facts.infiniband.is_empty()
        && bytes < LOCKED_BYTES_MIN
    {
        findings.push(Finding::bad(
            Judgement::Fault,
            "limits",
            format!(
                "a process may lock {} KiB: InfiniBand cannot register its buffers",
                bytes >> 10
            ),
            "ulimit -l unlimited; for jobs LimitMEMLOCK=infinity in slurmd's unit",
        ));
    }
    if let Some(count) = facts.open_files_max {
        findings.push(if count < OPEN_FILES_MIN {
            Finding::bad(
                Judgement::Warning,
                "limits",
                format!("a process may open {count} files: many ranks or inputs need more"),
                format!("ulimit -n {OPEN_FILES_MIN} or more"),
            )
        } else {
            Finding::fine("limits", format!("a process may open {count} files"))
        });
    }
    if facts.has_cgroup2 == Some(false) {
        findings.push(Finding::bad(
            Judgement::Warning,
            "limits",
            "control groups are of version 1: pressure and memory peaks of jobs are not known",
            "boot with systemd.unified_cgroup_hierarchy=1",
        ));
    }
    if facts.governors.contains("powersave") {
        findings.push(Finding::bad(
            Judgement::Warning,
            "limits",
            "processors are governed by powersave: short computations run at a low clock",
            "srun --cpu-freq=performance, or ask the site",
        ));
    }
    findings
}

fn devices(facts: &Facts) -> Vec<Finding> {
    let (nvidia, amd) = (facts.nvidia_devices, facts.amd_devices);
    if nvidia + amd == 0 {
        return vec![Finding::fine("gpu", "this node has no GPU")];
    }
    let mut findings = vec![Finding::fine(
        "gpu",
        format!("{nvidia} GPUs of NVIDIA, {amd} of AMD"),
    )];
    let tasks = facts.environment.get("SLURM_LOCALID");
    let visible = [
        "CUDA_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES",
        "HIP_VISIBLE_DEVICES",
    ]
    .iter()
    .filter_map(|name| facts.environment.get(*name).map(|value| (*name, value)));
    let visible: Vec<(&str, &String)> = visible.collect();
    if let (Some(_), Some((name, value))) = (tasks, visible.iter().find(|(_, v)| v.is_empty())) {
        findings.push(Finding::bad(
            Judgement::Fault,
            "gpu",
            format!("{name}={value:?}: this task sees no GPU of the node"),
            "ask for GPUs: srun --gpus-per-task=1",
        ));
    }
    if let [(first, a), (second, b), ..] = visible.as_slice()
        && amd > 0
        && a != b
    {
        findings.push(Finding::bad(
            Judgement::Warning,
            "gpu",
            format!("{first}={a} and {second}={b}: the second picks among those of the first"),
            format!("unset {second}"),
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin;

    fn facts(variables: &[(&str, &str)]) -> Facts {
        let pair = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        Facts {
            environment: variables.iter().map(pair).collect(),
            ..Facts::default()
        }
    }

    fn of(site: &str, facts: &Facts, word: &str) -> Vec<(Judgement, String)> {
        let findings = examine(&builtin(site).unwrap(), facts).into_iter();
        let said = findings.map(|f| {
            let fix = f.fix.map_or_else(String::new, |fix| format!(" -> {fix}"));
            (f.judgement, format!("{}{fix}", f.found))
        });
        said.filter(|(_, text)| text.contains(word)).collect()
    }

    #[test]
    fn a_harmful_value_is_a_fault_and_the_users_own_is_kept() {
        let found = of("lumi", &facts(&[("NCCL_NET_GDR_LEVEL", "phb")]), "GDR");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, Judgement::Fault);
        assert!(found[0].1.contains("unset NCCL_NET_GDR_LEVEL"), "{found:?}");
        let found = of("lumi", &facts(&[("FI_PROVIDER", "tcp")]), "FI_PROVIDER");
        assert_eq!(found[0].0, Judgement::Fine);
        assert!(found[0].1.contains("your own value"), "{found:?}");
    }

    #[test]
    fn values_are_filled_in_and_asked_for_only_inside_a_job() {
        assert_eq!(of("lumi", &facts(&[]), "MIOPEN"), []);
        let found = examine(
            &builtin("lumi").unwrap(),
            &facts(&[("SLURM_JOB_ID", "42"), ("USER", "ada")]),
        );
        let exports: Vec<_> = found.into_iter().filter_map(|f| f.export).collect();
        let path = "/tmp/miopen-ada-42".to_owned();
        assert!(exports.contains(&("MIOPEN_USER_DB_PATH".to_owned(), path)));
    }

    #[test]
    fn interfaces_that_are_not_there_are_named() {
        let mut node = facts(&[
            ("NCCL_SOCKET_IFNAME", "hsn,ib0"),
            ("GLOO_SOCKET_IFNAME", "hsn"),
        ]);
        node.interfaces = [("hsn0".to_owned(), "ethernet".to_owned())].into();
        let found = of("generic", &node, "IFNAME");
        assert_eq!(found[0].0, Judgement::Warning);
        assert!(
            found[0].1.contains("no ib0 -> name one of hsn0"),
            "{found:?}"
        );
        // Gloo takes whole names only.
        assert_eq!(found[1].0, Judgement::Fault);
        node.environment
            .insert("NCCL_SOCKET_IFNAME".to_owned(), "^lo".to_owned());
        assert_eq!(of("generic", &node, "NCCL_SOCKET_IFNAME"), []);
    }

    #[test]
    fn limits_count_only_where_they_hurt() {
        let mut node = facts(&[]);
        node.locked_bytes_max = Some(64 << 10);
        assert_eq!(of("generic", &node, "lock"), []);
        node.infiniband.insert("mlx5_0".to_owned());
        assert_eq!(of("generic", &node, "lock")[0].0, Judgement::Fault);
        node.shared_memory_bytes = Some((64 << 20, 60 << 20));
        assert_eq!(of("generic", &node, "/dev/shm")[0].0, Judgement::Fault);
    }

    #[test]
    fn a_task_that_sees_no_gpu_is_told() {
        let mut node = facts(&[("SLURM_LOCALID", "0"), ("CUDA_VISIBLE_DEVICES", "")]);
        assert_eq!(of("generic", &node, "GPU").len(), 1);
        node.nvidia_devices = 4;
        let found = of("generic", &node, "sees no GPU");
        assert_eq!(found[0].0, Judgement::Fault);
    }
}

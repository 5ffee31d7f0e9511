//! Which GPUs of the node a step may use, from what Slurm and the kernel say of it. Pure.
//!
//! By UUID, device node or PCI order, never by a task's own numbering alone: under
//! `ConstrainDevices` each step counts its GPUs from 0. In this order: UUIDs that the tasks
//! see, Slurm's own list for the step, the device cgroup, and only then the tasks' numbers.
//! Where nobody says anything all GPUs are visible, and who uses them must be looked up in
//! their process lists.

use mizar_gpu::Device;

/// NVIDIA's device nodes, and those of the kernel's direct rendering.
const NVIDIA_MAJOR: u32 = 195;
const DRM_MAJOR: u32 = 226;

/// What is known of a step's GPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hints {
    /// `SLURM_STEP_GPUS`, or of the batch step `SLURM_JOB_GPUS`.
    pub(crate) slurm: Option<String>,
    /// `CUDA_VISIBLE_DEVICES` or `ROCR_VISIBLE_DEVICES` of each task.
    pub(crate) visible: Vec<Option<String>>,
    /// Device nodes that the step's cgroup lets it open, if one restrains it.
    pub(crate) allowed: Option<Vec<(u32, u32)>>,
}

/// What follows from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Allocation {
    /// No GPU.
    None,
    /// These, by their place in the list of devices.
    These(Vec<usize>),
    /// Perhaps any: the process lists tell.
    Unknown,
}

/// May the step have GPUs at all? Asked before any library is opened.
pub(crate) fn may_have(hints: &Hints) -> bool {
    let visible = &hints.visible;
    let all_none = !visible.is_empty() && visible.iter().flatten().count() == visible.len();
    !(all_none && visible.iter().flatten().all(|text| is_none(text)))
}

/// Which GPUs the step may use.
pub(crate) fn of_step(devices: &[Device], hints: &Hints) -> Allocation {
    if !may_have(hints) {
        return Allocation::None;
    }
    let named = by_name(devices, hints);
    if !named.is_empty() {
        return these(named);
    }
    if let Some(numbers) = hints.slurm.as_deref().and_then(numbers) {
        let places = numbers
            .iter()
            .filter_map(|&number| by_number(devices, number));
        return these(places.collect());
    }
    if let Some(allowed) = &hints.allowed {
        return these(by_node(devices, allowed));
    }
    let seen = hints
        .visible
        .iter()
        .flatten()
        .filter_map(|text| numbers(text));
    let places = seen
        .flatten()
        .filter_map(|number| by_index(devices, number));
    match places.collect::<Vec<usize>>() {
        places if places.is_empty() => Allocation::Unknown,
        places => these(places),
    }
}

/// An allocation of these and, of instances, their whole GPUs, which come first.
fn these(places: Vec<usize>) -> Allocation {
    if places.is_empty() {
        return Allocation::None;
    }
    Allocation::These(places)
}

/// The same places with the whole GPU of each instance before it, each once.
pub(crate) fn with_parents(devices: &[Device], places: &[usize]) -> Vec<usize> {
    let mut all = Vec::new();
    for &place in places {
        let parent = devices.get(place).and_then(|device| device.parent);
        for place in parent.into_iter().chain([place]) {
            if !all.contains(&place) {
                all.push(place);
            }
        }
    }
    all
}

fn is_none(text: &str) -> bool {
    matches!(text.trim(), "" | "-1" | "none" | "void" | "NoDevFiles")
}

fn by_name(devices: &[Device], hints: &Hints) -> Vec<usize> {
    let tokens = hints
        .visible
        .iter()
        .flatten()
        .flat_map(|text| text.split(','));
    let mut found: Vec<usize> = tokens
        .filter_map(|token| by_uuid(devices, token.trim()))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// A UUID or the beginning of one, as CUDA and ROCm take it.
fn by_uuid(devices: &[Device], token: &str) -> Option<usize> {
    if !(token.starts_with("GPU-") || token.starts_with("MIG-")) {
        return None;
    }
    if let Some(place) = devices.iter().position(|device| device.uuid == token) {
        return Some(place);
    }
    if let Some(old) = token
        .strip_prefix("MIG-")
        .filter(|old| old.starts_with("GPU-"))
    {
        return by_old_mig_name(devices, old);
    }
    let mut matching = devices
        .iter()
        .enumerate()
        .filter(|(_, device)| device.uuid.starts_with(token));
    let (place, _) = matching.next()?;
    matching.next().is_none().then_some(place)
}

/// `GPU-<uuid>/<GPU instance>/<compute instance>`, as drivers before 470 name instances.
fn by_old_mig_name(devices: &[Device], name: &str) -> Option<usize> {
    let mut parts = name.split('/');
    let (uuid, gpu, compute) = (parts.next()?, parts.next()?, parts.next()?);
    let instance = (gpu.parse().ok()?, compute.parse().ok()?);
    let whole = devices.iter().position(|device| device.uuid == uuid)?;
    devices
        .iter()
        .position(|device| device.parent == Some(whole) && device.instance == Some(instance))
}

/// `0,2-4`; `None` if it is not a list of numbers.
fn numbers(text: &str) -> Option<Vec<u32>> {
    const MAX_NUMBERS: u32 = 1024;
    let mut all = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (u32, u32) = (from.parse().ok()?, to.parse().ok()?);
        if to < from || to - from >= MAX_NUMBERS {
            return None;
        }
        all.extend(from..=to);
    }
    Some(all)
}

/// Slurm's number of a GPU is the one in the name of its device node; where no node has it,
/// it is its place in the list.
fn by_number(devices: &[Device], number: u32) -> Option<usize> {
    let whole = |device: &Device| device.parent.is_none();
    devices
        .iter()
        .position(|device| whole(device) && device.minor == Some(number))
        .or_else(|| by_index(devices, number))
}

fn by_index(devices: &[Device], number: u32) -> Option<usize> {
    let mut whole = devices
        .iter()
        .enumerate()
        .filter(|(_, device)| device.parent.is_none());
    whole.nth(number as usize).map(|(place, _)| place)
}

fn by_node(devices: &[Device], allowed: &[(u32, u32)]) -> Vec<usize> {
    let is_allowed = |device: &Device| {
        let major = match device.vendor {
            mizar_gpu::model::Vendor::Nvidia => NVIDIA_MAJOR,
            mizar_gpu::model::Vendor::Amd => DRM_MAJOR,
        };
        device.parent.is_none()
            && device
                .minor
                .is_some_and(|minor| allowed.contains(&(major, minor)))
    };
    let places = devices.iter().enumerate();
    places
        .filter(|(_, device)| is_allowed(device))
        .map(|(place, _)| place)
        .collect()
}

#[cfg(test)]
mod tests {
    use mizar_gpu::EnergySource;
    use mizar_gpu::model::Vendor;

    use super::*;

    fn device(uuid: &str, index: u32, minor: u32) -> Device {
        Device {
            vendor: Vendor::Nvidia,
            name: "G".to_owned(),
            uuid: uuid.to_owned(),
            pci: None,
            minor: Some(minor),
            index,
            parent: None,
            instance: None,
            slices: None,
            memory_total_bytes: None,
            power_limit_watts: None,
            source: String::new(),
            replayed: None,
            energy: EnergySource::default(),
            reports_for: Vec::new(),
        }
    }

    /// Four GPUs whose device nodes are not in PCI order; the last is divided in two.
    fn node() -> Vec<Device> {
        let mut devices = vec![
            device("GPU-aa11", 0, 2),
            device("GPU-aa22", 1, 3),
            device("GPU-bb", 2, 0),
            device("GPU-cc", 3, 1),
        ];
        for instance in [7, 9] {
            devices.push(Device {
                parent: Some(3),
                instance: Some((instance, 0)),
                ..device(&format!("MIG-{instance}"), 3, 1)
            });
        }
        devices
    }

    fn found(
        slurm: Option<&str>,
        visible: &[Option<&str>],
        allowed: Option<&[(u32, u32)]>,
    ) -> Allocation {
        let hints = Hints {
            slurm: slurm.map(str::to_owned),
            visible: visible.iter().map(|text| text.map(str::to_owned)).collect(),
            allowed: allowed.map(<[_]>::to_vec),
        };
        of_step(&node(), &hints)
    }

    #[test]
    fn gpus_are_found_by_what_is_most_certain() {
        use Allocation::{None as Nothing, These, Unknown};
        type Case<'a> = (
            Option<&'a str>,
            &'a [Option<&'a str>],
            Option<&'a [(u32, u32)]>,
            Allocation,
        );
        let cases: &[Case<'_>] = &[
            // UUIDs, whole and begun; an ambiguous beginning names nothing.
            (
                None,
                &[Some("GPU-bb"), Some("GPU-aa1")],
                None,
                These(vec![0, 2]),
            ),
            (None, &[Some("GPU-aa")], None, Unknown),
            (None, &[Some("MIG-9")], None, These(vec![5])),
            (None, &[Some("MIG-GPU-cc/7/0")], None, These(vec![4])),
            // Renumbered from 0 under ConstrainDevices: Slurm's numbers are device nodes.
            (Some("2,3"), &[Some("0,1")], None, These(vec![0, 1])),
            (Some("0-1"), &[Some("0")], None, These(vec![2, 3])),
            (
                None,
                &[Some("0")],
                Some(&[(195, 255), (195, 3), (1, 3)]),
                These(vec![1]),
            ),
            // A cgroup that lets no GPU be opened.
            (None, &[Some("0")], Some(&[(195, 255), (1, 3)]), Nothing),
            // Nobody renumbers: the tasks' numbers.
            (None, &[Some("1"), Some("2")], None, These(vec![1, 2])),
            (None, &[Some("NoDevFiles"), Some("")], None, Nothing),
            (None, &[None], None, Unknown),
            (None, &[Some("nonsense")], None, Unknown),
            (Some("99"), &[], None, Nothing),
        ];
        for (slurm, visible, allowed, expected) in cases {
            assert_eq!(
                found(*slurm, visible, *allowed),
                *expected,
                "{slurm:?} {visible:?} {allowed:?}"
            );
        }
    }

    #[test]
    fn instances_bring_their_whole_gpu_once() {
        assert_eq!(with_parents(&node(), &[4, 5, 0]), [3, 4, 5, 0]);
    }
}

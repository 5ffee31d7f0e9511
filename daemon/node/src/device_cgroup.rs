//! Which device nodes a process's cgroup lets it open: how a site that constrains devices
//! tells which GPUs a step has.
//!
//! Version 1 alone has a list to read; of version 2 the rules are a program in the kernel.

use crate::Roots;
use crate::text::{lines, number, read_into, words};

/// More entries than these are not believed.
const MAX_ENTRIES: usize = 4096;

/// Character devices by major and minor number; `None` if nothing restrains the process, or
/// nothing tells.
#[must_use]
pub fn allowed(roots: &Roots, pid: i32) -> Option<Vec<(u32, u32)>> {
    let mut buffer = Vec::new();
    let path = roots.proc.join(pid.to_string()).join("cgroup");
    let folder = lines(read_into(&path, &mut buffer)?).find_map(folder)?;
    let list = roots
        .sys
        .join("fs/cgroup/devices")
        .join(folder)
        .join("devices.list");
    parse(read_into(&list, &mut buffer)?)
}

/// The path in the hierarchy `devices`, if the line is its and climbs nowhere.
fn folder(line: &[u8]) -> Option<String> {
    let mut fields = std::str::from_utf8(line).ok()?.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    let is_devices = controllers.split(',').any(|name| name == "devices");
    let climbs = path.split('/').any(|part| part == "..");
    (is_devices && !climbs).then(|| path.trim_start_matches('/').to_owned())
}

/// `c 195:3 rwm` a line; `a *:* rwm` allows all.
fn parse(text: &[u8]) -> Option<Vec<(u32, u32)>> {
    let mut all = Vec::new();
    for line in lines(text).take(MAX_ENTRIES) {
        let mut words = words(line);
        let (kind, device) = (words.next()?, words.next()?);
        let colon = device.iter().position(|byte| *byte == b':')?;
        let (major, minor) = (&device[..colon], &device[colon + 1..]);
        match (kind, minor) {
            (b"a", _) => return None,
            // All of a driver's devices: NVIDIA's control node, or no constraint.
            (b"c", b"*") if major == b"195" || major == b"226" || major == b"*" => return None,
            (b"c", _) => {
                let numbers = number(major).zip(number(minor));
                all.extend(numbers.and_then(|(major, minor)| {
                    Some((u32::try_from(major).ok()?, u32::try_from(minor).ok()?))
                }));
            }
            _ => {}
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_devices_unless_it_allows_all() {
        let constrained = b"c 1:3 rwm\nc 195:255 rwm\nc 195:2 rwm\nb 8:0 r\nc 136:* rwm\n";
        assert_eq!(parse(constrained), Some(vec![(1, 3), (195, 255), (195, 2)]));
        for all in [
            &b"a *:* rwm\n"[..],
            b"c 1:3 rwm\nc 195:* rwm\n",
            b"c *:* rwm\n",
        ] {
            assert_eq!(parse(all), None);
        }
        assert_eq!(parse(b"nonsense\n"), None);
    }

    #[test]
    fn the_list_of_the_process_is_found() {
        let root = tempfile::tempdir().unwrap();
        let roots = Roots {
            proc: root.path().join("proc"),
            sys: root.path().join("sys"),
        };
        let step = "slurm/uid_5/job_7/step_0";
        std::fs::create_dir_all(roots.proc.join("42")).unwrap();
        std::fs::create_dir_all(roots.sys.join("fs/cgroup/devices").join(step)).unwrap();
        let list = roots
            .sys
            .join("fs/cgroup/devices")
            .join(step)
            .join("devices.list");
        std::fs::write(&list, "c 195:1 rwm\n").unwrap();
        let cgroup = |text: &str| std::fs::write(roots.proc.join("42/cgroup"), text).unwrap();
        cgroup(&format!("5:cpu:/x\n3:devices:/{step}\n0::/\n"));
        assert_eq!(allowed(&roots, 42), Some(vec![(195, 1)]));
        for other in ["0::/slurm\n", "3:devices:/../../x\n", ""] {
            cgroup(other);
            assert_eq!(allowed(&roots, 42), None, "{other}");
        }
        assert_eq!(allowed(&roots, 43), None);
    }
}

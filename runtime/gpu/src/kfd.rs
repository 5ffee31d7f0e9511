//! The kernel's compute driver (`/sys/class/kfd`): which of its numbers is which GPU, and the
//! processes on each. Needed beside AMD's libraries, whose order and layouts vary.

use std::path::{Path, PathBuf};

use crate::kernel_file::{names, number, text};
use crate::model::ProcessUse;

/// Processes that are looked at.
const MAX_PROCESSES: usize = 4096;

/// The driver's tree.
#[derive(Clone, Debug)]
pub struct Kfd {
    root: PathBuf,
}

impl Kfd {
    /// The tree under a root of sysfs.
    #[must_use]
    pub fn new(sys: &Path) -> Self {
        Self {
            root: sys.join("class/kfd/kfd"),
        }
    }

    /// The driver's number of the GPU with this render node; CPUs have number 0.
    #[must_use]
    pub fn gpu_id(&self, render_minor: u32) -> Option<u64> {
        let nodes = self.root.join("topology/nodes");
        names(&nodes).into_iter().find_map(|name| {
            let node = nodes.join(name);
            let id = number(&node.join("gpu_id")).filter(|&id| id != 0)?;
            let properties = text(&node.join("properties"))?;
            let minor = properties
                .lines()
                .find_map(|line| line.strip_prefix("drm_render_minor "))?;
            (minor.trim().parse() == Ok(render_minor)).then_some(id)
        })
    }

    /// Who is on the GPU of this number; `None` without the driver's list.
    #[must_use]
    pub fn processes(&self, gpu_id: u64) -> Option<Vec<ProcessUse>> {
        let list = self.root.join("proc");
        list.is_dir().then_some(())?;
        let pids = names(&list).into_iter().take(MAX_PROCESSES);
        let used = pids.filter_map(|name| {
            let pid = name.parse().ok()?;
            let bytes = number(&list.join(name).join(format!("vram_{gpu_id}")))?;
            // A process of any GPU has a file for each.
            (bytes > 0).then_some(ProcessUse {
                pid,
                memory_bytes: Some(bytes),
                busy: None,
                instance: None,
            })
        });
        Some(used.collect())
    }
}

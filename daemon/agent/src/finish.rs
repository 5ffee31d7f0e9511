//! The last step of a record: merge all nodes' parts and write the job's provenance.
//!
//! Runs as a child of the daemon with the job owner's rights, because everything it reads
//! lies in a folder that the owner can write.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use mizar_record::folder::PROVENANCE;
use mizar_record::merge::{Merged, merge};
use mizar_record::{provenance, reader};

/// Another node may be merging, or its last words may not have arrived on a network file
/// system yet: these are the pauses before looking again.
const PAUSES_MS: [u64; 4] = [200, 1000, 3000, 8000];

/// Another node's merge is waited for no longer.
const ELSEWHERE_LIMIT: Duration = Duration::from_secs(300);

/// Merges if every node that began has finished.
pub(crate) fn run(folder: &Path) -> anyhow::Result<()> {
    let deadline = Instant::now() + ELSEWHERE_LIMIT;
    let mut pauses = PAUSES_MS.into_iter();
    loop {
        match merge(folder).context("cannot merge the record")? {
            Merged::Written(_) => return write_provenance(folder),
            Merged::Elsewhere if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(PAUSES_MS[0]));
            }
            Merged::Elsewhere => anyhow::bail!("another node has been merging for too long"),
            Merged::Running(_) => match pauses.next() {
                Some(pause_ms) => std::thread::sleep(Duration::from_millis(pause_ms)),
                // Nodes that still run will merge when they finish.
                None => return Ok(()),
            },
        }
    }
}

fn write_provenance(folder: &Path) -> anyhow::Result<()> {
    let record = reader::read_outline(folder).context("cannot read the merged record")?;
    let job = provenance::of_job(&record, mizar_core::VERSION);
    let text = mizar_prov::job::document(&job).to_json_text();
    let target = folder.join(PROVENANCE);
    mizar_core::durable::write(&target, text.as_bytes())
        .with_context(|| format!("cannot write {}", target.display()))
}

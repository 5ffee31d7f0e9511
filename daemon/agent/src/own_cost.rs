//! What the daemon itself costs, as the kernel counts it.

use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use mizar_record::model::OwnCost;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::unistd::{SysconfVar, sysconf};

/// The cost so far; `None` if the kernel does not tell.
pub(crate) fn read(unix_ns: i64) -> Option<OwnCost> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let cpu_us = (usage.user_time() + usage.system_time()).num_microseconds();
    Some(OwnCost {
        time_ns: unix_ns,
        cpu_ns: u64::try_from(cpu_us).ok()?.saturating_mul(1000),
        rss_bytes: resident_bytes().unwrap_or(mizar_record::model::UNKNOWN),
    })
}

fn resident_bytes() -> Option<u64> {
    static FILE: OnceLock<Option<std::fs::File>> = OnceLock::new();
    let file = FILE
        .get_or_init(|| std::fs::File::open("/proc/self/statm").ok())
        .as_ref()?;
    let mut buffer = [0; 256];
    let count = file.read_at(&mut buffer, 0).ok()?;
    let text = std::str::from_utf8(&buffer[..count]).ok()?;
    let page_bytes = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    text.split(' ')
        .nth(1)?
        .parse::<u64>()
        .ok()?
        .checked_mul(page_bytes.unsigned_abs())
}

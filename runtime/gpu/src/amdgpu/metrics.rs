//! `gpu_metrics`: a table whose header says which layout it has. The layouts that are known
//! here are 1.1 to 1.3 (MI100, MI200) and 1.4 (MI300); others are left alone.

use crate::model::ClockLimits;

/// Accumulated link traffic is in these.
const KIB: u64 = 1024;

/// What is taken from the table.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Metrics {
    /// In units of 2⁻¹⁶ J.
    pub(crate) energy_count: Option<u64>,
    pub(crate) limits: Option<ClockLimits>,
    pub(crate) link_read_bytes: Option<u64>,
    pub(crate) link_written_bytes: Option<u64>,
}

/// Reads a table; `None` if its layout is not known or it is cut.
pub(crate) fn parse(table: &[u8]) -> Option<Metrics> {
    let size_bytes = usize::from(u16::from_le_bytes([*table.first()?, *table.get(1)?]));
    let table = table.get(..size_bytes)?;
    match (table.get(2)?, table.get(3)?) {
        (1, 1..=2) => Some(Metrics {
            energy_count: known(table, 24)?,
            ..Metrics::default()
        }),
        (1, 3) => Some(Metrics {
            energy_count: known(table, 24)?,
            limits: known(table, 112)?.map(limits),
            ..Metrics::default()
        }),
        (1, 4) => Some(Metrics {
            energy_count: known(table, 24)?,
            link_read_bytes: links(table, 104)?,
            link_written_bytes: links(table, 168)?,
            limits: None,
        }),
        _ => None,
    }
}

/// A number of 64 bits; all ones mean "not supported". The outer `None`: the table is cut.
fn known(table: &[u8], offset: usize) -> Option<Option<u64>> {
    let bytes = table.get(offset..offset + 8)?;
    let value = u64::from_le_bytes(bytes.try_into().ok()?);
    Some((value != u64::MAX).then_some(value))
}

/// The sum over the eight links that exist.
fn links(table: &[u8], offset: usize) -> Option<Option<u64>> {
    const LINKS: usize = 8;
    let mut sum = None::<u64>;
    for link in 0..LINKS {
        if let Some(kib) = known(table, offset + 8 * link)? {
            sum = Some(sum.unwrap_or(0).saturating_add(kib.saturating_mul(KIB)));
        }
    }
    Some(sum)
}

/// The driver's bits that mean the same on all chips.
fn limits(bits: u64) -> ClockLimits {
    let any = |mask: u64| bits & mask != 0;
    const POWER: u64 = 0xff;
    const CURRENT: u64 = 0xff << 16;
    const HEAT: u64 = 0xfff << 32;
    const HOT_SIGNALS: u64 = 0xf << 44;
    ClockLimits {
        power_cap: any(POWER),
        power_brake: any(CURRENT),
        thermal: any(HEAT),
        hardware_thermal: any(HOT_SIGNALS),
        hardware: false,
        idle: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(size_bytes: u16, content: u8) -> Vec<u8> {
        let mut table = vec![0xff; usize::from(size_bytes)];
        table[..2].copy_from_slice(&size_bytes.to_le_bytes());
        (table[2], table[3]) = (1, content);
        table
    }

    fn put(table: &mut [u8], offset: usize, value: u64) {
        table[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
    }

    #[test]
    fn known_layouts_are_read_and_others_left_alone() {
        let mut mi200 = table(120, 3);
        put(&mut mi200, 24, 655_360);
        put(&mut mi200, 112, 1 | 1 << 16 | 1 << 36);
        let found = parse(&mi200).unwrap();
        assert_eq!(found.energy_count, Some(655_360));
        let limits = found.limits.unwrap();
        assert!(
            limits.power_cap && limits.power_brake && limits.thermal && !limits.hardware_thermal
        );
        let mut mi300 = table(288, 4);
        put(&mut mi300, 24, 7);
        put(&mut mi300, 104, 3);
        put(&mut mi300, 112, 4);
        let found = parse(&mi300).unwrap();
        assert_eq!(
            (found.energy_count, found.link_read_bytes),
            (Some(7), Some(7 * 1024))
        );
        assert_eq!(found.link_written_bytes, None);
        assert_eq!(parse(&table(120, 9)), None);
        assert_eq!(parse(&mi200[..60]), None);
        assert_eq!(parse(&table(20, 1)), None);
        assert_eq!(parse(&[]), None);
    }
}

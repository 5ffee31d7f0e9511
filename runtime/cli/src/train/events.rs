//! TensorBoard's event files: records of length, checksums and a protocol buffer, of which
//! scalars need six fields.
//!
//! Source: TensorFlow's `record_writer.h` and `event.proto`.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// An event file that grows.
pub(super) struct Events {
    file: File,
}

impl Events {
    /// Begins a file with a name that TensorBoard looks for.
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let seconds = now_s() as u64;
        let name = format!("events.out.tfevents.{seconds}.{}.mizar", std::process::id());
        let mut events = Self {
            file: File::create(folder.join(name))?,
        };
        // Field 3 of an event: the version of the file.
        events.write(&event(0, &field_bytes(3, b"brain.Event:2")))?;
        Ok(events)
    }

    /// Adds scalars of a step.
    pub(super) fn add(&mut self, step: u64, values: &[(String, f64)]) -> io::Result<()> {
        let mut summary = Vec::new();
        for (name, value) in values {
            #[allow(clippy::cast_possible_truncation, reason = "the format has f32")]
            let number = *value as f32;
            // Value: 1 tag, 2 simple_value.
            let mut scalar = field_bytes(1, name.as_bytes());
            scalar.push(2 << 3 | 5);
            scalar.extend(number.to_le_bytes());
            summary.extend(field_bytes(1, &scalar));
        }
        // Field 5 of an event: the summary.
        self.write(&event(step, &field_bytes(5, &summary)))
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        let mut record = length.to_vec();
        record.extend(masked(&length).to_le_bytes());
        record.extend(data);
        record.extend(masked(data).to_le_bytes());
        self.file.write_all(&record)
    }
}

/// An event: 1 wall time, 2 step, and what it has.
fn event(step: u64, what: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1 << 3 | 1];
    bytes.extend(now_s().to_le_bytes());
    bytes.push(2 << 3);
    varint(step, &mut bytes);
    bytes.extend(what);
    bytes
}

fn now_s() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

fn field_bytes(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    varint(content.len() as u64, &mut bytes);
    bytes.extend(content);
    bytes
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A checksum that is safe to store beside what it is of.
fn masked(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// Castagnoli's CRC, bit by bit: events are small.
fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            let low = crc & 1;
            (crc >> 1) ^ (0x82F6_3B78 & low.wrapping_neg())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
    }

    #[test]
    fn records_are_whole_and_hold_the_scalar() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = Events::create(folder.path()).unwrap();
        events.add(300, &[("loss".to_owned(), 0.5)]).unwrap();
        let path = std::fs::read_dir(folder.path()).unwrap().next().unwrap();
        let bytes = std::fs::read(path.unwrap().path()).unwrap();
        let mut records = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let len = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let data = &rest[12..12 + len];
            let check = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
            assert_eq!(check(8), masked(&rest[..8]));
            assert_eq!(check(12 + len), masked(data));
            records.push(data);
            rest = &rest[16 + len..];
        }
        // Behind wall time: step 300, then field 5 > field 1 > tag `loss`, value 0.5.
        let expected = [
            &[0x10, 0xAC, 0x02, 0x2A, 13, 0x0A, 11, 0x0A, 4][..],
            b"loss",
            &[0x15, 0, 0, 0, 0x3F],
        ];
        assert_eq!(records[1][9..], expected.concat());
    }
}

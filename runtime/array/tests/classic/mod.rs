//! A NetCDF-3 file made by hand, so that tests know what lies at every byte.
#![allow(dead_code, reason = "each test binary uses a part")]

/// The record variable `t` of (time, x) floats, the record series `time` of doubles, the fixed
/// `x` of shorts and the texts `names`.
pub(crate) struct Classic {
    pub(crate) bytes: Vec<u8>,
    /// Where the fields `begin` of the four variables stand.
    pub(crate) begins: Vec<usize>,
    /// How many bytes such a field has.
    pub(crate) offset_bytes: usize,
    pub(crate) header_bytes: usize,
}

pub(crate) const RECORDS: usize = 5;
pub(crate) const CELLS: usize = 7;

/// The value of a cell of `t`.
pub(crate) fn value(record: usize, cell: usize) -> f32 {
    record as f32 * 100.0 + cell as f32 * 0.5
}

/// Puts big-endian numbers of the widths of a version.
struct Header {
    bytes: Vec<u8>,
    count_bytes: usize,
}

impl Header {
    fn number(&mut self, number: u64, size_bytes: usize) {
        self.bytes.extend(&number.to_be_bytes()[8 - size_bytes..]);
    }

    fn count(&mut self, count: usize) {
        self.number(count as u64, self.count_bytes);
    }

    fn code(&mut self, code: u64) {
        self.number(code, 4);
    }

    fn padded(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn name(&mut self, name: &str) {
        self.count(name.len());
        self.padded(name.as_bytes());
    }

    fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        self.code(2);
        self.count(text.len());
        self.padded(text.as_bytes());
    }
}

/// Makes the file of version 1, 2 or 5.
pub(crate) fn file(version: u8) -> Classic {
    let (count_bytes, offset_bytes) = match version {
        1 => (4, 4),
        2 => (4, 8),
        _ => (8, 8),
    };
    let mut header = Header {
        bytes: vec![b'C', b'D', b'F', version],
        count_bytes,
    };
    header.count(RECORDS);
    header.code(0x0a);
    let dimensions = [("time", 0), ("x", CELLS), ("letters", 3)];
    header.count(dimensions.len());
    for (name, len) in dimensions {
        header.name(name);
        header.count(len);
    }
    header.code(0x0c);
    header.count(1);
    header.text("title", "made by hand");
    header.code(0x0b);
    // Name, type, dimensions, bytes (of a record).
    let variables: [(&str, u64, &[usize], usize); 4] = [
        ("x", 3, &[1], 2 * CELLS),
        ("names", 2, &[1, 2], 3 * CELLS),
        ("t", 5, &[0, 1], 4 * CELLS),
        ("time", 6, &[0], 8),
    ];
    header.count(variables.len());
    let mut begins = Vec::new();
    for (name, kind, dims, size) in variables {
        header.name(name);
        header.count(dims.len());
        dims.iter().for_each(|&dim| header.count(dim));
        header.code(0x0c);
        header.count(1);
        header.text("units", "K");
        header.code(kind);
        header.count(size.next_multiple_of(4));
        begins.push(header.bytes.len());
        header.number(0, offset_bytes);
    }
    let mut bytes = header.bytes;
    let header_bytes = bytes.len();
    let mut begin = header_bytes;
    for (place, (.., size)) in begins.iter().zip(variables) {
        let number = (begin as u64).to_be_bytes();
        bytes[*place..place + offset_bytes].copy_from_slice(&number[8 - offset_bytes..]);
        begin += size.next_multiple_of(4);
    }
    data(&mut bytes);
    Classic {
        bytes,
        begins,
        offset_bytes,
        header_bytes,
    }
}

fn data(bytes: &mut Vec<u8>) {
    let pad = |bytes: &mut Vec<u8>| bytes.resize(bytes.len().next_multiple_of(4), 0);
    pad(bytes);
    (0..CELLS).for_each(|cell| bytes.extend((cell as i16).to_be_bytes()));
    pad(bytes);
    (0..CELLS).for_each(|cell| bytes.extend([b'a' + cell as u8, b'z', 0]));
    pad(bytes);
    for record in 0..RECORDS {
        (0..CELLS).for_each(|cell| bytes.extend(value(record, cell).to_be_bytes()));
        bytes.extend((record as f64).to_be_bytes());
    }
}

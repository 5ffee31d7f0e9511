//! Where the data of each variable lies, checked against the size of the file.
//!
//! Fixed variables lie in one piece. Records come after them: one of each record variable in
//! turn, each padded to four bytes unless there is only one such variable.

use super::super::damage::Damage;
use super::header::{Header, HeaderVariable};

/// Where one variable lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) begin: u64,
    /// From record to record where others lie between them; `None` when all is in one piece.
    pub(super) record_stride_bytes: Option<u64>,
}

/// Where all of them lie.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) record_count: usize,
    /// In the order of the header.
    pub(super) placed: Vec<Placed>,
}

/// One variable's share: of the whole file if it is fixed, of one record if it is not.
struct Share<'a> {
    variable: &'a HeaderVariable,
    is_record: bool,
    size_bytes: u64,
}

/// Places the variables of a header in a file of a known size.
pub(super) fn of(header: &Header, file_bytes: u64) -> Result<Layout, Damage> {
    let shares = header
        .variables
        .iter()
        .map(|variable| share(header, variable))
        .collect::<Result<Vec<_>, _>>()?;
    let records = || shares.iter().filter(|share| share.is_record);
    let is_single = records().count() == 1;
    let stride = records().fold(0_u64, |stride, share| {
        let size = match is_single {
            true => share.size_bytes,
            false => share.size_bytes.next_multiple_of(4),
        };
        stride.saturating_add(size)
    });
    let first_record = records().map(|share| share.variable.begin).min();
    let record_count = header.record_count.unwrap_or_else(|| {
        // The writer never knew: as many as there are.
        let bytes = first_record.map_or(0, |begin| file_bytes.saturating_sub(begin));
        bytes.checked_div(stride).unwrap_or(0)
    });
    for share in &shares {
        check(share, header.end, stride, record_count, file_bytes)?;
    }
    let placed = shares.iter().map(|share| Placed {
        begin: share.variable.begin,
        record_stride_bytes: (share.is_record && !is_single).then_some(stride),
    });
    Ok(Layout {
        placed: placed.collect(),
        // Of a file that holds what it claims it fits.
        record_count: usize::try_from(record_count).unwrap_or(usize::MAX),
    })
}

fn share<'a>(header: &Header, variable: &'a HeaderVariable) -> Result<Share<'a>, Damage> {
    let lens = variable.dims.iter().map(|&dim| header.dimensions[dim].len);
    let mut is_record = false;
    let mut size_bytes = Some(variable.dtype.size_bytes() as u64);
    for len in lens {
        match len {
            Some(len) => size_bytes = size_bytes.and_then(|bytes| bytes.checked_mul(len as u64)),
            None => is_record = true,
        }
    }
    match size_bytes.filter(|&bytes| bytes < i64::MAX as u64) {
        Some(size_bytes) => Ok(Share {
            variable,
            is_record,
            size_bytes,
        }),
        None => Err(Damage::of_variable(
            &variable.name,
            variable.begin..u64::MAX,
            "it is larger than a file can ever be",
        )),
    }
}

fn check(
    share: &Share<'_>,
    header_end: u64,
    stride: u64,
    record_count: u64,
    file_bytes: u64,
) -> Result<(), Damage> {
    let Share {
        variable,
        is_record,
        size_bytes,
    } = share;
    let begin = variable.begin;
    let last = match (is_record, record_count) {
        (true, 0) => return Ok(()),
        (true, count) => (count - 1).saturating_mul(stride),
        (false, _) => 0,
    };
    let end = begin.saturating_add(last).saturating_add(*size_bytes);
    let damaged = |problem: String| Err(Damage::of_variable(&variable.name, begin..end, problem));
    if begin < header_end {
        return damaged(format!(
            "they overlap the header, which ends at {header_end}"
        ));
    }
    if end > file_bytes {
        return damaged(format!(
            "they lie beyond the end of the file, which has {file_bytes} bytes: it is cut short"
        ));
    }
    Ok(())
}

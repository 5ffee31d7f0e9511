//! Pieces of a variable on their way to its file: cut on the rank that computed them, brought to
//! the rank that writes them. Pure.

use std::ops::Range;

use super::encode::{DoesNotFit, Input, to_bytes};
use super::layout::Layout;
use crate::storage::region::{Place, cell_count, for_each_run};

/// Some cells of a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A whole chunk as it is stored; of no bytes if it has no value and so is not.
    Chunk {
        /// Its place in the grid of chunks.
        place: Vec<usize>,
        bytes: Vec<u8>,
    },
    /// A box inside a chunk, as plain elements.
    Part {
        place: Vec<usize>,
        /// Where it begins in the chunk.
        start: Vec<usize>,
        extent: Vec<usize>,
        bytes: Vec<u8>,
    },
    /// A box of a variable without chunks, as plain elements.
    Region {
        region: Vec<Range<usize>>,
        bytes: Vec<u8>,
    },
}

impl Layout {
    /// What of a region lies in one chunk; `place` is one that it touches.
    pub(super) fn cut<T: Input>(
        &self,
        region: &[Range<usize>],
        chunk: &[usize],
        place: &[usize],
        values: &[T],
    ) -> Result<Piece, DoesNotFit> {
        let source: Vec<usize> = region.iter().map(ExactSizeIterator::len).collect();
        let (mut from, mut to, mut extent) = (Vec::new(), Vec::new(), Vec::new());
        let mut is_whole = true;
        for (dim, range) in region.iter().enumerate() {
            let first = place[dim] * chunk[dim];
            let end = (first + chunk[dim]).min(self.shape[dim]);
            let (own_first, own_end) = (first.max(range.start), end.min(range.end));
            from.push(own_first - range.start);
            to.push(own_first - first);
            extent.push(own_end - own_first);
            is_whole &= own_first == first && own_end == end;
        }
        let from = Place {
            shape: &source,
            start: &from,
        };
        if !is_whole {
            let (shape, start) = (extent.clone(), vec![0; extent.len()]);
            let inside = Place {
                shape: &shape,
                start: &start,
            };
            let bytes = self.elements(&extent, from, inside, values)?;
            return Ok(Piece::Part {
                place: place.to_vec(),
                start: to,
                extent,
                bytes,
            });
        }
        let inside = Place {
            shape: chunk,
            start: &to,
        };
        let bytes = self.elements(&extent, from, inside, values)?;
        Ok(Piece::Chunk {
            place: place.to_vec(),
            bytes: self.encode(bytes),
        })
    }

    /// A box of values as plain elements of an array of the shape of `to`, which is missing
    /// elsewhere.
    fn elements<T: Input>(
        &self,
        extent: &[usize],
        from: Place<'_>,
        to: Place<'_>,
        values: &[T],
    ) -> Result<Vec<u8>, DoesNotFit> {
        let element_bytes = self.dtype.size_bytes();
        let size_bytes = to.shape.iter().product::<usize>() * element_bytes;
        let is_all = extent == to.shape;
        let mut bytes = Vec::with_capacity(size_bytes);
        if !is_all {
            bytes.extend(self.fill.iter().copied().cycle().take(size_bytes));
        }
        let mut run_bytes = Vec::new();
        let mut result = Ok(());
        for_each_run(extent, from, to, |from, to, length| {
            if result.is_err() {
                return;
            }
            let values = &values[from..from + length];
            if is_all {
                // Runs of all that there is come in its own order.
                result = to_bytes(self.dtype, values, &self.fill, &mut bytes);
            } else {
                run_bytes.clear();
                result = to_bytes(self.dtype, values, &self.fill, &mut run_bytes);
                if result.is_ok() {
                    bytes[to * element_bytes..][..run_bytes.len()].copy_from_slice(&run_bytes);
                }
            }
        });
        result.map(|()| bytes)
    }

    /// Whether a piece, which may have come from another rank, is one of this variable.
    pub(super) fn holds(&self, piece: &Piece) -> bool {
        let element_bytes = self.dtype.size_bytes();
        let is_in_grid = |place: &[usize]| {
            let Some(chunk) = &self.chunk_shape else {
                return false;
            };
            let firsts = place.iter().zip(chunk).zip(&self.shape);
            place.len() == chunk.len()
                && firsts
                    .into_iter()
                    .all(|((place, chunk), &len)| place.saturating_mul(*chunk) < len)
        };
        match piece {
            Piece::Chunk { place, .. } => is_in_grid(place),
            Piece::Part {
                place,
                start,
                extent,
                bytes,
            } => {
                let chunk = self.chunk_shape.as_deref().unwrap_or_default();
                let ends = start.iter().zip(extent).zip(chunk);
                is_in_grid(place)
                    && (start.len(), extent.len()) == (chunk.len(), chunk.len())
                    && ends
                        .into_iter()
                        .all(|((start, len), &chunk)| start.saturating_add(*len) <= chunk)
                    && bytes.len() == extent.iter().product::<usize>() * element_bytes
            }
            Piece::Region { region, bytes } => {
                self.has_region(region) && bytes.len() == cell_count(region) * element_bytes
            }
        }
    }

    /// Whether a region lies within the variable.
    pub(super) fn has_region(&self, region: &[Range<usize>]) -> bool {
        let mut ranges = region.iter().zip(&self.shape);
        region.len() == self.shape.len()
            && ranges.all(|(range, &len)| range.start <= range.end && range.end <= len)
    }
}

/// Pieces as one message to another rank.
pub(crate) mod wire {
    use super::Piece;

    /// Appends a piece.
    pub(crate) fn encode(piece: &Piece, out: &mut Vec<u8>) {
        match piece {
            Piece::Chunk { place, bytes } => {
                out.push(0);
                numbers(place, out);
                block(bytes, out);
            }
            Piece::Part {
                place,
                start,
                extent,
                bytes,
            } => {
                out.push(1);
                for list in [place, start, extent] {
                    numbers(list, out);
                }
                block(bytes, out);
            }
            Piece::Region { region, bytes } => {
                out.push(2);
                let (starts, ends): (Vec<usize>, Vec<usize>) =
                    region.iter().map(|range| (range.start, range.end)).unzip();
                numbers(&starts, out);
                numbers(&ends, out);
                block(bytes, out);
            }
        }
    }

    /// All pieces of a message; `None` if it is none.
    pub(crate) fn decode(mut rest: &[u8]) -> Option<Vec<Piece>> {
        let mut pieces = Vec::new();
        while let Some((kind, tail)) = rest.split_first() {
            rest = tail;
            pieces.push(match kind {
                0 => Piece::Chunk {
                    place: take_numbers(&mut rest)?,
                    bytes: take_block(&mut rest)?,
                },
                1 => Piece::Part {
                    place: take_numbers(&mut rest)?,
                    start: take_numbers(&mut rest)?,
                    extent: take_numbers(&mut rest)?,
                    bytes: take_block(&mut rest)?,
                },
                2 => {
                    let (starts, ends) = (take_numbers(&mut rest)?, take_numbers(&mut rest)?);
                    let ranges = starts.into_iter().zip(ends);
                    Piece::Region {
                        region: ranges.map(|(start, end)| start..end).collect(),
                        bytes: take_block(&mut rest)?,
                    }
                }
                _ => return None,
            });
        }
        Some(pieces)
    }

    fn numbers(list: &[usize], out: &mut Vec<u8>) {
        out.push(list.len() as u8);
        list.iter()
            .for_each(|&number| out.extend_from_slice(&(number as u64).to_le_bytes()));
    }

    fn block(bytes: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        out.extend_from_slice(bytes);
    }

    fn take_number(rest: &mut &[u8]) -> Option<usize> {
        let (number, tail) = rest.split_first_chunk::<8>()?;
        *rest = tail;
        usize::try_from(u64::from_le_bytes(*number)).ok()
    }

    fn take_numbers(rest: &mut &[u8]) -> Option<Vec<usize>> {
        let (count, tail) = rest.split_first()?;
        *rest = tail;
        (0..*count).map(|_| take_number(rest)).collect()
    }

    fn take_block(rest: &mut &[u8]) -> Option<Vec<u8>> {
        let length = take_number(rest)?;
        let (bytes, tail) = rest.split_at_checked(length)?;
        *rest = tail;
        Some(bytes.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_give_back_their_pieces_and_cut_ones_nothing() {
        let pieces = [
            Piece::Chunk {
                place: vec![3, 0],
                bytes: vec![1, 2, 3],
            },
            Piece::Part {
                place: vec![0, 1],
                start: vec![1, 0],
                extent: vec![1, 2],
                bytes: vec![9; 8],
            },
            Piece::Region {
                region: vec![2..4],
                bytes: Vec::new(),
            },
        ];
        let mut message = Vec::new();
        let mut borders = vec![0];
        for piece in &pieces {
            wire::encode(piece, &mut message);
            borders.push(message.len());
        }
        for length in 0..=message.len() {
            let found = wire::decode(&message[..length]);
            let whole = borders.iter().position(|&border| border == length);
            let expected = whole.map(|count| pieces[..count].to_vec());
            assert_eq!(found, expected, "{length} bytes");
        }
    }
}

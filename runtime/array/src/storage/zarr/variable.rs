//! One array of a Zarr store: where its chunks lie, and their elements in the order that is
//! wanted.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::convert::{Conversion, Output};
use super::super::region::strides;
use super::super::stored::{Part, Target};
use super::array::{ArrayMeta, CHUNK_BYTES_MAX};
use super::codec::encoded_bytes_max;
use super::shard::{ShardIndex, Sharding};
use super::store::{self, Store};
use super::text;

/// Entries of shard indexes that are kept for one variable: 64 MiB of them.
const KEPT_ENTRIES_MAX: usize = 4 << 20;

/// One array, ready to be read.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) meta: ArrayMeta,
    pub(super) conversion: Conversion,
    grid_strides: Vec<usize>,
    shards: Mutex<Shards>,
}

/// The indexes of the shards that were looked into; `None` for a shard that is not there.
#[derive(Debug, Default)]
struct Shards {
    indexes: HashMap<Vec<usize>, Option<Arc<ShardIndex>>>,
    entries: usize,
}

/// A chunk's bytes as they are stored, and the key they were under.
pub(super) struct Chunk {
    pub(super) key: String,
    pub(super) bytes: Vec<u8>,
}

/// A key that could not be read, and why.
type Failed = (String, io::Error);

impl Stored {
    pub(super) fn new(meta: ArrayMeta) -> Result<Self, String> {
        let grid: Vec<usize> = meta
            .shape
            .iter()
            .zip(&meta.chunk_shape)
            .map(|(len, chunk)| len.div_ceil(*chunk))
            .collect();
        let element = meta.element.dtype();
        let conversion = Conversion::new(element, &meta.attributes, meta.codecs.big_endian);
        Ok(Self {
            grid_strides: strides(&grid),
            conversion,
            shards: Mutex::default(),
            meta,
        })
    }

    /// The number of a chunk in the grid of chunks. The grid is not larger than the array, whose
    /// size is known to fit.
    pub(super) fn number(&self, place: &[usize]) -> usize {
        let pairs = place.iter().zip(&self.grid_strides);
        pairs.map(|(place, stride)| place * stride).sum()
    }

    /// The size of a decoded chunk; `None` for texts of any length.
    pub(super) fn chunk_bytes(&self) -> Option<usize> {
        let cells: usize = self.meta.chunk_shape.iter().product();
        Some(cells * self.meta.element.size_bytes()?)
    }

    /// Reads chunks as they are stored; `None` for those never written.
    pub(super) fn fetch(
        &self,
        store: &Store,
        places: &[&[usize]],
    ) -> Result<Vec<Option<Chunk>>, Failed> {
        let limit = encoded_bytes_max(self.chunk_bytes().unwrap_or(text::CHUNK_BYTES_MAX));
        let mut wanted = Vec::with_capacity(places.len());
        for place in places {
            wanted.push(match &self.meta.sharding {
                None => Some((self.key(place), store::Part::Whole)),
                Some(sharding) => self.in_shard(store, sharding, place)?,
            });
        }
        let requests: Vec<_> = wanted.iter().flatten().cloned().collect();
        let mut answers = store.read_many(&requests, limit).into_iter();
        wanted
            .into_iter()
            .map(|wanted| {
                let (Some((key, _)), Some(answer)) = (wanted, answers.next()) else {
                    return Ok(None);
                };
                match answer {
                    Ok(bytes) => Ok(bytes.map(|bytes| Chunk { key, bytes })),
                    Err(error) => Err((key, error)),
                }
            })
            .collect()
    }

    fn key(&self, place: &[usize]) -> String {
        self.meta.keys.key(&self.meta.name, place)
    }

    /// Where a chunk lies in its shard.
    fn in_shard(
        &self,
        store: &Store,
        sharding: &Sharding,
        place: &[usize],
    ) -> Result<Option<(String, store::Part)>, Failed> {
        let shard: Vec<usize> = place
            .iter()
            .zip(&sharding.grid)
            .map(|(p, n)| p / n)
            .collect();
        let key = self.key(&shard);
        let Some(index) = self.shard_index(store, sharding, &shard, &key)? else {
            return Ok(None);
        };
        let number: usize = place
            .iter()
            .zip(&sharding.grid)
            .zip(strides(&sharding.grid))
            .map(|((place, len), stride)| place % len * stride)
            .sum();
        let Some((start, length)) = index.get(number).copied().flatten() else {
            return Ok(None);
        };
        let limit = encoded_bytes_max(self.chunk_bytes().unwrap_or(CHUNK_BYTES_MAX));
        match usize::try_from(length) {
            Ok(length) if length <= limit => Ok(Some((key, store::Part::Range { start, length }))),
            _ => Err((key, damaged("its shard claims more bytes than it can have"))),
        }
    }

    fn shard_index(
        &self,
        store: &Store,
        sharding: &Sharding,
        shard: &[usize],
        key: &str,
    ) -> Result<Option<Arc<ShardIndex>>, Failed> {
        let lock = || self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().indexes.get(shard) {
            return Ok(known.clone());
        }
        let length = sharding.index_bytes();
        let part = match sharding.index_at_start {
            true => store::Part::Range { start: 0, length },
            false => store::Part::Last { length },
        };
        let bytes = store
            .read(key, part, length)
            .map_err(|error| (key.to_owned(), error))?;
        let index = match bytes {
            None => None,
            Some(bytes) => {
                let index = sharding.index(&bytes);
                Some(Arc::new(
                    index.map_err(|problem| (key.to_owned(), damaged(problem)))?,
                ))
            }
        };
        let mut shards = lock();
        if shards.entries > KEPT_ENTRIES_MAX {
            *shards = Shards::default();
        }
        shards.entries += 1 + index.as_ref().map_or(0, |index| index.len());
        shards.indexes.insert(shard.to_vec(), index.clone());
        Ok(index)
    }

    /// Undoes the transposing of a decoded chunk.
    pub(super) fn in_c_order(&self, bytes: Vec<u8>) -> Vec<u8> {
        let (Some(order), Some(size)) = (&self.meta.codecs.order, self.meta.element.size_bytes())
        else {
            return bytes;
        };
        if order.iter().copied().eq(0..order.len()) {
            return bytes;
        }
        let shape = &self.meta.chunk_shape;
        let stored_shape: Vec<usize> = order.iter().map(|&dim| shape[dim]).collect();
        let mut steps = vec![0; shape.len()];
        for (stride, &dim) in strides(&stored_shape).into_iter().zip(order) {
            steps[dim] = stride;
        }
        let mut out = Vec::with_capacity(bytes.len());
        let mut index = vec![0; shape.len()];
        let mut from = 0;
        while out.len() < bytes.len() {
            out.extend_from_slice(&bytes[from * size..][..size]);
            for dim in (0..shape.len()).rev() {
                index[dim] += 1;
                from += steps[dim];
                if index[dim] < shape[dim] {
                    break;
                }
                from -= steps[dim] * shape[dim];
                index[dim] = 0;
            }
        }
        out
    }

    /// Converts the wanted cells of a decoded chunk.
    pub(super) fn copy_runs<T: Output>(
        &self,
        place: &[usize],
        bytes: &[u8],
        target: Target<'_>,
        out: &mut [T],
    ) {
        let size = self.meta.element.size_bytes().unwrap_or(1);
        let shape = &self.meta.chunk_shape;
        Part::of(place, shape, target).for_each_run(shape, target, |from, to, length| {
            let bytes = &bytes[from * size..][..length * size];
            self.conversion.run(bytes, &mut out[to..to + length]);
        });
    }

    /// Gives the cells of a chunk that was never written their value.
    pub(super) fn fill_runs<T: Output>(&self, place: &[usize], target: Target<'_>, out: &mut [T]) {
        let mut fill = [T::MISSING];
        self.conversion.run(&self.meta.fill, &mut fill);
        let shape = &self.meta.chunk_shape;
        Part::of(place, shape, target).for_each_run(shape, target, |_, to, length| {
            out[to..to + length].fill(fill[0]);
        });
    }
}

fn damaged(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

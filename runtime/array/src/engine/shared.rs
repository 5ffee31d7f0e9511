//! One file that all ranks write, for programs that compute values themselves.
//!
//! Called by the inference crate. Cutting and encoding happen on the rank that has the values;
//! rank 0 stores what only it can.

use std::ops::Range;
use std::path::Path;

use mizar_comm::{Communicator, agree};

use super::deliver::{collect, store};
use crate::dataset::Dataset;
use crate::error::CubeError;
use crate::write::{WriteOptions, Writer};

/// A file or store that all ranks of a communicator write together.
///
/// Dropping it leaves no trace; every method but [`writer`](Self::writer) is collective.
pub struct SharedWriter<'a> {
    comm: &'a dyn Communicator,
    writer: Writer,
}

impl<'a> SharedWriter<'a> {
    /// Starts the file on all ranks, which bring the same arguments.
    ///
    /// # Errors
    /// As [`Writer::create`], on all ranks.
    pub fn create(
        comm: &'a dyn Communicator,
        target: &Path,
        dataset: &Dataset,
        options: &WriteOptions,
    ) -> Result<Self, CubeError> {
        let is_first = comm.rank() == 0;
        let created = is_first.then(|| Writer::create(target, dataset, options));
        let created = agree(comm, created.transpose().map_err(CubeError::from))?;
        let mut point = created
            .as_ref()
            .map_or_else(Vec::new, Writer::meeting_point);
        comm.broadcast(0, &mut point)?;
        let writer = match created {
            Some(writer) => Ok(writer),
            None => Writer::join(target, dataset, options, &point).map_err(CubeError::from),
        };
        let writer = agree(comm, writer)?;
        Ok(Self { comm, writer })
    }

    /// The writer of rank 0, for what it has alone, such as coordinates; `None` elsewhere.
    pub fn writer(&mut self) -> Option<&mut Writer> {
        (self.comm.rank() == 0).then_some(&mut self.writer)
    }

    /// Writes what each rank has of a variable: regions and their values, any number of them.
    ///
    /// # Errors
    /// As [`Writer::write_f32`], on all ranks.
    pub fn write_f32(
        &mut self,
        variable: usize,
        own: &[(Vec<Range<usize>>, impl AsRef<[f32]>)],
    ) -> Result<(), CubeError> {
        let cut = own.iter().map(|(region, values)| {
            let pieces = self.writer.cut(variable, region, values.as_ref());
            pieces.map_err(CubeError::from)
        });
        let cut: Result<Vec<_>, CubeError> = cut.collect();
        let pieces = agree(self.comm, cut)?.into_iter().flatten().collect();
        let brought = collect(self.comm, pieces);
        let stored = brought.and_then(|pieces| store(&self.writer, variable, pieces));
        agree(self.comm, stored)
    }

    /// Makes the file durable and puts it under its name once all ranks are done.
    ///
    /// # Errors
    /// The disk is full or failed, on all ranks; the final name is then untouched.
    pub fn commit(self) -> Result<(), CubeError> {
        let finished = self.writer.finish();
        agree(self.comm, finished.map_err(CubeError::from))?;
        agree(self.comm, self.writer.commit().map_err(CubeError::from))
    }
}

//! From pieces on all ranks to files: outputs begun on every rank, and pieces brought to the rank
//! that writes them.
//!
//! Rank 0 makes every output. For Zarr the others store their chunks in the same folder, which a
//! shared file system shows them; for NetCDF-4 they send them, encoded, to rank 0.

use mizar_comm::{Communicator, agree};

use super::{Run, Writers};
use crate::cube::Content;
use crate::error::CubeError;
use crate::plan::Output;
use crate::write::{Piece, WriteOptions, Writer, wire};

impl Run<'_> {
    /// Begins some outputs on all ranks and writes what is in memory. Collective.
    pub(super) fn start(&self, outputs: &[Output]) -> Result<Writers, CubeError> {
        let options = outputs.iter().map(|output| self.write_options(output));
        let options: Vec<WriteOptions> = options.collect::<Result<_, _>>()?;
        let pairs = || outputs.iter().zip(&options);
        let created: Result<Writers, CubeError> = match self.comm.rank() {
            0 => pairs()
                .map(|(output, options)| create(output, options))
                .collect(),
            _ => Ok(Vec::new()),
        };
        let created = agree(self.comm, created)?;
        if self.comm.size() == 1 {
            return Ok(created);
        }
        // No path has a zero byte.
        let points: Vec<Vec<u8>> = created.iter().map(Writer::meeting_point).collect();
        let mut points = points.join(&0);
        self.comm.broadcast(0, &mut points)?;
        let joined = match self.comm.rank() {
            0 => Ok(created),
            _ => pairs()
                .zip(points.split(|byte| *byte == 0))
                .map(|((output, options), point)| {
                    let dataset = &output.cube.dataset;
                    Ok(Writer::join(&output.path, dataset, options, point)?)
                })
                .collect(),
        };
        agree(self.comm, joined)
    }

    /// Brings pieces of a variable to rank 0, which writes those of each rank in turn. Collective;
    /// the ranks agree on success afterwards.
    pub(super) fn deliver(
        &self,
        writer: &Writer,
        variable: usize,
        own: Vec<Piece>,
    ) -> Result<(), CubeError> {
        let pieces = collect(self.comm, own)?;
        self.pool.install(|| store(writer, variable, pieces))
    }

    /// Makes outputs durable, and puts them under their names once all ranks did. Collective.
    pub(super) fn commit(&self, writers: Writers) -> Result<(), CubeError> {
        let finish = || writers.iter().try_for_each(Writer::finish);
        let finished = self.pool.install(finish);
        agree(self.comm, finished.map_err(CubeError::from))?;
        let commit = || writers.into_iter().try_for_each(Writer::commit);
        let committed = self.pool.install(commit);
        agree(self.comm, committed.map_err(CubeError::from))
    }
}

/// Writes the pieces of each rank in turn.
pub(super) fn store(
    writer: &Writer,
    variable: usize,
    pieces: Vec<Vec<Piece>>,
) -> Result<(), CubeError> {
    let mut lists = pieces.into_iter();
    lists.try_for_each(|list| Ok(writer.put(variable, list)?))
}

fn create(output: &Output, options: &WriteOptions) -> Result<Writer, CubeError> {
    let cube = &output.cube;
    let mut writer = Writer::create(&output.path, &cube.dataset, options)?;
    for (index, content) in cube.contents.iter().enumerate() {
        match content {
            Content::Numbers(values) => {
                writer.write_f64(index, &cube.dataset.whole(index), values)?;
            }
            Content::Texts(texts) => writer.write_text(index, texts)?,
            Content::Lazy(_) => {}
        }
    }
    Ok(writer)
}

/// The pieces of all ranks on rank 0, in their order; nothing elsewhere. Collective.
pub(super) fn collect(
    comm: &dyn Communicator,
    own: Vec<Piece>,
) -> Result<Vec<Vec<Piece>>, CubeError> {
    let mut message = Vec::new();
    if comm.rank() != 0 {
        own.iter()
            .for_each(|piece| wire::encode(piece, &mut message));
    }
    let Some(parts) = comm.gather(0, &message)? else {
        return Ok(Vec::new());
    };
    let others = parts.iter().enumerate().skip(1);
    let others = others.map(|(rank, part)| wire::decode(part).ok_or(CubeError::Protocol { rank }));
    std::iter::once(Ok(own)).chain(others).collect()
}

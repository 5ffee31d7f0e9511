//! The operators for Rust programs: what `mizar cube` does, without a command line.
//!
//! A [`Datacube`] is an input with operators applied to it. Nothing is read until
//! [`write`](Datacube::write) or [`compute`](Datacube::compute), so a chain of operators reads
//! only what its result needs, and each chunk of the file once.
//!
//! ```
//! # use mizar_array::Datacube;
//! # fn example() -> Result<(), mizar_array::CubeError> {
//! // The mean warming of Europe, month by month.
//! let anomaly = Datacube::open("tas.nc")
//!     .operator("sellonlatbox,-10,40,35,70")?
//!     .operator("monmean")?
//!     .operator_with("ymonsub", [Datacube::open("tas.nc")
//!         .operator("sellonlatbox,-10,40,35,70")?
//!         .operator("seldate,1981-01-01,2010-12-31")?
//!         .operator("ymonmean")?])?;
//! anomaly.operator("fldmean")?.write("europe.nc")?;
//!
//! // Or into memory.
//! let field = anomaly.operator("timmean")?.compute()?;
//! let warming = field.values("tas").expect("the file has `tas`");
//! println!("{:?} {:?}: {}", warming.dimensions, warming.shape, warming.values[0]);
//! # Ok(())
//! # }
//! ```
//!
//! Names and parameters of operators are those of `mizar cube --operators`. On ranks of an MPI
//! program, give all of them the same cube and use [`write_on`](Datacube::write_on).

use std::path::{Path, PathBuf};

use mizar_comm::{Communicator, Single};

use crate::command::{Command, Node, Options};
use crate::cube::{Content, Cube};
use crate::dataset::{Attributes, Dataset};
use crate::error::CubeError;
use crate::{command, engine, plan};

/// Inputs with operators applied, not yet computed.
#[derive(Clone, Debug, PartialEq)]
pub struct Datacube {
    node: Node,
    options: Options,
}

/// A computed cube in memory.
#[derive(Debug)]
pub struct Computed {
    cube: Cube,
}

/// The values of a variable.
#[derive(Clone, Debug, PartialEq)]
pub struct Values<'a> {
    /// The names of its dimensions, slowest first.
    pub dimensions: Vec<&'a str>,
    /// Their lengths.
    pub shape: Vec<usize>,
    /// In double precision, the last dimension fastest; missing values are NaN.
    pub values: &'a [f64],
    /// Units, names, and what was done (`cell_methods`).
    pub attributes: &'a Attributes,
}

impl Datacube {
    /// A file, or whatever `mizar cube` takes as one. It is opened when it is needed.
    #[must_use]
    pub fn open(path: impl Into<PathBuf>) -> Self {
        Self {
            node: Node::Input(path.into()),
            options: Options::default(),
        }
    }

    /// Applies an operator, written as on the command line: `timmean`, `selmon,6/8`.
    ///
    /// # Errors
    /// [`CubeError::Command`] if there is no such operator, or it takes other parameters or
    /// more inputs.
    pub fn operator(&self, word: &str) -> Result<Self, CubeError> {
        self.operator_with(word, [])
    }

    /// Applies an operator of several inputs, of which this is the first.
    ///
    /// # Errors
    /// As [`operator`](Self::operator).
    pub fn operator_with(
        &self,
        word: &str,
        others: impl IntoIterator<Item = Self>,
    ) -> Result<Self, CubeError> {
        let others = others.into_iter().map(|cube| cube.node);
        let inputs = std::iter::once(self.node.clone()).chain(others).collect();
        Ok(Self {
            node: command::apply(word, inputs)?,
            options: self.options.clone(),
        })
    }

    /// Sets threads, precision and compression of the results.
    #[must_use]
    pub fn with_options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Computes and writes a file, on all CPUs unless the options say otherwise. The file
    /// appears whole or not at all.
    ///
    /// # Errors
    /// [`CubeError`] if an input cannot be read, the operators do not fit it, or the output
    /// cannot be written.
    pub fn write(&self, output: impl AsRef<Path>) -> Result<(), CubeError> {
        self.write_on(&Single, output)
    }

    /// Computes on all ranks of a communicator; rank 0 writes. Collective.
    ///
    /// # Errors
    /// As [`write`](Self::write), on all ranks if one fails.
    pub fn write_on(
        &self,
        comm: &dyn Communicator,
        output: impl AsRef<Path>,
    ) -> Result<(), CubeError> {
        let command = self.command(vec![output.as_ref().to_owned()]);
        let plan = mizar_comm::agree(comm, plan::compile(&command, "mizar-array"))?;
        engine::execute(&plan, comm, self.threads(), &|_| {}).map(drop)
    }

    /// Computes into memory.
    ///
    /// # Errors
    /// [`CubeError`] if an input cannot be read or the operators do not fit it.
    pub fn compute(&self) -> Result<Computed, CubeError> {
        let command = self.command(vec![PathBuf::new()]);
        let plan = plan::compile(&command, "mizar-array")?;
        let cube = engine::compute(&plan, &Single, self.threads(), &|_| {})?;
        Ok(Computed { cube })
    }

    /// Dimensions, attributes and coordinates of the result. No data is read:
    /// [`Computed::values`] has none of it.
    ///
    /// # Errors
    /// [`CubeError`] says which input, variable or parameter is wrong, and how to mend it.
    pub fn structure(&self) -> Result<Computed, CubeError> {
        let command = self.command(vec![PathBuf::new()]);
        let plan = plan::compile(&command, "mizar-array")?;
        let cube = plan.outputs[0].cube.clone();
        Ok(Computed { cube })
    }

    fn command(&self, outputs: Vec<PathBuf>) -> Command {
        Command {
            options: self.options.clone(),
            tree: self.node.clone(),
            outputs,
        }
    }

    fn threads(&self) -> usize {
        let of_machine = || std::thread::available_parallelism().map_or(1, usize::from);
        self.options.threads.unwrap_or_else(of_machine)
    }
}

impl Computed {
    /// The texts of a variable, one per row; `None` for numbers or if there is no such variable.
    #[must_use]
    pub fn texts(&self, name: &str) -> Option<&[String]> {
        let index = self.cube.dataset.variable_index(name)?;
        match &self.cube.contents[index] {
            Content::Texts(texts) => Some(texts),
            _ => None,
        }
    }

    /// Dimensions, variables and attributes.
    #[must_use]
    pub fn dataset(&self) -> &Dataset {
        &self.cube.dataset
    }

    /// The values of the variable or coordinate called `name`; `None` if there is none, or it
    /// holds text.
    #[must_use]
    pub fn values(&self, name: &str) -> Option<Values<'_>> {
        let dataset = &self.cube.dataset;
        let index = dataset.variable_index(name)?;
        let variable = &dataset.variables[index];
        let Content::Numbers(values) = &self.cube.contents[index] else {
            return None;
        };
        let dimension = |&dim: &usize| dataset.dimensions[dim].name.as_str();
        Some(Values {
            dimensions: variable.dims.iter().map(dimension).collect(),
            shape: dataset.shape(index),
            values: values.as_slice(),
            attributes: &variable.attributes,
        })
    }
}

//! The chunks of an output, from what the command line asks for and the structure of the output.
//!
//! Called once the plan is compiled, so that a length that cannot be is told before anything is
//! read. Pure.

use std::collections::BTreeMap;

use crate::command::{ChunkChoice, ChunkDimension, ChunkLength};
use crate::dataset::{Axis, Dataset};
use crate::error::CubeError;
use crate::write::{Format, chunk_with};

/// A chunk is smaller than this: HDF5 counts its bytes in 32 bits.
const NETCDF_BYTES_MAX: usize = u32::MAX as usize;

/// A chunk is not larger than this: readers of Zarr, ours too, count with a sign.
const ZARR_BYTES_MAX: usize = i32::MAX as usize;

/// The chunk shapes of data variables, by index, as far as the choice says anything of them.
///
/// # Errors
/// [`CubeError::ChunkTooLarge`].
pub(super) fn of(
    dataset: &Dataset,
    choice: &ChunkChoice,
    format: Format,
) -> Result<BTreeMap<usize, Vec<usize>>, CubeError> {
    let mut chunks = BTreeMap::new();
    for variable in dataset.data_variables() {
        let Some(given) = given(dataset, variable, choice) else {
            continue;
        };
        let element_bytes = dataset.variables[variable].dtype.size_bytes();
        let chunk = chunk_with(&dataset.shape(variable), element_bytes, &given);
        let most = match format {
            Format::NetCdf4 => NETCDF_BYTES_MAX,
            Format::Zarr3 => ZARR_BYTES_MAX,
        };
        let bytes = chunk
            .iter()
            .try_fold(element_bytes, |bytes, &len| bytes.checked_mul(len));
        if bytes.is_none_or(|bytes| bytes > most) {
            return Err(CubeError::ChunkTooLarge {
                variable: dataset.variables[variable].name.clone(),
                chunk,
                most,
            });
        }
        chunks.insert(variable, chunk);
    }
    Ok(chunks)
}

/// Refuses dimensions that no output has.
///
/// # Errors
/// [`CubeError::NoChunkDimension`].
pub(super) fn check_names<'a>(
    choice: &ChunkChoice,
    datasets: impl Iterator<Item = &'a Dataset> + Clone,
) -> Result<(), CubeError> {
    for (dimension, _) in &choice.lengths {
        let ChunkDimension::Name(name) = dimension else {
            continue;
        };
        let mut all = datasets.clone();
        if !all.any(|dataset| dataset.dimension_index(name).is_some()) {
            let dimensions = datasets.flat_map(|dataset| &dataset.dimensions);
            let mut known: Vec<String> = dimensions.map(|d| d.name.clone()).collect();
            known.sort();
            known.dedup();
            return Err(CubeError::NoChunkDimension {
                found: name.clone(),
                known: known.join(", "),
            });
        }
    }
    Ok(())
}

/// The lengths that are told for a variable; `None` if there are none.
fn given(dataset: &Dataset, variable: usize, choice: &ChunkChoice) -> Option<Vec<Option<usize>>> {
    let dims = &dataset.variables[variable].dims;
    let mut given = vec![None; dims.len()];
    for (dimension, length) in &choice.lengths {
        let position = match dimension {
            ChunkDimension::Name(name) => dims
                .iter()
                .position(|&dim| dataset.dimensions[dim].name == *name),
            ChunkDimension::Axis(axis) => position(dataset, variable, *axis),
        };
        if let Some(position) = position {
            given[position] = Some(match length {
                ChunkLength::Cells(count) => *count,
                ChunkLength::Whole => dataset.dimensions[dims[position]].len,
            });
        }
    }
    if given.iter().all(Option::is_none) {
        return None;
    }
    if choice.others_are_one {
        given.iter_mut().for_each(|len| *len = len.or(Some(1)));
    }
    Some(given)
}

/// Where an axis is among the dimensions of a variable. On grids without coordinates of degrees
/// the last two are y and x.
fn position(dataset: &Dataset, variable: usize, axis: Axis) -> Option<usize> {
    let of = |axis| dataset.axis_position(variable, axis);
    let last = |count: usize| {
        let position = dataset.variables[variable].dims.len().checked_sub(count)?;
        let is_other = [Axis::Time, Axis::Level].map(of).contains(&Some(position));
        (!is_other).then_some(position)
    };
    match axis {
        Axis::Time | Axis::Level => of(axis),
        Axis::Longitude => of(axis).or_else(|| last(1)),
        Axis::Latitude => of(axis).or_else(|| last(2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{self, Request};
    use crate::dataset::{DType, Dimension, Variable};

    fn dataset() -> Dataset {
        let dimension = |(name, len): (&str, usize)| Dimension {
            name: name.to_owned(),
            len,
            unlimited: name == "time",
        };
        let variable = |(name, dims): (&str, &[usize])| Variable {
            name: name.to_owned(),
            dtype: DType::F32,
            dims: dims.to_vec(),
            attributes: match name {
                "time" => [("axis".to_owned(), "T".into())].into_iter().collect(),
                _ => std::iter::empty().collect(),
            },
        };
        Dataset {
            dimensions: [("time", 1000), ("y", 180), ("x", 360)]
                .map(dimension)
                .to_vec(),
            variables: [
                ("time", &[0][..]),
                ("tas", &[0, 1, 2]),
                ("series", &[0]),
                ("mask", &[1, 2]),
            ]
            .map(variable)
            .to_vec(),
            ..Dataset::default()
        }
    }

    fn chunks(option: &str, format: Format) -> Result<Vec<(usize, Vec<usize>)>, String> {
        let words = format!("{option} timmean in out");
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let Ok(Request::Run(command)) = command::parse(&words) else {
            panic!("{option}");
        };
        let (dataset, choice) = (dataset(), &command.options.chunks);
        check_names(choice, std::iter::once(&dataset)).map_err(|error| error.to_string())?;
        let found = of(&dataset, choice, format).map_err(|error| error.to_string())?;
        Ok(found.into_iter().collect())
    }

    #[test]
    fn lengths_are_those_asked_for_and_the_others_fit() {
        let check = |option: &str, expected: &[(usize, Vec<usize>)]| {
            let found = chunks(option, Format::NetCdf4);
            assert_eq!(found.as_deref(), Ok(expected), "{option}");
        };
        check("--chunks auto", &[]);
        check("-k auto", &[]);
        check(
            "--chunks time=1,y=90,x=180",
            &[(1, vec![1, 90, 180]), (2, vec![1]), (3, vec![90, 180])],
        );
        // 4 MiB at most.
        check(
            "--chunks time=365,x=all",
            &[(1, vec![365, 7, 360]), (2, vec![365]), (3, vec![45, 360])],
        );
        check(
            "--chunks time=5000",
            &[(1, vec![1000, 2, 360]), (2, vec![1000])],
        );
        check(
            "--chunkspec y=10",
            &[(1, vec![4, 10, 360]), (3, vec![10, 360])],
        );
        check("-k lines", &[(1, vec![1, 1, 360]), (3, vec![1, 360])]);
        check("-k grid", &[(1, vec![1, 180, 360]), (3, vec![180, 360])]);
    }

    #[test]
    fn what_cannot_be_is_told() {
        let error = chunks("--chunks tiem=1", Format::NetCdf4).unwrap_err();
        assert_eq!(
            error,
            "option --chunks: no output has a dimension `tiem`; there are time, x, y"
        );
        let whole = "--chunks time=all,y=all,x=all";
        assert!(chunks(whole, Format::NetCdf4).is_ok());
        let mut large = dataset();
        large.dimensions[0].len = 20_000;
        let choice = ChunkChoice {
            lengths: ["time", "y", "x"]
                .map(|name| (ChunkDimension::Name(name.to_owned()), ChunkLength::Whole))
                .to_vec(),
            others_are_one: false,
        };
        let error = of(&large, &choice, Format::NetCdf4)
            .unwrap_err()
            .to_string();
        let expected = "option --chunks: chunks of [20000, 180, 360] of variable `tas` have more \
                        than the 4294967295 bytes that the format allows";
        assert_eq!(error, expected);
        large.dimensions[0].len = 10_000;
        assert!(of(&large, &choice, Format::NetCdf4).is_ok());
        assert!(of(&large, &choice, Format::Zarr3).is_err());
    }
}

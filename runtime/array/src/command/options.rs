//! The options of the command line, which pipelines take too: words to [`Options`].

use std::path::PathBuf;

use super::parse::find;
use super::{
    ChunkChoice, CommandError, Compression, Format, Options, PercentileMethod, Precision, Request,
    TimeStamp, chunks, memory,
};
use crate::ops::series::percentile::EXPECTED;

/// The options that words are.
pub(super) fn options(words: &[&str]) -> Result<Options, CommandError> {
    let mut rest = words.iter().copied();
    let mut options = Options::default();
    while let Some(word) = rest.next() {
        let is_other = !is_option(word) || parse_option(word, &mut rest, &mut options)?.is_some();
        if is_other {
            return Err(CommandError::UnknownOption {
                found: word.to_owned(),
            });
        }
    }
    Ok(options)
}

/// One dash and one letter, or two dashes: no operator is written so.
pub(super) fn is_option(word: &str) -> bool {
    word.starts_with("--") || (word.len() == 2 && word.starts_with('-'))
}

pub(super) fn parse_option<'a>(
    option: &'a str,
    rest: &mut impl Iterator<Item = &'a str>,
    options: &mut Options,
) -> Result<Option<Request>, CommandError> {
    let (name, inline) = match option.split_once('=') {
        Some((name, value)) if name.starts_with("--") => (name, Some(value)),
        _ => (option, None),
    };
    let mut value = |expected| match inline.or_else(|| rest.next()) {
        Some(value) => Ok((value, expected)),
        None => Err(wrong(name, expected, "nothing")),
    };
    match name {
        "-L" | "-r" => {}
        "--json" => options.json = true,
        "-O" | "--overwrite" => options.overwrite = true,
        "-s" | "--silent" => options.silent = true,
        "-f" | "--format" => match value("nc4, nc4c or zarr (the formats that are written)")? {
            ("nc4" | "nc4c", _) => options.format = Some(Format::NetCdf4),
            ("zarr" | "zarr3", _) => options.format = Some(Format::Zarr3),
            (found, expected) => return Err(wrong(name, expected, found)),
        },
        "-z" | "--compress" => {
            let (found, expected) = value(Compression::EXPECTED)?;
            let chosen = found.parse().map_err(|_| wrong(name, expected, found))?;
            options.compression = Some(chosen);
        }
        "--chunks" | "--chunkspec" | "-k" | "--chunktype" => {
            let (expected, understand): (_, fn(&str) -> _) = match name {
                "--chunks" => (chunks::CHUNKS, ChunkChoice::by_name),
                "--chunkspec" => (chunks::CHUNK_SPEC, ChunkChoice::by_axis),
                _ => (chunks::CHUNK_TYPE, ChunkChoice::by_type),
            };
            let (found, _) = value(expected)?;
            let chosen = understand(found).ok_or_else(|| wrong(name, expected, found))?;
            options.chunks = chosen;
        }
        "-b" | "--bits" => match value("F32 or F64")? {
            ("F32" | "f32" | "32", _) => options.precision = Some(Precision::Single),
            ("F64" | "f64" | "64", _) => options.precision = Some(Precision::Double),
            (found, expected) => return Err(wrong(name, expected, found)),
        },
        "-P" | "--num_threads" => {
            let (found, expected) = value("a number of threads, at least 1")?;
            let threads = found.parse().ok().filter(|&threads| threads > 0);
            options.threads = Some(threads.ok_or_else(|| wrong(name, expected, found))?);
        }
        "--timestat_date" => {
            options.time_stamp = match value("first, middle, midhigh or last")? {
                ("first", _) => TimeStamp::First,
                ("middle" | "midhigh", _) => TimeStamp::Middle,
                ("last", _) => TimeStamp::Last,
                (found, expected) => return Err(wrong(name, expected, found)),
            }
        }
        "--plan" => options.plan = true,
        "--cdo" => options.cdo = true,
        "--plot" => {
            let (found, _) = value("a picture, FILE.png or FILE.svg")?;
            options.plot = Some(PathBuf::from(found));
        }
        "--percentile" => {
            let (found, expected) = value(EXPECTED)?;
            let method = PercentileMethod::find(found);
            options.percentile = method.ok_or_else(|| wrong(name, expected, found))?;
        }
        "--memory" => {
            let (found, expected) = value("an amount of memory such as 512M or 2G")?;
            let bytes = memory::parse(found).ok_or_else(|| wrong(name, expected, found))?;
            options.memory_bytes = Some(bytes);
        }
        "--operators" => return Ok(Some(Request::Operators)),
        "-h" | "--help" => {
            return Ok(Some(match inline.or_else(|| rest.next()) {
                Some(operator) => Request::Operator(find(operator)?),
                None => Request::Overview,
            }));
        }
        found => {
            return Err(CommandError::UnknownOption {
                found: found.to_owned(),
            });
        }
    }
    Ok(None)
}

pub(super) fn wrong(option: &str, expected: &'static str, found: &str) -> CommandError {
    CommandError::OptionValue {
        option: option.to_owned(),
        expected,
        found: found.to_owned(),
    }
}

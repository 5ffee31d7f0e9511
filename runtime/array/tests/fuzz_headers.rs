//! Damage without end: small valid files of every kind are changed at random, opened and read,
//! for a bounded time. Nothing may panic, hang, or take memory that a damaged header claims.
//!
//! Each batch runs in a child process of this same test with a limit on its memory, because the
//! HDF5 library itself may crash or hang on damage, which no caller can prevent: such ends are
//! counted and told with what repeats them. Without HDF5 they are failures, and a panic or
//! memory that Rust cannot get always is one. (A hang of our own readers on an HDF5 file counts
//! as the library's: look at what is told.)
//!
//! `MIZAR_FUZZ_SECONDS` sets the time, `MIZAR_FUZZ_SEED` the start.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

mod classic;
mod python;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mizar_array::dataset::{DType, Dataset, Dimension, Variable};
use mizar_array::storage::Source;
use mizar_array::write::{WriteOptions, Writer};

const SECONDS: u64 = 8;

/// Reads of more cells than this are not asked for: the caller would not either.
const CELLS_MAX: usize = 1 << 18;

/// Changed files of one child.
const BATCH: u64 = 200;

/// A child whose file takes longer than this hangs.
const HANG: Duration = Duration::from_secs(10);

const MEMORY_BYTES: u64 = 2 << 30;

/// Numbers that break arithmetic.
const NUMBERS: [u64; 12] = [
    0,
    1,
    2,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 40,
    i64::MAX as u64,
    u64::MAX,
];

/// A small generator of reproducible numbers.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea and Flood, 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Changes a file in one to four places; headers, at the start, more often than the rest.
fn mutate(bytes: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..=dice.below(4) {
        let end = match dice.below(2) {
            0 => bytes.len().min(512),
            _ => bytes.len(),
        };
        let place = dice.below(end);
        match dice.below(6) {
            0 => bytes[place] ^= 1 << dice.below(8),
            1 => bytes[place] = dice.next() as u8,
            2 | 3 => {
                let width = [1, 2, 4, 8][dice.below(4)].min(bytes.len() - place);
                let number = NUMBERS[dice.below(NUMBERS.len())];
                let number = match dice.below(2) {
                    0 => number.to_le_bytes()[..width].to_vec(),
                    _ => number.to_be_bytes()[8 - width..].to_vec(),
                };
                bytes[place..place + width].copy_from_slice(&number);
            }
            4 => {
                let length = dice.below(32).min(bytes.len() - place);
                let from = dice.below(bytes.len() - length + 1);
                bytes.copy_within(from..from + length, place);
            }
            _ if dice.below(4) == 0 => bytes.truncate(place.max(1)),
            _ => {}
        }
    }
}

/// Opens and reads what can be read; errors are right answers if they name the file.
fn read_everything(path: &Path) {
    let name = path.file_name().unwrap().to_str().unwrap();
    let named = |error: mizar_array::storage::StorageError| {
        assert!(error.to_string().contains(name), "{error}");
    };
    let source = match Source::open(path) {
        Ok(source) => source,
        Err(error) => return named(error),
    };
    for (index, variable) in source.dataset().variables.iter().enumerate() {
        let whole = source.dataset().whole(index);
        let cells = whole
            .iter()
            .map(ExactSizeIterator::len)
            .fold(1, usize::saturating_mul);
        if cells > CELLS_MAX {
            continue;
        }
        let _ = source.chunk_shape(index);
        let _ = source.stored_bytes(index, &whole);
        let result = match variable.dtype.is_text() {
            true => source.read_text(index).map(drop),
            false => source.read_f64(index, &whole, &mut vec![0.0; cells]),
        };
        result.map_or_else(named, drop);
    }
}

/// A small NetCDF-4 file with the old B-tree, filters and texts.
fn netcdf4(path: &Path) {
    let dimension = |name: &str, len, unlimited| Dimension {
        name: name.to_owned(),
        len,
        unlimited,
    };
    let variable = |name: &str, dtype, dims| Variable {
        name: name.to_owned(),
        dtype,
        dims,
        attributes: Default::default(),
    };
    let dataset = Dataset {
        dimensions: vec![dimension("time", 4, true), dimension("cell", 100, false)],
        variables: vec![
            variable("t", DType::F32, vec![0, 1]),
            variable("cell", DType::I32, vec![1]),
            variable("names", DType::Text, vec![0]),
        ],
        ..Dataset::default()
    };
    let mut writer = Writer::create(path, &dataset, &WriteOptions::default()).unwrap();
    writer.write_f64(0, &[0..4, 0..100], &[1.5; 400]).unwrap();
    writer.write_f64(1, &dataset.whole(1), &[2.0; 100]).unwrap();
    writer
        .write_text(2, &["a", "b", "c", "d"].map(str::to_owned))
        .unwrap();
    writer.commit().unwrap();
}

/// The valid files, by name; those of the newer format only where h5py is.
fn make_seeds(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for version in [1, 2, 5] {
        let name = format!("cdf{version}.nc");
        std::fs::write(folder.join(&name), classic::file(version).bytes).unwrap();
        names.push(name);
    }
    netcdf4(&folder.join("old.nc"));
    names.push("old.nc".to_owned());
    if python::run("small", &[folder.to_str().unwrap().to_owned()]).is_some() {
        names.extend(["new.nc", "earliest.nc", "netcdf.nc"].map(str::to_owned));
    }
    names
}

/// What a child does: iterations from `start` on of one file. Says each before it begins.
fn child(seed_file: &Path, start: u64) {
    let valid = std::fs::read(seed_file).unwrap();
    let damaged = seed_file.with_extension("damaged");
    for iteration in start..start + BATCH {
        println!("at {iteration}");
        let mut bytes = valid.clone();
        mutate(&mut bytes, &mut Dice(iteration));
        std::fs::write(&damaged, bytes).unwrap();
        read_everything(&damaged);
    }
}

/// How a child ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Fine,
    Panic(String),
    /// By a signal, as when the HDF5 library crashes, or for want of memory.
    Crash(String),
    Hang,
}

/// Runs one batch; gives the iteration it got to and how it ended.
fn batch(seed_file: &Path, start: u64) -> (u64, End) {
    let mut child = Command::new("prlimit")
        .arg(format!("--as={MEMORY_BYTES}"))
        .arg("--core=0")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "headers_that_lie_do_no_harm", "--nocapture"])
        .env("MIZAR_FUZZ_FILE", seed_file)
        .env("MIZAR_FUZZ_START", start.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (send, receive) = std::sync::mpsc::channel();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let at = line.strip_prefix("at ").and_then(|at| at.parse().ok());
            if at.is_some_and(|at: u64| send.send(at).is_err()) {
                return;
            }
        }
    });
    let mut last = start;
    loop {
        match receive.recv_timeout(HANG) {
            Ok(at) => last = at,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                child.kill().unwrap();
                child.wait().unwrap();
                return (last, End::Hang);
            }
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    (last, end_of(child))
}

fn end_of(mut child: Child) -> End {
    let mut complaint = String::new();
    // A panic of ours or the library's last words: nothing else is written there.
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut complaint)
        .unwrap_or_default();
    let status = child.wait().unwrap();
    match status.code() {
        Some(0) => End::Fine,
        Some(_) => End::Panic(complaint),
        None => End::Crash(format!("{status} {complaint}")),
    }
}

#[test]
fn headers_that_lie_do_no_harm() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    if let Some(file) = std::env::var_os("MIZAR_FUZZ_FILE") {
        child(Path::new(&file), number("MIZAR_FUZZ_START").unwrap());
        return;
    }
    let seconds = number("MIZAR_FUZZ_SECONDS").unwrap_or(SECONDS);
    let seed = number("MIZAR_FUZZ_SEED").unwrap_or(20_261_126);
    println!("MIZAR_FUZZ_SEED={seed}");
    let folder = tempfile::tempdir().unwrap();
    let names = make_seeds(folder.path());
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut next: Vec<u64> = vec![seed; names.len()];
    let (mut tried, mut crashes) = (0, Vec::new());
    while Instant::now() < end {
        for (name, next) in names.iter().zip(&mut next) {
            let (last, ending) = batch(&folder.path().join(name), *next);
            tried += last - *next + 1;
            *next = last + 1;
            let is_hdf5 = !name.starts_with("cdf");
            // Rust's own words when memory that a header claims cannot be had.
            let is_ours = |how: &str| how.contains("memory allocation of");
            match ending {
                End::Fine => {}
                End::Crash(how) if is_hdf5 && !is_ours(&how) => {
                    crashes.push((name.as_str(), last, how))
                }
                End::Hang if is_hdf5 => crashes.push((name.as_str(), last, "hangs".to_owned())),
                other => panic!("{name}, MIZAR_FUZZ_SEED={last}: {other:?}"),
            }
        }
    }
    println!(
        "{tried} damaged files, {} of which crash or hang the HDF5 library itself",
        crashes.len()
    );
    for (name, iteration, how) in &crashes {
        let how = how.lines().next().unwrap_or_default();
        println!("  {name}, MIZAR_FUZZ_SEED={iteration}: {how}");
    }
    assert!(
        crashes.len() as u64 * 1000 <= tried,
        "{} crashes",
        crashes.len()
    );
}

//! Inputs on a web server: the values of the files themselves, no more bytes than are needed,
//! and errors that name the address, and nothing secret, when the server misbehaves.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]
#![allow(
    clippy::single_range_in_vec_init,
    reason = "a region is a list of ranges, often of one"
)]

mod python;
mod server;

use std::ops::Range;
use std::path::Path;

use mizar_array::storage::{Source, StorageError};
use server::{Fault, Server};

/// Metadata comes in blocks of this size.
const BLOCK_BYTES: usize = 64 << 10;

fn files() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    python::run_script("remote_files.py", "make", &[path])?;
    Some(folder)
}

fn read(source: &Source, variable: usize, region: &[Range<usize>]) -> Vec<f32> {
    let cells = region.iter().map(ExactSizeIterator::len).product();
    let mut out = vec![0.0; cells];
    source.read_f32(variable, region, &mut out).unwrap();
    out
}

fn index(source: &Source, name: &str) -> usize {
    source.dataset().variable_index(name).unwrap()
}

/// Every variable of a file, from the server and from the disk.
fn compare(server: &Server, folder: &Path, name: &str) -> usize {
    let remote = Source::open(&server.url(name)).unwrap();
    let local = Source::open(&folder.join(name)).unwrap();
    // As text: a fill value that is not a number equals nothing.
    let structure = |source: &Source| format!("{:?}", source.dataset());
    assert_eq!(structure(&remote), structure(&local), "{name}");
    assert_eq!(remote.path(), server.url(name));
    for (variable, kind) in local.dataset().variables.iter().enumerate() {
        if kind.dtype.is_text() {
            let texts = |source: &Source| source.read_text(variable).unwrap();
            assert_eq!(texts(&remote), texts(&local), "{name} {}", kind.name);
            continue;
        }
        let whole = local.dataset().whole(variable);
        let inner: Vec<_> = whole.iter().map(|r| r.len() / 3..r.len() / 2 + 1).collect();
        for region in [&whole, &inner] {
            let found = read(&remote, variable, region);
            assert_eq!(
                found,
                read(&local, variable, region),
                "{name} {}",
                kind.name
            );
        }
    }
    remote.check_unchanged().unwrap();
    local.dataset().variables.len()
}

#[test]
fn every_kind_of_file_has_the_values_that_it_has_on_disk() {
    let Some(folder) = files() else { return };
    let server = Server::of_folder(folder.path());
    let mut variables = 0;
    for name in [
        "chunked.nc",
        "contiguous.nc",
        "latest.h5",
        "classic.nc",
        "v2.zarr",
        "v3.zarr",
    ] {
        variables += compare(&server, folder.path(), name);
    }
    assert!(variables >= 5 + 5 + 5 + 4 + 4 + 4, "{variables}");
    a_failure_behind_the_library_is_told(&server);
    a_store_that_cannot_be_listed_is_refused(&server);
    a_region_costs_its_chunks_and_the_metadata(&server);
    few_requests_read_a_whole_variable(&server);
    a_cut_object_is_damaged(&server, folder.path());
}

/// The variable has a filter that only the library knows, and it reads through the driver.
fn a_failure_behind_the_library_is_told(server: &Server) {
    let source = Source::open(&server.url("latest.h5")).unwrap();
    let packed = index(&source, "packed");
    let whole = source.dataset().whole(packed);
    let mut out = vec![0.0; whole.iter().map(ExactSizeIterator::len).product()];
    server.always(Some(Fault::Status(500)));
    let error = source.read_f64(packed, &whole, &mut out).unwrap_err();
    server.always(None);
    assert!(matches!(error, StorageError::Hdf5 { .. }), "{error:?}");
    assert!(error.to_string().contains("failed 4 times"), "{error}");
    source.read_f64(packed, &whole, &mut out).unwrap();
}

fn a_store_that_cannot_be_listed_is_refused(server: &Server) {
    let error = Source::open(&server.url("plain")).unwrap_err().to_string();
    assert!(error.contains("consolidate it"), "{error}");
    let error = Source::open(&server.url("none.zarr/")).unwrap_err();
    assert!(error.to_string().contains("not a Zarr store"), "{error}");
}

fn a_region_costs_its_chunks_and_the_metadata(server: &Server) {
    let region = [12..18, 0..50, 100..120];
    for (name, blocks) in [("chunked.nc", 4), ("contiguous.nc", 4), ("classic.nc", 2)] {
        server.asked();
        let source = Source::open(&server.url(name)).unwrap();
        let opened_bytes = server.sent_bytes();
        assert!(
            opened_bytes <= blocks * BLOCK_BYTES,
            "{name}: {opened_bytes} to open"
        );
        let variable = index(&source, "tas");
        let needed = source.stored_bytes(variable, &region) as usize;
        let size = source.size_bytes() as usize;
        let before = server.sent_bytes();
        read(&source, variable, &region);
        let asked = server.asked();
        let sent: usize = before + asked.iter().map(|asked| asked.sent_bytes).sum::<usize>();
        assert!(sent >= needed, "{name}: {sent} of {needed}");
        // Plain arrays are read with the gaps between rows: here all columns of 50 rows.
        let gaps = match source.chunk_shape(variable) {
            Some(_) if name == "chunked.nc" => 2 * BLOCK_BYTES,
            _ => 6 * 50 * 160 * 4,
        };
        assert!(
            sent <= needed + gaps,
            "{name}: {sent} bytes for {needed}: {asked:?}"
        );
        assert!(sent < size / 8, "{name}: {sent} of {size}");
    }
}

fn few_requests_read_a_whole_variable(server: &Server) {
    for name in ["chunked.nc", "contiguous.nc", "classic.nc", "v2.zarr"] {
        let source = Source::open(&server.url(name)).unwrap();
        let variable = index(&source, "tas");
        let _ = source.stored_bytes(variable, &[0..1, 0..1, 0..1]);
        server.asked();
        read(&source, variable, &source.dataset().whole(variable));
        let asked = server.asked();
        // A chunk of a store has a name of its own, and a record lies apart from the next.
        let most = match name {
            "v2.zarr" => 16,
            "classic.nc" => 40,
            _ => 8,
        };
        assert!(asked.len() <= most, "{name}: {} requests", asked.len());
    }
}

fn a_cut_object_is_damaged(server: &Server, folder: &Path) {
    for name in ["chunked.nc", "classic.nc"] {
        let mut bytes = std::fs::read(folder.join(name)).unwrap();
        bytes.truncate(bytes.len() / 2);
        server.put(name, bytes);
        let error = Source::open(&server.url(name)).unwrap_err();
        assert!(matches!(error, StorageError::Damaged { .. }), "{error:?}");
        assert!(error.to_string().contains("cut short"), "{error}");
    }
}

/// A failure that is taken for an answer would be a wrong result.
#[test]
fn any_request_that_fails_is_an_error() {
    let Some(folder) = files() else { return };
    let server = Server::of_folder(folder.path());
    let attempt = |name: &str, variable: &str| {
        let source = Source::open(&server.url(name))?;
        let mut out = vec![0.0; 10 * 70 * 90];
        source.read_f32(index(&source, variable), &[5..15, 30..100, 0..90], &mut out)?;
        Ok::<_, StorageError>((format!("{:?}", source.dataset()), out))
    };
    for (name, variable, forever) in [
        ("latest.h5", "v1", false),
        ("latest.h5", "v1", true),
        ("chunked.nc", "tas", true),
        ("classic.nc", "tas", false),
        ("v3.zarr", "tas", false),
    ] {
        let expected = attempt(name, variable).unwrap();
        let mut count = 0;
        loop {
            server.fail_after(count, Fault::Status(403), forever);
            let outcome = attempt(name, variable);
            match (outcome, server.has_failed()) {
                (Err(_), true) => count += 1,
                (Ok(found), false) => break assert!(found == expected, "{name}"),
                (outcome, _) => panic!("{name}, request {count}: {:?}", outcome.err()),
            }
        }
        assert!(count >= 2, "{name}: {count} requests");
    }
}

/// A NetCDF-3 file of 50,000 numbers from 1 on.
fn small() -> Vec<u8> {
    let mut bytes = b"CDF\x01".to_vec();
    let [x, v] = [*b"x\0\0\0", *b"v\0\0\0"].map(u32::from_be_bytes);
    let words = [
        [0, 10, 1, 1, x, 50_000, 0],
        [0, 11, 1, 1, v, 1, 0],
        [0, 0, 5, 200_000, 128, 0, 0],
    ];
    bytes.extend(
        words
            .as_flattened()
            .iter()
            .flat_map(|word| word.to_be_bytes()),
    );
    bytes.resize(128, 0);
    bytes.extend((1..=50_000_u32).flat_map(|number| (number as f32).to_be_bytes()));
    bytes
}

/// The last cells, which no other read has brought.
const LAST: [Range<usize>; 1] = [49_000..50_000];

fn read_last(source: &Source) -> Result<Vec<f32>, StorageError> {
    let mut out = vec![0.0; 1000];
    source.read_f32(0, &LAST, &mut out).map(|()| out)
}

#[test]
fn a_server_that_recovers_is_asked_again() {
    let server = Server::start();
    server.put("a.nc", small());
    let expected: Vec<f32> = (49_001..=50_000_u16).map(f32::from).collect();
    for faults in [
        &[Fault::Status(500), Fault::Status(503)][..],
        &[Fault::Cut(1000), Fault::Cut(0)],
        &[Fault::Hang, Fault::Status(429)],
    ] {
        server.fail(faults);
        let source = Source::open(&server.url("a.nc")).unwrap();
        server.fail(faults);
        assert_eq!(read_last(&source).unwrap(), expected, "{faults:?}");
    }
}

fn chain(error: StorageError) -> String {
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    format!("{error}: {}", cause.unwrap_or_default())
}

/// The errors of reading, and of opening, while the server does `fault`.
fn errors_while(server: &Server, fault: Fault, name: &str) -> Vec<String> {
    let source = Source::open(&server.url(name)).unwrap();
    server.always(Some(fault));
    let mut errors = vec![chain(read_last(&source).unwrap_err())];
    // What is asked for again and again takes its time: once is enough.
    if matches!(fault, Fault::Status(400..500) | Fault::Elsewhere) {
        errors.push(chain(Source::open(&server.url(name)).unwrap_err()));
    }
    server.always(None);
    errors
}

#[test]
fn a_server_that_does_not_recover_is_an_error_with_the_address_and_no_secret() {
    let server = Server::start();
    server.put("a.nc", small());
    for (fault, expected) in [
        (Fault::Status(500), "failed 4 times, at last with HTTP 500"),
        (
            Fault::Status(403),
            "denies access (HTTP 403): a signed link",
        ),
        (Fault::Status(404), "nothing under this name (HTTP 404)"),
        (Fault::Status(400), "answered HTTP 400"),
        (Fault::Cut(100), "no answer in 4 attempts"),
        (Fault::Hang, "no answer in 4 attempts"),
        (Fault::Elsewhere, "expected"),
    ] {
        for error in errors_while(&server, fault, "a.nc?key=hidden") {
            assert!(error.contains(expected), "{fault:?}: {error}");
            assert!(error.contains("/a.nc: "), "{fault:?}: {error}");
            assert!(!error.contains("hidden"), "{fault:?}: {error}");
        }
    }
    let asked = server.asked();
    // The server gets the query; what is absent is looked for as a store, too.
    let is_right = |asked: &server::Asked| {
        asked.target == "/a.nc?key=hidden" || asked.target.starts_with("/a.nc/")
    };
    assert!(asked.iter().all(is_right), "{asked:?}");
    let nobody = Path::new("http://127.0.0.1:1/a.nc?key=hidden");
    let error = Source::open(nobody).unwrap_err();
    assert!(matches!(error, StorageError::Io { .. }), "{error:?}");
    assert!(!format!("{error:?}").contains("hidden"), "{error:?}");
    // A size that is a lie is no reason to allocate as much.
    server.always(Some(Fault::Lie));
    assert!(Source::open(&server.url("a.nc")).is_ok());
}

#[test]
fn an_object_that_changed_is_noticed() {
    let server = Server::start();
    server.put("a.nc", small());
    let source = Source::open(&server.url("a.nc")).unwrap();
    source.check_unchanged().unwrap();
    let mut other = small();
    other[199_000] ^= 1;
    server.put("a.nc", other);
    for error in [
        source.check_unchanged().unwrap_err(),
        read_last(&source).unwrap_err(),
    ] {
        assert!(matches!(error, StorageError::Changed { .. }), "{error:?}");
    }
}

#[test]
fn a_server_without_ranges_serves_small_objects_only() {
    let server = Server::start();
    server.ignore_ranges();
    server.put("a.nc", small());
    let source = Source::open(&server.url("a.nc")).unwrap();
    assert_eq!(read_last(&source).unwrap()[999], 50_000.0);
    source.check_unchanged().unwrap();
    assert_eq!(server.asked().len(), 1, "all was sent at once");
    let mut large = small();
    large.resize(17 << 20, 0);
    server.put("b.nc", large);
    let error = Source::open(&server.url("b.nc")).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("ignores `Range`"), "{cause}");
    assert!(cause.contains(&format!("{} bytes", 17 << 20)), "{cause}");
}

#[test]
fn what_is_no_data_is_called_what_it_is() {
    let server = Server::start();
    server.put("page", b"<!DOCTYPE html><p>log in".to_vec());
    server.put("empty.nc", Vec::new());
    for (name, expected) in [("page", "a web page"), ("empty.nc", "is empty")] {
        let error = Source::open(&server.url(name)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

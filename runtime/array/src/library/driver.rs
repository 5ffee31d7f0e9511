//! HDF5's structures read from inputs that are no files of this machine: a file driver of ours.
//!
//! The library asks a driver for bytes at addresses; ours asks the [`ReadAt`] that was registered
//! under the name of the file. [`super::H5File`] opens files with it. It only reads.
//!
//! `hdf5-sys` has no right declaration of the class of a driver, whose fields differ between
//! releases: those of 1.10 and 1.12 and those of 1.14 and 2 are declared here, and any other
//! release is refused. From 1.14 on the library itself refuses a class of another version.
//!
//! Source: `H5FDpublic.h` of HDF5 1.10 and `H5FDdevelop.h` of HDF5 1.14 and 2.0.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use hdf5_sys::h5::H5get_libversion;
use hdf5_sys::h5f::{H5F_ACC_RDONLY, H5Fopen};
use hdf5_sys::h5fd::H5FDregister;
use hdf5_sys::h5i::hid_t;
use hdf5_sys::h5p::{H5P_CLS_FILE_ACCESS, H5Pcreate, H5Pset_driver};

use super::{Failure, Handle, Outcome, locked, status};
use crate::storage::ReadAt;

/// An input that the driver can open by its name.
struct Input {
    bytes: Arc<dyn ReadAt>,
    size_bytes: u64,
}

/// The inputs by the number in their names.
static INPUTS: Mutex<Option<HashMap<u64, Arc<Input>>>> = Mutex::new(None);

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Why the last read of this thread failed.
    static FAILURE: RefCell<Option<String>> = const { RefCell::new(None) };
    /// How many reads of this thread failed.
    static FAILURE_COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Lets the driver open an input by its name.
struct Registered(u64);

impl Drop for Registered {
    fn drop(&mut self) {
        let mut inputs = INPUTS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inputs) = inputs.as_mut() {
            inputs.remove(&self.0);
        }
    }
}

/// Opens an input of so many bytes.
pub(super) fn open(bytes: Arc<dyn ReadAt>, size_bytes: u64) -> Outcome<Handle> {
    let operation = "open the file";
    let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
    let input = Arc::new(Input { bytes, size_bytes });
    // An open file keeps its input: the name is needed only to open it.
    let _registered = Registered(number);
    INPUTS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get_or_insert_default()
        .insert(number, input);
    let name = CString::new(format!("{PREFIX}{number}"))
        .map_err(|_| Failure::new(operation, "its name holds a zero byte"))?;
    let driver = driver()?;
    take_failure();
    locked(|| {
        // SAFETY: the class of file access lists is one of the library's own, which is running.
        let list = unsafe { H5Pcreate(*H5P_CLS_FILE_ACCESS) };
        let list = Handle::of(list, operation)?;
        // SAFETY: both identifiers are open; the driver takes no settings.
        let set = unsafe { H5Pset_driver(list.0, driver, std::ptr::null()) };
        status(set, operation)?;
        // SAFETY: `name` is a C string that outlives the call, and the list is open.
        let id = unsafe { H5Fopen(name.as_ptr(), H5F_ACC_RDONLY, list.0) };
        Handle::of(id, operation)
    })
}

/// Why the last read of this thread failed, once.
pub(super) fn take_failure() -> Option<String> {
    FAILURE.take()
}

/// How many reads of this thread failed: what changes it was no answer of the file.
pub(super) fn failure_count() -> u64 {
    FAILURE_COUNT.get()
}

/// What the names of inputs begin with.
const PREFIX: &str = "mizar-input-";

/// The number of the driver, which is registered once.
fn driver() -> Outcome<hid_t> {
    static DRIVER: OnceLock<Outcome<hid_t>> = OnceLock::new();
    DRIVER.get_or_init(|| locked(register)).clone()
}

fn register() -> Outcome<hid_t> {
    let operation = "read from a server";
    let (mut major, mut minor, mut release) = (0, 0, 0);
    // SAFETY: three numbers that the call writes to.
    let asked = unsafe { H5get_libversion(&raw mut major, &raw mut minor, &raw mut release) };
    status(asked, operation)?;
    // A class lives as long as the process.
    let id = match (major, minor) {
        (1, 10 | 12) => {
            let class: &'static Class10 = Box::leak(Box::new(Class10::new()));
            // SAFETY: the class is laid out as these releases have it.
            unsafe { H5FDregister(std::ptr::from_ref(class).cast()) }
        }
        (1, 14) | (2, _) => {
            let class: &'static Class14 = Box::leak(Box::new(Class14::new()));
            // SAFETY: the class is laid out as these releases have it, and says its version.
            unsafe { H5FDregister(std::ptr::from_ref(class).cast()) }
        }
        _ => {
            let detail = format!(
                "this is HDF5 {major}.{minor}.{release}, whose file drivers are unknown here: \
                 expected 1.10, 1.12, 1.14 or 2"
            );
            return Err(Failure::new(operation, detail));
        }
    };
    match id >= 0 {
        true => Ok(id),
        false => Err(Failure::of_last_call(operation)),
    }
}

/// An open file: what the library keeps for itself, then what is ours.
#[repr(C)]
struct File {
    /// More than the library's part (80 bytes) has in any release.
    library: [u64; 32],
    input: Arc<Input>,
    /// How far the library's addresses go.
    end: u64,
}

/// A function that the driver does not have.
type Absent = Option<unsafe extern "C" fn()>;

/// The fields of a class that all releases have, up to `write`.
#[repr(C)]
struct Front {
    name: *const c_char,
    address_max: u64,
    close_degree: c_int,
    terminate: Absent,
    superblock: [Absent; 3],
    access_size: usize,
    access: [Absent; 3],
    transfer_size: usize,
    transfer: [Absent; 2],
    open: unsafe extern "C" fn(*const c_char, c_uint, hid_t, u64) -> *mut File,
    close: unsafe extern "C" fn(*mut File) -> c_int,
    compare: Absent,
    query: Absent,
    type_map: Absent,
    allocate: Absent,
    free: Absent,
    end: unsafe extern "C" fn(*const File, c_int) -> u64,
    set_end: unsafe extern "C" fn(*mut File, c_int, u64) -> c_int,
    size: unsafe extern "C" fn(*const File, c_int) -> u64,
    handle: Absent,
    read: unsafe extern "C" fn(*mut File, c_int, hid_t, u64, usize, *mut c_void) -> c_int,
    write: unsafe extern "C" fn(*mut File, c_int, hid_t, u64, usize, *const c_void) -> c_int,
}

/// The class as HDF5 1.10 and 1.12 have it.
#[repr(C)]
struct Class10 {
    front: Front,
    /// `flush`, `truncate`, `lock`, `unlock`.
    rest: [Absent; 4],
    free_lists: [c_int; 7],
}

/// The class as HDF5 1.14 and 2 have it.
#[repr(C)]
struct Class14 {
    version: c_uint,
    value: c_int,
    front: Front,
    /// Reading and writing of vectors and selections.
    many: [Absent; 4],
    /// `flush`, `truncate`, `lock`, `unlock`, `del`, `ctl`.
    rest: [Absent; 6],
    free_lists: [c_int; 7],
}

/// The version that [`Class14`] has.
const CLASS_VERSION: c_uint = 1;

/// The number of our driver, above those that the HDF Group gives away.
const CLASS_VALUE: c_int = 61_733;

/// The largest address.
const ADDRESS_MAX: u64 = i64::MAX as u64;

/// `H5F_CLOSE_WEAK`: a file closes with the last of its objects, as files of this machine do.
const CLOSE_WEAK: c_int = 1;

/// What stands for no address, and for failure.
const UNDEFINED: u64 = u64::MAX;

impl Front {
    fn new() -> Self {
        Self {
            name: c"mizar".as_ptr(),
            address_max: ADDRESS_MAX,
            close_degree: CLOSE_WEAK,
            terminate: None,
            superblock: [None; 3],
            access_size: 0,
            access: [None; 3],
            transfer_size: 0,
            transfer: [None; 2],
            open: open_file,
            close: close_file,
            compare: None,
            query: None,
            type_map: None,
            allocate: None,
            free: None,
            end: end_of_addresses,
            set_end: set_end_of_addresses,
            size: size_of_file,
            handle: None,
            read: read_file,
            write: write_file,
        }
    }
}

impl Class10 {
    fn new() -> Self {
        Self {
            front: Front::new(),
            rest: [None; 4],
            free_lists: [0; 7],
        }
    }
}

impl Class14 {
    fn new() -> Self {
        Self {
            version: CLASS_VERSION,
            value: CLASS_VALUE,
            front: Front::new(),
            many: [None; 4],
            rest: [None; 6],
            free_lists: [0; 7],
        }
    }
}

/// Runs the body of a callback; a panic is a failure of the call.
fn guarded<T>(failed: T, body: impl FnOnce() -> Option<T>) -> T {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Some(value)) => value,
        Ok(None) | Err(_) => failed,
    }
}

unsafe extern "C" fn open_file(
    name: *const c_char,
    _flags: c_uint,
    _list: hid_t,
    _address_max: u64,
) -> *mut File {
    guarded(std::ptr::null_mut(), || {
        // SAFETY: the library passes the C string that the file is opened by.
        let name = unsafe { CStr::from_ptr(name) }.to_str().ok()?;
        let number = name.strip_prefix(PREFIX)?.parse().ok()?;
        let inputs = INPUTS.lock().unwrap_or_else(PoisonError::into_inner);
        let input = Arc::clone(inputs.as_ref()?.get(&number)?);
        let library = [0; 32];
        let end = 0;
        Some(Box::into_raw(Box::new(File {
            library,
            input,
            end,
        })))
    })
}

unsafe extern "C" fn close_file(file: *mut File) -> c_int {
    guarded(-1, || {
        // SAFETY: the library closes once what `open_file` gave it.
        drop(unsafe { Box::from_raw(file) });
        Some(0)
    })
}

unsafe extern "C" fn end_of_addresses(file: *const File, _kind: c_int) -> u64 {
    // SAFETY: the library passes what `open_file` gave it, until it closes it.
    guarded(UNDEFINED, || Some(unsafe { (*file).end }))
}

unsafe extern "C" fn set_end_of_addresses(file: *mut File, _kind: c_int, end: u64) -> c_int {
    guarded(-1, || {
        // SAFETY: as above; the library's one lock is held, so nobody else looks at it.
        unsafe { (*file).end = end };
        Some(0)
    })
}

unsafe extern "C" fn size_of_file(file: *const File, _kind: c_int) -> u64 {
    guarded(UNDEFINED, || {
        // SAFETY: the library passes what `open_file` gave it, until it closes it.
        let input = unsafe { &(*file).input };
        Some(input.size_bytes)
    })
}

unsafe extern "C" fn read_file(
    file: *mut File,
    _kind: c_int,
    _transfer: hid_t,
    address: u64,
    size: usize,
    buffer: *mut c_void,
) -> c_int {
    guarded(-1, || {
        // SAFETY: the library passes what `open_file` gave it, until it closes it.
        let input = unsafe { &(*file).input };
        if size == 0 {
            return Some(0);
        }
        // The library reads over the end of a short file when it looks for a superblock.
        let there = input.size_bytes.saturating_sub(address).min(size as u64) as usize;
        // SAFETY: the library gives room for `size` bytes, which are written before any is read.
        let buffer = unsafe {
            buffer.cast::<u8>().write_bytes(0, size);
            std::slice::from_raw_parts_mut(buffer.cast::<u8>(), size)
        };
        match input.bytes.read_exact_at(&mut buffer[..there], address) {
            Ok(()) => {
                FAILURE.take();
                Some(0)
            }
            Err(error) => {
                FAILURE.set(Some(error.to_string()));
                FAILURE_COUNT.set(FAILURE_COUNT.get() + 1);
                None
            }
        }
    })
}

unsafe extern "C" fn write_file(
    _file: *mut File,
    _kind: c_int,
    _transfer: hid_t,
    _address: u64,
    _size: usize,
    _buffer: *const c_void,
) -> c_int {
    -1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_the_size_that_the_library_expects() {
        // Fields of a word each (the degree is padded to one), and seven numbers, padded.
        assert_eq!(size_of::<Front>(), 27 * 8);
        assert_eq!(size_of::<Class10>(), (27 + 4) * 8 + 32);
        assert_eq!(size_of::<Class14>(), 8 + (27 + 4 + 6) * 8 + 32);
    }
}

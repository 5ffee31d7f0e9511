//! Finds the real functions.
//!
//! First behind this library in the order of the linker; then, for programs that load MPI or
//! NCCL with `dlopen` for themselves alone (Python's extension modules), in the libraries that
//! are loaded and called like that.

use std::ffi::{CStr, c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Words in the names of libraries that may hold what is looked for.
const LIBRARY_WORDS: [&str; 3] = ["mpi", "nccl", "rccl"];

/// Not looked for yet.
const UNKNOWN: usize = 0;
/// Looked for in vain; no function lies at this address.
const MISSING: usize = 1;

/// A function of another library.
#[derive(Debug)]
pub(crate) struct Symbol {
    address: AtomicUsize,
    /// Its name, ending in a NUL, and another that does.
    names: [&'static str; 2],
}

impl Symbol {
    /// A function that has one of two names; both end in a NUL.
    pub(crate) const fn new(names: [&'static str; 2]) -> Self {
        Self {
            address: AtomicUsize::new(UNKNOWN),
            names,
        }
    }

    /// Its address; `None` if nothing has it.
    pub(crate) fn address(&self) -> Option<usize> {
        let known = match self.address.load(Ordering::Acquire) {
            UNKNOWN => {
                let found = self.names.iter().find_map(|name| find(name));
                let known = found.unwrap_or(MISSING);
                self.address.store(known, Ordering::Release);
                known
            }
            known => known,
        };
        (known != MISSING).then_some(known)
    }
}

/// Looks everywhere behind this library for a function whose name ends in a NUL.
fn find(name: &str) -> Option<usize> {
    find_from(libc::RTLD_NEXT, name)
}

/// Looks everywhere for data whose name ends in a NUL. The program itself may hold what its
/// libraries declare (a copy that all of them use), so it is asked first.
pub(crate) fn find_data(name: &str) -> Option<usize> {
    find_from(libc::RTLD_DEFAULT, name)
}

fn find_from(first: *mut c_void, name: &str) -> Option<usize> {
    let name = CStr::from_bytes_with_nul(name.as_bytes()).ok()?;
    // SAFETY: the name ends in a NUL; the answer is an address or null.
    let next = unsafe { libc::dlsym(first, name.as_ptr()) } as usize;
    if next != 0 {
        return Some(next);
    }
    let mut search = Search { name, found: 0 };
    // SAFETY: the callback gets the pointer to `search`, which outlives the call, and runs on
    // this thread alone.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut search).cast()) };
    (search.found != 0).then_some(search.found)
}

struct Search<'a> {
    name: &'a CStr,
    found: usize,
}

/// Looks into one loaded library; stops the search once it is found.
unsafe extern "C" fn visit(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    data: *mut c_void,
) -> c_int {
    // SAFETY: dl_iterate_phdr gives a valid description, whose name is a C string or null, and
    // `data` is the `Search` of `find`.
    let (path, search) = unsafe {
        let path = (*info).dlpi_name;
        if path.is_null() {
            return 0;
        }
        (CStr::from_ptr(path), &mut *data.cast::<Search<'_>>())
    };
    let file = path.to_bytes().rsplit(|byte| *byte == b'/').next();
    let file = String::from_utf8_lossy(file.unwrap_or_default());
    let is_likely = LIBRARY_WORDS.iter().any(|word| file.contains(word));
    if !is_likely || file.contains("mizar") {
        return 0;
    }
    // SAFETY: the path is a C string; a library that is loaded is only referred to, and stays
    // loaded from now on, as long as its function is called from here.
    let address = unsafe {
        let handle = libc::dlopen(path.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
        if handle.is_null() {
            return 0;
        }
        libc::dlsym(handle, search.name.as_ptr()) as usize
    };
    search.found = address;
    c_int::from(address != 0)
}

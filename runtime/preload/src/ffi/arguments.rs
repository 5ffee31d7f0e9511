//! The arguments of a call of MPI, as C or Fortran hands them over.
//!
//! Every read is of what MPI itself reads or has just written, under the same rules: this is
//! why it is safe. Places of arguments come from the tables of this library alone.

use crate::ffi::queries;
use crate::operations::{FORTRAN, Key};

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    /// Integers and handles by value.
    C,
    /// Everything by reference.
    Fortran,
}

/// `MPI_IN_PLACE` of Open MPI and of MPICH, in C.
const IN_PLACE: [usize; 2] = [1, usize::MAX];

/// The arguments of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arguments<'a> {
    language: Language,
    words: &'a [usize],
}

impl<'a> Arguments<'a> {
    pub(crate) fn new(language: Language, words: &'a [usize]) -> Self {
        Self { language, words }
    }

    pub(crate) fn language(&self) -> Language {
        self.language
    }

    /// The word in a place.
    pub(crate) fn word(&self, place: usize) -> usize {
        self.words[place]
    }

    /// An integer that goes in.
    pub(crate) fn integer(&self, place: usize) -> i64 {
        match self.language {
            Language::C => i64::from(self.words[place] as i32),
            Language::Fortran => self.output(place),
        }
    }

    /// An integer that an argument points to.
    pub(crate) fn output(&self, place: usize) -> i64 {
        self.element(place, 0)
    }

    /// An integer of an array.
    pub(crate) fn element(&self, place: usize, index: u64) -> i64 {
        let address = self.words[place] as *const i32;
        if address.is_null() {
            return 0;
        }
        // SAFETY: MPI requires a valid array of integers here, as long as the communicator or
        // the count of this call says.
        i64::from(unsafe { address.add(index as usize).read_unaligned() })
    }

    /// An index into an array that MPI has put out; `None` if it says "none".
    pub(crate) fn index(&self, place: usize, index: usize) -> Option<usize> {
        let first = match self.language {
            Language::C => 0,
            Language::Fortran => 1,
        };
        usize::try_from(self.element(place, index as u64) - first).ok()
    }

    /// A handle in an array, as the word that a function takes.
    pub(crate) fn handle(&self, place: usize, index: usize) -> usize {
        let base = self.words[place];
        if base == 0 {
            return 0;
        }
        let width = match self.language {
            Language::C => queries::family().handle_bytes(),
            Language::Fortran => size_of::<i32>(),
        };
        let address = base + index * width;
        // SAFETY: MPI requires a valid array of handles of this width here.
        unsafe {
            if width == size_of::<usize>() {
                (address as *const usize).read_unaligned()
            } else {
                (address as *const u32).read_unaligned() as usize
            }
        }
    }

    /// A request in an array, as a key.
    pub(crate) fn request(&self, place: usize, index: usize) -> Key {
        let handle = self.handle(place, index) as u64;
        match self.language {
            Language::C => handle & !FORTRAN,
            Language::Fortran => handle | FORTRAN,
        }
    }

    /// Is a buffer "the same as the receiver's"?
    pub(crate) fn is_in_place(&self, place: usize) -> bool {
        let buffer = self.words[place];
        match self.language {
            Language::C => IN_PLACE.contains(&buffer),
            Language::Fortran => queries::fortran_in_place() == Some(buffer),
        }
    }

    /// Has the call succeeded, by what it returned or put into its last argument?
    pub(crate) fn succeeded(&self, code: i32) -> bool {
        code == 0
    }
}

/// The code in Fortran's last argument, which Fortran 2008 may leave out.
///
/// # Safety
/// `place` is null or points to an integer.
pub(crate) unsafe fn error_code(place: usize) -> i32 {
    let address = place as *const i32;
    if address.is_null() {
        return 0;
    }
    // SAFETY: by the contract of this function.
    unsafe { address.read_unaligned() }
}

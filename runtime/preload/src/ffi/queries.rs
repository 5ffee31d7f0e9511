//! What MPI is asked: sizes of types and communicators, and whose MPI it is.

use std::ffi::c_int;
use std::sync::OnceLock;

use crate::ffi::arguments::{Arguments, Language};
use crate::ffi::symbols::{Symbol, find_data};

/// MPICH's `MPI_COMM_WORLD`, the same in all of its descendants.
const MPICH_WORLD: usize = 0x4400_0000;

/// An implementation of MPI, as far as its binary interface goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Handles are pointers to known objects.
    OpenMpi {
        /// `MPI_COMM_WORLD`.
        world: usize,
    },
    /// Handles are integers.
    Mpich,
}

impl Family {
    pub(crate) fn is_open_mpi(self) -> bool {
        matches!(self, Self::OpenMpi { .. })
    }

    /// The width of a handle in C.
    pub(crate) fn handle_bytes(self) -> usize {
        match self {
            Self::OpenMpi { .. } => size_of::<usize>(),
            Self::Mpich => size_of::<c_int>(),
        }
    }
}

/// Which one is loaded; asked when MPI is used, so it is.
pub(crate) fn family() -> Family {
    static FAMILY: OnceLock<Family> = OnceLock::new();
    *FAMILY.get_or_init(|| match find_data("ompi_mpi_comm_world\0") {
        Some(world) => Family::OpenMpi { world },
        None => Family::Mpich,
    })
}

/// Where Open MPI's Fortran has `MPI_IN_PLACE`.
pub(crate) fn fortran_in_place() -> Option<usize> {
    static PLACE: OnceLock<Option<usize>> = OnceLock::new();
    *PLACE.get_or_init(|| find_data("mpi_fortran_in_place_\0"))
}

static TYPE_SIZE: Symbol = Symbol::new(["PMPI_Type_size\0", "MPI_Type_size\0"]);
static COMM_SIZE: Symbol = Symbol::new(["PMPI_Comm_size\0", "MPI_Comm_size\0"]);
static COMM_RANK: Symbol = Symbol::new(["PMPI_Comm_rank\0", "MPI_Comm_rank\0"]);
static TYPE_SIZE_FORTRAN: Symbol = Symbol::new(["pmpi_type_size_\0", "mpi_type_size_\0"]);
static COMM_SIZE_FORTRAN: Symbol = Symbol::new(["pmpi_comm_size_\0", "mpi_comm_size_\0"]);
static COMM_RANK_FORTRAN: Symbol = Symbol::new(["pmpi_comm_rank_\0", "mpi_comm_rank_\0"]);

/// Bytes of one element of the type in a place; 0 if MPI does not say.
pub(crate) fn type_size(arguments: &Arguments<'_>, place: usize) -> u64 {
    let size = ask(
        arguments.language(),
        [&TYPE_SIZE, &TYPE_SIZE_FORTRAN],
        arguments.word(place),
    );
    size.unwrap_or(0)
}

/// Likewise of a type in an array.
pub(crate) fn type_size_of(arguments: &Arguments<'_>, place: usize, index: u64) -> u64 {
    let handle = match arguments.language() {
        Language::C => arguments.handle(place, index as usize),
        Language::Fortran => arguments.word(place) + index as usize * size_of::<c_int>(),
    };
    let functions = [&TYPE_SIZE, &TYPE_SIZE_FORTRAN];
    ask(arguments.language(), functions, handle).unwrap_or(0)
}

/// Ranks of the communicator in a place; 0 if MPI does not say.
pub(crate) fn comm_size(arguments: &Arguments<'_>, place: usize) -> u64 {
    let functions = [&COMM_SIZE, &COMM_SIZE_FORTRAN];
    ask(arguments.language(), functions, arguments.word(place)).unwrap_or(0)
}

/// This rank's place in it.
pub(crate) fn comm_rank(arguments: &Arguments<'_>, place: usize) -> Option<u64> {
    let functions = [&COMM_RANK, &COMM_RANK_FORTRAN];
    ask(arguments.language(), functions, arguments.word(place))
}

/// This process's place among all, and how many they are.
pub(crate) fn world() -> Option<(u32, u32)> {
    let world = match family() {
        Family::OpenMpi { world } => world,
        Family::Mpich => MPICH_WORLD,
    };
    let number = |functions| u32::try_from(ask(Language::C, functions, world)?).ok();
    let rank = number([&COMM_RANK, &COMM_RANK_FORTRAN])?;
    Some((rank, number([&COMM_SIZE, &COMM_SIZE_FORTRAN])?))
}

/// Asks one integer about a handle, or about the handle at an address for Fortran.
fn ask(language: Language, [c, fortran]: [&Symbol; 2], handle: usize) -> Option<u64> {
    let mut answer: c_int = 0;
    let mut code: c_int = 0;
    match language {
        Language::C => {
            let address = c.address()?;
            // SAFETY: the function of that name takes a handle, which the program has just used
            // successfully, and where to put an integer.
            unsafe {
                let function: unsafe extern "C-unwind" fn(usize, *mut c_int) -> c_int =
                    std::mem::transmute(address);
                code = function(handle, &raw mut answer);
            }
        }
        Language::Fortran => {
            let address = fortran.address()?;
            // SAFETY: likewise, all by reference.
            unsafe {
                let function: unsafe extern "C-unwind" fn(usize, *mut c_int, *mut c_int) =
                    std::mem::transmute(address);
                function(handle, &raw mut answer, &raw mut code);
            }
        }
    }
    (code == 0).then(|| u64::try_from(answer).ok()).flatten()
}

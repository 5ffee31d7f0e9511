//! How a function is put before a real one: for C, for Fortran, and for Fortran 2008 with Open
//! MPI, all from one row.

/// What a program gets from a function that is nowhere: `MPI_ERR_OTHER`, or its like.
pub(super) const NOWHERE: i32 = 16;

/// The type of a word, for each argument.
macro_rules! word {
    ($argument:ident) => {
        usize
    };
}

/// Rows of `C name, Fortran name, Fortran 2008 name (arguments) row`.
macro_rules! functions {
    ($($c:ident $fortran:ident $f08:ident ($($argument:ident),*) $row:expr;)*) => {$(
        // SAFETY (of the name): it takes the place of the function of that name, as declared
        // by MPI's standard, and hands every argument on.
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $c($($argument: usize),*) -> std::ffi::c_int {
            static REAL: $crate::ffi::symbols::Symbol = $crate::ffi::symbols::Symbol::new([
                concat!(stringify!($c), "\0"),
                concat!("P", stringify!($c), "\0"),
            ]);
            let Some(address) = REAL.address() else {
                return $crate::ffi::wrap::NOWHERE;
            };
            let call = || {
                // SAFETY: the function of that name, given what this one was given.
                unsafe {
                    let real: unsafe extern "C-unwind" fn(
                        $($crate::ffi::wrap::word!($argument)),*
                    ) -> std::ffi::c_int = std::mem::transmute(address);
                    real($($argument),*)
                }
            };
            const ROW: $crate::hook::Row = $row;
            let language = $crate::ffi::arguments::Language::C;
            $crate::hook::around(&ROW, language, &[$($argument),*], call)
        }
        $crate::ffi::wrap::fortran!($fortran ($($argument),*) $row);
        $crate::ffi::wrap::fortran!($f08 ($($argument),*) $row);
    )*};
}

/// One of Fortran's names: the same arguments by reference, and one for the code.
macro_rules! fortran {
    ($name:ident ($($argument:ident),*) $row:expr) => {
        // SAFETY (of the name): as for C.
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $name($($argument: usize,)* code: usize) {
            static REAL: $crate::ffi::symbols::Symbol = $crate::ffi::symbols::Symbol::new([
                concat!(stringify!($name), "\0"),
                concat!("p", stringify!($name), "\0"),
            ]);
            let Some(address) = REAL.address() else {
                return;
            };
            let call = || {
                // SAFETY: the function of that name, given what this one was given; it has
                // put a code where the last argument points.
                unsafe {
                    let real: unsafe extern "C-unwind" fn(
                        $($crate::ffi::wrap::word!($argument),)* usize
                    ) = std::mem::transmute(address);
                    real($($argument,)* code);
                    $crate::ffi::arguments::error_code(code)
                }
            };
            const ROW: $crate::hook::Row = $row;
            let language = $crate::ffi::arguments::Language::Fortran;
            $crate::hook::around(&ROW, language, &[$($argument),*], call);
        }
    };
}

pub(super) use {fortran, functions, word};

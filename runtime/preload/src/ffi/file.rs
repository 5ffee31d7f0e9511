//! MPI-IO, and the beginning and end of MPI.
//!
//! Bytes are those read or written as asked for.

#![allow(non_snake_case, reason = "MPI's names")]
#![allow(clippy::too_many_arguments, reason = "MPI's functions")]

use std::ffi::c_int;

use crate::ffi::arguments::{Language, error_code};
use crate::ffi::symbols::Symbol;
use crate::ffi::wrap::{NOWHERE, functions};
use crate::hook::{self, Bytes, Requests, Row};

functions! {
    MPI_File_close mpi_file_close_ mpi_file_close_f08_ (file)
        Row::of("MPI_File_close", Bytes::None, None, Requests::None);
    MPI_File_sync mpi_file_sync_ mpi_file_sync_f08_ (file)
        Row::of("MPI_File_sync", Bytes::None, None, Requests::None);
    MPI_File_read mpi_file_read_ mpi_file_read_f08_ (file, buffer, count, datatype, status)
        Row::of("MPI_File_read", Bytes::Count(2, 3), None, Requests::None);
    MPI_File_write mpi_file_write_ mpi_file_write_f08_ (file, buffer, count, datatype, status)
        Row::of("MPI_File_write", Bytes::Count(2, 3), None, Requests::None);
    MPI_File_read_all mpi_file_read_all_ mpi_file_read_all_f08_ (file, buffer, count, datatype, status)
        Row::of("MPI_File_read_all", Bytes::Count(2, 3), None, Requests::None);
    MPI_File_write_all mpi_file_write_all_ mpi_file_write_all_f08_ (file, buffer, count, datatype, status)
        Row::of("MPI_File_write_all", Bytes::Count(2, 3), None, Requests::None);
    MPI_File_read_shared mpi_file_read_shared_ mpi_file_read_shared_f08_ (file, buffer, count, datatype, status)
        Row::of("MPI_File_read_shared", Bytes::Count(2, 3), None, Requests::None);
    MPI_File_write_shared mpi_file_write_shared_ mpi_file_write_shared_f08_ (file, buffer, count, datatype, status)
        Row::of("MPI_File_write_shared", Bytes::Count(2, 3), None, Requests::None);
    MPI_File_read_ordered mpi_file_read_ordered_ mpi_file_read_ordered_f08_ (file, buffer, count, datatype, status)
        Row::of("MPI_File_read_ordered", Bytes::Count(2, 3), None, Requests::None);
    MPI_File_write_ordered mpi_file_write_ordered_ mpi_file_write_ordered_f08_ (file, buffer, count, datatype, status)
        Row::of("MPI_File_write_ordered", Bytes::Count(2, 3), None, Requests::None);
    MPI_File_read_at mpi_file_read_at_ mpi_file_read_at_f08_ (file, offset, buffer, count, datatype, status)
        Row::of("MPI_File_read_at", Bytes::Count(3, 4), None, Requests::None);
    MPI_File_write_at mpi_file_write_at_ mpi_file_write_at_f08_ (file, offset, buffer, count, datatype, status)
        Row::of("MPI_File_write_at", Bytes::Count(3, 4), None, Requests::None);
    MPI_File_read_at_all mpi_file_read_at_all_ mpi_file_read_at_all_f08_ (file, offset, buffer, count, datatype, status)
        Row::of("MPI_File_read_at_all", Bytes::Count(3, 4), None, Requests::None);
    MPI_File_write_at_all mpi_file_write_at_all_ mpi_file_write_at_all_f08_ (file, offset, buffer, count, datatype, status)
        Row::of("MPI_File_write_at_all", Bytes::Count(3, 4), None, Requests::None);
    MPI_File_iread mpi_file_iread_ mpi_file_iread_f08_ (file, buffer, count, datatype, request)
        Row::of("MPI_File_iread", Bytes::Count(2, 3), None, Requests::Begin(4));
    MPI_File_iwrite mpi_file_iwrite_ mpi_file_iwrite_f08_ (file, buffer, count, datatype, request)
        Row::of("MPI_File_iwrite", Bytes::Count(2, 3), None, Requests::Begin(4));
    MPI_File_iread_at mpi_file_iread_at_ mpi_file_iread_at_f08_ (file, offset, buffer, count, datatype, request)
        Row::of("MPI_File_iread_at", Bytes::Count(3, 4), None, Requests::Begin(5));
    MPI_File_iwrite_at mpi_file_iwrite_at_ mpi_file_iwrite_at_f08_ (file, offset, buffer, count, datatype, request)
        Row::of("MPI_File_iwrite_at", Bytes::Count(3, 4), None, Requests::Begin(5));
    MPI_Finalize mpi_finalize_ mpi_finalize_f08_ ()
        Row::of("MPI_Finalize", Bytes::None, None, Requests::None);
}

const INIT: Row = Row::of("MPI_Init", Bytes::None, None, Requests::None);
const INIT_THREAD: Row = Row::of("MPI_Init_thread", Bytes::None, None, Requests::None);
const FILE_OPEN: Row = Row::of("MPI_File_open", Bytes::None, None, Requests::None);

// SAFETY (of the names below): each takes the place of the function of that name, as declared
// by MPI's standard, and hands every argument on.

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn MPI_Init(count: usize, values: usize) -> c_int {
    static REAL: Symbol = Symbol::new(["MPI_Init\0", "PMPI_Init\0"]);
    let Some(address) = REAL.address() else {
        return NOWHERE;
    };
    hook::around_init(&INIT, Language::C, || {
        // SAFETY: the function of that name, given what this one was given.
        unsafe {
            let real: unsafe extern "C-unwind" fn(usize, usize) -> c_int =
                std::mem::transmute(address);
            real(count, values)
        }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn MPI_Init_thread(
    count: usize,
    values: usize,
    required: usize,
    provided: usize,
) -> c_int {
    static REAL: Symbol = Symbol::new(["MPI_Init_thread\0", "PMPI_Init_thread\0"]);
    let Some(address) = REAL.address() else {
        return NOWHERE;
    };
    hook::around_init(&INIT_THREAD, Language::C, || {
        // SAFETY: the function of that name, given what this one was given.
        unsafe {
            let real: unsafe extern "C-unwind" fn(usize, usize, usize, usize) -> c_int =
                std::mem::transmute(address);
            real(count, values, required, provided)
        }
    })
}

/// Fortran's names for a function that initialises: these arguments and one for the code.
macro_rules! initialises {
    ($($name:ident ($($argument:ident),*) $row:ident;)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $name($($argument: usize,)* code: usize) {
            static REAL: Symbol = Symbol::new([
                concat!(stringify!($name), "\0"),
                concat!("p", stringify!($name), "\0"),
            ]);
            let Some(address) = REAL.address() else {
                return;
            };
            hook::around_init(&$row, Language::Fortran, || {
                // SAFETY: the function of that name, given what this one was given; it has put
                // a code where the last argument points.
                unsafe {
                    let real: unsafe extern "C-unwind" fn(
                        $(crate::ffi::wrap::word!($argument),)* usize
                    ) = std::mem::transmute(address);
                    real($($argument,)* code);
                    error_code(code)
                }
            });
        }
    )*};
}

initialises! {
    mpi_init_ () INIT;
    mpi_init_f08_ () INIT;
    mpi_init_thread_ (required, provided) INIT_THREAD;
    mpi_init_thread_f08_ (required, provided) INIT_THREAD;
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn MPI_File_open(
    comm: usize,
    name: usize,
    mode: usize,
    info: usize,
    file: usize,
) -> c_int {
    static REAL: Symbol = Symbol::new(["MPI_File_open\0", "PMPI_File_open\0"]);
    let Some(address) = REAL.address() else {
        return NOWHERE;
    };
    let arguments = [comm, name, mode, info, file];
    hook::around(&FILE_OPEN, Language::C, &arguments, || {
        // SAFETY: the function of that name, given what this one was given.
        unsafe {
            let real: unsafe extern "C-unwind" fn(usize, usize, usize, usize, usize) -> c_int =
                std::mem::transmute(address);
            real(comm, name, mode, info, file)
        }
    })
}

/// Fortran hands the length of the name over behind the last argument.
macro_rules! opens_in_fortran {
    ($($fortran:ident)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $fortran(
            comm: usize,
            name: usize,
            mode: usize,
            info: usize,
            file: usize,
            code: usize,
            name_length: usize,
        ) {
            static REAL: Symbol = Symbol::new([
                concat!(stringify!($fortran), "\0"),
                concat!("p", stringify!($fortran), "\0"),
            ]);
            let Some(address) = REAL.address() else {
                return;
            };
            let arguments = [comm, name, mode, info, file];
            hook::around(&FILE_OPEN, Language::Fortran, &arguments, || {
                // SAFETY: as for C; it has put a code where the argument points.
                unsafe {
                    let real: unsafe extern "C-unwind" fn(
                        usize, usize, usize, usize, usize, usize, usize,
                    ) = std::mem::transmute(address);
                    real(comm, name, mode, info, file, code, name_length);
                    error_code(code)
                }
            });
        }
    )*};
}

opens_in_fortran! { mpi_file_open_ mpi_file_open_f08_ }

//! NCCL and RCCL, which have the same symbols: calls, bytes, and the time of the host in them.
//!
//! These functions mostly return before the GPU has communicated. The kernels are not timed here,
//! so what of them is hidden or exposed is not known; making a communicator and ending a group can
//! block, and that time is exposed.

#![allow(non_snake_case, reason = "NCCL's names")]
#![allow(clippy::too_many_arguments, reason = "NCCL's functions")]

use std::ffi::{c_int, c_void};

use mizar_api::calls::number;

use crate::ffi::symbols::Symbol;
use crate::hook::unharmed;
use crate::session::{self, Done, Outermost};

/// `ncclInternalError`: what a program gets from a function that is nowhere.
const NOWHERE: c_int = 3;

/// Bytes of an element, by `ncclDataType_t`.
const TYPE_BYTES: [u64; 12] = [1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1];

/// `ncclUniqueId`, which is handed over by value.
#[repr(C)]
#[derive(Clone, Copy)]
struct UniqueId([u8; 128]);

type Pointer = *mut c_void;

fn size(datatype: c_int) -> u64 {
    let index = usize::try_from(datatype).unwrap_or(usize::MAX);
    TYPE_BYTES.get(index).copied().unwrap_or(0)
}

static COUNT: Symbol = Symbol::new(["ncclCommCount\0", "pncclCommCount\0"]);
static RANK: Symbol = Symbol::new(["ncclCommUserRank\0", "pncclCommUserRank\0"]);

/// Asks NCCL one integer about a communicator.
fn ask(function: &Symbol, comm: Pointer) -> Option<u64> {
    let address = function.address()?;
    let mut answer: c_int = 0;
    // SAFETY: the function of that name takes a communicator, which the program has just used
    // successfully, and where to put an integer.
    let code = unsafe {
        let function: unsafe extern "C-unwind" fn(Pointer, *mut c_int) -> c_int =
            std::mem::transmute(address);
        function(comm, &raw mut answer)
    };
    (code == 0).then(|| u64::try_from(answer).ok()).flatten()
}

fn ranks(comm: Pointer) -> u64 {
    ask(&COUNT, comm).unwrap_or(0)
}

fn is_root(root: c_int, comm: Pointer) -> bool {
    ask(&RANK, comm) == u64::try_from(root).ok()
}

/// Makes a call and counts it; `bytes` is asked for once it has succeeded.
fn around(kind: usize, bytes: impl FnOnce() -> u64, call: impl FnOnce() -> c_int) -> c_int {
    if !session::is_active() && !unharmed(session::start).unwrap_or(false) {
        return call();
    }
    let Some(_outermost) = Outermost::enter() else {
        return call();
    };
    let open = unharmed(|| session::begin(kind, None, &[])).flatten();
    let code = call();
    if let Some(open) = open {
        unharmed(|| {
            let bytes = if code == 0 { bytes() } else { 0 };
            let done = Done {
                bytes,
                ..Done::default()
            };
            session::end_call(open, done);
        });
    }
    code
}

macro_rules! functions {
    ($($name:ident ($($argument:ident: $type:ty),*) $bytes:expr;)*) => {$(
        // SAFETY (of the name): it takes the place of NCCL's function of that name, and hands
        // every argument on.
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $name($($argument: $type),*) -> c_int {
            static REAL: Symbol = Symbol::new([
                concat!(stringify!($name), "\0"),
                concat!("p", stringify!($name), "\0"),
            ]);
            let Some(address) = REAL.address() else {
                return NOWHERE;
            };
            const KIND: usize = number(stringify!($name));
            around(KIND, || $bytes, || {
                // SAFETY: the function of that name, given what this one was given.
                unsafe {
                    let real: unsafe extern "C-unwind" fn($($type),*) -> c_int =
                        std::mem::transmute(address);
                    real($($argument),*)
                }
            })
        }
    )*};
}

functions! {
    ncclAllReduce(send: Pointer, receive: Pointer, count: usize, datatype: c_int, op: c_int,
        comm: Pointer, stream: Pointer) count as u64 * size(datatype);
    ncclReduceScatter(send: Pointer, receive: Pointer, count: usize, datatype: c_int, op: c_int,
        comm: Pointer, stream: Pointer) count as u64 * size(datatype) * ranks(comm);
    ncclAllGather(send: Pointer, receive: Pointer, count: usize, datatype: c_int, comm: Pointer,
        stream: Pointer) count as u64 * size(datatype);
    ncclBroadcast(send: Pointer, receive: Pointer, count: usize, datatype: c_int, root: c_int,
        comm: Pointer, stream: Pointer)
        if is_root(root, comm) { count as u64 * size(datatype) } else { 0 };
    ncclBcast(buffer: Pointer, count: usize, datatype: c_int, root: c_int, comm: Pointer,
        stream: Pointer) if is_root(root, comm) { count as u64 * size(datatype) } else { 0 };
    ncclReduce(send: Pointer, receive: Pointer, count: usize, datatype: c_int, op: c_int,
        root: c_int, comm: Pointer, stream: Pointer) count as u64 * size(datatype);
    ncclSend(buffer: Pointer, count: usize, datatype: c_int, peer: c_int, comm: Pointer,
        stream: Pointer) count as u64 * size(datatype);
    ncclRecv(buffer: Pointer, count: usize, datatype: c_int, peer: c_int, comm: Pointer,
        stream: Pointer) 0;
    ncclGroupEnd() 0;
    ncclCommInitRank(comm: Pointer, ranks: c_int, id: UniqueId, rank: c_int) 0;
    ncclCommInitRankConfig(comm: Pointer, ranks: c_int, id: UniqueId, rank: c_int,
        config: Pointer) 0;
    ncclCommInitAll(comms: Pointer, count: c_int, devices: Pointer) 0;
}

//! `libmizar_collective.so`: collectives of the ranks of one node for Python and C.
//!
//! Called by `mizar.py` through ctypes (`mizar.ddp`). Ranks meet in a private folder that the
//! caller names, then speak through shared memory as the trainer's ranks do ([`mizar_comm`]). No
//! MPI is needed, and none is initialised.
//!
//! The interface is six functions (`include/mizar_collective.h`). Each gives 0, or 1 with a message from
//! [`mizar_group_error`]; no panic leaves the library. A group is used by one thread at a time.
//!
//! Left out: other nodes, which the caller's own communication reaches by the first rank of each.

mod ffi;
mod group;

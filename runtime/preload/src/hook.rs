//! What is done around a call of MPI: which figures its arguments give, and which operations it
//! begins or completes. Each function has a [`Row`] in [`crate::ffi`]'s tables.

use mizar_api::calls::{Family, KINDS, number};

use crate::ffi::arguments::{Arguments, Language};
use crate::ffi::queries;
use crate::operations::Key;
use crate::session::{self, Done, Open, Outermost};

/// Requests of one call that are looked at; of a longer list the rest are not timed.
const MAX_REQUESTS: usize = 4096;

/// What is known of a function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Its number among [`KINDS`].
    pub(crate) kind: usize,
    pub(crate) bytes: Bytes,
    /// Which argument is the communicator of a collective.
    pub(crate) comm: Option<usize>,
    pub(crate) requests: Requests,
}

impl Row {
    /// Of the function of this name.
    pub(crate) const fn of(
        name: &str,
        bytes: Bytes,
        comm: Option<usize>,
        requests: Requests,
    ) -> Self {
        Self {
            kind: number(name),
            bytes,
            comm,
            requests,
        }
    }
}

/// Which arguments tell the bytes that this rank gives. Numbers are places of arguments.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bytes {
    None,
    /// Elements of a type.
    Count(usize, usize),
    /// The same to each rank of a communicator.
    Each(usize, usize, usize),
    /// Only the root gives: count, type, root, communicator.
    Root(usize, usize, usize, usize),
    /// Only the root gives, to each rank.
    RootEach(usize, usize, usize, usize),
    /// Only the root gives: counts, type, root, communicator.
    RootCounts(usize, usize, usize, usize),
    /// Buffer, count, type; in place, those of the receiver.
    Own([usize; 3], [usize; 2]),
    /// Likewise, to each rank of a communicator.
    OwnEach([usize; 3], [usize; 2], usize),
    /// Buffer, count, type; in place, this rank's of the receiver's counts; communicator.
    OwnOfCounts([usize; 3], [usize; 2], usize),
    /// Buffer, counts, type; in place, those of the receiver; communicator.
    Counts([usize; 3], [usize; 2], usize),
    /// Likewise, and each has a type of its own.
    CountsTypes([usize; 3], [usize; 2], usize),
}

/// Which arguments are requests, and what becomes of them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Requests {
    None,
    /// Begun.
    Begin(usize),
    /// Begun: how many, where.
    BeginAll(usize, usize),
    /// Complete afterwards.
    Wait(usize),
    /// All complete: how many, where.
    WaitAll(usize, usize),
    /// One complete: how many, where, which.
    WaitAny(usize, usize, usize),
    /// Some complete: how many, where, how many of them, which.
    WaitSome(usize, usize, usize, usize),
    /// Complete if the flag says so.
    Test(usize, usize),
    /// All complete if the flag says so: how many, where, flag.
    TestAll(usize, usize, usize),
    /// One complete if the flag says so: how many, where, which, flag.
    TestAny(usize, usize, usize, usize),
}

/// What is remembered between begin and end.
struct Before {
    open: Open,
    waited: Vec<Key>,
}

/// Makes a call and counts it. `call` is made exactly once, whatever the bookkeeping does.
pub(crate) fn around(
    row: &Row,
    language: Language,
    arguments: &[usize],
    call: impl FnOnce() -> i32,
) -> i32 {
    if !session::is_active() && !unharmed(session::start).unwrap_or(false) {
        return call();
    }
    // Fortran's functions call C's in MPICH, which are the ones counted there.
    if language == Language::Fortran && !queries::family().is_open_mpi() {
        return call();
    }
    let Some(_outermost) = Outermost::enter() else {
        return call();
    };
    let arguments = Arguments::new(language, arguments);
    let before = unharmed(|| begin(row, &arguments)).flatten();
    let code = call();
    if let Some(before) = before {
        unharmed(|| end(row, &arguments, &before, arguments.succeeded(code)));
    }
    code
}

/// Runs bookkeeping whose panic must not reach the program.
pub(crate) fn unharmed<R>(work: impl FnOnce() -> R) -> Option<R> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).ok()
}

fn begin(row: &Row, arguments: &Arguments<'_>) -> Option<Before> {
    let is_collective = KINDS[row.kind].family == Family::Collective;
    let comm = row.comm.filter(|_| is_collective);
    let comm_ranks = comm.map(|comm| queries::comm_size(arguments, comm));
    // No allocation for calls without requests.
    let waited = waited(row, arguments);
    let open = session::begin(row.kind, comm_ranks, &waited)?;
    Some(Before { open, waited })
}

/// The requests that a call waits for, as they are before it: afterwards they are gone.
fn waited(row: &Row, arguments: &Arguments<'_>) -> Vec<Key> {
    match row.requests {
        Requests::Wait(request) | Requests::Test(request, _) => {
            vec![arguments.request(request, 0)]
        }
        Requests::WaitAll(count, requests)
        | Requests::WaitAny(count, requests, _)
        | Requests::WaitSome(count, requests, _, _)
        | Requests::TestAll(count, requests, _)
        | Requests::TestAny(count, requests, _, _) => (0..length(arguments, count))
            .map(|index| arguments.request(requests, index))
            .collect(),
        Requests::None | Requests::Begin(_) | Requests::BeginAll(..) => Vec::new(),
    }
}

fn length(arguments: &Arguments<'_>, count: usize) -> usize {
    usize::try_from(arguments.integer(count)).map_or(0, |count| count.min(MAX_REQUESTS))
}

fn end(row: &Row, arguments: &Arguments<'_>, before: &Before, succeeded: bool) {
    let mut done = Done::default();
    let (begun, ended);
    if succeeded {
        done.bytes = bytes(row.bytes, arguments);
        begun = begun_by(row, arguments);
        ended = ended_by(row, arguments, &before.waited);
        done.begun = &begun;
        done.ended = &ended;
    }
    session::end_call(before.open, done);
}

fn begun_by(row: &Row, arguments: &Arguments<'_>) -> Vec<Key> {
    match row.requests {
        Requests::Begin(request) => vec![arguments.request(request, 0)],
        Requests::BeginAll(count, requests) => (0..length(arguments, count))
            .map(|index| arguments.request(requests, index))
            .collect(),
        _ => Vec::new(),
    }
}

fn ended_by(row: &Row, arguments: &Arguments<'_>, waited: &[Key]) -> Vec<Key> {
    let one = |index: Option<usize>| index.and_then(|index| waited.get(index).copied());
    match row.requests {
        Requests::Wait(_) | Requests::WaitAll(..) => waited.to_vec(),
        Requests::WaitAny(_, _, which) => one(arguments.index(which, 0)).into_iter().collect(),
        Requests::WaitSome(_, _, count, which) => {
            let count = usize::try_from(arguments.output(count)).unwrap_or(0);
            (0..count.min(waited.len()))
                .filter_map(|place| one(arguments.index(which, place)))
                .collect()
        }
        Requests::Test(_, flag) | Requests::TestAll(_, _, flag) if arguments.output(flag) != 0 => {
            waited.to_vec()
        }
        Requests::TestAny(_, _, which, flag) if arguments.output(flag) != 0 => {
            one(arguments.index(which, 0)).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// The bytes that this rank gave into a call that has succeeded, so that its arguments mean
/// something.
fn bytes(bytes: Bytes, arguments: &Arguments<'_>) -> u64 {
    let size = |datatype| queries::type_size(arguments, datatype);
    let count = |place| arguments.integer(place).max(0).cast_unsigned();
    let ranks = |comm| queries::comm_size(arguments, comm);
    let is_root = |root: usize, comm| {
        u64::try_from(arguments.integer(root))
            .is_ok_and(|root| queries::comm_rank(arguments, comm).is_some_and(|rank| rank == root))
    };
    let sum = |counts, comm| -> u64 {
        (0..ranks(comm))
            .map(|rank| arguments.element(counts, rank).max(0).cast_unsigned())
            .sum()
    };
    // Which of sender's and receiver's arguments hold.
    let own = |sender: [usize; 3], receiver: [usize; 2]| {
        if arguments.is_in_place(sender[0]) {
            receiver
        } else {
            [sender[1], sender[2]]
        }
    };
    match bytes {
        Bytes::None => 0,
        Bytes::Count(number, datatype) => count(number) * size(datatype),
        Bytes::Each(number, datatype, comm) => count(number) * size(datatype) * ranks(comm),
        Bytes::Root(number, datatype, root, comm) if is_root(root, comm) => {
            count(number) * size(datatype)
        }
        Bytes::RootEach(number, datatype, root, comm) if is_root(root, comm) => {
            count(number) * size(datatype) * ranks(comm)
        }
        Bytes::RootCounts(counts, datatype, root, comm) if is_root(root, comm) => {
            sum(counts, comm) * size(datatype)
        }
        Bytes::Root(..) | Bytes::RootEach(..) | Bytes::RootCounts(..) => 0,
        Bytes::Own(sender, receiver) => {
            let [number, datatype] = own(sender, receiver);
            count(number) * size(datatype)
        }
        Bytes::OwnEach(sender, receiver, comm) => {
            let [number, datatype] = own(sender, receiver);
            count(number) * size(datatype) * ranks(comm)
        }
        Bytes::OwnOfCounts(sender, [counts, datatype], comm)
            if arguments.is_in_place(sender[0]) =>
        {
            let rank = queries::comm_rank(arguments, comm).unwrap_or(0);
            let number = arguments.element(counts, rank).max(0).cast_unsigned();
            number * size(datatype)
        }
        Bytes::OwnOfCounts(sender, _, _) => count(sender[1]) * size(sender[2]),
        Bytes::Counts(sender, receiver, comm) => {
            let [counts, datatype] = own(sender, receiver);
            sum(counts, comm) * size(datatype)
        }
        Bytes::CountsTypes(sender, receiver, comm) => {
            let [counts, types] = own(sender, receiver);
            (0..ranks(comm))
                .map(|rank| {
                    let number = arguments.element(counts, rank).max(0).cast_unsigned();
                    number * queries::type_size_of(arguments, types, rank)
                })
                .sum()
        }
    }
}

/// Makes the call that initialises MPI; afterwards the program's place is known.
pub(crate) fn around_init(row: &Row, language: Language, call: impl FnOnce() -> i32) -> i32 {
    let code = around(row, language, &[], call);
    if code == 0
        && session::is_active()
        && let Some(Some((rank, ranks))) = unharmed(queries::world)
    {
        session::set_rank(rank, ranks);
    }
    code
}

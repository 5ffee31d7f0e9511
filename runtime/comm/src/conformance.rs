//! The suite that every [`Communicator`] must pass, for back ends here and elsewhere.

use crate::{CommError, Communicator, ReduceOperation};

/// Runs all of the suite. Collective: every rank calls it; message lengths straddle
/// `chunk_bytes`, the length past which the back end splits a message.
///
/// # Panics
/// If the back end breaks a promise of [`Communicator`].
pub fn check(comm: &dyn Communicator, chunk_bytes: usize) {
    ranks_are_numbered_from_zero(comm);
    peers_that_do_not_exist_are_refused(comm);
    for length in [
        0,
        1,
        chunk_bytes - 1,
        chunk_bytes,
        chunk_bytes + 1,
        3 * chunk_bytes + 5,
    ] {
        messages_go_around_a_ring(comm, length);
        everyone_gets_the_roots_bytes(comm, length);
        parts_arrive_in_rank_order(comm, length);
    }
    tags_are_streams_of_their_own(comm);
    reductions_fold_in_rank_order(comm);
    unequal_reductions_are_refused(comm);
    comm.barrier().expect("barrier");
}

/// Bytes that tell their origin.
fn pattern(rank: usize, length: usize) -> Vec<u8> {
    (0..length)
        .map(|index| (rank * 31 + index * 7 + index / 251) as u8)
        .collect()
}

fn ranks_are_numbered_from_zero(comm: &dyn Communicator) {
    assert!(comm.rank() < comm.size());
    let own = comm.rank().to_string();
    let all = comm.all_gather(own.as_bytes()).expect("all_gather");
    let expected: Vec<_> = (0..comm.size())
        .map(|rank| rank.to_string().into_bytes())
        .collect();
    assert_eq!(all, expected);
}

fn peers_that_do_not_exist_are_refused(comm: &dyn Communicator) {
    for peer in [comm.rank(), comm.size()] {
        let sent = comm.send(peer, 1, b"x");
        assert!(
            matches!(sent, Err(CommError::NoSuchRank { .. })),
            "{sent:?}"
        );
        let received = comm.receive(peer, 1);
        assert!(
            matches!(received, Err(CommError::NoSuchRank { .. })),
            "{received:?}"
        );
    }
    let gathered = comm.gather(comm.size(), b"x");
    assert!(
        matches!(gathered, Err(CommError::NoSuchRank { .. })),
        "{gathered:?}"
    );
    let broadcast = comm.broadcast(comm.size(), &mut Vec::new());
    assert!(
        matches!(broadcast, Err(CommError::NoSuchRank { .. })),
        "{broadcast:?}"
    );
}

fn messages_go_around_a_ring(comm: &dyn Communicator, length: usize) {
    let (rank, size) = (comm.rank(), comm.size());
    if size == 1 {
        return;
    }
    let (next, previous) = ((rank + 1) % size, (rank + size - 1) % size);
    // Rank 0 sends first and the others receive first, so that no back end needs to buffer.
    let send = || comm.send(next, 2, &pattern(rank, length)).expect("send");
    if rank == 0 {
        send();
    }
    assert_eq!(
        comm.receive(previous, 2).expect("receive"),
        pattern(previous, length)
    );
    if rank != 0 {
        send();
    }
}

fn everyone_gets_the_roots_bytes(comm: &dyn Communicator, length: usize) {
    for root in 0..comm.size() {
        let mut buffer = if comm.rank() == root {
            pattern(root, length)
        } else {
            vec![9; 3]
        };
        comm.broadcast(root, &mut buffer).expect("broadcast");
        assert_eq!(buffer, pattern(root, length));
    }
}

/// Each rank's part has another length, the first rank's none.
fn parts_arrive_in_rank_order(comm: &dyn Communicator, length: usize) {
    let part = |rank| pattern(rank, rank * length);
    let expected: Vec<_> = (0..comm.size()).map(part).collect();
    for root in 0..comm.size() {
        let parts = comm.gather(root, &part(comm.rank())).expect("gather");
        assert_eq!(parts, (comm.rank() == root).then(|| expected.clone()));
    }
    assert_eq!(
        comm.all_gather(&part(comm.rank())).expect("all_gather"),
        expected
    );
}

fn tags_are_streams_of_their_own(comm: &dyn Communicator) {
    if comm.size() == 1 {
        return;
    }
    match comm.rank() {
        0 => {
            comm.send(1, 10, b"first of ten").expect("send");
            comm.send(1, 11, b"eleven").expect("send");
            comm.send(1, 10, b"second of ten").expect("send");
        }
        1 => {
            assert_eq!(comm.receive(0, 11).expect("receive"), b"eleven");
            assert_eq!(comm.receive(0, 10).expect("receive"), b"first of ten");
            assert_eq!(comm.receive(0, 10).expect("receive"), b"second of ten");
        }
        _ => {}
    }
}

/// The values do not add up exactly, so that only one order gives these bits.
fn reductions_fold_in_rank_order(comm: &dyn Communicator) {
    let value = |rank: usize| {
        [
            0.1 * (rank + 1) as f64,
            1e16 / (rank + 1) as f64,
            -(rank as f64),
        ]
    };
    let fold = |index: usize, operation: fn(f64, f64) -> f64| {
        (0..comm.size())
            .map(|rank| value(rank)[index])
            .reduce(operation)
            .expect("a rank")
    };
    for (operation, function) in [
        (ReduceOperation::Sum, (|a, b| a + b) as fn(f64, f64) -> f64),
        (ReduceOperation::Minimum, f64::min),
        (ReduceOperation::Maximum, f64::max),
    ] {
        let mut values = value(comm.rank());
        comm.all_reduce(&mut values, operation).expect("all_reduce");
        let expected = [0, 1, 2].map(|index| fold(index, function).to_bits());
        assert_eq!(values.map(f64::to_bits), expected, "{operation:?}");
    }
    comm.all_reduce(&mut [], ReduceOperation::Sum)
        .expect("an empty all_reduce");
}

fn unequal_reductions_are_refused(comm: &dyn Communicator) {
    if comm.size() == 1 {
        return;
    }
    let mut values = vec![1.0; 1 + comm.rank()];
    let result = comm.all_reduce(&mut values, ReduceOperation::Sum);
    assert!(
        matches!(result, Err(CommError::LengthMismatch { .. })),
        "{result:?}"
    );
}

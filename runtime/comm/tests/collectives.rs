//! Collectives over arrays against what one rank alone would compute, over threads and MPI, with
//! ranks on one node and on several, whole and with ranks that fail.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

use std::time::{Duration, Instant};

use half::{bf16, f16};
use mizar_comm::collective::{Element, Engine, Group, Narrow};
use mizar_comm::{CommError, Communicator, ReduceOperation, Single, run_threads};

const LIMIT: Duration = Duration::from_secs(60);

/// Lengths at and beside the edges of everything that arrays are cut at.
fn lengths<T>() -> Vec<usize> {
    let of_bytes = |bytes: usize| bytes / size_of::<T>();
    let mut lengths = vec![0, 1, 2, 63, 64, 65, 1000];
    for edge in [8 << 10, 128 << 10, 256 << 10] {
        lengths.extend([of_bytes(edge) - 1, of_bytes(edge), of_bytes(edge) + 1]);
    }
    lengths.push(of_bytes(1 << 20) + 17);
    lengths
}

/// A value that is different for each rank and cell, and rounds when it is added.
fn value<T: Element>(rank: usize, cell: usize, from_f64: fn(f64) -> T) -> T {
    let mixed = (rank * 7919 + cell * 104_729 + 13) % 10_007;
    from_f64(mixed as f64 * 0.37 - 1000.0 / (1.0 + rank as f64))
}

/// What all ranks fold to: within nodes in the order of ranks, then the nodes along a tree.
fn expected<T: Element>(
    nodes: &[Vec<usize>],
    length: usize,
    operation: ReduceOperation,
    from_f64: fn(f64) -> T,
) -> Vec<T> {
    let array = |rank: usize| -> Vec<T> {
        (0..length)
            .map(|cell| value(rank, cell, from_f64))
            .collect()
    };
    let fold = |mut into: Vec<T>, from: &[T]| {
        T::fold(operation, &mut into, from);
        into
    };
    let mut parts: Vec<Vec<T>> = nodes
        .iter()
        .map(|ranks| {
            let mut arrays = ranks.iter().map(|rank| array(*rank));
            let first = arrays.next().unwrap();
            arrays.fold(first, |sum, next| fold(sum, &next))
        })
        .collect();
    let mut stride = 1;
    while stride < parts.len() {
        for at in (0..parts.len()).step_by(2 * stride) {
            if at + stride < parts.len() {
                let from = parts[at + stride].clone();
                T::fold(operation, &mut parts[at], &from);
            }
        }
        stride *= 2;
    }
    parts.swap_remove(0)
}

fn check_type<C: Communicator, T: Element>(
    group: &mut Group<C>,
    nodes: &[Vec<usize>],
    from_f64: fn(f64) -> T,
) {
    let (rank, size) = (group.rank(), group.size());
    for length in lengths::<T>() {
        let own: Vec<T> = (0..length)
            .map(|cell| value(rank, cell, from_f64))
            .collect();
        for operation in [
            ReduceOperation::Sum,
            ReduceOperation::Minimum,
            ReduceOperation::Maximum,
        ] {
            let mut values = own.clone();
            group.all_reduce(&mut values, operation).unwrap();
            let right = expected(nodes, length, operation, from_f64);
            assert!(values == right, "all_reduce of {length}, {operation:?}");
        }
        let gathered = group.all_gather(&own).unwrap();
        for (from, part) in gathered.chunks(length.max(1)).enumerate() {
            let right = |(cell, found): (usize, &T)| *found == value(from, cell, from_f64);
            assert!(part.iter().enumerate().all(right), "all_gather of {length}");
        }
        let root = length % size;
        let mut values = own.clone();
        group.broadcast(root, &mut values).unwrap();
        let right = |(cell, found): (usize, &T)| *found == value(root, cell, from_f64);
        assert!(
            values.iter().enumerate().all(right),
            "broadcast of {length}"
        );
        if length.is_multiple_of(size) {
            let part = length / size;
            let parted = group
                .reduce_scatter(&mut own.clone(), ReduceOperation::Sum)
                .unwrap();
            let right = expected(nodes, length, ReduceOperation::Sum, from_f64);
            assert!(
                parted == right[rank * part..][..part],
                "reduce_scatter of {length}"
            );
            let crossed = group.all_to_all(&own).unwrap();
            for (from, found) in crossed.chunks(part.max(1)).enumerate() {
                let cell = |index: usize| value(from, rank * part + index, from_f64);
                let right = found.iter().enumerate().all(|(index, v)| *v == cell(index));
                assert!(right, "all_to_all of {length}");
            }
        } else {
            let error = group.all_to_all(&own).unwrap_err();
            assert!(matches!(error, CommError::Indivisible { .. }), "{error}");
        }
        group.barrier().unwrap();
    }
}

fn check<C: Communicator>(comm: C, nodes: &[Vec<usize>]) {
    let own = comm.rank();
    let node = nodes.iter().position(|ranks| ranks.contains(&own)).unwrap();
    let mut group = Group::on(comm, &format!("n{node}"), LIMIT).unwrap();
    assert_eq!(group.node_count(), nodes.len());
    check_type::<C, f32>(&mut group, nodes, |v| v as f32);
    // Other types fold otherwise, but go the same ways.
    if nodes.len() > 2 || nodes.iter().map(Vec::len).sum::<usize>() > 3 {
        return;
    }
    check_type::<C, f64>(&mut group, nodes, |v| v);
    check_type::<C, f16>(&mut group, nodes, f16::from_f64);
    check_type::<C, bf16>(&mut group, nodes, bf16::from_f64);
}

#[test]
fn one_rank_alone() {
    check(Single, &[vec![0]]);
}

#[test]
fn ranks_on_one_node() {
    for size in 2..=5 {
        run_threads(size, |comm| check(comm, &[(0..size).collect()]));
    }
}

#[test]
fn ranks_on_several_nodes_of_any_size_and_order() {
    for nodes in [
        vec![vec![0], vec![1]],
        vec![vec![0, 2], vec![1]],
        vec![vec![0, 3], vec![1, 2], vec![4]],
    ] {
        let size = nodes.iter().map(Vec::len).sum();
        run_threads(size, |comm| check(comm, &nodes));
    }
}

/// What is sent in half precision is summed in single precision, and rounded once more.
fn check_narrow<W: Narrow>(ranks: usize, round: fn(f32) -> f32) {
    for length in [0, 1, 7, 5000] {
        let brought =
            |rank: usize| (0..length).map(move |cell| value(rank, cell, |v| v as f32) / 512.0);
        let mut sum = vec![0.0_f32; length];
        for rank in 0..ranks {
            for (sum, own) in sum.iter_mut().zip(brought(rank)) {
                *sum += round(own);
            }
        }
        let right: Vec<f32> = sum.into_iter().map(round).collect();
        run_threads(ranks, |comm| {
            let mut group = Group::on(comm, "here", LIMIT).unwrap();
            let mut values: Vec<f32> = brought(comm.rank()).collect();
            group.all_reduce_narrow::<W>(&mut values).unwrap();
            assert!(values == right, "{length} values, {ranks} ranks");
        });
    }
}

#[test]
fn narrow_sums_are_rounded_twice_and_no_more() {
    for ranks in 1..=3 {
        check_narrow::<f16>(ranks, |v| f16::from_f32(v).to_f32());
        check_narrow::<bf16>(ranks, |v| bf16::from_f32(v).to_f32());
    }
}

#[test]
fn a_rank_that_does_something_else_is_named() {
    let results = run_threads(3, |comm| {
        let mut group = Group::on(comm, "here", LIMIT).unwrap();
        let length = if comm.rank() == 1 { 5 } else { 4 };
        group.all_reduce(&mut vec![1.0_f32; length], ReduceOperation::Sum)
    });
    for rank in [0, 2] {
        let text = results[rank].as_ref().unwrap_err().to_string();
        assert!(
            text.contains("rank 1 on here does call 1: all_reduce of 5 float")
                || text.contains("ended early"),
            "{text}"
        );
    }
    let told = results
        .iter()
        .filter(|result| matches!(result, Err(CommError::Mismatch { .. })));
    assert!(told.count() >= 1, "{results:?}");
}

#[test]
fn a_rank_that_does_not_come_is_named_with_node_and_collective() {
    let limit = Duration::from_millis(300);
    let results = run_threads(3, |comm| {
        let node = if comm.rank() == 2 { "far" } else { "near" };
        let mut group = Group::on(comm, node, limit).unwrap();
        group.barrier().unwrap();
        if comm.rank() == 2 {
            // It computes on, for longer than the others wait.
            std::thread::sleep(4 * limit);
            return Ok(());
        }
        group.all_reduce(&mut vec![1.0_f32; 100_000], ReduceOperation::Sum)
    });
    let text = results[0].as_ref().unwrap_err().to_string();
    assert!(
        text.contains("rank 2 on far did not come to all_reduce within 0.3 s"),
        "{text}"
    );
    // The other rank of the node is told rather than left waiting for the time limit.
    assert!(results[1].is_err());
}

#[test]
fn operations_go_on_while_the_caller_computes() {
    let engine = Engine::start(|| Ok(Box::new(Single)), LIMIT).unwrap();
    let mut first = engine.all_reduce(vec![1.0_f32, 2.0], ReduceOperation::Sum);
    let second = engine.all_gather(vec![3.0_f64]);
    // One that nobody waits for.
    drop(engine.all_reduce(vec![0.0_f32; 1 << 20], ReduceOperation::Sum));
    let begin = Instant::now();
    while !first.is_complete() {
        assert!(begin.elapsed() < LIMIT);
        std::thread::yield_now();
    }
    assert_eq!(first.wait().unwrap(), [1.0, 2.0]);
    assert_eq!(second.wait().unwrap(), [3.0]);
    engine.barrier().unwrap();
    let traffic = engine.traffic();
    assert_eq!(traffic.collectives, 4);
    assert_eq!(traffic.bytes, 8 + 8 + (4 << 20));
    assert!(traffic.busy > Duration::ZERO);
    let refused = Engine::start(|| Err(CommError::NotBuilt), LIMIT).unwrap_err();
    assert!(matches!(refused, CommError::NotBuilt));
}

#[test]
fn one_time_limit_is_waited_for_and_not_one_for_each_operation() {
    let limit = Duration::from_secs(3);
    let run = move |comm: mizar_comm::Threads| {
        let own = comm.rank();
        let engine = Engine::start(move || Ok(Box::new(comm)), limit).unwrap();
        engine.barrier().unwrap();
        if own == 1 {
            return;
        }
        let mut pending: Vec<_> = (0..100)
            .map(|_| engine.all_reduce(vec![1.0_f32; 10], ReduceOperation::Sum))
            .collect();
        let first = pending.remove(0).wait().unwrap_err();
        assert!(
            matches!(first, CommError::TimedOut { rank: 1, .. }),
            "{first}"
        );
        for pending in pending {
            let later = pending.wait().unwrap_err();
            assert!(matches!(later, CommError::EngineEnded), "{later}");
        }
    };
    let handles = mizar_comm::threads(2).into_iter();
    let handles: Vec<_> = handles
        .map(|comm| std::thread::spawn(move || run(comm)))
        .collect();
    for handle in handles {
        handle.join().unwrap();
    }
}

#[cfg(feature = "mpi")]
mod mpi {
    use super::*;

    const CHILD_VARIABLE: &str = "MIZAR_TEST_COLLECTIVE_RANK";

    /// A rank of [`over_mpi`], else nothing.
    #[test]
    fn mpi_rank() {
        if std::env::var_os(CHILD_VARIABLE).is_none() {
            return;
        }
        let engine = Engine::start(
            || {
                let comm = mizar_comm::Mpi::open()?;
                let size = comm.size();
                check(&comm, &[(0..size).collect()]);
                check(&comm, &[(0..size - 1).collect(), vec![size - 1]]);
                Ok(Box::new(comm))
            },
            LIMIT,
        )
        .unwrap();
        let pending: Vec<_> = (0..20)
            .map(|n| engine.all_reduce(vec![n as f32; 1000 * n], ReduceOperation::Sum))
            .collect();
        for (n, pending) in pending.into_iter().enumerate() {
            let sum = (n * engine.size()) as f32;
            assert!(pending.wait().unwrap().iter().all(|value| *value == sum));
        }
        engine.barrier().unwrap();
    }

    #[test]
    fn over_mpi() {
        let program = std::env::current_exe().unwrap();
        let output = mizar_lab::mpirun(3, &program, |command| {
            command
                .args(["--exact", "mpi::mpi_rank", "--nocapture"])
                .env(CHILD_VARIABLE, "1");
        });
        let Some(output) = output else { return };
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}\n{errors}");
        assert_eq!(text.matches("1 passed").count(), 3, "{text}\n{errors}");
    }
}

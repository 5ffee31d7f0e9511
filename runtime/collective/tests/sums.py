"""One rank of a test of the C interface by NumPy alone: sums.py MODE FOLDER RANK SIZE TIMEOUT."""

import sys
import time

import ml_dtypes
import numpy

import mizar

mode, folder, rank, size, timeout = sys.argv[1:]
rank, size, timeout = int(rank), int(size), float(timeout)


def part(rank, length, dtype):
    numbers = numpy.random.default_rng(rank).normal(size=length)
    return numbers.astype(dtype)


def sums(group):
    for dtype in ["float32", "float64", "float16", ml_dtypes.bfloat16]:
        for length in [0, 1, 1000, 300_001]:
            for mean in [1.0, float(size)]:
                array = part(rank, length, dtype)
                group.all_reduce(array, mean)
                parts = [part(other, length, dtype) for other in range(size)]
                expected = parts[0].astype("float64")
                for other in parts[1:]:
                    expected = expected + other.astype("float64")
                expected /= mean
                off = numpy.abs(array.astype("float64") - expected).max(initial=0)
                eps = float(ml_dtypes.finfo(dtype).eps)
                assert off <= 8 * eps * size, (dtype, length, mean, off)
    array = part(rank, 5000, "float32")
    group.broadcast(array, root=size - 1)
    assert (array == part(size - 1, 5000, "float32")).all()
    group.barrier()


def fails(call, *parts):
    begin = time.monotonic()
    try:
        call()
    except RuntimeError as error:
        assert time.monotonic() - begin < timeout + 10
        for part in parts:
            assert part in str(error), f"{error!s} lacks {part!r}"
        return
    raise AssertionError("it did not fail")


group = mizar.NodeGroup(folder, rank, size, timeout)
if mode == "sums":
    sums(group)
elif mode == "lengths":
    wrong = numpy.zeros(20 if rank == 1 else 10, "float32")
    # Who sees it first says what differs; who hears of it, that a rank ended.
    fails(lambda: group.all_reduce(wrong), "rank ")
    fails(group.barrier, "the group ended before")
elif mode == "killed":
    group.barrier()
    if rank == 1:
        sys.exit(0)
    fails(lambda: group.all_reduce(numpy.zeros(10, "float32")), "rank ", "all_reduce" if size == 2 else "")
elif mode == "refused":
    for array in [numpy.zeros((4, 4), "float32").T[:2], numpy.zeros(4, "int32")]:
        try:
            group.all_reduce(array)
        except ValueError:
            continue
        raise AssertionError("it was taken")
    library, handle = group._library, group._group
    numbers = numpy.zeros(3, "float32")
    assert library.mizar_group_all_reduce(handle, numbers.ctypes.data, 3, 9, 1.0) == 1
    assert "9 is no kind" in group._error()
    assert library.mizar_group_all_reduce(handle, numbers.ctypes.data + 1, 2, 1, 1.0) == 1
    assert "aligned" in group._error()
    assert library.mizar_group_all_reduce(handle, None, 2, 1, 1.0) == 1
    assert library.mizar_group_all_reduce(None, numbers.ctypes.data, 3, 1, 1.0) == 1
group.close()
group.close()

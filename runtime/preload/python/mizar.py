"""Marks for Mizar (sections of a program, figures of merit) and help for PyTorch's DDP.

Marks appear in the job's record and report under ``--mizar=comm``; without it they do nothing, so a
script that marks runs anywhere. Nothing is built or installed: this one file is enough.

    import mizar

    for epoch in range(10):
        with mizar.epoch():
            with mizar.section("data"):
                batch = load()
            loss = train(batch)
        mizar.figure("loss", loss)
"""

import atexit
import contextlib
import ctypes
import hashlib
import os
import pathlib
import queue
import shutil
import socket
import sys
import tempfile
import threading

__all__ = [
    "NodeGroup",
    "SyncProof",
    "active",
    "begin",
    "ddp",
    "end",
    "epoch",
    "figure",
    "mark",
    "section",
]

_BEGIN = 0
_END = 1


def _functions():
    """The library's two functions, or None twice where it is not preloaded."""
    try:
        program = ctypes.CDLL(None)
        mark_c, figure_c = program.mizar_mark, program.mizar_figure
    except (AttributeError, OSError):
        return None, None
    mark_c.argtypes, mark_c.restype = [ctypes.c_char_p, ctypes.c_int], None
    figure_c.argtypes, figure_c.restype = [ctypes.c_char_p, ctypes.c_double], None
    return mark_c, figure_c


_mark, _figure = _functions()


def active():
    """Is there anything that takes marks?"""
    return _mark is not None


def mark(name, kind):
    """Marks the ``"begin"`` or the ``"end"`` of a section."""
    if kind not in ("begin", "end"):
        raise ValueError(f"a mark is 'begin' or 'end', not {kind!r}")
    if _mark is not None:
        _mark(str(name).encode(), _BEGIN if kind == "begin" else _END)


def begin(name):
    """A section begins."""
    mark(name, "begin")


def end(name):
    """A section ends."""
    mark(name, "end")


@contextlib.contextmanager
def section(name):
    """The section that a ``with`` block is; ends when the block raises, too."""
    begin(name)
    try:
        yield
    finally:
        end(name)


def epoch(name="epoch"):
    """An epoch of training: a section of that name."""
    return section(name)


def figure(name, value):
    """A figure of merit: anything that ``float`` takes."""
    if _figure is not None:
        _figure(str(name).encode(), float(value))


# ---- Sums over the ranks of a node

_LIBRARY = "libmizar_collective.so"
_VARIABLE = "MIZAR_COLLECTIVE"
_KINDS = {"float32": 1, "float64": 2, "float16": 3, "bfloat16": 4}


def _library():
    """The library: as named by the variable, else where `make install` puts it."""
    named = os.environ.get(_VARIABLE)
    here = pathlib.Path(__file__).resolve()
    installed = [folder / "lib" / _LIBRARY for folder in here.parents[2:4]]
    for path in [named] if named else [*installed, here.with_name(_LIBRARY)]:
        if os.path.exists(path):
            library = ctypes.CDLL(str(path))
            break
    else:
        raise OSError(f"{_LIBRARY} is not found: {_VARIABLE} names its path")
    group, numbers, size = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t
    library.mizar_group_error.restype = ctypes.c_char_p
    library.mizar_group_create.restype = group
    library.mizar_group_create.argtypes = [
        ctypes.c_char_p,
        ctypes.c_uint32,
        ctypes.c_uint32,
        ctypes.c_double,
    ]
    library.mizar_group_all_reduce.argtypes = [
        group,
        numbers,
        size,
        ctypes.c_int,
        ctypes.c_double,
    ]
    library.mizar_group_broadcast.argtypes = [
        group,
        numbers,
        size,
        ctypes.c_int,
        ctypes.c_uint32,
    ]
    library.mizar_group_barrier.argtypes = [group]
    library.mizar_group_free.argtypes = [group]
    library.mizar_group_free.restype = None
    return library


class NodeGroup:
    """The ranks of one node, which meet in a folder that belongs to this user alone.

    Arrays are changed in place; they are NumPy's, or anything with a pointer: see the methods
    with ``_at``. What goes wrong is a ``RuntimeError`` that names rank, node and collective.
    """

    def __init__(self, folder, rank, size, timeout=300.0):
        self._library = _library()
        self.rank, self.size = rank, size
        self._group = self._library.mizar_group_create(
            os.fsencode(folder), rank, size, float(timeout)
        )
        if not self._group:
            raise RuntimeError(self._error())

    def _error(self):
        return self._library.mizar_group_error().decode(errors="replace")

    def _check(self, status):
        if status != 0:
            raise RuntimeError(self._error())

    def all_reduce_at(self, pointer, count, kind, mean=1.0):
        """Sums ``count`` numbers of ``kind`` (``"float32"``), and divides by ``mean``."""
        self._check(
            self._library.mizar_group_all_reduce(
                self._group, pointer, count, _KINDS[kind], mean
            )
        )

    def broadcast_at(self, pointer, count, kind, root=0):
        """Gives all ranks the numbers of one."""
        self._check(
            self._library.mizar_group_broadcast(
                self._group, pointer, count, _KINDS[kind], root
            )
        )

    def all_reduce(self, array, mean=1.0):
        """Sums a NumPy array, and divides by ``mean``."""
        self.all_reduce_at(*_plain(array), mean)

    def broadcast(self, array, root=0):
        """Gives all ranks the NumPy array of one."""
        self.broadcast_at(*_plain(array), root)

    def barrier(self):
        """Returns once all ranks are here."""
        self._check(self._library.mizar_group_barrier(self._group))

    def close(self):
        """Lets go of the shared memory."""
        group, self._group = self._group, None
        if group:
            self._library.mizar_group_free(group)


def _plain(array):
    """Pointer, length and kind of an array of NumPy."""
    if not array.flags.c_contiguous or not array.flags.writeable:
        raise ValueError("the array must be contiguous and writeable")
    if array.dtype.name not in _KINDS:
        known = ", ".join(_KINDS)
        raise ValueError(f"an array of {array.dtype} cannot be summed; these can: {known}")
    return array.ctypes.data, array.size, array.dtype.name


# ---- PyTorch


class _Ranks:
    """The ranks of a process group, by node."""

    def __init__(self, distributed, timeout):
        self.size, rank = distributed.get_world_size(), distributed.get_rank()
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id")
        node = (socket.gethostname(), boot.read_text() if boot.exists() else "")
        nodes = [None] * self.size
        distributed.all_gather_object(nodes, node)
        here = [other for other in range(self.size) if nodes[other] == node]
        leaders = sorted({nodes.index(other) for other in nodes})
        self.is_leader = rank == here[0]
        # Only this user can open it.
        folder = tempfile.mkdtemp(prefix="mizar-") if self.is_leader else None
        try:
            folders = [None] * self.size
            distributed.all_gather_object(folders, folder)
            self.group = NodeGroup(folders[here[0]], here.index(rank), len(here), timeout)
            # All have read what lies in the folder.
            self.group.barrier()
        finally:
            if folder:
                shutil.rmtree(folder, ignore_errors=True)
        self.across = None
        if len(leaders) > 1:
            self.across = distributed.new_group(leaders)
        self.distributed = distributed

    def average(self, tensor):
        """The mean of a tensor over all ranks, in place."""
        numbers = (tensor.data_ptr(), tensor.numel(), str(tensor.dtype).split(".")[-1])
        if self.across is None:
            self.group.all_reduce_at(*numbers, float(self.size))
            return
        self.group.all_reduce_at(*numbers)
        if self.is_leader:
            self.distributed.all_reduce(tensor, group=self.across)
            tensor.div_(self.size)
        self.group.broadcast_at(*numbers)


class _Worker:
    """Sums bucket after bucket on a thread of its own, in the order in which they come."""

    def __init__(self, ranks):
        self.ranks = ranks
        self.waiting = queue.SimpleQueue()
        self.thread = threading.Thread(target=self.run, name="mizar-ddp", daemon=True)
        self.thread.start()
        atexit.register(self.end)

    def run(self):
        while (work := self.waiting.get()) is not None:
            tensor, future = work
            try:
                self.ranks.average(tensor)
                future.set_result(tensor)
            except Exception as error:
                future.set_exception(error)

    def end(self):
        self.waiting.put(None)
        self.thread.join(timeout=5)


def _hook(worker, bucket):
    """DDP's communication hook: a future of the averaged bucket."""
    import torch

    future = torch.futures.Future()
    worker.waiting.put((bucket.buffer(), future))
    return future


def ddp(model, timeout=300.0):
    """Has a ``DistributedDataParallel`` model's gradients averaged by Mizar; returns the model.

    All ranks call it. Gradients on GPUs stay with NCCL or RCCL. A rank that does not come within
    ``timeout`` seconds ends the others' backward pass with an error that names it.
    """
    import torch.distributed

    def leave(reason):
        if torch.distributed.get_rank() == 0:
            print(f"mizar: gradients are averaged as before: {reason}", file=sys.stderr)
        return model

    if any(parameter.device.type != "cpu" for parameter in model.parameters()):
        return leave("they are not in the memory of processors")
    problem = None
    try:
        _library()
    except OSError as error:
        problem = str(error)
    problems = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(problems, problem)
    found = next((problem for problem in problems if problem), None)
    if found:
        return leave(found)
    worker = _Worker(_Ranks(torch.distributed, timeout))
    model.register_comm_hook(worker, _hook)
    return model


class SyncProof:
    """Compares the parameters of all ranks, bit by bit, every so many steps.

    A rank whose parameters are others (a wrong seed, a lost update, a broken memory) ends all with
    a ``RuntimeError`` that names the first layer and the ranks that differ from most.
    """

    def __init__(self, model, every=100):
        self.model, self.every, self.steps = model, max(int(every), 1), 0

    def step(self):
        """Counts a step, and compares at every ``every``-th."""
        self.steps += 1
        if self.steps % self.every == 0:
            self.check()

    def check(self):
        """Compares now. All ranks call it."""
        import torch

        named = list(self.model.named_parameters())
        own = torch.tensor([_digest(torch, value) for _, value in named], dtype=torch.int64)
        size = torch.distributed.get_world_size()
        if named and named[0][1].device.type != "cpu":
            own = own.to(named[0][1].device)
        all_ranks = [torch.empty_like(own) for _ in range(size)]
        torch.distributed.all_gather(all_ranks, own)
        table = torch.stack(all_ranks).cpu()
        usual = table.mode(dim=0).values
        differs = table != usual
        if not bool(differs.any()):
            return
        layer = int(differs.any(dim=0).nonzero()[0])
        ranks = [rank for rank in range(size) if bool(differs[rank, layer])]
        where = f"parameters differ at step {self.steps}: {named[layer][0]}"
        if 2 * len(ranks) >= size:
            raise RuntimeError(f"{where} is not the same on all ranks")
        names = "rank " + str(ranks[0]) if len(ranks) == 1 else f"ranks {ranks}"
        raise RuntimeError(f"{where} of {names} is not that of the others")


def _digest(torch, parameter):
    plain = parameter.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    digest = hashlib.blake2b(plain.numpy(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)

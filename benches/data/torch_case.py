"""One rank of PyTorch in `bench_train`: the models of `mizar train` on the same arrays.

torch_case.py data FOLDER
torch_case.py train FOLDER KIND EPOCHS gloo|mizar     (RANK, WORLD_SIZE and a store in FOLDER)
torch_case.py reduce FOLDER REPEATS
"""

import json
import os
import sys
import tempfile
import time

import numpy
import torch
from torch import nn
from torch.nn.functional import max_pool2d, mse_loss, silu

BATCH = {"mlp": 128, "unet": 8}
SIZES = [4, 64, 1 << 10, 16 << 10, 256 << 10, 1 << 20, 8 << 20, 64 << 20]


def data(folder):
    random = numpy.random.default_rng(1)
    for kind, inputs, targets in [
        ("mlp", (8192, 256), (8192, 32)),
        ("unet", (128, 8, 64, 64), (128, 2, 64, 64)),
    ]:
        for name, shape in [("inputs", inputs), ("targets", targets)]:
            values = random.normal(size=shape).astype("float32")
            numpy.save(f"{folder}/{kind}_{name}.npy", values)


class Unet(nn.Module):
    """`kind: unet, width: 16, depth: 2, activation: silu`."""

    def __init__(self, inputs, outputs, width=16):
        super().__init__()

        def pair(inputs, outputs):
            convs = [nn.Conv2d(inputs, outputs, 3, padding=1)]
            return nn.ModuleList([*convs, nn.Conv2d(outputs, outputs, 3, padding=1)])

        widths = [width, 2 * width, 4 * width]
        self.down = nn.ModuleList([pair(inputs, widths[0]), pair(widths[0], widths[1])])
        self.bottom = pair(widths[1], widths[2])
        larger = [nn.ConvTranspose2d(widths[n + 1], widths[n], 2, stride=2) for n in [1, 0]]
        self.larger = nn.ModuleList(larger)
        self.up = nn.ModuleList([pair(2 * widths[1], widths[1]), pair(2 * widths[0], widths[0])])
        self.head = nn.Conv2d(width, outputs, 1)

    def forward(self, field):
        def through(pair, field):
            for conv in pair:
                field = silu(conv(field))
            return field

        seen = []
        for pair in self.down:
            field = through(pair, field)
            seen.append(field)
            field = max_pool2d(field, 2)
        field = through(self.bottom, field)
        for larger, pair in zip(self.larger, self.up):
            field = through(pair, torch.cat([seen.pop(), larger(field)], 1))
        return self.head(field)


def network(kind):
    if kind == "unet":
        return Unet(8, 2)
    wide = [nn.Linear(256, 512), nn.SiLU(), nn.Linear(512, 512), nn.SiLU()]
    return nn.Sequential(*wide, nn.Linear(512, 32))


def join(folder):
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = f"file://{folder}/store"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=size)
    return rank, size


def train(folder, kind, epochs, how):
    rank, size = join(folder)
    load = lambda name: torch.from_numpy(numpy.load(f"{folder}/{kind}_{name}.npy"))
    inputs, targets = load("inputs"), load("targets")
    model = nn.parallel.DistributedDataParallel(network(kind))
    if how == "mizar":
        import mizar

        mizar.ddp(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    batch, steps = BATCH[kind], len(inputs) // BATCH[kind]
    seconds = 0.0
    for epoch in range(int(epochs) + 1):
        order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(epoch))
        begin = time.perf_counter()
        for step in range(steps):
            own = order[step * batch : (step + 1) * batch][rank::size]
            loss = mse_loss(model(inputs[own]), targets[own])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        # The first epoch warms up.
        seconds += (time.perf_counter() - begin) * (epoch > 0)
    if rank == 0:
        print(json.dumps({"samples_per_s": int(epochs) * steps * batch / seconds}))


def reduce(folder, repeats):
    import mizar

    rank, size = join(folder)
    # Where the ranks meet: a folder that only this user can open.
    meeting = [tempfile.mkdtemp(dir=folder)] if rank == 0 else [None]
    torch.distributed.broadcast_object_list(meeting)
    group = mizar.NodeGroup(meeting[0], rank, size, 60.0)
    told = []
    for size_bytes in SIZES:
        values = torch.ones(size_bytes // 4)
        numbers = (values.data_ptr(), values.numel(), "float32")
        ways = {
            "gloo": lambda: torch.distributed.all_reduce(values),
            "mizar": lambda: group.all_reduce_at(*numbers),
        }
        best = dict.fromkeys(ways, float("inf"))
        count = max(3, min(200, (8 << 20) // size_bytes))
        for _ in range(int(repeats)):
            for name, way in ways.items():
                values.fill_(1.0)
                group.barrier()
                begin = time.perf_counter()
                for _ in range(count):
                    way()
                best[name] = min(best[name], (time.perf_counter() - begin) / count)
        told.append({"bytes": size_bytes, **best})
    if rank == 0:
        print(json.dumps(told))


torch.set_num_threads(1)
{"data": data, "train": train, "reduce": reduce}[sys.argv[1]](*sys.argv[2:])
if torch.distributed.is_initialized():
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()

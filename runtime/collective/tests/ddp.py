"""One rank of a test of `mizar.ddp` and `mizar.SyncProof`: ddp.py FOLDER RANK SIZE NODES."""

import socket
import sys

import torch
import torch.distributed as distributed
from torch.nn.parallel import DistributedDataParallel

import mizar

folder, (rank, size, nodes) = sys.argv[1], map(int, sys.argv[2:])
# Several nodes are played by one: their names are all that tells them apart.
socket.gethostname = lambda: f"node{rank % nodes}"
torch.set_num_threads(1)
distributed.init_process_group(
    "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size
)


def model():
    torch.manual_seed(1)
    layers = [torch.nn.Linear(50, 80), torch.nn.SiLU(), torch.nn.Linear(80, 40), torch.nn.SiLU()]
    # Buckets of a few KB, so that there are several.
    return DistributedDataParallel(
        torch.nn.Sequential(*layers, torch.nn.Linear(40, 3)), bucket_cap_mb=0.01
    )


def train(model, steps=6):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in range(steps):
        torch.manual_seed(100 * step + rank)
        inputs = torch.randn(16, 50)
        loss = (model(inputs) - inputs[:, :3].sin()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


usual, ours = model(), mizar.ddp(model(), timeout=60)
train(usual)
train(ours)
for left, right in zip(usual.parameters(), ours.parameters()):
    assert torch.allclose(left, right, rtol=1e-5, atol=1e-6), (left - right).abs().max()
moved = [p.detach().clone() for p in ours.parameters()]
assert not torch.equal(moved[0], next(model().parameters()))

proof = mizar.SyncProof(ours.module, every=2)
proof.step()
proof.step()
if rank == 1:
    with torch.no_grad():
        ours.module[2].weight[3, 4] += 1e-6
proof.step()
try:
    proof.step()
except RuntimeError as error:
    text = str(error)
else:
    raise AssertionError("what differs was not seen")
assert "step 4: 2.weight" in text, text
assert ("of rank 1 is not that of the others" in text) == (size > 2), text
distributed.barrier()
distributed.destroy_process_group()

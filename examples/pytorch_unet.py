"""The training of train_unet.yaml as a plain PyTorch script: tomorrow's temperature from the last
four days, as anomalies, relative to persistence.

    srun --mizar -n 2 python pytorch_unet.py ta_day.nc [EPOCHS]

What Mizar adds are the lines with `mizar` in them: gradients summed in the memory that ranks of a
node share, a proof that ranks stay in step, and epochs in the job's report. Without `--mizar` it
runs under torchrun as well.
"""

import json
import math
import sys

import mizar
import netCDF4
import numpy
import torch
from torch import nn
from torch.nn.functional import max_pool2d, mse_loss, pad, silu
from torch.nn.parallel import DistributedDataParallel

HISTORY, LEAD, BATCH, WIDTH, RATE = 4, 1, 32, 16, 0.003


class Unet(nn.Module):
    """One level down and up, as `kind: unet, width: 16, depth: 1`."""

    def __init__(self, inputs, outputs):
        super().__init__()

        def pair(inputs, outputs):
            convs = [
                nn.Conv2d(inputs, outputs, 3, padding=1),
                nn.Conv2d(outputs, outputs, 3, padding=1),
            ]
            return nn.ModuleList(convs)

        self.down, self.bottom = pair(inputs, WIDTH), pair(WIDTH, 2 * WIDTH)
        self.larger = nn.ConvTranspose2d(2 * WIDTH, WIDTH, 2, stride=2)
        self.up, self.head = pair(2 * WIDTH, WIDTH), nn.Conv2d(WIDTH, outputs, 1)
        # At the start it says what persistence says.
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, field):
        height, width = field.shape[2:]
        field = pad(field, (0, width % 2, 0, height % 2), mode="replicate")
        for conv in self.down:
            field = silu(conv(field))
        seen, field = field, max_pool2d(field, 2)
        for conv in self.bottom:
            field = silu(conv(field))
        field = torch.cat([seen, self.larger(field)], 1)
        for conv in self.up:
            field = silu(conv(field))
        return self.head(field)[:, :, :height, :width]


def samples(path):
    """Inputs, targets, and where validation begins: the last fifth."""
    with netCDF4.Dataset(path) as file:
        values, time = file["ta"][:].filled(numpy.nan), file["time"]
        calendar = getattr(time, "calendar", "standard")
        months = [date.month for date in netCDF4.num2date(time[:], time.units, calendar)]
    steps = len(values)
    begin = steps - math.ceil(steps / 5)
    months = numpy.array(months)
    for month in range(1, 13):
        of_month = months == month
        values[of_month] -= values[:begin][of_month[:begin]].mean(0)
    first = HISTORY - 1 + LEAD
    change = values[LEAD:] - values[:-LEAD]

    def normal(values, training):
        axes = (0, 2, 3)
        return (values - training.mean(axes, keepdims=True)) / training.std(axes, keepdims=True)

    inputs = normal(values, values[:begin]).astype("float32")
    targets = normal(change, change[first - LEAD : begin - LEAD]).astype("float32")
    windows = [inputs[n : n + steps - first].copy() for n in range(HISTORY)]
    inputs = torch.from_numpy(numpy.concatenate(windows, axis=1))
    return inputs, torch.from_numpy(targets[first - LEAD :]), begin - first


def main(path, epochs=10):
    torch.distributed.init_process_group("gloo")
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    inputs, targets, begin = samples(path)
    torch.manual_seed(1)
    model = DistributedDataParallel(Unet(inputs.shape[1], targets.shape[1]))
    mizar.ddp(model)
    proof = mizar.SyncProof(model.module, every=100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    steps = begin // BATCH
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
    for epoch in range(epochs):
        with mizar.epoch():
            order = torch.randperm(begin, generator=torch.Generator().manual_seed(epoch))
            for step in range(steps):
                batch = order[step * BATCH : (step + 1) * BATCH][rank::ranks]
                loss = mse_loss(model(inputs[batch]), targets[batch])
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                proof.step()
    with torch.no_grad():
        said = model.module(inputs[begin:])
        loss = float(mse_loss(said, targets[begin:]))
        persistence = float(targets[begin:].square().mean())
    mizar.figure("validation_loss", loss)
    if rank == 0:
        print(json.dumps({"validation_loss": loss, "persistence": persistence}))
    torch.distributed.destroy_process_group()


main(sys.argv[1], *map(int, sys.argv[2:3]))

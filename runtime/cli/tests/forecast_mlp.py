"""Compares a forecast of `mizar infer` with the same network computed by NumPy alone:
forecast_mlp.py MODEL.safetensors INPUT.nc FORECAST.nc (one hidden layer of tanh, cells of `tas`,
one added to the input)."""

import json
import struct
import sys

import netCDF4
import numpy

model, source, forecast = sys.argv[1:]
whole = open(model, "rb").read()
(length,) = struct.unpack("<Q", whole[:8])
described = json.loads(whole[8 : 8 + length])
header = json.loads(described.pop("__metadata__")["mizar"])


def tensor(name):
    begin, end = described[name]["data_offsets"]
    part = whole[8 + length + begin : 8 + length + end]
    return numpy.frombuffer(part, "<f4").reshape(described[name]["shape"]).astype(float)


layers = sorted({name.rsplit(".", 1)[0] for name in described})
assert len(layers) == 2, layers
tas = netCDF4.Dataset(source)["tas"][:].filled(numpy.nan) + 1
found = netCDF4.Dataset(forecast)["tas"][:].filled(numpy.nan)
(channel,), (out,) = header["inputs"], header["outputs"]
normal = numpy.nan_to_num((tas - channel["mean"]) / channel["std"], nan=0.0)
history = header["history"]
for row in range(found.shape[0]):
    value = numpy.moveaxis(normal[row : row + history], 0, -1)
    for number, layer in enumerate(layers):
        value = value @ tensor(layer + ".weight").T + tensor(layer + ".bias")
        value = numpy.tanh(value) if number + 1 < len(layers) else value
    expected = value[..., 0] * out["std"] + out["mean"]
    land = ~numpy.isnan(tas[row + history - 1])
    assert numpy.isfinite(found[row][land]).all()
    off = numpy.abs(found[row] - expected)[land].max()
    assert off < 1e-3, (row, off)

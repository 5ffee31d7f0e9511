"""Compares what `mizar infer` made of arrays with the same network computed by NumPy alone:
infer_arrays.py MODEL.safetensors IN.npz OUT.npz (one hidden layer of tanh; cells of `tas` with NaN
for missing ones, or a model of arrays)."""

import json
import struct
import sys

import numpy

model, source, result = sys.argv[1:]
whole = open(model, "rb").read()
(length,) = struct.unpack("<Q", whole[:8])
described = json.loads(whole[8 : 8 + length])
header = json.loads(described.pop("__metadata__")["mizar"])


def tensor(name):
    begin, end = described[name]["data_offsets"]
    part = whole[8 + length + begin : 8 + length + end]
    return numpy.frombuffer(part, "<f4").reshape(described[name]["shape"]).astype(float)


(channel,), (out,) = header["inputs"], header["outputs"]
samples = numpy.load(source)[channel["variable"]].astype(float)
found = numpy.load(result)[out["variable"]].astype(float)
value = numpy.nan_to_num((samples - channel["mean"]) / channel["std"], nan=0.0)
value = value.reshape(len(value), -1)
layers = sorted({name.rsplit(".", 1)[0] for name in described})
assert len(layers) == 2, layers
for number, layer in enumerate(layers):
    value = value @ tensor(layer + ".weight").T + tensor(layer + ".bias")
    value = numpy.tanh(value) if number + 1 < len(layers) else value
expected = (value * out["std"] + out["mean"]).reshape(found.shape)
known = numpy.ones(len(found), bool)
if "arrays" not in header:
    known = ~numpy.isnan(samples[:, -1])
    assert numpy.isnan(found[~known]).all()
assert numpy.isfinite(found[known]).all()
off = numpy.abs(found - expected)[known].max()
assert off < 1e-5 * max(1.0, numpy.abs(expected).max()), off

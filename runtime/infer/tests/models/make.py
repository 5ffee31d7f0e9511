"""Makes the ONNX models of the tests and the outputs that ONNX Runtime for Python gives.

    ~/.cache/mizar/venv/bin/python runtime/infer/tests/models/make.py

Made with onnx 1.23.2 and onnxruntime 1.32.0. What follows is deterministic; the files are kept
in the repository so that tests need neither package.
"""

import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent
RNG = np.random.default_rng(20260101)
FLOAT = TensorProto.FLOAT


def value(name, shape, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def save(name, nodes, inputs, outputs, weights=(), metadata=None):
    weights = [numpy_helper.from_array(array, key) for key, array in weights]
    graph = helper.make_graph(nodes, name, inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    if metadata:
        helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, HERE / f"{name}.onnx")


def weight(*shape):
    fan = int(np.prod(shape[1:])) or 1
    return (RNG.standard_normal(shape) / np.sqrt(fan)).astype(np.float32)


def pattern(*shape):
    index = np.arange(int(np.prod(shape)))
    return (((index * 37) % 101) / 50 - 1).astype(np.float32).reshape(shape)


def simple():
    field = [value("x", ["n", 1, "h", "w"])], [value("y", ["n", 1, "h", "w"])]
    save("identity", [helper.make_node("Identity", ["x"], ["y"])], *field)
    nodes = [helper.make_node("Mul", ["x", "zero"], ["z"]), helper.make_node("Add", ["z", "c"], ["y"])]
    constants = [("zero", np.float32(0)), ("c", np.float32(3.7))]
    save("constant", nodes, *field, constants)
    save("root", [helper.make_node("Sqrt", ["x"], ["y"])], *field)
    # An item whose value is no place of the table makes the whole run fail.
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "i"], ["y"], axis=0),
    ]
    table = [("table", np.arange(8, dtype=np.float32) * 10)]
    save("table", nodes, [value("x", ["n", 1])], [value("y", ["n", 1])], table)
    save("half", [helper.make_node("Identity", ["x"], ["y"])],
         [value("x", ["n"], TensorProto.FLOAT16)], [value("y", ["n"], TensorProto.FLOAT16)])


def conv():
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Conv", ["r", "w2", "b2"], ["y"], pads=[1, 1, 1, 1]),
    ]
    weights = [("w1", weight(8, 2, 3, 3)), ("b1", weight(8)), ("w2", weight(1, 8, 3, 3)), ("b2", weight(1))]
    metadata = {"mizar.outputs": "risk:1", "mizar.normalise": "280:10,0:1", "mizar.variables": "tas,wind"}
    save("conv", nodes, [value("x", ["n", 2, 16, 16])], [value("y", ["n", 1, 16, 16])], weights, metadata)


def mlp():
    def nodes():
        return [
            helper.make_node("Gemm", ["x", "w1", "b1"], ["a"], transB=1),
            helper.make_node("Relu", ["a"], ["r"]),
            helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], transB=1),
        ]
    weights = [("w1", weight(16, 4)), ("b1", weight(16)), ("w2", weight(2, 16)), ("b2", weight(2))]
    save("mlp", nodes(), [value("x", ["n", 4])], [value("y", ["n", 2])], weights)
    save("mlp_batch_3", nodes(), [value("x", [3, 4])], [value("y", [3, 2])], weights)


def series():
    """An LSTM over five steps of two variables, one number at the end."""
    hidden = 6
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["t", "w", "r", "b"], ["all", "last"], hidden_size=hidden),
        helper.make_node("Squeeze", ["last", "zero"], ["h"]),
        helper.make_node("Gemm", ["h", "wo", "bo"], ["y"], transB=1),
    ]
    weights = [
        ("w", weight(1, 4 * hidden, 2)), ("r", weight(1, 4 * hidden, hidden)), ("b", weight(1, 8 * hidden)),
        ("zero", np.array([0], dtype=np.int64)), ("wo", weight(1, hidden)), ("bo", weight(1)),
    ]
    save("series", nodes, [value("x", ["n", 5, 2])], [value("y", ["n", 1])], weights)


def run(name, array):
    session = onnxruntime.InferenceSession(HERE / f"{name}.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, {"x": array})[0]


def golden(name, *shape):
    array = pattern(*shape)
    np.save(HERE / f"{name}_in.npy", array)
    np.save(HERE / f"{name}_out.npy", run(name, array))


def tiles():
    """The conv net over a field of 30 rows and 41 columns: tiles of 16 with 3 cells of halo, the
    last of each row and column moved back into the field, weights rising from the edge."""
    halo, side = 3, 16
    field = pattern(2, 2, 30, 41)
    scaled = field.astype(np.float64)
    scaled[:, 0] = scaled[:, 0] * 10 + 280
    np.save(HERE / "tiles_in.npy", scaled.astype(np.float32))
    scaled = scaled.astype(np.float32).astype(np.float64)
    scaled[:, 0] = (scaled[:, 0] - 280) / 10
    scaled = scaled.astype(np.float32)

    def starts(length):
        inner = list(range(0, length - side, side - 2 * halo))
        return inner + [length - side]

    ramp = np.minimum(np.minimum(np.arange(side) + 1, side - np.arange(side)), 2 * halo + 1)
    total, weights = np.zeros((2, 30, 41)), np.zeros((30, 41))
    for top in starts(30):
        for left in starts(41):
            here = np.s_[top:top + side, left:left + side]
            tile = run("conv", scaled[(slice(None), slice(None), *here)])[:, 0]
            total[(slice(None), *here)] += np.outer(ramp, ramp) * tile
            weights[here] += np.outer(ramp, ramp)
    np.save(HERE / "tiles_out.npy", (total / weights).astype(np.float32))


def several():
    """Models of two inputs: fields beside a static one, by name, and a window beside it."""
    field = ["n", 1, "h", "w"]
    nodes = [helper.make_node("Mul", ["orog", "two"], ["o"]), helper.make_node("Add", ["tas", "o"], ["y"])]
    two = [("two", np.float32(2))]
    save("pair", nodes, [value("tas", field), value("orog", field)], [value("y", field)], two)
    nodes = [
        helper.make_node("ReduceSum", ["x", "axis"], ["s"], keepdims=0),
        helper.make_node("Add", ["s", "z"], ["y"]),
    ]
    axis = [("axis", np.array([1], dtype=np.int64))]
    inputs = [value("x", ["n", 3, 1, "h", "w"]), value("z", field)]
    save("window_and_static", nodes, inputs, [value("y", field)], axis)


def smaller():
    """Models that give fewer cells than they see: sums of 3 x 3 cells without padding, of any
    tile and of tiles of 4, and means of 2 x 2 cells."""
    ones = [("w", np.ones((1, 1, 3, 3), dtype=np.float32))]
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    save("valid", nodes, [value("x", ["n", 1, "h", "w"])], [value("y", ["n", 1, None, None])], ones)
    save("valid_4", nodes, [value("x", ["n", 1, 4, 4])], [value("y", ["n", 1, 2, 2])], ones)
    nodes = [helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2])]
    save("coarse", nodes, [value("x", ["n", 1, "h", "w"])], [value("y", ["n", 1, None, None])])


simple()
several()
smaller()
conv()
mlp()
series()
golden("conv", 3, 2, 16, 16)
golden("mlp", 5, 4)
golden("series", 4, 5, 2)
tiles()

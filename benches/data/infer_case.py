"""Inference as a scientist writes it in Python: models, data, and loops of onnxruntime over them.

infer_case.py make FOLDER                      models (.onnx) and a cube
infer_case.py cube FOLDER MODEL NAME FIRST LAST FORM
                                               steps of a cube through a model, into a durable file,
                                               plain or deflated
infer_case.py ask FOLDER MODEL COUNT           one sample after the other, once a line came in;
                                               times as JSON
"""

import json
import os
import sys
import time

import numpy

STEPS, ROWS, COLUMNS = 2000, 64, 96
BATCH = 16


def net(folder, name, layers, shape, out):
    """Layers with random weights, a relu after each but the last."""
    from onnx import TensorProto, helper, numpy_helper, save

    nodes, weights, flow = [], [], "x"
    for index, (kind, weight) in enumerate(layers):
        names = [f"w{index}", f"b{index}"]
        bias = numpy.zeros(weight.shape[0] if kind == "Conv" else weight.shape[1], "f4")
        weights += [numpy_helper.from_array(a, n) for a, n in zip([weight, bias], names)]
        last = index + 1 == len(layers)
        to = "y" if last else f"a{index}"
        options = {"pads": [1, 1, 1, 1]} if kind == "Conv" else {}
        nodes.append(helper.make_node(kind, [flow, *names], [to], **options))
        if not last:
            nodes.append(helper.make_node("Relu", [to], [f"r{index}"]))
        flow = f"r{index}"
    value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, name, [value("x", shape)], [value("y", out)], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    save(model, f"{folder}/{name}.onnx")


def make(folder):
    import netCDF4

    random = numpy.random.default_rng(7)
    draw = lambda *shape: (random.standard_normal(shape) / numpy.prod(shape[1:]) ** 0.5).astype("f4")
    conv = [("Conv", draw(16, 2, 3, 3)), ("Conv", draw(16, 16, 3, 3)), ("Conv", draw(1, 16, 3, 3))]
    net(folder, "conv", conv, ["n", 2, ROWS, COLUMNS], ["n", 1, ROWS, COLUMNS])
    mlp = [("Gemm", draw(64, 256)), ("Gemm", draw(256, 8))]
    net(folder, "mlp", mlp, ["n", 64], ["n", 8])
    numpy.save(f"{folder}/row.npy", draw(1, 64))
    for name, steps in [("cube", STEPS), ("small", 2 * BATCH)]:
        with netCDF4.Dataset(f"{folder}/{name}.nc", "w") as file:
            for dimension, length in [("time", steps), ("y", ROWS), ("x", COLUMNS)]:
                file.createDimension(dimension, length)
            for variable in ["tas", "pr"]:
                field = draw(steps, ROWS, COLUMNS)
                file.createVariable(variable, "f4", ("time", "y", "x"))[:] = field


def session(folder, model):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        f"{folder}/{model}.onnx", options, providers=["CPUExecutionProvider"]
    )


def cube(folder, model, name, first, last, form):
    import netCDF4

    own = session(folder, model)
    path = f"{folder}/python_{first}.nc"
    # What `mizar infer` stores.
    deflated = {"zlib": True, "complevel": 1, "shuffle": True, "chunksizes": (2, ROWS, COLUMNS)}
    how = deflated if form == "deflated" else {}
    with netCDF4.Dataset(f"{folder}/{name}.nc") as source:
        with netCDF4.Dataset(path, "w") as file:
            steps = last - first
            for dimension, length in [("time", steps), ("y", ROWS), ("x", COLUMNS)]:
                file.createDimension(dimension, length)
            out = file.createVariable("y", "f4", ("time", "y", "x"), **how)
            for at in range(first, last, BATCH):
                end = min(at + BATCH, last)
                fields = [source[variable][at:end].filled(numpy.nan) for variable in ["tas", "pr"]]
                (y,) = own.run(None, {"x": numpy.stack(fields, 1)})
                out[at - first : end - first] = y[:, 0]
    with open(path) as file:
        os.fsync(file)


def ask(folder, model, count):
    own = session(folder, model)
    shape = [1] + [length for length in own.get_inputs()[0].shape[1:]]
    sample = numpy.random.default_rng(3).standard_normal(shape).astype("f4")
    for _ in range(20):
        own.run(None, {"x": sample})
    print("ready", flush=True)
    sys.stdin.readline()
    times = []
    begun = time.monotonic()
    for _ in range(count):
        start = time.perf_counter()
        own.run(None, {"x": sample})
        times.append(time.perf_counter() - start)
    print(json.dumps({"times_s": times, "begun_s": begun, "ended_s": time.monotonic()}))


command, folder, *words = sys.argv[1:]
if command == "make":
    make(folder)
elif command == "cube":
    cube(folder, words[0], words[1], int(words[2]), int(words[3]), words[4])
else:
    ask(folder, words[0], int(words[1]))
sys.stdout.flush()
# Libraries' threads end with the process, not before it.
os._exit(0)

"""A server of models as one writes it in Python: aiohttp, onnxruntime, the Open Inference Protocol
over a unix socket, tensors as bytes behind a head of JSON.

infer_server.py SOCKET MODEL.onnx ...
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy
import onnxruntime
from aiohttp import web

LENGTH = "Inference-Header-Content-Length"


def ports(values):
    shape = lambda value: [n if isinstance(n, int) else -1 for n in value.shape]
    return [{"name": v.name, "datatype": "FP32", "shape": shape(v)} for v in values]


class Served:
    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        options.inter_op_num_threads = 1
        providers = ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(path, options, providers=providers)
        self.described = {
            "platform": "onnxruntime_onnx",
            "versions": [hashlib.sha256(Path(path).read_bytes()).hexdigest()],
            "inputs": ports(self.session.get_inputs()),
            "outputs": ports(self.session.get_outputs()),
            "parameters": {"backend": "onnxruntime", "metadata": {}},
        }


def main(socket, *paths):
    models = {Path(path).stem: Served(path) for path in paths}

    async def load(request):
        return web.json_response(models[request.match_info["name"]].described)

    async def infer(request):
        body = await request.read()
        head = int(request.headers[LENGTH])
        inputs, at = {}, head
        for entry in json.loads(body[:head])["inputs"]:
            size = entry["parameters"]["binary_data_size"]
            numbers = numpy.frombuffer(body, "<f4", size // 4, at)
            inputs[entry["name"]] = numbers.reshape(entry["shape"])
            at += size
        name = request.match_info["name"]
        entries, parts = [], []
        served = models[name]
        outputs = served.session.run(None, inputs)
        for port, values in zip(served.described["outputs"], outputs):
            parts.append(values.tobytes())
            entry = {"name": port["name"], "datatype": "FP32", "shape": values.shape}
            entries.append(entry | {"parameters": {"binary_data_size": len(parts[-1])}})
        text = json.dumps({"model_name": name, "outputs": entries}).encode()
        return web.Response(body=b"".join([text, *parts]), headers={LENGTH: str(len(text))})

    app = web.Application(client_max_size=64 << 20)
    app.router.add_post("/v2/repository/models/{name}/load", load)
    app.router.add_post("/v2/models/{name}/infer", infer)
    web.run_app(app, path=socket, print=None, access_log=None)


main(*sys.argv[1:])

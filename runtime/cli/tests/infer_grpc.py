"""A client of KServe's protocol over gRPC that is not ours (tritonclient) asks a server.

infer_grpc.py ADDRESS ROW.npy TOKEN      facts as JSON; TOKEN may be empty
"""

import json
import sys
import threading

import numpy
import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException

address, row, token = sys.argv[1:]
headers = {"authorization": f"Bearer {token}"} if token else None
# What gRPC's C library calls a socket of this machine is no authority of HTTP/2: it is given one.
options = [("grpc.default_authority", "localhost")] if address.startswith("unix:") else None
client = grpc.InferenceServerClient(address, channel_args=options)


def refused(what):
    try:
        what()
    except InferenceServerException as error:
        return [error.status(), error.message()]
    return None


def ask(rows, version="", output=None, name="x", typed=False):
    tensor = grpc.InferInput(name, list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows)
    if typed:
        # Numbers in their list, not as bytes: what hand-written clients send.
        contents = tensor._get_tensor()
        contents.contents.fp32_contents.extend(rows.ravel().tolist())
        tensor._raw_content = None
    outputs = [grpc.InferRequestedOutput(output)] if output else None
    return client.infer(
        "mlp", [tensor], model_version=version, outputs=outputs, request_id="7", headers=headers
    )


rows = numpy.load(row)
metadata = client.get_model_metadata("mlp", headers=headers)
answer = ask(rows[:1])
told = {
    "live": client.is_server_live(headers=headers),
    "ready": client.is_server_ready(headers=headers),
    "model_ready": client.is_model_ready("mlp", headers=headers),
    "server": client.get_server_metadata(headers=headers).name,
    "input_shape": list(metadata.inputs[0].shape),
    "input_type": metadata.inputs[0].datatype,
    "version": metadata.versions[0],
    "id": answer.get_response().id,
    "answer_version": answer.get_response().model_version,
    "y": answer.as_numpy("y").tolist(),
    "y_typed": ask(rows[:1], typed=True).as_numpy("y").tolist(),
    "y_all": ask(rows, version=metadata.versions[0][:8], output="y").as_numpy("y").tolist(),
    "no_model": refused(lambda: client.get_model_metadata("other", headers=headers)),
    "no_version": refused(lambda: ask(rows[:1], version="1")),
    "no_output": refused(lambda: ask(rows[:1], output="z")),
    "no_input": refused(lambda: ask(rows[:1], name="z")),
    "no_fit": refused(lambda: ask(rows[:1, :3])),
    "no_method": refused(lambda: client.get_model_repository_index(headers=headers)),
    "too_large": refused(lambda: ask(numpy.zeros((300000, 4), "f4"))),
}
if token:
    told["no_token"] = refused(lambda: client.get_server_metadata())

# Many at once over one connection.
results = [None] * 32


def one(at):
    results[at] = ask(rows[at % len(rows) :][:1]).as_numpy("y").tolist()


threads = [threading.Thread(target=one, args=[at]) for at in range(len(results))]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
told["same"] = all(
    numpy.allclose(results[at], told["y_all"][at % len(rows)], atol=1e-5) for at in range(len(results))
)
print(json.dumps(told))

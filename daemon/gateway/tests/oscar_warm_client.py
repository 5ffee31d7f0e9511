"""Synchronous calls of OSCAR's own client, unmodified, made by warm workers. Called by lab_warm.rs
with the gateway's address; says `done` at its end."""

import base64
import json
import os
import sys
import tempfile
import threading

import requests
from oscar_python.client import Client

ENDPOINT, USER, PASSWORD = sys.argv[1:]

SCRIPT = """#!/bin/sh
echo "job $JOB_UUID of $OSCAR_SERVICE_NAME, $GREETING"
case $(cat "$INPUT_FILE_PATH") in
  fail) echo "it went wrong"; exit 7;;
  two) echo 1 > "$TMP_OUTPUT_DIR/one"; echo 2 > "$TMP_OUTPUT_DIR/two";;
  file*) tr a-z A-Z < "$INPUT_FILE_PATH" > "$TMP_OUTPUT_DIR/result.txt";;
esac
"""


def main():
    options = {"cluster_id": "mizar", "endpoint": ENDPOINT, "user": USER, "password": PASSWORD}
    client = Client(options={**options, "ssl": False})
    service = {
        "name": "plants",
        "image": "ghcr.io/grycap/plants",
        "script": SCRIPT,
        "cpu": "1",
        "memory": "64Mi",
        "synchronous": {"min_scale": 0, "max_scale": 2},
        "environment": {"variables": {"GREETING": "hello $(id)"}},
    }
    assert client.create_service(service).status_code == 201
    shown = json.loads(client.get_service("plants").text)
    assert shown["synchronous"] == {"min_scale": 0, "max_scale": 2}, shown

    # The first call has a worker made and waits for it; the others find it.
    names = set()
    for _ in range(5):
        answer = client.run_service("plants", input="some text")
        name = answer.headers["x-mizar-job-id"]
        assert answer.status_code == 200
        assert answer.text == f"job {name} of plants, hello $(id)\n", answer.text
        assert answer.headers["server-timing"].startswith("function;dur=")
        names.add(name)
    assert len(names) == 5

    # A file there and back, as the client does it.
    with tempfile.TemporaryDirectory() as folder:
        there, back = os.path.join(folder, "in"), os.path.join(folder, "out")
        with open(there, "w", encoding="utf-8") as file:
            file.write("file of text")
        client.run_service("plants", input=there, output=back)
        with open(back, encoding="utf-8") as file:
            assert file.read() == "FILE OF TEXT"
    zipped = base64.b64decode(client.run_service("plants", input="two").text)
    assert zipped.startswith(b"PK"), zipped[:20]

    # A function that fails.
    try:
        client.run_service("plants", input="fail")
        raise AssertionError("a failed script was answered with 200")
    except requests.HTTPError as error:
        assert error.response.status_code == 500 and "it went wrong" in error.response.text

    # Many at once.
    answers = []

    def call():
        answers.append(client.run_service("plants", input="x").status_code)

    threads = [threading.Thread(target=call) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 20, answers

    # Calls are not kept, and batch jobs go on as ever.
    assert json.loads(client.list_jobs("plants").text)["jobs"] == {}
    job = client.run_service("plants", input="x", async_call=True)
    assert (job.status_code, job.text) == (201, "")
    headers = {"Authorization": f"Bearer {shown['token']}", "Idempotency-Key": "once"}
    first, again = (
        requests.post(f"{ENDPOINT}/run/plants", data="x", headers=headers, timeout=60)
        for _ in range(2)
    )
    assert first.text == again.text == "job once of plants, hello $(id)\n", first.text
    print("done", flush=True)


main()
os._exit(0)

"""The whole life of a service with OSCAR's own client, unmodified, and an object store that checks
signatures. Called by lab_oscar.rs with the gateway's address; says `done` at its end."""

import json
import logging
import os
import sys
import threading
import time

import boto3
import requests
from moto.server import ThreadedMotoServer
from oscar_python.client import Client

ENDPOINT, USER, PASSWORD, FOLDER = sys.argv[1:]
REGION = "eu-north-1"

SCRIPT = """#!/bin/sh
echo "job $JOB_UUID of $OSCAR_SERVICE_NAME, $GREETING $PASSWORD"
echo "to stderr" >&2
echo "key $STORAGE_OBJECT_KEY at $EVENT_TIME"
case $(cat "$INPUT_FILE_PATH") in fail) echo "it went wrong"; exit 7;; esac
mkdir -p "$TMP_OUTPUT_DIR/deep"
tr a-z A-Z < "$INPUT_FILE_PATH" > "$TMP_OUTPUT_DIR/deep/result.txt"
[ -z "$STORAGE_OBJECT_KEY" ] || echo skipped > "$STORAGE_OUTPUT_DIR/result.log"
"""


def store():
    """An S3 server with one user, and its client."""
    os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "1000000"
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"

    def client(name, **keys):
        return boto3.client(name, endpoint_url=url, region_name=REGION, **keys)

    free = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
    iam = client("iam", **free)
    iam.create_user(UserName="user")
    rule = {"Effect": "Allow", "Action": ["s3:*"], "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
    iam.put_user_policy(UserName="user", PolicyName="all", PolicyDocument=policy)
    key = iam.create_access_key(UserName="user")["AccessKey"]
    where = {"LocationConstraint": REGION}
    s3 = client(
        "s3",
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
    )
    for bucket in ["inbox", "outbox"]:
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=where)
    requests.post(f"{url}/moto-api/reset-auth", data="0", timeout=10)
    provider = {
        "endpoint": url,
        "region": REGION,
        "access_key": key["AccessKeyId"],
        "secret_key": key["SecretAccessKey"],
        "verify": True,
    }
    return s3, provider


def wait(client, service, count, limit=120):
    """All jobs of a service, once there are so many and all have ended."""
    end = time.monotonic() + limit
    while True:
        jobs = json.loads(client.list_jobs(service).text)["jobs"]
        states = [job["status"] for job in jobs.values()]
        if len(jobs) == count and not {"Pending", "Running"} & set(states):
            return jobs
        assert time.monotonic() < end, jobs
        time.sleep(0.1)


def notification(key, sequencer):
    """What MinIO sends."""
    entry = {
        "eventVersion": "2.0",
        "eventSource": "minio:s3",
        "eventTime": "2026-01-02T10:00:00.000Z",
        "eventName": "s3:ObjectCreated:Put",
        "s3": {"bucket": {"name": "inbox"}, "object": {"key": key, "sequencer": sequencer}},
    }
    return {"EventName": "s3:ObjectCreated:Put", "Key": f"inbox/{key}", "Records": [entry]}


def main():
    s3, provider = store()
    options = {"cluster_id": "mizar", "endpoint": ENDPOINT, "user": USER, "password": PASSWORD}
    client = Client(options={**options, "ssl": False})
    assert client.health_check().text == "Ok"
    assert json.loads(client.get_cluster_info().text)["serverless_backend"]["name"] == "slurm"
    assert json.loads(client.get_cluster_config().text)["config"]["name"] == "lab"
    assert json.loads(client.get_cluster_status().text)["oscar"]["ready"] is True
    try:
        Client(options={**options, "password": "wrong", "ssl": False}).list_services()
        raise AssertionError("a wrong password was taken")
    except requests.HTTPError as error:
        assert error.response.status_code == 401

    service = {
        "name": "plants",
        "image": "ghcr.io/grycap/plants",
        "script": SCRIPT,
        "cpu": "1",
        "memory": "64Mi",
        "environment": {"variables": {"GREETING": "hello $(id)"}, "secrets": {"PASSWORD": "hush"}},
        "storage_providers": {"minio": {"lab": provider}},
        "input": [{"storage_provider": "minio.lab", "path": "inbox/files"}],
        "output": [
            {"storage_provider": "minio.lab", "path": "outbox/done", "suffix": [".txt"]},
            {"storage_provider": "minio.default", "path": "kept", "prefix": ["deep/"]},
        ],
    }
    assert client.create_service(service).status_code == 201
    try:
        client.create_service(service)
        raise AssertionError("a second service of the name was made")
    except ValueError:
        pass
    listed = json.loads(client.list_services().text)
    assert [one["name"] for one in listed] == ["plants"]
    shown = json.loads(client.get_service("plants").text)
    assert len(shown["token"]) == 64 and shown["environment"]["secrets"] == {"PASSWORD": ""}
    assert shown["storage_providers"]["minio"]["lab"]["secret_key"] == "hidden"
    assert client.update_service("plants", {**service, "cpu": "2"}).status_code == 204
    again = json.loads(client.get_service("plants").text)
    assert again["cpu"] == "2" and again["token"] == shown["token"]
    client.create_storage_client("plants")

    # Asynchronous, with a plain body.
    answer = client.run_service("plants", input="some text", async_call=True)
    name = answer.headers["x-mizar-job-id"]
    assert (answer.status_code, answer.text) == (201, "") and name.startswith("plants-")
    jobs = wait(client, "plants", 1)
    assert jobs[name]["status"] == "Succeeded" and jobs[name]["finish_time"]
    text = client.get_job_logs("plants", name).text
    assert f"job {name} of plants, hello $(id) hush\nto stderr\n" in text, text
    kept = os.path.join(FOLDER, "plants/kept/deep/result.txt")
    with open(kept, encoding="utf-8") as file:
        assert file.read() == "SOME TEXT"

    # Synchronous: the output comes back, decoded by the client.
    result = os.path.join(FOLDER, "result.txt")
    answer = client.run_service("plants", input="more text", output=result, timeout=60)
    assert answer.status_code == 200
    with open(result, encoding="utf-8") as file:
        assert file.read() == "MORE TEXT"

    # A notification of the store, many times at once: one job.
    s3.put_object(Bucket="inbox", Key="files/a b+\u00fc.txt", Body=b"from the store")
    body = json.dumps(notification("files%2Fa+b%2B%C3%BC.txt", "17A0C1F2E3D4B5A6"))
    names = set()

    def deliver():
        headers = {"Authorization": f"Bearer {shown['token']}"}
        sent = requests.post(f"{ENDPOINT}/job/plants", data=body, headers=headers, timeout=30)
        assert sent.status_code == 201, sent.text
        names.add(sent.headers["x-mizar-job-id"])

    threads = [threading.Thread(target=deliver) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names) == 1, names
    jobs = wait(client, "plants", 3)
    stored = s3.get_object(Bucket="outbox", Key="done/deep/result.txt")["Body"].read()
    assert stored == b"FROM THE STORE", stored
    keys = [one["Key"] for one in s3.list_objects_v2(Bucket="outbox")["Contents"]]
    assert keys == ["done/deep/result.txt"], keys
    text = client.get_job_logs("plants", names.pop()).text
    assert "key files/a b+\u00fc.txt at 2026-01-02T10:00:00.000Z" in text, text

    # A script that fails is a failed job, and its caller hears of it.
    try:
        client.run_service("plants", input="fail")
        raise AssertionError("a failed script was answered with 200")
    except requests.HTTPError as error:
        assert error.response.status_code == 500 and "it went wrong" in error.response.text
    failed = wait(client, "plants", 4)
    assert sorted(job["status"] for job in failed.values()) == ["Failed"] + ["Succeeded"] * 3

    # Bad callers, and what a batch system has not.
    for token in ["", "x" * 64, PASSWORD]:
        headers = {"Authorization": f"Bearer {token}"}
        for path in ["job/plants", "run/plants", "job/nothing"]:
            sent = requests.post(f"{ENDPOINT}/{path}", headers=headers, timeout=10)
            assert (sent.status_code, sent.text) == (401, ""), (path, sent.status_code)
    for ask in [client.list_volumes, client.list_buckets, client.get_metrics_summary]:
        try:
            ask()
            raise AssertionError("it was answered")
        except requests.HTTPError as error:
            assert error.response.status_code == 501 and error.response.text

    assert client.remove_job("plants", name).status_code == 204
    assert name not in wait(client, "plants", 3)
    assert client.remove_all_jobs("plants").status_code == 204
    assert [job["status"] for job in wait(client, "plants", 1).values()] == ["Failed"]
    assert client.remove_service("plants").status_code == 204
    assert json.loads(client.list_services().text) == []
    print("done", flush=True)


main()
os._exit(0)

"""An S3 server (moto) that a test drives line by line: put KEY BODY, delete KEY, many COUNT."""

import sys

import boto3
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
url = f"http://{host}:{port}"
s3 = boto3.client(
    "s3",
    endpoint_url=url,
    region_name="us-east-1",
    aws_access_key_id="ann",
    aws_secret_access_key="hush-hush",
)
s3.create_bucket(Bucket="bucket")
print(url, flush=True)
for line in sys.stdin:
    command, rest = line.rstrip("\n").split(" ", 1)
    if command == "put":
        key, body = rest.rsplit(" ", 1)
        s3.put_object(Bucket="bucket", Key=key, Body=body.encode())
    elif command == "delete":
        s3.delete_object(Bucket="bucket", Key=rest)
    else:
        # Past HTTP, which would take most of the test's time.
        backend = s3_backends["123456789012"]["aws"]
        for number in range(int(rest)):
            backend.put_object("bucket", f"in/{number:05}.txt", b"x")
    print("done", flush=True)
server.stop()

"""Servers of one test, each over the files of a folder: an S3 service that checks signatures,
and a web server with a certificate of its own. They end with their standard input."""

import datetime
import functools
import http.server
import ipaddress
import json
import logging
import os
import ssl
import sys
import threading
from pathlib import Path

REGION = "eu-north-1"


def wait(told):
    print(json.dumps(told), flush=True)
    sys.stdin.read()
    os._exit(0)


def s3(folder):
    os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "1000000"
    import boto3
    import requests
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"

    def client(name, **keys):
        return boto3.client(name, endpoint_url=url, region_name=REGION, **keys)

    any_keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
    iam = client("iam", **any_keys)
    iam.create_user(UserName="reader")
    rule = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}
    iam.put_user_policy(
        UserName="reader",
        PolicyName="read",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [rule]}),
    )
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    store = client("s3", **any_keys)
    store.create_bucket(
        Bucket="climate", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            name = path.relative_to(folder)
            store.upload_file(str(path), "climate", f"a b/{name}")
    # From here on every request is checked.
    requests.post(f"{url}/moto-api/reset-auth", data="0", timeout=10)
    wait({"url": url, "id": key["AccessKeyId"], "secret": key["SecretAccessKey"]})


def certificate(path):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    Path(path).write_bytes(
        made.public_bytes(pem)
        + key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


def web(folder, pem):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    certificate(pem)
    handler = functools.partial(Quiet, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    wait({"url": f"https://127.0.0.1:{server.server_port}"})


if __name__ == "__main__":
    {"s3": s3, "web": web}[sys.argv[1]](*sys.argv[2:])

"""S3, SNS and SQS (moto) that check signatures, driven by a test line by line.

The first line is the queue's URL, the key's id and its secret. Objects under raw/ notify the queue
itself, those under topic/ a topic that the queue is subscribed to.

    put KEY BODY    makes an object
    send TEXT       sends a message to the queue
    lose            takes all messages that are on their way back, with new receipts
    count           tells how many messages the queue has, seen or not
    handed          tells how often messages were handed out
"""

import json
import logging
import os
import sys

os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "1000000"

import boto3
import requests
from moto.server import ThreadedMotoServer
from moto.sqs.models import sqs_backends
from moto.sqs.utils import generate_receipt_handle

REGION = "eu-north-1"

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
url = f"http://{host}:{port}"


def client(name, id="any", secret="any"):
    keys = {"aws_access_key_id": id, "aws_secret_access_key": secret}
    return boto3.client(name, endpoint_url=url, region_name=REGION, **keys)


iam = client("iam")
iam.create_user(UserName="ann")
rule = {"Effect": "Allow", "Action": "*", "Resource": "*"}
document = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
iam.put_user_policy(UserName="ann", PolicyName="all", PolicyDocument=document)
key = iam.create_access_key(UserName="ann")["AccessKey"]
keys = (key["AccessKeyId"], key["SecretAccessKey"])
s3, sns, sqs = (client(name, *keys) for name in ("s3", "sns", "sqs"))
# From here on every request is checked.
requests.post(f"{url}/moto-api/reset-auth", data="0", timeout=10)

queue_url = sqs.create_queue(QueueName="events")["QueueUrl"]
queue_arn = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
queue_arn = queue_arn["Attributes"]["QueueArn"]
topic_arn = sns.create_topic(Name="topic")["TopicArn"]
sns.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=queue_arn)
s3.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": REGION})


def notify(kind, arn, prefix):
    rules = [{"Name": "prefix", "Value": prefix}]
    return {
        kind: arn,
        "Events": ["s3:ObjectCreated:*"],
        "Filter": {"Key": {"FilterRules": rules}},
    }


# The store sends its test event here.
s3.put_bucket_notification_configuration(
    Bucket="bucket",
    NotificationConfiguration={
        "QueueConfigurations": [notify("QueueArn", queue_arn, "raw/")],
        "TopicConfigurations": [notify("TopicArn", topic_arn, "topic/")],
    },
)
print(queue_url, *keys, flush=True)
queue = sqs_backends["123456789012"][REGION].queues["events"]
for line in sys.stdin:
    command, _, rest = line.rstrip("\n").partition(" ")
    answer = "done"
    if command == "put":
        name, body = rest.rsplit(" ", 1)
        s3.put_object(Bucket="bucket", Key=name, Body=body.encode())
    elif command == "send":
        sqs.send_message(QueueUrl=queue_url, MessageBody=rest)
    elif command == "lose":
        for message in queue._messages:
            message._old_receipt_handles.clear()
            message.receipt_handle = generate_receipt_handle()
            message.visible_at = 0
            queue.pending_messages.discard(message)
    elif command == "count":
        answer = len(queue._messages)
    elif command == "handed":
        answer = sum(message.approximate_receive_count for message in queue._messages)
    print(answer, flush=True)
server.stop()

"""A Kafka-compatible broker that a test drives line by line: the mock cluster of librdkafka.

It speaks Kafka's protocol over TCP and keeps its records in memory; it is no Kafka. The first line
is its address. Its topics have four partitions and are made when they are first written to.

    put PARTITION CODEC TEXT    writes a record to the topic `events`, compressed by CODEC
    binary ID                   writes a CloudEvent in binary mode
    many COUNT                  writes so many CloudEvents over all partitions
"""

import json
import sys

from confluent_kafka import Producer

TOPIC = "events"
cluster = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1, "log_level": 0})
brokers = cluster.list_topics(timeout=20).brokers
address = ",".join(f"{one.host}:{one.port}" for one in brokers.values())
producers = {}


def write(body, codec="none", **more):
    if codec not in producers:
        settings = {"bootstrap.servers": address, "compression.type": codec, "linger.ms": 5}
        producers[codec] = Producer(settings)
    producers[codec].produce(TOPIC, body, **more)


cluster.list_topics(TOPIC, timeout=20)
write(b"first", partition=0)
producers["none"].flush(20)
print(address, flush=True)
for line in sys.stdin:
    command, _, rest = line.rstrip("\n").partition(" ")
    if command == "put":
        partition, codec, text = rest.split(" ", 2)
        write(text.encode(), codec, partition=int(partition), key="bucket/key")
    elif command == "binary":
        names = {"specversion": "1.0", "id": rest, "source": "/k", "type": "t"}
        headers = {f"ce_{name}": value for name, value in names.items()}
        write(b"{}", headers=headers | {"content-type": "application/json"})
    elif command == "many":
        for number in range(int(rest)):
            event = {"specversion": "1.0", "id": f"many-{number}", "source": "/k", "type": "t"}
            write(json.dumps(event), "zstd", partition=number % 4)
    for producer in producers.values():
        assert producer.flush(20) == 0
    print("done", flush=True)

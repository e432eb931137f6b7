"""Makes a topic with a number of partitions, which `rowcast produce` leaves to the broker.

In: `host:port` of a broker without TLS, a name, a number. One request of Kafka's protocol
(CreateTopics, version 2) over a socket: no client library, no JVM.
"""

import socket
import struct

CREATE_TOPICS, VERSION = 19, 2
TIMEOUT_MS = 30_000
NO_ERROR = 0


def text(value):
    return struct.pack("!h", len(value)) + value.encode()


def create_topic(servers, name, partitions):
    host, port = servers.split(",")[0].rsplit(":", 1)
    replication, assignments, settings = 1, 0, 0
    body = struct.pack("!i", 1) + text(name) + struct.pack("!ihii", partitions, replication, assignments, settings)
    body += struct.pack("!i?", TIMEOUT_MS, False)
    request = struct.pack("!hhi", CREATE_TOPICS, VERSION, 1) + text("throughput") + body
    with socket.create_connection((host, int(port)), timeout=TIMEOUT_MS / 1000) as connection:
        connection.sendall(struct.pack("!i", len(request)) + request)
        answer = connection.makefile("rb")
        (length,) = struct.unpack("!i", answer.read(4))
        reply = answer.read(length)
    # Correlation id, throttle time, number of topics, the topic's name, then its error code.
    at = 12 + 2 + struct.unpack("!h", reply[12:14])[0]
    (code,) = struct.unpack("!h", reply[at:at + 2])
    if code != NO_ERROR:
        raise OSError(f"Kafka made no topic {name}: error code {code}")

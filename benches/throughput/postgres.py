"""A PostgreSQL connection that sends what was rendered before: its client costs next to nothing.

In: a URL `postgres://user:password@host:port/database` without TLS, statements, ready-made protocol
messages. Out: rows as texts. Only what the bench needs of the protocol, version 3.0: its purpose is
the database's own limit, which a driver that renders arrays while the clock runs would hide.
"""

import base64
import datetime
import hashlib
import hmac
import os
import socket
import struct
import urllib.parse

EPOCH = datetime.datetime(2000, 1, 1)
# Type oids of the elements, for arrays in binary form.
OIDS = {"text": 25, "bigint": 20, "timestamp": 1114, "date": 1082, "boolean": 16}
TEXT_FORMAT, BINARY_FORMAT = 0, 1


class PostgresError(Exception):
    """What the server refused, with its SQLSTATE."""


class Connection:
    def __init__(self, url):
        parts = urllib.parse.urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port or 5432), timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = self.socket.makefile("rb", buffering=1 << 16)
        user = urllib.parse.unquote(parts.username)
        database = parts.path.lstrip("/") or user
        startup = b"".join(text.encode() + b"\0" for text in ("user", user, "database", database)) + b"\0"
        self.socket.sendall(struct.pack("!ii", len(startup) + 8, 196608) + startup)
        self._authenticate(urllib.parse.unquote(parts.password or ""))
        self.answer()

    def close(self):
        self.socket.close()

    def query(self, text):
        """Runs statements without arguments. Gives the rows: texts, None for NULL."""
        self.socket.sendall(message(b"Q", text.encode() + b"\0"))
        return self.answer()

    def value(self, text):
        return self.query(text)[0][0]

    def prepare(self, text):
        """Makes `text` the unnamed statement that [`execution`] runs."""
        self.socket.sendall(message(b"P", b"\0" + text.encode() + b"\0" + struct.pack("!h", 0)) + message(b"S", b""))
        self.answer()

    def send(self, ready_made):
        self.socket.sendall(ready_made)
        self.answer()

    def answer(self):
        """Reads to the end of an answer. Of a refusal it tells code and message, never the detail."""
        rows, refusal = [], None
        while True:
            kind, body = self._read()
            if kind == b"D":
                rows.append(cells(body))
            elif kind == b"E":
                fields = {field[:1]: field[1:].decode() for field in body.split(b"\0") if field}
                refusal = PostgresError(f"{fields.get(b'C')}: {fields.get(b'M')}")
                if fields.get(b"S") == "FATAL":
                    raise refusal
            elif kind == b"Z":
                if refusal:
                    raise refusal
                return rows

    def _read(self):
        head = self.reader.read(5)
        if len(head) < 5:
            raise PostgresError("the server closed the connection")
        return head[:1], self.reader.read(struct.unpack("!i", head[1:])[0] - 4)

    def _expect_authentication(self):
        kind, body = self._read()
        if kind == b"E":
            raise PostgresError("the server refused the login")
        return struct.unpack("!i", body[:4])[0], body[4:]

    def _authenticate(self, password):
        asked, body = self._expect_authentication()
        if asked == 0:
            return
        if asked != 10 or b"SCRAM-SHA-256" not in body.split(b"\0"):
            raise PostgresError("only trust and SCRAM-SHA-256 are known here")
        nonce = base64.b64encode(os.urandom(18)).decode()
        opening = f"n=,r={nonce}"
        first = ("n,," + opening).encode()
        self.socket.sendall(message(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(first)) + first))
        _, challenge = self._expect_authentication()
        told = dict(part.split("=", 1) for part in challenge.decode().split(","))
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(told["s"]), int(told["i"]))
        ending = f"c=biws,r={told['r']}"
        signed = ",".join([opening, challenge.decode(), ending]).encode()
        key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()
        self.socket.sendall(message(b"p", f"{ending},p={proof}".encode()))
        while self._expect_authentication()[0] != 0:
            pass


def message(kind, body):
    return kind + struct.pack("!i", len(body) + 4) + body


def cells(body):
    found, at = [], 2
    for _ in range(struct.unpack("!h", body[:2])[0]):
        (length,) = struct.unpack("!i", body[at:at + 4])
        at += 4
        found.append(None if length < 0 else body[at:at + length].decode())
        at += max(length, 0)
    return found


# --- arrays -----------------------------------------------------------------------------------

def execution(columns, types, binary):
    """The messages that run the unnamed statement with one array per column."""
    arrays = [(binary_array if binary else text_array)(values, kind) for values, kind in zip(columns, types)]
    formats = struct.pack("!hh", 1, BINARY_FORMAT if binary else TEXT_FORMAT)
    arguments = b"".join(struct.pack("!i", len(array)) + array for array in arrays)
    bind = b"\0\0" + formats + struct.pack("!h", len(arrays)) + arguments + struct.pack("!h", 0)
    return message(b"B", bind) + message(b"E", b"\0" + struct.pack("!i", 0)) + message(b"S", b"")


def text_array(values, _kind):
    def quoted(value):
        return "NULL" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    return ("{" + ",".join(map(quoted, values)) + "}").encode()


def binary_array(values, kind):
    head = struct.pack("!iiiii", 1, 1, OIDS[kind], len(values), 1)
    return head + b"".join(map(ENCODE[kind], values))


def sized(encode):
    def element(value):
        if value is None:
            return b"\xff\xff\xff\xff"
        content = encode(value)
        return struct.pack("!i", len(content)) + content

    return element


ENCODE = {
    "text": sized(str.encode),
    "bigint": sized(lambda value: struct.pack("!q", int(value))),
    "timestamp": sized(lambda value: struct.pack(
        "!q", (datetime.datetime.fromisoformat(value) - EPOCH) // datetime.timedelta(microseconds=1))),
    "date": sized(lambda value: struct.pack("!i", (datetime.date.fromisoformat(value) - EPOCH.date()).days)),
    "boolean": sized(lambda value: b"\1" if value == "true" else b"\0"),
}

#!/usr/bin/env python3
"""The workload's documents as Avro, and a schema registry that knows their schema.

In: `records.ndjson` as workload.py writes it. Out: the same records with their values as Confluent's
serialisers write them, a change's record with the document in the field `resource`: as JSON text
(`avro-text`) or as a record through and through (`avro-record`), whose schema is made of what the
documents hold, every member optional, as in FHIR. No library: Avro's encoding is that small.
"""

import argparse
import base64
import http.server
import json
import os
import struct
import threading

import workload

ENCODINGS = ["avro-text", "avro-record"]
# As the topology says it: what rowcast is told of the record's fields.
FIELDS = {"document": "resource", "operation": "operation", "type": "type", "id": "id", "version": "version"}
# Documents that the schema is made of; one of another shape fails while it is written.
SHOWN = 2000
NULL, SOMETHING = 0, 1


# --- schemas ----------------------------------------------------------------------------------

def change(resource):
    operation = {"type": "enum", "name": "Operation", "symbols": ["UPSERT", "DELETE"]}
    fields = {"operation": operation, "type": "string", "id": "string", "version": "long", "resource": ["null", resource]}
    return record("Change", fields)


def record(name, fields):
    return {"type": "record", "name": name, "fields": [{"name": field, "type": of} for field, of in fields.items()]}


def schema_of(values, name):
    """A schema that all these values fit."""
    one = values[0]
    if isinstance(one, dict):
        members = {}
        for value in values:
            for member, inner in value.items():
                members.setdefault(member, []).append(inner)
        return record(name, {member: ["null", schema_of(inner, f"{name}_{member}")] for member, inner in members.items()})
    if isinstance(one, list):
        return {"type": "array", "items": schema_of([item for value in values for item in value], name)}
    return {bool: "boolean", int: "long", float: "double", str: "string"}[type(one)]


# --- values -----------------------------------------------------------------------------------

def long(number):
    number = number << 1 ^ number >> 63
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def text(value):
    written = value.encode()
    return long(len(written)) + written


def writer(schema):
    """A function that writes values of a schema; it fails on what the schema has no place for."""
    if isinstance(schema, list):
        inner, null, something = writer(schema[SOMETHING]), long(NULL), long(SOMETHING)
        return lambda value: null if value is None else something + inner(value)
    if isinstance(schema, str):
        return {"string": text, "long": long, "double": lambda value: struct.pack("<d", value),
                "boolean": lambda value: b"\1" if value else b"\0"}[schema]
    if schema["type"] == "enum":
        return lambda value: long(schema["symbols"].index(value))
    if schema["type"] == "array":
        item, end = writer(schema["items"]), long(0)
        return lambda value: (long(len(value)) + b"".join(map(item, value)) if value else b"") + end
    fields = [(field["name"], writer(field["type"])) for field in schema["fields"]]
    known = {name for name, _ in fields}

    def members(value):
        if not known.issuperset(value):
            raise ValueError(f"the schema lacks {sorted(set(value) - known)}")
        return b"".join(write(value.get(name)) for name, write in fields)
    return members


# --- files ------------------------------------------------------------------------------------

def write(source, encoding):
    """Writes `records.ndjson` of a workload as Avro unless it is there. Returns its path, the bytes of
    its values, and the schema."""
    path = os.path.join(source, f"{encoding}.ndjson")
    summary = os.path.join(source, f"{encoding}.json")
    if not os.path.exists(summary):
        with open(os.path.join(source, "records.ndjson"), encoding="utf-8") as lines:
            shown = [json.loads(line)["value"] for line, _ in zip(lines, range(SHOWN))]
        schema = change("string" if encoding == "avro-text" else schema_of(shown, "Patient"))
        value_bytes = encode(source, path, encoding, writer(schema))
        # last, so that a broken-off run is not taken for a whole one
        with open(summary, "w", encoding="utf-8") as out:
            json.dump({"bytes": value_bytes, "schema": schema}, out)
    with open(summary, encoding="utf-8") as told:
        told = json.load(told)
    return path, told["bytes"], told["schema"]


def encode(source, path, encoding, write_change):
    frame, value_bytes = b"\0" + struct.pack("!i", SCHEMA_ID), 0
    with open(os.path.join(source, "records.ndjson"), encoding="utf-8") as lines, open(path, "w", encoding="utf-8") as out:
        for line in lines:
            told = json.loads(line)
            document = told["value"]
            resource = workload.compact(document) if encoding == "avro-text" else document
            value = frame + write_change({
                "operation": "UPSERT", "type": document["resourceType"], "id": document["id"],
                "version": int(document["meta"]["versionId"]), "resource": resource})
            value_bytes += len(value)
            out.write(f'{{"key":"{told["key"]}","value_base64":"{base64.b64encode(value).decode()}"}}\n')
    return value_bytes


# --- the registry -----------------------------------------------------------------------------

SCHEMA_ID = 7


class Registry:
    """Answers for one schema, as Confluent's does, until the program ends."""

    def __init__(self, schema):
        answer = json.dumps({"schema": json.dumps(schema)}).encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                known = self.path == f"/schemas/ids/{SCHEMA_ID}"
                body = answer if known else b'{"error_code":40403,"message":"Schema not found"}'
                self.send_response(200 if known else 404)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", required=True, help="the folder that workload.py wrote; ENCODING.ndjson and ENCODING.json are added")
    parser.add_argument("--encoding", choices=ENCODINGS, required=True)
    options = parser.parse_args()
    path, value_bytes, _ = write(options.workload, options.encoding)
    print(f"{value_bytes} bytes of values in {path}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Breaks tables in every way the oracle is to find, and sees that it finds it.

The right tables are made from the oracle's own expectation, so this says nothing about rowcast and
everything about the comparison. With the url of an empty PostgreSQL database as
argument it is done there too, besides SQLite.
"""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import uuid

import expected
import oracle

HERE = os.path.dirname(os.path.abspath(__file__))
SQL_TYPES = {
    "STRING": "text", "INT": "integer", "BIGINT": "bigint", "DECIMAL": "numeric", "DOUBLE": "double precision",
    "BOOLEAN": "boolean", "DATE": "date", "DATETIME": "timestamptz", "TIME": "time", "JSON": "jsonb",
}

# What is done to right tables, and the kind and table of the finding that must come of it.
BREAKS = [
    ("DELETE FROM observation_component WHERE id IN (SELECT id FROM observation_component ORDER BY id LIMIT 1)",
     "lost: observation_component: 1"),
    ("DELETE FROM condition_code; DELETE FROM condition WHERE id IN (SELECT id FROM condition ORDER BY id LIMIT 1)",
     "lost: condition: 1"),
    ("INSERT INTO patient_telecom SELECT 'ffffffff-0000-0000-0000-000000000000', source_resource_id, parent_reference, "
     "contact_system, contact_value, contact_use, contact_rank FROM patient_telecom ORDER BY id LIMIT 1",
     "doubled: patient_telecom: 1"),
    ("INSERT INTO patient_telecom SELECT * FROM patient_telecom ORDER BY id LIMIT 1", "doubled id: patient_telecom: 1"),
    ("UPDATE claim SET version = version - 1 WHERE id IN (SELECT id FROM claim ORDER BY id LIMIT 1)", "stale: claim: 1"),
    ("UPDATE claim SET version = version + 1 WHERE id IN (SELECT id FROM claim ORDER BY id LIMIT 1)", "too new: claim: 1"),
    ("DELETE FROM encounter WHERE id IN (SELECT parent_reference FROM encounter_participant ORDER BY id LIMIT 1)",
     "orphaned: encounter_participant"),
    ("UPDATE claim_item_detail SET parent_reference = 'ffffffff-0000-0000-0000-000000000000' "
     "WHERE id IN (SELECT id FROM claim_item_detail ORDER BY id LIMIT 1)", "orphaned: claim_item_detail: 1"),
    ("UPDATE claim SET total = total + 0.01 WHERE id IN (SELECT id FROM claim ORDER BY id LIMIT 1)", "differing: claim: 1"),
    ("UPDATE patient SET family_name = '' WHERE id IN (SELECT id FROM patient WHERE family_name IS NOT NULL ORDER BY id LIMIT 1)",
     "differing: patient: 1"),
    ("UPDATE encounter SET period_start = '1999-01-01T00:00:00.000001Z' "
     "WHERE id IN (SELECT id FROM encounter ORDER BY id LIMIT 1)", "differing: encounter: 1"),
    ("INSERT INTO condition (id, version) VALUES ('never-sent', 1)", "left over: condition: 1"),
]


def create(tables):
    for table in tables:
        columns = {"id": "text" if "id" in table.columns else "varchar(36)"}
        if table.parent is None:
            columns["version"] = "bigint"
        if table.parent is not None or "id" not in table.columns:
            columns["source_resource_id"] = "text"
        if table.parent is not None:
            columns["parent_reference"] = "text"
        columns.update((name, SQL_TYPES[kind]) for name, kind in table.columns.items() if name != "id")
        yield f"CREATE TABLE {table.name} ({', '.join(f'{name} {kind}' for name, kind in columns.items())});"


def literal(value, kind):
    if value is None:
        return "NULL"
    if kind == "BOOLEAN":
        return "TRUE" if value else "FALSE"
    if kind == "DATE":
        value = oracle.date(value)
    elif kind == "JSON":
        value = json.dumps(value, default=str)
    elif kind in ("INT", "DECIMAL"):
        return f"'{value}'"
    return "'" + str(value).replace("'", "''") + "'"


def fill(final):
    made = 0

    def insert(row, identity, version, parent):
        nonlocal made
        made += 1
        table = expected.TABLES[row.table]
        cells = {"id": literal(str(uuid.UUID(int=made)), "STRING")}
        if table.parent is None:
            cells["version"] = str(version)
        if table.parent is not None or "id" not in table.columns:
            cells["source_resource_id"] = literal(identity, "STRING")
        if table.parent is not None:
            cells["parent_reference"] = parent
        cells.update((name, literal(row.columns[name], kind)) for name, kind in table.columns.items())
        yield f"INSERT INTO {row.table} ({', '.join(cells)}) VALUES ({', '.join(cells.values())});"
        for child in row.children:
            yield from insert(child, identity, version, cells["id"])

    for key, live in final.items():
        if live is not None:
            kind, identity = key.split("/", 1)
            for row in expected.ROWS[kind](live.document):
                yield from insert(row, identity, live.version, None)


def sqlite(path, script):
    connection = sqlite3.connect(path)
    # As in rowcast's tables: digits and instants are text there.
    connection.executescript(script.replace("numeric", "text").replace("timestamptz", "text"))
    connection.close()


def postgres(url, script):
    subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", url], input=script.encode(), check=True,
                   stdout=subprocess.DEVNULL, env={**os.environ, "PGOPTIONS": "--client-min-messages=warning"})


def verdict(records, database):
    found = subprocess.run([sys.executable, os.path.join(HERE, "oracle.py"), "--records", records, "--database", database],
                           stdout=subprocess.PIPE)
    return found.returncode, found.stdout.decode()


def check(records, database, run):
    final, _, _ = oracle.final_state(records)
    right = "\n".join([*create(expected.TABLES.values()), *fill(final)])
    everything_away = "".join(f"DROP TABLE IF EXISTS {name};" for name in expected.TABLES)
    run(database, f"BEGIN; {everything_away}{right} COMMIT;")
    code, said = verdict(records, database)
    assert code == 0 and "oracle: right" in said, said
    for damage, finding in BREAKS:
        run(database, f"BEGIN; {everything_away}{right}{damage}; COMMIT;")
        code, said = verdict(records, database)
        assert code == 1 and f"oracle: {finding}" in said, f"{damage}\n{said}"


def main():
    with tempfile.TemporaryDirectory() as folder:
        records = os.path.join(folder, "records.ndjson")
        for program in [["synthetic.py", "--resources", "150", "--out", folder],
                        ["feed.py", "--input", folder, "--out", records, "--poison", "4"]]:
            subprocess.run([sys.executable, os.path.join(HERE, program[0]), *program[1:]], check=True)
        check(records, os.path.join(folder, "rows.db"), sqlite)
        if len(sys.argv) > 1:
            check(records, sys.argv[1], postgres)
    print(f"self test: {len(BREAKS)} kinds of damage found")


if __name__ == "__main__":
    main()

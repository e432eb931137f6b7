#!/usr/bin/env python3
"""Says what the tables must hold after a stream of records, and compares.

In: the records that feed.py wrote, a database, the dead letters. Out: what is lost, doubled,
stale, orphaned, left over or differing, in numbers; exit code 1 if anything is. It never looks at
the rules files and shares no code with rowcast: what a resource becomes is written by hand in
expected.py.
"""

import argparse
import collections
import datetime
import decimal
import json
import re
import sqlite3
import subprocess
import sys

import expected

# How many examples of a kind are printed. They name resources: the data is synthetic.
EXAMPLES = 5


# --- the state that the records lead to -------------------------------------------------------

Live = collections.namedtuple("Live", "version document")


def final_state(path):
    """The newest version of each resource, None where that is a delete; the causes of the letters
    to be; the number of records."""
    state = {}  # key -> (version, is_delete, document text)
    letters = collections.Counter()
    count = 0
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            count += 1
            record = json.loads(line)
            if "proof.cause" in record["headers"]:
                letters[record["headers"]["proof.cause"]] += 1
                continue
            known = state.get(record["key"])
            if record["value"] is None:
                told = record["headers"].get("rowcast.version")
                # Without a version it deletes whatever came before it.
                version = int(told) if told is not None else (known[0] if known else -1)
                candidate = (version, True, None)
            else:
                document = json.loads(record["value"], parse_float=decimal.Decimal)
                candidate = (int(document["meta"]["versionId"]), False, record["value"])
            # The higher version; on equal versions a delete beats an upsert.
            if known is None or candidate[:2] > known[:2]:
                state[record["key"]] = candidate
    final = {}
    for key, (version, is_delete, text) in state.items():
        final[key] = None if is_delete else Live(version, json.loads(text, parse_float=decimal.Decimal))
    return final, letters, count


# --- the database -----------------------------------------------------------------------------

def read_postgres(url, table):
    # JSON keeps NULL apart from texts and a numeric's digits as they are.
    query = f'SET timezone TO UTC; SELECT row_to_json(t) FROM "{table}" t'
    found = subprocess.run(["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", query, url],
                           stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=True)
    for line in found.stdout.decode().split("\n"):
        if line:
            yield json.loads(line, parse_float=decimal.Decimal)


def read_sqlite(path, table):
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    cursor = connection.execute(f'SELECT * FROM "{table}"')
    names = [column[0] for column in cursor.description]
    for row in cursor:
        yield dict(zip(names, row))
    connection.close()


# --- one form for every value -----------------------------------------------------------------

def instant(text):
    """Microseconds since 1970. What lacks a zone is UTC, what lacks a time begins the day."""
    text = str(text).replace(" ", "T")
    if re.fullmatch(r"\d{4}", text):
        text += "-01-01"
    elif re.fullmatch(r"\d{4}-\d{2}", text):
        text += "-01"
    text = re.sub(r"Z$", "+00:00", text)
    text = re.sub(r"\.(\d+)", lambda m: "." + (m[1] + "000000")[:6], text)
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return (moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) // datetime.timedelta(microseconds=1)


def date(text):
    text = str(text)
    return text + {4: "-01-01", 7: "-01"}.get(len(text), "")


NORMAL = {
    "STRING": str,
    "INT": int,
    "BIGINT": int,
    # 72.50 is not 72.5, but 1e3 is 1000.
    "DECIMAL": lambda value: format(decimal.Decimal(str(value)), "f"),
    "DOUBLE": float,
    "BOOLEAN": bool,
    "DATE": date,
    "DATETIME": instant,
    "TIME": str,
    "UUID": lambda value: str(value).lower(),
    "JSON": lambda value: json.dumps(json.loads(value) if isinstance(value, str) else value, sort_keys=True, default=str),
}


def normal(kind, value):
    return None if value is None else NORMAL[kind](value)


def values(table, row):
    return tuple(normal(kind, row[column]) for column, kind in table.columns.items())


# --- the comparison ---------------------------------------------------------------------------

class Findings:
    """What is wrong, counted by kind and table, with some examples."""

    def __init__(self):
        self.counts = collections.Counter()
        self.examples = collections.defaultdict(list)

    def add(self, kind, table, example):
        self.counts[kind, table] += 1
        if len(self.examples[kind, table]) < EXAMPLES:
            self.examples[kind, table].append(example)


def expected_rows(final):
    """table -> resource id -> rows, each (version, values, the parent's values or None)."""
    wanted = {table.name: {} for table in expected.TABLES.values()}

    def place(row, identity, version, parent):
        table = expected.TABLES[row.table]
        assert set(row.columns) == set(table.columns), f"expected.py: columns of {row.table}"
        mine = (values(table, row.columns), parent)
        wanted[row.table].setdefault(identity, []).append((version, *mine))
        for child in row.children:
            place(child, identity, version, mine)

    for key, live in final.items():
        kind, identity = key.split("/", 1)
        if live is not None and kind in expected.ROWS:
            for row in expected.ROWS[kind](live.document):
                place(row, identity, live.version, None)
    return wanted


def compare(wanted, read, findings):
    total = 0
    found = {}  # table -> id -> (values, parent)
    # Parents come before their children in TABLES.
    for table in expected.TABLES.values():
        mine = found[table.name] = {}
        per_resource = collections.defaultdict(list)
        for row in read(table.name):
            total += 1
            resource = row["source_resource_id"] if "source_resource_id" in row else row["id"]
            parent = None
            if row["id"] in mine:
                findings.add("doubled id", table.name, resource)
            if table.parent is not None:
                parent = found[table.parent].get(row["parent_reference"])
                if parent is None or parent[0] != resource:
                    findings.add("orphaned", table.name, resource)
                    mine[row["id"]] = (resource, None)
                    continue
                parent = parent[1]
            content = (values(table, row), parent)
            mine[row["id"]] = (resource, content)
            per_resource[resource].append((row.get("version"), *content))
        for resource in wanted[table.name].keys() | per_resource.keys():
            one_resource(table, resource, wanted[table.name].get(resource, []), per_resource.get(resource, []), findings)
    return total


def one_resource(table, resource, wanted, found, findings):
    name = table.name
    if not wanted:
        for _ in found:
            findings.add("left over", name, resource)
        return
    version = wanted[0][0]
    for row in found:
        # Children may have no version column.
        if row[0] is not None and int(row[0]) < version:
            findings.add("stale", name, f"{resource} at {row[0]} instead of {version}")
        elif row[0] is not None and int(row[0]) > version:
            findings.add("too new", name, f"{resource} at {row[0]} instead of {version}")
    missing = collections.Counter(row[1:] for row in wanted)
    missing.subtract(collections.Counter(row[1:] for row in found))
    surplus = list((-missing).elements())
    missing = list((+missing).elements())
    # A missing and a surplus row are one row that differs.
    for lost, other in zip(missing, surplus):
        columns = [column for column, a, b in zip(table.columns, lost[0], other[0]) if a != b]
        first = next(((a, b) for a, b in zip(lost[0], other[0]) if a != b), "")
        findings.add("differing", name, f"{resource}: {', '.join(columns) or 'its parent'}: {first}")
    for _ in missing[len(surplus):]:
        findings.add("lost", name, resource)
    for row in surplus[len(missing):]:
        findings.add("doubled" if row in [r[1:] for r in wanted] else "left over", name, resource)


def compare_letters(wanted, path, findings):
    found = collections.Counter()
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                found[json.loads(line)["cause"]] += 1
    for cause in wanted.keys() | found.keys():
        if wanted[cause] != found[cause]:
            findings.add("dead letters", cause, f"{found[cause]} instead of {wanted[cause]}")
    return sum(found.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", required=True, help="what feed.py wrote")
    parser.add_argument("--database", required=True, help="postgres:// url, or a SQLite file")
    parser.add_argument("--letters", help="output of `rowcast dead-letters list --output json`; not compared if absent")
    options = parser.parse_args()

    final, letters, count = final_state(options.records)
    wanted = expected_rows(final)
    postgres = options.database.startswith(("postgres://", "postgresql://"))
    reader = read_postgres if postgres else read_sqlite
    findings = Findings()
    total = compare(wanted, lambda table: reader(options.database, table), findings)
    settled = "not compared"
    if options.letters:
        settled = compare_letters(letters, options.letters, findings)

    rows = {name: sum(map(len, per.values())) for name, per in wanted.items()}
    live = sum(one is not None for one in final.values())
    print(f"oracle: {count} records, {len(final)} resources, {live} live, {len(final) - live} deleted")
    print("oracle: rows expected: " + ", ".join(f"{name} {number}" for name, number in rows.items()))
    print(f"oracle: {total} rows found, {sum(rows.values())} expected; dead letters {settled}")
    for (kind, table), number in sorted(findings.counts.items()):
        print(f"oracle: {kind}: {table}: {number}")
        for example in findings.examples[kind, table]:
            print(f"oracle:     {example}")
    if not any(rows.values()):
        print("oracle: WRONG: nothing was expected, so nothing was compared")
        sys.exit(1)
    if findings.counts:
        print(f"oracle: WRONG: {sum(findings.counts.values())} findings")
        sys.exit(1)
    print("oracle: right")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Compares the tables after a run with what the workload says: every value of every row.

In: the folder that workload.py wrote, a database. Out: how many rows are missing, left over or
differ, and in which columns; exit code 1 if any.
"""

import argparse
import collections
import sys

import workload
from databases import database_at, instant


def last_versions(rows):
    """What must be left: the last row of each key."""
    return {row[0]: row for row in rows}


def findings(database, rows, with_children):
    """What is wrong, as `kind -> number`; empty if every row is right."""
    expected = last_versions(rows)
    wrong = collections.Counter()
    seen = set()
    for row in database.rows("patient", list(workload.COLUMNS)):
        wanted = expected.get(row[0])
        if wanted is None:
            wrong["left over"] += 1
            continue
        seen.add(row[0])
        for (column, kind), value, want in zip(workload.COLUMNS.items(), row, wanted):
            if kind == "timestamp" and value is not None and want is not None:
                value, want = instant(value), instant(want)
            if value != want:
                wrong[f"differing {column}"] += 1
    wrong["missing"] += len(expected) - len(seen)
    if with_children:
        wrong += of_children(database, expected)
    return +wrong


def of_children(database, expected):
    wrong = collections.Counter()
    wanted = {table: collections.Counter() for table in workload.CHILDREN}
    for key, row in expected.items():
        for table, columns in workload.children(row):
            wanted[table][(key, key, *columns)] += 1
    for table, columns in workload.CHILDREN.items():
        found = database.rows(table, ["source_resource_id", "parent_reference", *columns])
        found = collections.Counter(tuple(row) for row in found)
        wrong[f"missing in {table}"] += (wanted[table] - found).total()
        wrong[f"left over in {table}"] += (found - wanted[table]).total()
    return wrong


def told(wrong):
    return ", ".join(f"{count} {kind}" for kind, count in sorted(wrong.items())) or "every row is right"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", required=True, help="the folder that workload.py wrote")
    parser.add_argument("--database", required=True, help="sqlite:///path/of/file")
    parser.add_argument("--children", action="store_true", help="with the child tables")
    options = parser.parse_args()
    wrong = findings(database_at(options.database, "."), workload.read_rows(options.workload), options.children)
    print(f"check: {told(wrong)}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

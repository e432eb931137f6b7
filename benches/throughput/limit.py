"""PostgreSQL's own limit: the rows of the workload, rendered beforehand, upserted over one connection.

In: a connection, the rows in the order of their records. Out: rows per second and the server's CPU
seconds. One INSERT ... SELECT FROM UNNEST ... ON CONFLICT DO UPDATE per batch, one transaction each,
a key that is twice in a batch reduced to its last: what any sink must do at the least, without
reading, parsing, guarding or remembering anything.
"""

import time

import postgres
import processes
from workload import COLUMNS

TABLE = "throughput_limit"


def table_ddl(name):
    columns = ", ".join(f"{column} {kind}" for column, kind in COLUMNS.items())
    return f"CREATE TABLE {name} ({columns.replace('id text', 'id text PRIMARY KEY', 1)})"


def render(rows, batch, binary):
    """The messages of all batches."""
    rendered = []
    for begin in range(0, len(rows), batch):
        last = {row[0]: row for row in rows[begin:begin + batch]}
        rendered.append(postgres.execution(list(zip(*last.values())), COLUMNS.values(), binary))
    return rendered


def measure(url, rendered, records):
    """Runs the batches into an empty table."""
    connection = postgres.Connection(url)
    arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(COLUMNS.values(), 1))
    updates = ", ".join(f"{column} = excluded.{column}" for column in list(COLUMNS)[1:])
    connection.query(f"DROP TABLE IF EXISTS {TABLE}; {table_ddl(TABLE)}")
    connection.query("CHECKPOINT")
    connection.prepare(f"INSERT INTO {TABLE} SELECT * FROM UNNEST({arrays}) ON CONFLICT (id) DO UPDATE SET {updates}")
    server = processes.service("postgres")
    cpu = processes.tree_cpu(server)
    began = time.monotonic()
    for messages in rendered:
        connection.send(messages)
    seconds = time.monotonic() - began
    used = None if cpu is None else (processes.tree_cpu(server) - cpu) * 1e6 / records
    connection.query(f"DROP TABLE {TABLE}")
    connection.close()
    return {"rows_per_second": records / seconds, "database_cpu_per_million": used}

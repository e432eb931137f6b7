"""The databases that the bench writes to: their tables, their rows, their server's process.

In: a URL. Out: empty tables before a run, rows in one form after it. A further database is one more
class here and its scheme in `DATABASES`.
"""

import json
import os
import re
import sqlite3
import subprocess
import urllib.parse

import limit
import postgres
import processes
from workload import CHILDREN, COLUMNS

BOOKKEEPING = ["rowcast_task", "rowcast_tombstone", "rowcast_resource", "rowcast_table"]


def instant(text):
    """`2025-10-09T08:53:20.017000`: microseconds always, no zone, which is UTC."""
    found = re.fullmatch(r"(\S{10})[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?(?:Z|\+00:00)?", text)
    if not found:
        return text  # differs from what is expected, and is told so
    day, time, fraction = found.groups()
    return f"{day}T{time}.{(fraction or '').ljust(6, '0')}"


def child_ddl(name, columns, key):
    texts = "".join(f", {column} text" for column in columns)
    return f"CREATE TABLE {name} (id {key} PRIMARY KEY, source_resource_id text NOT NULL, parent_reference text NOT NULL{texts})"


class Postgres:
    """A database of its own on the server of the URL, dropped at the end."""

    name = "PostgreSQL"

    def __init__(self, url, _folder, database=None):
        self.server_url = url
        self.database = database or f"rowcast_throughput_{os.getpid()}"
        self.url = f"{url.rsplit('/', 1)[0]}/{self.database}"
        self.server = processes.service("postgres")
        self._ask(url, f"CREATE DATABASE {self.database}")

    def drop(self):
        self._ask(self.server_url, f"DROP DATABASE IF EXISTS {self.database} WITH (FORCE)")

    def about(self):
        """Version and the settings that decide."""
        asked = ["server_version", "shared_buffers", "max_wal_size", "fsync", "synchronous_commit"]
        return {name: self.ask(f"SHOW {name}")[0][0] for name in asked}

    def prepare(self, with_children):
        for table in ["patient", *CHILDREN, *BOOKKEEPING]:
            self.ask(f"DROP TABLE IF EXISTS {table}")
        self.ask(limit.table_ddl("patient"))
        for table, columns in CHILDREN.items() if with_children else []:
            self.ask(child_ddl(table, columns, "uuid"))
            self.ask(f"CREATE INDEX ON {table} (source_resource_id)")
            self.ask(f"CREATE INDEX ON {table} (parent_reference)")
        self.ask("CHECKPOINT")

    def limit(self, rendered, records):
        """The server's own rate for ready-made batches."""
        return limit.measure(self.url, rendered, records)

    def rows(self, table, columns):
        shown = ", ".join(
            f"to_char({column}, 'YYYY-MM-DD\"T\"HH24:MI:SS.US')" if COLUMNS.get(column) == "timestamp" else f"{column}::text"
            for column in columns)
        return self.ask(f"SELECT {shown} FROM {table}")

    def ask(self, text):
        return self._ask(self.url, text)

    @staticmethod
    def _ask(url, text):
        connection = postgres.Connection(url)
        try:
            return connection.query(text)
        finally:
            connection.close()


class Mariadb:
    """A database of its own on the server of the URL, dropped at the end. Asked by the server's own
    client."""

    name = "MariaDB"
    # Ids are compared byte by byte.
    ID = "varchar(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
    KINDS = {"text": "varchar(255)", "timestamp": "datetime(6)"}

    def __init__(self, url, _folder, _database=None):
        self.parts = urllib.parse.urlsplit(url)
        self.database = f"rowcast_throughput_{os.getpid()}"
        self.url = f"{url.rsplit('/', 1)[0]}/{self.database}"
        self.server = processes.service("mariadb")
        self.ask(f"CREATE DATABASE {self.database} CHARACTER SET utf8mb4", database="")

    def drop(self):
        self.ask(f"DROP DATABASE IF EXISTS {self.database}", database="")

    def about(self):
        return {"server_version": self.ask("SELECT JSON_ARRAY(version())")[0][0]}

    def prepare(self, with_children):
        for table in ["patient", *CHILDREN, *BOOKKEEPING]:
            self.ask(f"DROP TABLE IF EXISTS {table}")
        ids = {"id": self.ID + " PRIMARY KEY", "source_resource_id": self.ID}
        columns = ", ".join(f"{column} {ids.get(column) or self.KINDS.get(kind, kind)}" for column, kind in COLUMNS.items())
        self.ask(f"CREATE TABLE patient ({columns})")
        for table, names in CHILDREN.items() if with_children else []:
            texts = "".join(f", {column} varchar(255)" for column in names)
            self.ask(f"CREATE TABLE {table} (id uuid PRIMARY KEY, source_resource_id {self.ID} NOT NULL, "
                     f"parent_reference {self.ID} NOT NULL{texts}, INDEX (source_resource_id), INDEX (parent_reference))")

    def rows(self, table, columns):
        forms = {"timestamp": "DATE_FORMAT({}, '%Y-%m-%dT%H:%i:%s.%f')", "boolean": "IF({}, 'true', 'false')"}
        cells = [forms.get(COLUMNS.get(column), "CAST({} AS char)").format(column) for column in columns]
        # IF makes 'false' of NULL
        cells = [f"IF({column} IS NULL, NULL, {cell})" for column, cell in zip(columns, cells)]
        return self.ask(f"SELECT JSON_ARRAY({', '.join(cells)}) FROM {table}")

    def ask(self, text, database=None):
        """Rows that the statement returns as JSON arrays."""
        command = ["mariadb", "--no-defaults", "--batch", "--raw", "--skip-column-names", "--default-character-set=utf8mb4",
                   f"--host={self.parts.hostname}", f"--port={self.parts.port}", f"--user={self.parts.username}",
                   self.database if database is None else database]
        environment = {**os.environ, "MYSQL_PWD": urllib.parse.unquote(self.parts.password or "")}
        said = subprocess.run([*filter(None, command)], input=text, env=environment, check=True, capture_output=True, text=True)
        return [json.loads(line) for line in said.stdout.splitlines()]


class Sqlite:
    """A file beside the other files of the run."""

    name = "SQLite"
    # In rowcast's own process.
    server = None

    def __init__(self, url, folder, _database=None):
        self.path = os.path.join(folder, url.removeprefix("sqlite://") or "rows.db")
        self.url = f"sqlite://{self.path}"

    def drop(self):
        for suffix in ("", "-wal", "-shm"):
            if os.path.exists(self.path + suffix):
                os.remove(self.path + suffix)

    def about(self):
        return {"server_version": sqlite3.sqlite_version + " (of this program; rowcast brings its own)"}

    def prepare(self, with_children):
        self.drop()
        kinds = {"bigint": "INTEGER", "boolean": "INTEGER"}
        columns = ", ".join(f"{column} {kinds.get(kind, 'TEXT')}" for column, kind in COLUMNS.items())
        connection = sqlite3.connect(self.path)
        connection.execute(f"CREATE TABLE patient ({columns}, PRIMARY KEY (id))")
        for table, names in CHILDREN.items() if with_children else []:
            connection.execute(child_ddl(table, names, "TEXT"))
            connection.execute(f"CREATE INDEX {table}_resource ON {table} (source_resource_id)")
            connection.execute(f"CREATE INDEX {table}_parent ON {table} (parent_reference)")
        connection.commit()
        connection.close()

    def rows(self, table, columns):
        connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        found = connection.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
        connection.close()
        return [[shown(column, value) for column, value in zip(columns, row)] for row in found]


def shown(column, value):
    if value is None:
        return None
    if COLUMNS.get(column) == "boolean":
        return {0: "false", 1: "true"}.get(value, str(value))
    return str(value)


DATABASES = {"postgres": Postgres, "postgresql": Postgres, "mysql": Mariadb, "mariadb": Mariadb, "sqlite": Sqlite}


def database_at(url, folder, database=None):
    scheme = url.split(":", 1)[0]
    if scheme not in DATABASES:
        raise SystemExit(f"throughput: no database of the kind `{scheme}` is known here; there are: {', '.join(DATABASES)}")
    return DATABASES[scheme](url, folder, database)

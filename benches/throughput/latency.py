"""From ingest to the committed row, one change at a time.

In: the binary, a broker, a PostgreSQL that keeps commit timestamps. Out: the times between the moment
that Kafka has stamped a record with (its producer's clock, whole milliseconds) and the moment at which
the transaction of its row was committed, on one machine with one clock. The record's moment comes into
the row by FHIRPath's `now()`, which is the record's timestamp; so the producer's own time is no part
of it, and the half millisecond that a stamp lacks on average is.
"""

import json
import os
import subprocess
import time

import kafka
import run

RULES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "rules", "latency.json")
TABLE = "CREATE TABLE latency (id uuid PRIMARY KEY, source_resource_id text NOT NULL, version bigint NOT NULL, ingested timestamptz)"
# Sent before the clock counts: assignment, first connection, prepared statements.
WARM_UP = 200
PATIENCE = 60


def measure(rowcast, servers, database, folder, rate, seconds, settings):
    """Sends `rate` changes a second for `seconds` and looks at the rows afterwards."""
    if database.ask("SHOW track_commit_timestamp")[0][0] != "on":
        raise run.RunFailed("the server keeps no commit timestamps: track_commit_timestamp is off")
    for table in ["latency", "rowcast_task", "rowcast_tombstone", "rowcast_resource", "rowcast_table"]:
        database.ask(f"DROP TABLE IF EXISTS {table}")
    database.ask(TABLE)
    name = f"latency_{int(time.time())}_{os.getpid()}"
    kafka.create_topic(servers, name, 2)
    path = os.path.join(folder, "latency.yaml")
    with open(path, "w", encoding="utf-8") as out:
        json.dump({
            "name": name,
            "source": {"topic": name, "kafka": {"bootstrap.servers": servers}},
            "transform": {"rules": [RULES]},
            "sink": {"url": "${" + run.URL_VARIABLE + "}"},
            "http": {"listen": f"127.0.0.1:{run.free_port()}"},
            "log": {"format": "human"},
        }, out)
    environment = {**os.environ, run.URL_VARIABLE: database.url, "NO_COLOR": "1"}
    command = [rowcast, "run", "--topology", path]
    for setting in settings:
        command += ["--set", setting]
    log_path = os.path.join(folder, "latency.log")
    with open(log_path, "wb") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)
        producing = subprocess.Popen([rowcast, "produce", "--topology", path], stdin=subprocess.PIPE, stderr=log, env=environment, text=True)
        try:
            send(producing.stdin, 0, WARM_UP, rate)
            wait(database, WARM_UP, running, log_path)
            send(producing.stdin, WARM_UP, rate * seconds, rate)
            producing.stdin.close()
            wait(database, WARM_UP + rate * seconds, running, log_path)
        finally:
            run.end(producing)
            run.end(running)
    shares = {"median": 0.5, "p90": 0.9, "p99": 0.99, "most": 1}
    percentiles = ", ".join(f"percentile_disc({share}) WITHIN GROUP (ORDER BY ms)" for share in shares.values())
    found = database.ask(
        f"SELECT {percentiles}, count(*) FROM (SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin) - ingested) * 1000 AS ms "
        f"FROM latency WHERE source_resource_id::int >= {WARM_UP}) l")[0]
    return {"changes_per_second": rate, **{name: float(ms) for name, ms in zip(shares, found)}, "changes": int(found[-1])}


def send(lines, first, count, rate):
    """One line every 1/rate seconds, late ones at once."""
    begun = time.monotonic()
    for number in range(count):
        wait_for = begun + number / rate - time.monotonic()
        if wait_for > 0:
            time.sleep(wait_for)
        lines.write(json.dumps({"resourceType": "Patient", "id": str(first + number), "meta": {"versionId": "1"}}) + "\n")
        lines.flush()


def wait(database, rows, running, log_path):
    until = time.monotonic() + PATIENCE
    while int(database.ask("SELECT count(*) FROM latency")[0][0]) < rows:
        if running.poll() is not None or time.monotonic() > until:
            raise run.RunFailed(f"not all {rows} rows came\n{run.end_of(log_path)}")
        time.sleep(0.2)

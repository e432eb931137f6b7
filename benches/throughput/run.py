"""One run of rowcast over a topic, measured from outside.

In: the binary, a topology, the number of records in the topic. Out: figures. The clock runs from the
last look at which no record had been received to the first look at which the committed offsets have
reached the end of the log; looks are LOOK seconds apart, so the rate is told too low rather than too
high. A record is committed after its row is. CPU seconds are read at the same two looks.
"""

import json
import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request

import processes

# A look costs the program under test less than a thousandth of a core at this rate.
LOOK = 0.05
# Without any progress for so long the run has failed.
STALLED = 60
IDLE = "1s"
URL_VARIABLE = "ROWCAST_BENCH_URL"


class RunFailed(Exception):
    """rowcast ended or stood still; the message says so and shows the end of its log."""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def metrics(port):
    """The exposition as `(name, labels text) -> value`; empty while nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except (urllib.error.URLError, OSError):
        return {}
    found = re.findall(r"^(\w+)(?:\{(.*)\})? (\S+)$", text, re.MULTILINE)
    return {(name, labels): float(value) for name, labels, value in found}


def total(series, name):
    return sum(value for (found, _), value in series.items() if found == name)


def by_label(series, name, label):
    """Sums of a metric by the value of a label."""
    sums = {}
    for (found, labels), value in series.items():
        key = re.search(rf'\b{label}="([^"]*)"', labels) if found == name else None
        if key:
            sums[key[1]] = sums.get(key[1], 0) + value
    return sums


class Looks:
    """What all processes have used so far."""

    def __init__(self, rowcast, database):
        self.at = time.monotonic()
        self.rowcast = processes.cpu(rowcast)
        self.database = processes.tree_cpu(database)
        self.kafka = processes.tree_cpu(processes.service("kafka"))
        self.own = time.process_time()
        self.machine = processes.machine()


def measure(rowcast, name, topology, database, records, folder, settings, perf):
    """Runs rowcast until it is idle. `topology` lacks name, http and sink.url."""
    port = free_port()
    topology = {**topology, "name": name, "http": {"listen": f"127.0.0.1:{port}"}, "log": {"format": "human"}}
    topology["sink"] = {"url": "${" + URL_VARIABLE + "}"}
    path = os.path.join(folder, "topology.yaml")
    with open(path, "w", encoding="utf-8") as out:
        json.dump(topology, out, indent=2)  # JSON is YAML
    command = [rowcast, "run", "--topology", path, "--until-idle", IDLE]
    for setting in settings:
        command += ["--set", setting]
    log_path = os.path.join(folder, "run.log")
    environment = {**os.environ, URL_VARIABLE: database.url, "NO_COLOR": "1"}
    if perf:
        # Where the program is, 999 times in a second of CPU time, on all threads from the first.
        command = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "999", "-o", perf, "--", *command]
    with open(log_path, "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)
        try:
            figures = watch(process, port, database.server, records, child_of(process) if perf else process.pid)
            status = process.wait(timeout=STALLED)
        except (RunFailed, subprocess.TimeoutExpired) as error:
            raise RunFailed(f"{error}\n{end_of(log_path)}") from None
        finally:
            end(process)
    if status != 0:
        raise RunFailed(f"rowcast ended with {status}\n{end_of(log_path)}")
    return figures


def watch(process, port, server, records, pid):
    before, after, peak = None, None, 0
    moved_at, moved = time.monotonic(), 0
    while True:
        look = Looks(pid, server)
        series = metrics(port)
        peak = max(peak, processes.peak_memory(pid) or 0)
        received = total(series, "rowcast_records_received_total")
        committed = total(series, "rowcast_consumer_committed_offset")
        if received == 0:
            before = look
        elif committed >= records:
            after = Looks(pid, server)
            break
        if process.poll() is not None:
            raise RunFailed(f"rowcast ended with {process.returncode}, {committed:.0f} of {records} records committed")
        if received + committed != moved:
            moved_at, moved = time.monotonic(), received + committed
        if time.monotonic() - moved_at > STALLED:
            raise RunFailed(f"nothing moved for {STALLED} s, {committed:.0f} of {records} records committed")
        time.sleep(LOOK)
    # Before the process ends: what it holds when idle is a part of the peak.
    peak = max(peak, processes.peak_memory(pid) or 0)
    return figures(before, after, records, series, peak)


def figures(before, after, records, series, peak):
    seconds = after.at - before.at

    def per_million(used_before, used_after):
        return None if used_before is None else (used_after - used_before) * 1e6 / records

    rowcast, database, kafka, own, machine = (
        None if getattr(before, name) is None else getattr(after, name) - getattr(before, name)
        for name in ("rowcast", "database", "kafka", "own", "machine"))
    others = max(0.0, machine - sum(used or 0 for used in (rowcast, database, kafka, own)))
    busy = by_label(series, "rowcast_stage_busy_seconds_total", "stage")
    return {
        "changes": records,
        "seconds": seconds,
        "changes_per_second": records / seconds,
        "rowcast_cpu_per_million": per_million(before.rowcast, after.rowcast),
        "database_cpu_per_million": per_million(before.database, after.database),
        "kafka_cpu_per_million": per_million(before.kafka, after.kafka),
        "peak_memory_bytes": peak,
        "batches": total(series, "rowcast_db_batch_records_count"),
        "stage_seconds_per_million": {stage: spent * 1e6 / records for stage, spent in busy.items()},
        "settled": by_label(series, "rowcast_records_settled_total", "outcome"),
        # Of all cores, by processes that are no part of the bench: above a few percent the
        # machine was not quiet.
        "others_share": others / (seconds * os.cpu_count()),
    }


def end(process):
    """Ends what did not end by itself. perf hands a SIGTERM on; after a SIGKILL it could not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=STALLED)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def child_of(process):
    """The process id of the program that perf started."""
    while process.poll() is None:
        found = processes.children(process.pid)
        if found:
            return int(found[0])
        time.sleep(0.01)
    raise RunFailed("perf did not start the program; is it allowed to? (kernel.perf_event_paranoid)")


def end_of(path):
    with open(path, encoding="utf-8", errors="replace") as log:
        return "".join(log.readlines()[-20:])

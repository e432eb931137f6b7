#!/usr/bin/env python3
"""How many changes a second rowcast writes, end to end, and what that costs: Kafka, rowcast, database.

Started by benches/throughput.sh, which has the servers started. Makes the workload, fills topics,
runs rowcast over them again and again with a new consumer group and empty tables, compares every row
afterwards, and tells medians.
"""

import argparse
import collections
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import avro
import check
import kafka
import latency
import limit
import peer
import processes
import run
import workload
from databases import database_at

HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(os.path.dirname(HERE))
# Workloads are kept here; may be deleted at any time.
CACHE = os.path.join(TREE, "target", "throughput")

Variant = collections.namedtuple(
    "Variant", "database partitions size share children encoding", defaults=[workload.USUAL, 1, False, "json"])

# share: of the keys; documents of 500 kB need fewer of them. encoding: of the records' values.
VARIANTS = {
    "patient-p1": Variant("server", 1),
    "patient-p2": Variant("server", 2),
    "patient-p4": Variant("server", 4),
    "children-p2": Variant("server", 2, children=True),
    "sqlite-p1": Variant("sqlite://", 1),
    "mariadb-p2": Variant("mariadb", 2),
    "mariadb-children-p2": Variant("mariadb", 2, children=True),
    "size-100B": Variant("server", 2, size=100),
    "size-1kB": Variant("server", 2, size=1000),
    "size-10kB": Variant("server", 2, size=10_000, share=0.2),
    "size-100kB": Variant("server", 2, size=100_000, share=0.02),
    "size-500kB": Variant("server", 2, size=500_000, share=0.005),
    "avro-text-p2": Variant("server", 2, encoding="avro-text"),
    "avro-record-p2": Variant("server", 2, encoding="avro-record"),
}
# The same changes as JSON and as Avro; what the others are measured against comes first.
AVRO = ["patient-p2", "avro-text-p2", "avro-record-p2"]
AVRO_KEYS = 50_000
QUICK = ["patient-p1", "patient-p2", "children-p2", "sqlite-p1", "size-100kB"]
QUICK_KEYS = 25_000
# Batches of the database's own limit: as the fastest sinks send them.
LIMIT_BATCH = 1000
# Fewer rows than this take too short a time to tell a rate.
LIMIT_LEAST = 20_000
LATENCY_SECONDS = 30
LIMIT_BATCHES = [100, 500, 1000, 2000, 5000, 20_000]


def say(text):
    print(f"throughput: {text}", file=sys.stderr, flush=True)


def main():
    options = arguments()
    # Asked to end, it ends what it started and leaves nothing behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = options.keep or tempfile.mkdtemp(prefix="rowcast-throughput.")
    os.makedirs(folder, exist_ok=True)
    bench = Bench(options, folder)
    try:
        report = bench.report()
    except run.RunFailed as failed:
        sys.exit(f"throughput: {failed}")
    finally:
        bench.end()
        if not options.keep:
            shutil.rmtree(folder)
    print(json.dumps(report, indent=2) if options.output == "json" else as_text(report))
    if any(one["wrong"] for one in report["runs"]) or not report.get("peer", {"right": True})["right"]:
        sys.exit("throughput: there are wrong rows; the figures are worth nothing")


def arguments():
    parser = argparse.ArgumentParser(prog="benches/throughput.sh", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"one run of {', '.join(QUICK)} with {QUICK_KEYS} keys")
    parser.add_argument("--avro", action="store_true", help=f"{', '.join(AVRO)} with {AVRO_KEYS} keys, in turns, and ratios to the first")
    parser.add_argument("--only", metavar="NAME,...", help=f"of {', '.join(VARIANTS)}")
    parser.add_argument("--runs", type=int, help="runs of each, in turns (default 3)")
    parser.add_argument("--keys", type=int, help="each is changed twice (default 100000)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to rowcast run; may be repeated")
    parser.add_argument("--database", metavar="URL", help="the server to write to (default: the PostgreSQL of tests/services)")
    parser.add_argument("--limits", action="store_true", help="PostgreSQL's own limit by batch size, and nothing else")
    parser.add_argument("--latency", metavar="RATE", type=int, nargs="?", const=100, help="from ingest to the committed row at so many changes a second (100), and nothing else")
    parser.add_argument("--perf", metavar="DIR", help="profile each run into DIR/NAME.data (needs perf)")
    parser.add_argument("--peer", metavar="DIR", default=os.environ.get("ROWCAST_PEER", os.path.join(TREE, "..", "shared", "peer")),
                        help="folder of the workload of other sinks: its records are compared with ours, "
                             "and its verify.py looks at the table of patient-p1 (default: $ROWCAST_PEER, else ../shared/peer; skipped where it is not)")
    parser.add_argument("--output", choices=["text", "json"], default="text")
    parser.add_argument("--keep", metavar="DIR", help="work there and leave everything")
    options = parser.parse_args()
    options.runs = options.runs or (1 if options.quick else 3)
    options.keys = options.keys or (QUICK_KEYS if options.quick else AVRO_KEYS if options.avro else 100_000)
    names = options.only.split(",") if options.only else AVRO if options.avro else QUICK if options.quick else list(VARIANTS)
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        parser.error(f"no variant {', '.join(unknown)}; there are: {', '.join(VARIANTS)}")
    if not os.environ.get("ROWCAST_TEST_MARIADB"):
        left_out = [name for name in names if VARIANTS[name].database == "mariadb"]
        names = [name for name in names if name not in left_out]
        if left_out:
            say(f"SKIPPED: {', '.join(left_out)}; ROWCAST_TEST_MARIADB names no server")
    options.names = names
    options.database = options.database or os.environ["ROWCAST_TEST_POSTGRES"]
    return options


class Bench:
    def __init__(self, options, folder):
        self.options = options
        self.folder = folder
        self.rowcast = os.path.abspath(os.environ.get("ROWCAST", os.path.join(TREE, "target/release/rowcast")))
        self.servers = os.environ["ROWCAST_TEST_KAFKA"]
        self.databases = {}
        self.topics = {}
        self.registries = {}
        self.rendered = {}
        # Only on a server that is ours alone: the other workload's check wants a database and a role
        # of certain names.
        self.peer = None
        if "patient-p1" in options.names and processes.service("postgres") and not options.limits and not options.latency:
            if peer.at_hand(options.peer):
                self.peer = peer.copy(options.peer, folder)
            else:
                say(f"SKIPPED: the comparison with the workload of other sinks; it is not in {options.peer}")

    def end(self):
        for database in self.databases.values():
            database.drop()

    def report(self):
        options = self.options
        report = {
            "machine": {"cores": os.cpu_count(), "kernel": platform.release(), "load_at_start": os.getloadavg()[0]},
            "rowcast": subprocess.run([self.rowcast, "--version"], check=True, capture_output=True, text=True).stdout.strip(),
            "settings": options.set,
            "database": self.database("server").about(),
        }
        if options.limits:
            return {**report, "runs": [], "limits": self.limits()}
        if options.latency:
            measured = [self.latency() for _ in range(options.runs)]
            return {**report, "runs": [], "latencies": measured}
        report["runs"] = []
        # In turns, so that what else the machine does meets all alike.
        for number in range(options.runs):
            first = number % len(options.names)
            for name in options.names[first:] + options.names[:first]:
                report["runs"].append(self.one(name, number))
        if self.peer:
            report["peer"] = self.peers_verdict()
        if all(name in options.names for name in AVRO):
            report["ratios"] = {name: ratios(report["runs"], name, AVRO[0]) for name in AVRO[1:]}
        report["medians"] = {name: medians([one for one in report["runs"] if one["variant"] == name]) for name in options.names}
        return report

    def peers_verdict(self):
        """What the other workload's own check says, after one more run."""
        variant, keys = VARIANTS["patient-p1"], self.options.keys
        records = os.path.join(self.workload(variant)[2], "records.ndjson")
        differing = peer.differing_records(self.peer, keys, records)
        self.one("patient-p1", "peer")
        peer.create(self.database("server"), self.options.database)
        said = peer.verdict(self.peer, self.options.database)
        right = said is None or peer.is_right(said, keys)
        say(f"the peer's records: {differing} differ from ours; its verify.py: {said or 'SKIPPED, psycopg is not installed'}")
        return {"differing_records": differing, "verify": said, "right": right and differing == 0}

    def one(self, name, number):
        variant = VARIANTS[name]
        records, value_bytes, source = self.workload(variant)
        database = self.database(variant.database)
        path, encoded = os.path.join(source, "records.ndjson"), {}
        if variant.encoding != "json":
            path, value_bytes, schema = avro.write(source, variant.encoding)
            encoded = {"schema_registry": {"url": self.registry(variant.encoding, schema).url}, "avro": avro.FIELDS}
        topic = self.topic(variant, path)
        figures = {"variant": name, "run": number, "document_bytes": value_bytes // records}
        rows = workload.read_rows(source)
        if hasattr(database, "limit") and not variant.children and records >= LIMIT_LEAST:
            own = self.limit(database, variant, rows, LIMIT_BATCH)
            figures |= {"limit_rows_per_second": own["rows_per_second"], "limit_cpu_per_million": own["database_cpu_per_million"]}
        database.prepare(variant.children)
        rules = "patient-and-children.json" if variant.children else "patient.json"
        topology = {
            "source": {"topic": topic, "kafka": {"bootstrap.servers": self.servers}, **encoded},
            "transform": {"rules": [os.path.join(HERE, "rules", rules)]},
        }
        perf = None
        if self.options.perf:
            os.makedirs(self.options.perf, exist_ok=True)
            perf = os.path.join(self.options.perf, f"{name}.data")
        group = f"{topic}_{name}_{number}"
        figures |= run.measure(self.rowcast, group, topology, database, records, self.folder, self.options.set, perf)
        wrong = check.findings(database, rows, variant.children)
        figures["wrong"] = dict(wrong)
        if "limit_rows_per_second" in figures:
            figures["share_of_limit"] = figures["changes_per_second"] / figures["limit_rows_per_second"]
        say(f"{name} run {number}: {figures['changes_per_second']:,.0f} changes/s, {check.told(wrong)}")
        return figures

    def workload(self, variant):
        keys = max(1, int(self.options.keys * variant.share))
        source = os.path.join(CACHE, f"{keys}-keys-of-{variant.size}-bytes")
        if not os.path.exists(os.path.join(source, "summary.json")):
            say(f"making {2 * keys + 2} records of about {variant.size} bytes")
        return (*workload.write(source, keys, variant.size), source)

    def registry(self, encoding, schema):
        if encoding not in self.registries:
            self.registries[encoding] = avro.Registry(schema)
        return self.registries[encoding]

    def topic(self, variant, records):
        """The topic with the workload, filled once."""
        key = (records, variant.partitions)
        if key not in self.topics:
            name = f"throughput_{int(time.time())}_{os.getpid()}_{len(self.topics)}"
            kafka.create_topic(self.servers, name, variant.partitions)
            topology = os.path.join(self.folder, "produce.yaml")
            with open(topology, "w", encoding="utf-8") as out:
                json.dump({
                    "name": name,
                    "source": {"topic": name, "kafka": {"bootstrap.servers": self.servers, "compression.type": "lz4"}},
                    "transform": {"rules": [os.path.join(HERE, "rules", "patient.json")]},
                    "sink": {"url": "sqlite://unused.db"},
                }, out)
            subprocess.run([self.rowcast, "produce", "--topology", topology, "--as", "records", records],
                           check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.topics[key] = name
        return self.topics[key]

    def database(self, url):
        if url not in self.databases:
            servers = {"server": self.options.database, "mariadb": os.environ.get("ROWCAST_TEST_MARIADB")}
            real = servers.get(url, url)
            name = peer.DATABASE if self.peer and url == "server" else None
            self.databases[url] = database_at(real, self.folder, name)
        return self.databases[url]

    def limit(self, database, variant, rows, batch, binary=True):
        key = (variant.size, batch, binary)
        if key not in self.rendered:
            self.rendered[key] = limit.render(rows, batch, binary)
        return database.limit(self.rendered[key], len(rows))

    def latency(self):
        measured = latency.measure(
            self.rowcast, self.servers, self.database("server"), self.folder, self.options.latency, LATENCY_SECONDS, self.options.set)
        say(f"latency: median {measured['median']:.1f} ms, p99 {measured['p99']:.1f} ms")
        return measured

    def limits(self):
        variant = VARIANTS["patient-p1"]
        database = self.database("server")
        if not hasattr(database, "limit"):
            sys.exit(f"throughput: the limit of {database.name} is not measured here")
        rows = workload.read_rows(self.workload(variant)[2])
        measured = []
        for _ in range(self.options.runs):
            for batch in LIMIT_BATCHES:
                for binary in (False, True):
                    own = self.limit(database, variant, rows, batch, binary)
                    measured.append({"batch": batch, "arrays": "binary" if binary else "text", **own})
                    say(f"limit, {batch} rows a batch, {measured[-1]['arrays']} arrays: {own['rows_per_second']:,.0f} rows/s")
        return measured


# --- the report -------------------------------------------------------------------------------

FIGURES = [
    "changes_per_second", "rowcast_cpu_per_million", "database_cpu_per_million", "kafka_cpu_per_million",
    "peak_memory_bytes", "limit_rows_per_second", "limit_cpu_per_million", "share_of_limit", "others_share",
]


def medians(runs):
    known = {name: [one[name] for one in runs if one.get(name) is not None] for name in FIGURES}
    return {name: statistics.median(values) if values else None for name, values in known.items()}


def ratios(runs, name, base):
    """Of each turn: changes a second and CPU of rowcast as a share of what the base had in the same turn."""
    by_turn = {(one["variant"], one["run"]): one for one in runs}
    turns = [(one, by_turn[base, one["run"]]) for one in runs if one["variant"] == name]
    return {figure: [one[figure] / other[figure] for one, other in turns] for figure in ("changes_per_second", "rowcast_cpu_per_million")}


def as_text(report):
    machine, database = report["machine"], report["database"]
    lines = [
        f"{report['rowcast']}, {machine['cores']} cores for all, load at start {machine['load_at_start']:.1f}",
        "database: " + ", ".join(f"{name} {value}" for name, value in database.items()),
    ]
    if report["settings"]:
        lines.append("settings: " + ", ".join(report["settings"]))
    lines.append("")
    if "latencies" in report:
        rows = [["changes/s", "median ms", "p90 ms", "p99 ms", "most ms", "changes"]]
        for one in report["latencies"]:
            rows.append([str(one["changes_per_second"]), *(number(one[name]) for name in ("median", "p90", "p99", "most")), str(one["changes"])])
        return "\n".join(lines + table(rows))
    if "limits" in report:
        rows = [["rows a batch", "arrays", "rows/s", "CPU s/M"]]
        groups = collections.defaultdict(list)
        for one in report["limits"]:
            groups[one["batch"], one["arrays"]].append(one)
        for (batch, arrays), runs in groups.items():
            rates = statistics.median(one["rows_per_second"] for one in runs)
            used = [one["database_cpu_per_million"] for one in runs if one["database_cpu_per_million"] is not None]
            rows.append([str(batch), arrays, f"{rates:,.0f}", number(statistics.median(used) if used else None)])
        return "\n".join(lines + table(rows))
    rows = [["", "changes", "changes/s", "rowcast CPU", "database CPU", "Kafka CPU", "peak MB", "limit rows/s", "limit CPU", "of limit", "others"]]
    for name, told in report["medians"].items():
        changes = next(one["changes"] for one in report["runs"] if one["variant"] == name)
        rows.append([
            name, f"{changes:,}", f"{told['changes_per_second']:,.0f}",
            number(told["rowcast_cpu_per_million"]), number(told["database_cpu_per_million"]),
            number(told["kafka_cpu_per_million"]), f"{told['peak_memory_bytes'] / 1e6:.0f}",
            number(told["limit_rows_per_second"], ",.0f"), number(told["limit_cpu_per_million"]),
            number(told["share_of_limit"], ".0%"), number(told["others_share"], ".0%"),
        ])
    if "peer" in report:
        told = report["peer"]
        rows_told = told["verify"] or "SKIPPED, psycopg is not installed"
        after = ["", f"The peer's workload: {told['differing_records']} records differ from ours; its verify.py: {rows_told}"]
    else:
        after = []
    for name, told in report.get("ratios", {}).items():
        shares = ["; ".join([f"{statistics.median(shares):.2f} times the {what}", "in turn " + ", ".join(f"{share:.2f}" for share in shares)])
                  for what, shares in zip(("changes/s", "CPU"), told.values())]
        after += [f"{name} against {AVRO[0]}: " + "; ".join(shares)]
    if "ratios" in report:
        after.insert(len(after) - len(report["ratios"]), "")
    runs = len(report["runs"]) // max(1, len(report["medians"]))
    lines += table(rows)
    lines += [
        "",
        f"Medians of {runs} runs. CPU: seconds per million changes, while the clock ran.",
        "limit: the same rows, rendered beforehand, upserted by one connection in the same run.",
        "others: share of all cores that other processes took; above a few percent the machine was not quiet.",
    ]
    return "\n".join(lines + after)


def number(value, form=".1f"):
    return "-" if value is None else format(value, form)


def table(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) if place == 0 else cell.rjust(width)
                      for place, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in rows]


if __name__ == "__main__":
    main()

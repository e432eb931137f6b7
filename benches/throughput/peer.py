"""The workload and the check that other sinks were measured with, where their folder is at hand.

In: that folder (gen.py, gen_fhir.py, verify.py, env.sh), a server. Out: whether its records are ours,
byte for byte, and what its verify.py finds in the table that rowcast filled. The folder may be
read-only: it is copied. verify.py wants psycopg, a role and a database of the name `lab`.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import urllib.parse

FILES = ["gen.py", "gen_fhir.py", "verify.py", "env.sh"]
DATABASE = "lab"
# Records at the end of the stream whose keys the two generators choose by rules of their own.
ENDS = 2


def at_hand(folder):
    return bool(folder) and all(os.path.exists(os.path.join(folder, name)) for name in FILES)


def copy(folder, work):
    """A copy that may be written to, with its data made."""
    copied = os.path.join(work, "peer")
    os.makedirs(os.path.join(copied, "data"), exist_ok=True)
    for name in FILES:
        shutil.copy(os.path.join(folder, name), copied)
    return copied


def differing_records(copied, keys, records):
    """Makes the peer's records and compares them with ours. Gives how many differ."""
    environment = {**os.environ, "KEYS": str(keys), "PYTHONWARNINGS": "ignore"}
    for program in ("gen.py", "gen_fhir.py"):
        subprocess.run([sys.executable, program], cwd=copied, env=environment, check=True, stdout=subprocess.DEVNULL)
    differing, compared = 0, 2 * keys
    with open(os.path.join(copied, "data", "fhir.tsv"), encoding="utf-8") as theirs, \
            open(records, encoding="utf-8") as ours:
        for _, their, our in zip(range(compared), theirs, ours):
            key, value = their.rstrip("\n").split("\t", 1)
            differing += our.rstrip("\n") != f'{{"key":"{key}","value":{value}}}'
    return differing


def create(database, server_url):
    """The role that verify.py connects as, with the password of the server's own."""
    password = urllib.parse.urlsplit(server_url).password or ""
    database.ask(f"DROP ROLE IF EXISTS {DATABASE}")
    database.ask(f"CREATE ROLE {DATABASE} LOGIN SUPERUSER PASSWORD '{password}'")


def verdict(copied, server_url):
    """What verify.py says of the table; None if it cannot be run here."""
    if importlib.util.find_spec("psycopg") is None:
        return None
    parts = urllib.parse.urlsplit(server_url)
    environment = {**os.environ, "PEER_PGPORT": str(parts.port), "PGPASSWORD": parts.password or ""}
    done = subprocess.run([sys.executable, "verify.py"], cwd=copied, env=environment, check=True,
                          capture_output=True, text=True)
    return done.stdout.strip()


def is_right(said, keys):
    return re.fullmatch(rf"rows {keys} expected {keys} mismatching columns: \{{\}}", said) is not None

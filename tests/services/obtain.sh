#!/usr/bin/env bash
# Makes sure that what the build and the tests need is on this machine, and installs with apt what
# is missing, saying so first. Without root or sudo it says what to install instead.
#
#   obtain.sh packages [build] [kafka] [postgres] [mariadb] [oracle] [prometheus] [chromium]   Debian packages, those missing
#   obtain.sh kafka                                                    Apache Kafka's jars into target/services
#   obtain.sh where-postgres                                           prints the directory of PostgreSQL's programs
set -euo pipefail
# shellcheck source=tests/services/functions.sh
source "$(dirname "${BASH_SOURCE[0]}")/functions.sh"

# The newest PostgreSQL server here; Debian keeps it off the PATH.
where_postgres() {
    local directory
    directory=$(find /usr/lib/postgresql -mindepth 1 -maxdepth 1 -type d 2>/dev/null | sort -V | tail -1)/bin
    if [[ -x "$directory/initdb" ]]; then echo "$directory"
    elif command -v initdb >/dev/null && command -v pg_ctl >/dev/null; then dirname "$(command -v initdb)"
    else return 1
    fi
}

has_java_17() {
    local major
    major=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p') || return 1
    [[ -n "$major" && "$major" -ge 17 ]]
}

missing_packages() {
    local subject
    for subject in "$@"; do
        case $subject in
        build) # librdkafka, OpenSSL, zstd, zlib and SQLite are compiled from their crates
            command -v cc >/dev/null && command -v c++ >/dev/null && command -v make >/dev/null || echo build-essential
            # Debian always has perl-base; OpenSSL's configure wants the modules as well
            perl -MFindBin -MIPC::Cmd -MFile::Compare -MTime::Piece -e 1 2>/dev/null || echo perl
            ;;
        kafka)
            has_java_17 || echo openjdk-17-jre-headless
            [[ -f "$cache/kafka/.complete" ]] || command -v mvn >/dev/null || echo maven
            ;;
        postgres) where_postgres >/dev/null || echo postgresql ;;
        mariadb) # the programs alone: no server of the system's comes with them
            PATH="$PATH:/usr/sbin" command -v mariadbd >/dev/null || echo mariadb-server-core
            command -v mariadb >/dev/null || echo mariadb-client-core
            ;;
        oracle)
            command -v python3 >/dev/null || echo python3
            command -v psql >/dev/null || where_postgres >/dev/null || echo postgresql-client
            ;;
        prometheus) # with promtool
            command -v prometheus >/dev/null && command -v promtool >/dev/null || echo prometheus
            ;;
        chromium) command -v chromium >/dev/null || echo chromium ;;
        *) fail "unknown subject '$subject'" ;;
        esac
    done
}

packages() {
    local missing
    mapfile -t missing < <(missing_packages "$@")
    [[ ${#missing[@]} -gt 0 ]] || return 0
    local root=()
    if [[ $EUID -ne 0 ]]; then
        if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
            say "missing: ${missing[*]}"
            say "neither root nor sudo without a password here; install them with"
            say "    apt-get install --no-install-recommends ${missing[*]}"
            exit 69
        fi
        root=(sudo -n)
    fi
    command -v apt-get >/dev/null || { say "missing: ${missing[*]} (Debian's names), and no apt-get here"; exit 69; }
    say "installing with apt-get: ${missing[*]}"
    "${root[@]}" apt-get update -qq </dev/null >&2
    # runlevel 1: servers that come with packages are not started, ours are
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends \
        "${missing[@]}" </dev/null >"${TMPDIR:-/tmp}/rowcast-apt.$$" 2>&1 ||
        { cat "${TMPDIR:-/tmp}/rowcast-apt.$$" >&2; fail "apt-get failed"; }
    rm -f "${TMPDIR:-/tmp}/rowcast-apt.$$"
    if [[ " ${missing[*]} " == *" postgresql "* ]]; then
        # Debian creates and starts a cluster of its own; nothing here uses it.
        local version
        version=$(pg_lsclusters -h | awk '$2 == "main" { print $1; exit }')
        [[ -z "$version" ]] || "${root[@]}" pg_dropcluster --stop "$version" main
    fi
    say "installed: ${missing[*]}"
}

kafka() {
    [[ ! -f "$cache/kafka/.complete" || "$cache/kafka/.complete" -ot "$services_dir/kafka/pom.xml" ]] || return 0
    say "downloading Apache Kafka's jars with Maven into target/services/kafka"
    local began=$SECONDS
    mkdir -p "$cache"
    rm -rf "$cache/kafka"
    mvn -B -q -Dstyle.color=never -f "$services_dir/kafka/pom.xml" dependency:copy-dependencies \
        -DincludeScope=runtime "-DoutputDirectory=$cache/kafka" </dev/null >&2 || fail "Maven failed"
    touch "$cache/kafka/.complete"
    say "Apache Kafka downloaded in $((SECONDS - began)) s"
}

case ${1:-} in
packages) shift; packages "$@" ;;
kafka) kafka ;;
where-postgres) where_postgres ;;
*) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac

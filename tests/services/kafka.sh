#!/usr/bin/env bash
# One Apache Kafka node (KRaft, broker and controller in one JVM) for tests: see usage. Also:
#   console-consumer NAME ARGUMENT...   Kafka's own console consumer on the instance
# ROWCAST_TEST_KAFKA_OPTIONS holds more lines for the configuration of a node that is started,
# ROWCAST_TEST_KAFKA_CLUSTER the id of a cluster that is there already, for a second node of it.
set -euo pipefail
# shellcheck source=tests/services/functions.sh
source "$(dirname "${BASH_SOURCE[0]}")/functions.sh"

[[ $# -ge 2 ]] || usage
action=$1
enter_instance "$2"
asked_port=${3:-}

in_kafka() {
    java -cp "$cache/kafka/*" "-Dlog4j2.configurationFile=$services_dir/kafka/log4j2.xml" "$@"
}

start() {
    is_running "$(instance_pid)" && fail "$instance runs already"
    [[ -d "$cache/kafka" ]] || fail "no Kafka in $cache/kafka: run tests/services/obtain.sh"
    local port
    mkdir -p "$instance"
    echo kafka >"$instance/kind"
    port=$(choose_port "$asked_port")
    [[ -f "$instance/controller_port" ]] || free_port >"$instance/controller_port"
    echo "$port" >"$instance/port"
    { cat "$services_dir/kafka/server.properties"; printf '%s\n' "${ROWCAST_TEST_KAFKA_OPTIONS:-}"; } |
        sed -e "s#@PORT@#$port#; s#@CONTROLLER_PORT@#$(<"$instance/controller_port")#; s#@DATA@#$instance/data#" \
            >"$instance/server.properties"
    if [[ ! -f "$instance/data/meta.properties" ]]; then
        # A KRaft cluster id is 16 bytes in base64; it must not begin with a minus.
        local id
        id=${ROWCAST_TEST_KAFKA_CLUSTER:-A$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c2-22)}
        in_kafka -Xmx256M -XX:TieredStopAtLevel=1 kafka.tools.StorageTool format \
            -t "$id" -c "$instance/server.properties" >"$instance/format.log" 2>&1 ||
            { tail -20 "$instance/format.log" >&2; fail "formatting Kafka's storage failed"; }
    fi
    : >"$instance/log"
    setsid java -server -Xms512M -Xmx512M -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -Djava.awt.headless=true \
        -cp "$cache/kafka/*" "-Dlog4j2.configurationFile=$services_dir/kafka/log4j2.xml" \
        kafka.Kafka "$instance/server.properties" >"$instance/log" 2>&1 </dev/null &
    local pid=$!
    echo "$pid" >"$instance/pid"
    local deadline=$((SECONDS + 90))
    until grep -q 'Kafka Server started' "$instance/log" && listening "$port"; do
        is_running "$pid" || { tail -30 "$instance/log" >&2; fail "Kafka ended while starting"; }
        ((SECONDS < deadline)) || { tail -30 "$instance/log" >&2; fail "Kafka is not ready after 90 s"; }
        sleep 0.2
    done
    address
}

stop() {
    local pid
    pid=$(instance_pid)
    if is_running "$pid"; then
        kill -CONT "$pid"
        kill -TERM "$pid"
        wait_ended "$pid" 30 || { kill -KILL "$pid"; wait_ended "$pid" 10; }
    fi
    rm -f "$instance/pid"
}

kill_it() {
    local pid
    pid=$(instance_pid)
    if is_running "$pid"; then
        kill -KILL "$pid"
        wait_ended "$pid" 10
    fi
    rm -f "$instance/pid"
}

address() { echo "127.0.0.1:$(<"$instance/port")"; }

# Kafka's own tool, as everybody has it: arguments are passed on, records go to standard output.
console_consumer() {
    in_kafka -Xmx512M -XX:TieredStopAtLevel=1 org.apache.kafka.tools.consumer.ConsoleConsumer \
        --bootstrap-server "$(address)" "$@"
}

case $action in
console-consumer) shift 2; console_consumer "$@" ;;
start) start ;;
stop) stop ;;
kill) kill_it ;;
restart) stop; start ;;
freeze) kill -STOP "$(instance_pid)" ;;
thaw) kill -CONT "$(instance_pid)" ;;
address) address ;;
remove) kill_it; rm -rf "$instance" ;;
*) usage ;;
esac

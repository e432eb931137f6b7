# The ways into rowcast. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
CARGO ?= cargo
WITH_SERVICES := tests/services/with-services.sh
TOPOLOGY ?= topology/demo.yaml

.PHONY: help
help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## see it work: the embedded broker and SQLite, nothing to install
	@$(CARGO) run --locked -- demo

.PHONY: test
test: ## all tests, against a real Kafka, PostgreSQL and MariaDB that live only as long (see tests/services)
	@ROWCAST_TEST_REQUIRE_SERVICES=1 $(WITH_SERVICES) \
	  --meanwhile '$(CARGO) test --locked --no-run' \
	  $(CARGO) test --locked

.PHONY: check
check: fmt clippy doc ## formatting, clippy and rustdoc, all warnings are errors

.PHONY: fmt clippy doc
fmt:
	@$(CARGO) fmt --check
clippy:
	@$(CARGO) clippy --locked --all-targets --quiet -- -D warnings
doc:
	@RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --quiet

.PHONY: bench throughput
bench: ## the benchmarks: each stage alone, then end to end (BENCH="--quick", benches/throughput.sh --help)
	@$(CARGO) bench --locked -- $(filter --quick,$(BENCH))
	@benches/throughput.sh $(BENCH)
throughput: ## changes a second end to end, what they cost, and the database's own limit
	@benches/throughput.sh $(BENCH)

.PHONY: proof
proof: ## the long proof: shuffled, repeated, deleted and killed, then every row compared (tests/proof.sh --help)
	@$(WITH_SERVICES) --meanwhile '$(CARGO) build --locked --release' tests/proof.sh $(PROOF)

.PHONY: replay-proof
LETTERS ?= 1000
KILLS ?= 20
replay-proof: ## LETTERS=1000 replayed, straight and through their topic, killed KILLS=20 times each: none lost, none twice
	@ROWCAST_TEST_REQUIRE_SERVICES=1 ROWCAST_REPLAY_LETTERS=$(LETTERS) ROWCAST_REPLAY_KILLS=$(KILLS) $(WITH_SERVICES) \
	  --meanwhile '$(CARGO) test --locked --no-run --test tests' \
	  $(CARGO) test --locked --test tests -- replay::killed --nocapture

.PHONY: pointcut-proof
AWAY ?= 60
SEEDS ?= 5
pointcut-proof: ## POINTCUT against a FHIR server: hooks lost, SEEDS=5 histories, away for AWAY=60 s, killed KILLS=20 times
	@ROWCAST_TEST_REQUIRE_SERVICES=1 ROWCAST_POINTCUT_AWAY=$(AWAY) ROWCAST_POINTCUT_HISTORIES=$(SEEDS) \
	  ROWCAST_POINTCUT_KILLS=$(KILLS) $(WITH_SERVICES) \
	  --meanwhile '$(CARGO) test --locked --no-run --test tests' \
	  $(CARGO) test --locked --test tests -- pointcut_proof:: --nocapture

.PHONY: hook-load
RATE ?= 2000
SECONDS ?= 60
PROFILE ?= --release
hook-load: ## RATE=2000 hooks a second for SECONDS=60: none lost, how late answered, how much memory
	@ROWCAST_TEST_REQUIRE_SERVICES=1 ROWCAST_HOOK_RATE=$(RATE) ROWCAST_HOOK_SECONDS=$(SECONDS) $(WITH_SERVICES) \
	  --meanwhile '$(CARGO) test --locked --no-run --test tests $(PROFILE)' \
	  $(CARGO) test --locked --test tests $(PROFILE) -- pointcut_proof::load --nocapture

.PHONY: proof-examples
proof-examples: ## HL7's official R4 examples, each accounted for (tests/hl7-examples.sh --help)
	@$(WITH_SERVICES) --meanwhile '$(CARGO) build --locked --release' tests/hl7-examples.sh $(PROOF)

.PHONY: histories
HISTORIES ?= 20000
histories: ## random histories over two writers: HISTORIES=20000 a property on SQLite, a twentieth on each server
	@ROWCAST_TEST_REQUIRE_SERVICES=1 ROWCAST_HISTORIES=$(HISTORIES) $(WITH_SERVICES) \
	  --meanwhile '$(CARGO) test --locked --no-run --test tests' \
	  $(CARGO) test --locked --test tests -- sink::histories --nocapture

.PHONY: refusals
REFUSALS ?= 100000
refusals: ## REFUSALS=100000 changes, one in a hundred broken in ten ways: exactly these are letters, each with why
	@ROWCAST_TEST_REQUIRE_SERVICES=1 ROWCAST_REFUSALS=$(REFUSALS) $(WITH_SERVICES) \
	  --meanwhile '$(CARGO) test --locked --no-run --test tests' \
	  $(CARGO) test --locked --test tests -- refusals:: --nocapture

.PHONY: cardinality
CARDINALITY ?= 100000
cardinality: ## CARDINALITY=100000 records, no two alike in ids, types or errors: the metrics' series stay the same
	@ROWCAST_CARDINALITY=$(CARDINALITY) $(CARGO) test --locked --test tests -- cardinality:: --nocapture

.PHONY: alerts-proof
alerts-proof: ## a real Prometheus sees each alert fire when its fault is made, and clear when it is mended
	@ROWCAST_TEST_REQUIRE_SERVICES=1 ROWCAST_ALERTS_PROOF=1 $(WITH_SERVICES) \
	  --meanwhile '$(CARGO) test --locked --no-run --test tests' \
	  $(CARGO) test --locked --test tests -- observed:: --nocapture

.PHONY: mutations
mutations: ## breaks the guarantees one by one and sees proof or tests fail (tests/mutations.sh --help)
	@$(WITH_SERVICES) tests/mutations.sh $(MUTATIONS)

.PHONY: fuzz
fuzz: ## looks for inputs that break expressions, documents or rules (fuzz/run.sh; FUZZ="SECONDS TARGET")
	@fuzz/run.sh $(FUZZ)

.PHONY: schema
schema: ## prints the tables for TOPOLOGY=topology/demo.yaml
	@$(CARGO) run --quiet -- schema --topology $(TOPOLOGY)

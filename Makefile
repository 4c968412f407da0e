# `make` lists the commands. None of them needs a Genesys Cloud account.
.DEFAULT_GOAL := help
.PHONY: help demo test lint doc deny bench fuzz load load-writes load-scenarios load-abuse load-flood load-truth load-replicas soak openapi docs docs-browser live-browser screenshots sbom mutants

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

# A debug build: a release build takes minutes longer and makes no difference here.
demo: ## the gateway with a built-in simulated Genesys Cloud, on http://127.0.0.1:8080
	@cargo run --quiet -- demo

# --all-targets also runs each benchmark once. It does not include documentation examples. Many tests of the
# service wait for a real clock, so twice as many run at a time as there are processors.
test: export RUST_TEST_THREADS ?= $(shell expr 2 \* $$(nproc))
test: ## every test: unit, service, documentation, benchmarks once, API description, official Genesys SDK, client examples, deployment files
	@bash -euc 'die() { echo "make test: $$1" >&2; exit 1; }; . tests/environment.sh; redis_server'
	cargo test --workspace --all-targets
	cargo test --workspace --doc
	tests/valkey/run.sh
	tests/openapi/run.sh
	tests/sdk/run.sh
	tests/examples/run.sh
	tests/deploy/run.sh

lint: ## formatting and clippy, warnings denied
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

doc: ## the documentation of the code, warnings denied
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

deny: ## licences, duplicate and banned crates, sources (needs cargo-deny)
	cargo deny --locked check bans licenses sources

# The first build takes minutes, because everything is compiled with coverage. FUZZ_TARGETS chooses targets.
fuzz: ## libFuzzer on everything that parses bytes from outside; FUZZ_SECONDS each (60), finds in target/fuzz (needs g++)
	fuzz/run.sh $(FUZZ_TARGETS)

bench: ## benchmarks of the pure parts (criterion)
	cargo bench --bench '*'

load: ## throughput, latency, start and memory against nginx and a bare proxy (needs nginx and wrk)
	benches/load/run.sh

load-writes: ## the same for writes, against the usual recipe (needs wrk)
	JOB=write benches/load/run.sh

load-scenarios: ## many clients at once over sockets: calls, values, refusals
	cargo build --locked --release --bin attribute-gateway --example scenarios
	target/release/examples/scenarios target/release/attribute-gateway

load-abuse: ## how other clients fare while one misuses thousands of connections
	cargo build --locked --release --bin attribute-gateway --example abuse
	target/release/examples/abuse target/release/attribute-gateway

load-flood: ## how other clients fare while one asks for twenty times its share, and how the budget is divided
	cargo build --locked --release --bin attribute-gateway --example flood
	target/release/examples/flood target/release/attribute-gateway

# TRUTH chooses a scenario and options, such as "faults --seeds 3 --percent 40", or "replicas".
load-truth: ## whether every answer is true while upstream fails at random, judged by the simulator's ledger
	cargo build --locked --release --bin attribute-gateway --example truth
	@bash -euc 'die() { echo "make load-truth: $$1" >&2; exit 1; }; . tests/environment.sh; redis_server'
	target/release/examples/truth target/release/attribute-gateway $(TRUTH)

load-replicas: ## what sharing a Redis costs, and three replicas against one (needs wrk)
	VARIANTS="gateway shared three" benches/load/run.sh
	VARIANTS="gateway shared three" JOB=write benches/load/run.sh

# SOAK_SECONDS chooses how long (at least 60). A tenth of it is the outage.
SOAK_SECONDS ?= 600
soak: ## a day of load in ten minutes: 64 clients, faults, new keys and certificates, an outage, judged as above
	cargo build --locked --release --bin attribute-gateway --example truth
	target/release/examples/truth target/release/attribute-gateway soak --seconds $(SOAK_SECONDS)

sbom: ## the bill of materials of the program (CycloneDX), in target/sbom.cdx.json
	mkdir -p target
	python3 deploy/sbom.py >target/sbom.cdx.json

openapi: ## regenerates openapi.yaml from the code
	UPDATE_OPENAPI=1 cargo test --quiet --lib openapi_yaml

docs: ## regenerates docs/errors.md and docs/configuration.md from the code
	UPDATE_DOCS=1 cargo test --quiet --test it documentation::generated

# On a copy of the repository; only the unit tests and the service tests judge. MUTANTS chooses files.
MUTANTS ?= src/domain src/policy src/app src/http/wire
mutants: ## cargo-mutants on the pure parts, the use cases and the body parser; takes hours (needs cargo-mutants)
	cargo mutants --jobs 1 $(foreach path,$(MUTANTS),--file '$(path)*' --file '$(path)/**') -- --lib --test it

docs-browser: ## /docs in a real browser, under its policy (needs Node, npm and Chromium)
	tests/docs/run.sh

live-browser: ## /live in a real browser, with an outage of the gateway (needs Node, npm and Chromium)
	tests/docs/live.sh

screenshots: ## the same, and the pictures in docs/images from the running program (needs Prometheus and Redis, too)
	tests/docs/live.sh docs/images
	tests/docs/dashboard.sh docs/images

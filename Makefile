# `make` alone lists what there is. Nothing here needs a Genesys Cloud account.
.DEFAULT_GOAL := help
.PHONY: help demo test lint doc deny bench fuzz load load-writes load-scenarios load-abuse load-flood load-truth openapi docs-browser

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

# Not --release: the first start would take minutes longer, and nobody would notice the difference.
demo: ## the gateway with a built-in simulated Genesys Cloud, on http://127.0.0.1:8080
	@cargo run --quiet -- demo

# --all-targets runs each benchmark once too; documentation examples it leaves out.
test: ## every test: unit, whole service, documentation, benchmarks once, the API's description, the official Genesys SDK, client examples
	cargo test --all-targets
	cargo test --doc
	tests/openapi/run.sh
	tests/sdk/run.sh
	tests/examples/run.sh

lint: ## formatting and clippy, warnings denied
	cargo fmt --all --check
	cargo clippy --all-targets -- -D warnings

doc: ## the code's own documentation, warnings denied
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items

deny: ## licences, duplicate and banned crates, origins (needs cargo-deny)
	cargo deny --locked check bans licenses sources

# The first build takes minutes: all that is linked is built anew, to be counted. FUZZ_TARGETS chooses some.
fuzz: ## libFuzzer on all that parses bytes from outside; FUZZ_SECONDS each (60), finds in target/fuzz (needs g++)
	fuzz/run.sh $(FUZZ_TARGETS)

bench: ## benchmarks of the pure parts (criterion)
	cargo bench --bench '*'

load: ## throughput, latency, start and memory against nginx and a bare proxy (needs nginx and wrk)
	benches/load/run.sh

load-writes: ## the same for writes, against the usual recipe (needs wrk)
	JOB=write benches/load/run.sh

load-scenarios: ## many callers at once over sockets: calls, values, refusals
	cargo build --locked --release --bin attribute-gateway --example scenarios
	target/release/examples/scenarios target/release/attribute-gateway

load-abuse: ## what others see while somebody misuses thousands of connections
	cargo build --locked --release --bin attribute-gateway --example abuse
	target/release/examples/abuse target/release/attribute-gateway

load-flood: ## what callers see of one that asks for twenty times its share, and how the budget is divided
	cargo build --locked --release --bin attribute-gateway --example flood
	target/release/examples/flood target/release/attribute-gateway

# TRUTH chooses a scenario and options, such as "faults --seeds 3 --percent 40".
load-truth: ## whether every answer is true while upstream fails at random, judged by the simulator's ledger
	cargo build --locked --release --bin attribute-gateway --example truth
	target/release/examples/truth target/release/attribute-gateway $(TRUTH)

openapi: ## writes openapi.yaml anew from the code
	UPDATE_OPENAPI=1 cargo test --quiet --lib openapi_yaml

docs-browser: ## /docs in a real browser, under its policy (needs Node, npm and Chromium)
	tests/docs/run.sh

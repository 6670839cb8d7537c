# Thin names over cargo; nothing hidden. CARGO_TARGET_DIR and every other cargo setting are respected.
# Always the whole workspace: with -p the features of shared dependencies change, and the data engine is compiled again.

.PHONY: help test test-needs test-long test-connectors test-sdks lint bench bench-load bench-ingest bench-recsys bench-experiments fuzz-api deny

help:
	@echo 'make test       everything: Rust, SQL, the real binary, real MariaDB, PostgreSQL and S3 (installs what it needs, see scripts/test-needs.sh)'
	@echo 'make test-long  the switch with 200 kills instead of a dozen, in a directory and in a bucket; following a database with 100'
	@echo 'make test-connectors  real Airbyte connectors (installs two of them, 1.1 GB, into .venv-connectors)'
	@echo 'make test-sdks  SDKs of GrowthBook and OpenFeature in JavaScript, Python and Rust against the real server (needs Node.js 20)'
	@echo 'make lint       formatting and clippy, warnings are errors'
	@echo 'make bench      release build, then our figures (bench/README.md)'
	@echo 'make bench-load  how fast staged rows are loaded (installs pyarrow into .venv-bench)'
	@echo 'make bench-ingest  our reading of a database beside connectorx (installs it into .venv-bench)'
	@echo 'make bench-recsys  our recommenders beside implicit, faiss and reference EASE (needs MONTAUK_SHARED, see bench/README.md)'
	@echo 'make bench-experiments  our experiments beside GrowthBook, Eppo, scipy and others (see bench/README.md)'
	@echo 'make fuzz-api   10,000 requests derived from our own OpenAPI document, right and wrong (installs schemathesis into .venv-fuzz)'
	@echo 'make deny       licences and sources of dependencies (needs cargo-deny)'

test: test-needs
	cargo test --workspace --locked --no-fail-fast

test-needs:
	@scripts/test-needs.sh

test-long: test-needs
	MONTAUK_SWITCH_KILLS=200 cargo test --workspace --locked --test it -- switch --nocapture
	MONTAUK_FOLLOW_KILLS=50 cargo test --workspace --locked --test it -- follow:: --nocapture

test-connectors:
	@scripts/test-connectors.sh

test-sdks:
	@scripts/test-sdks.sh

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --workspace --test connectors --locked -- -D warnings

bench:
	cargo build --release --workspace --locked
	python3 bench/run.py $(BENCH)

bench-load:
	cargo build --release --workspace --locked
	test -x .venv-bench/bin/python || python3 -m venv .venv-bench
	.venv-bench/bin/pip install --quiet -r bench/requirements.txt
	.venv-bench/bin/python bench/load.py $(BENCH)

bench-ingest:
	cargo build --release --workspace --locked
	test -x .venv-bench/bin/python || python3 -m venv .venv-bench
	.venv-bench/bin/pip install --quiet -r bench/requirements.txt
	.venv-bench/bin/python bench/ingest.py $(BENCH)

bench-recsys:
	cargo build --release --workspace --locked --bins --example splits --example scale --example retrieval
	test -x .venv-bench/bin/python || python3 -m venv .venv-bench
	.venv-bench/bin/pip install --quiet -r bench/requirements-recsys.txt
	.venv-bench/bin/python bench/recsys.py $(BENCH)

bench-experiments:
	cargo build --release --workspace --locked --example analysis_speed --example compare_arms --example evaluation_speed --example peeking --example sample_ratio
	cargo test --release --workspace --locked --test long_runs --no-run
	cargo build --release --locked --manifest-path bench/eppo/Cargo.toml --target-dir $${CARGO_TARGET_DIR:-target}
	cd sdks/differential && npm ci --silent
	test -x .venv-bench/bin/python || python3 -m venv .venv-bench
	.venv-bench/bin/pip install --quiet -r bench/requirements-experiments.txt
	.venv-bench/bin/pip install --quiet --no-deps gbstats==0.8.0
	.venv-bench/bin/python bench/experiments.py $(BENCH)

deny:
	cargo deny --locked check

fuzz-api:
	cargo test --workspace --locked --no-run
	@scripts/fuzz-api.sh $(FUZZ)

# The two commands of the README are `make demo` and `make test`; `make` alone lists them all.
# Each does its own set-up on a fresh Debian or Ubuntu machine and asks nothing.

CARGO := $(shell command -v cargo 2>/dev/null || echo $$HOME/.cargo/bin/cargo)
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test unit check setup bench bench-micro fuzz clean clean-servers

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 24

demo: ## a server backed up, damaged, and brought back to a chosen moment (three minutes)
	@scripts/demo

test: setup ## every test: units, protocol, and real servers of version 10 to 18
	$(CARGO) test --locked

unit: ## the tests that need no server
	$(CARGO) test --locked --lib

check: ## formatting, lints, documentation
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items

setup: ## tools and servers for the tests, into .cache/
	@scripts/setup

bench: ## beside pg_receivewal and pg_basebackup, medians; BENCH="drain --runs 7" for a part
	$(CARGO) bench --locked --bench throughput -- $(BENCH)

bench-micro: ## micro-benchmarks of the hot paths
	$(CARGO) bench --locked --bench hot_paths

fuzz: ## every fuzz target for FUZZ_SECONDS (60)
	scripts/fuzz-smoke $${FUZZ_SECONDS:-60}

clean: ## what was built
	$(CARGO) clean

clean-servers: ## the servers that setup has fetched
	rm -rf .cache/servers

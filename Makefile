# On a fresh Debian 12 with rustup: `make demo` to see it, `make test` to check it.
# Each installs what the machine lacks first (scripts/install).

.DEFAULT_GOAL := help
.PHONY: help demo test tools fmt lint
.NOTPARALLEL:

# Where `make demo` keeps keys, the line and the sales; remove it to start afresh.
DATA ?= demo-data

# A shell that was open before rustup came does not look there.
export PATH := $(PATH):$(HOME)/.cargo/bin

# In CI nothing is built twice, so what incremental builds keep for later is wasted.
ifdef CI
export CARGO_INCREMENTAL := 0
endif

help: ## Lists these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

demo: ## Builds and runs the whole, with a sale to try; stop it with Ctrl-C (DATA=demo-data)
	@scripts/install build
	@cargo run --release --locked --package waiting-room --bin waiting-room -- up --data $(DATA)

test: export RUST_BACKTRACE = 1
test: tools lint ## Checks format, lints and all tests
	cargo test --workspace --locked

tools: ## Installs what the tests need: packages, and .tools/python
	@scripts/install test

fmt: ## Formats all Rust code
	cargo fmt --all

lint: ## Checks format and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

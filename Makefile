# On a fresh Debian 12 with rustup: `make demo` to see it, `make test` to check it.
# Each installs what the machine lacks first (scripts/install).

.DEFAULT_GOAL := help
.PHONY: help demo crowd test tools fmt lint
.NOTPARALLEL:

# Where `make demo` keeps keys, the line and the sales; remove it to start afresh.
DATA ?= demo-data
# The crowd that `make crowd` sends to a running demo.
VISITORS ?= 5000
OVER ?= 60s

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

# The token is read when the recipe runs: the demo makes it at its first start.
crowd: ## Sends a crowd to the running demo and checks what it was answered (VISITORS=5000 OVER=60s)
	@cargo run --release --locked --package loadtest -- drive --event wc2026-final --forwarded \
		--visitors $(VISITORS) --over $(OVER) --window rise \
		--ledger http://127.0.0.1:7003 \
		--ledger-token "$$(sed -n 's/^internal_token = "\(.*\)"/\1/p' $(DATA)/origin.toml)"

test: export RUST_BACKTRACE = 1
test: tools lint ## Checks format, lints and all tests
	cargo test --workspace --locked
	cargo test --package origin --locked --features planted-bugs --test faults

tools: ## Installs what the tests need: packages, and .tools/python
	@scripts/install test

fmt: ## Formats all Rust code
	cargo fmt --all

lint: ## Checks format and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

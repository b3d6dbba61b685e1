# Two commands do everything: `make run` and `make test`. Each installs what it needs, says what and why, and is quick the second time.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

.PHONY: help run demo test bench sweep privacy fuzz sim check lint unit ui window licences check-android bindings clean

help: ## These lines
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 24

run: ## Open the app (without a display: run the demo)
	@tools/run

demo: ## The main job without a window: SITE=folder, KEEP=1 stays up
	@tools/setup demo
	@tools/demo

test: ## Everything that CI checks
	@tools/setup test
	@tools/test

bench: ## Measure; ONLY=prefix for a part, FULL=1 for long. Writes target/bench.json
	@tools/setup bench
	@tools/bench

sim: ## Faults for the whole allocator in virtual time: SEED=n again, SEEDS=n many, WEEK=1 a week
	@tools/setup demo
	@tools/sim

privacy: ## Measure what watchers learn; SEED=n, SIZE=short. Writes docs/privacy
	@tools/setup demo
	@tools/privacy

fuzz: ## Fuzz all that reads foreign bytes for ten minutes; TIME=seconds, ONLY=target
	@tools/setup demo
	@tools/fuzz

sweep: ## Measure with packets of five sizes. Writes docs/packet-size.md
	@tools/setup demo
	@tools/sweep

check-android: ## Type-check the workspace for Android phones
	@tools/check-target aarch64-linux-android

bindings: ## Write the UI's bindings anew from the Rust types
	FOGBANK_WRITE_BINDINGS=1 cargo test -p fogbank-node --test bindings

clean: ## Remove what was built here
	rm -rf target ui/dist ui/.svelte-kit ui/node_modules

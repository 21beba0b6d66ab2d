# `make` lists what there is. Everything is built in the release profile, once for all targets.

# Your own settings, such as `export LIBTORCH = /opt/libtorch`; see docs/install.md.
-include local.mk

PYTHON ?= python3
# rustup installs here, and a shell opened before it did does not know.
export PATH := $(PATH):$(HOME)/.cargo/bin
CLIMB = $(or $(CARGO_TARGET_DIR),target)/release/climb

.DEFAULT_GOAL := help
.PHONY: help deps build corpus quickstart test torture clean
.NOTPARALLEL:

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

quickstart: build corpus ## the CLIMB search on real text, from a fresh clone; about 20 minutes on 2 cores
	@CLIMB_CORPUS=$(CURDIR)/.deps/corpus $(CLIMB) run workflows/quickstart.yaml

test: deps ## format, lints and all tests
	@scripts/tools.sh rustfmt clippy
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	@$(PYTHON) scripts/alone.py
	cargo test --release --workspace

torture: deps ## kills, damage, crashes and faults of the disk, the long pass; KILLS=N, 200 by default
	CLIMB_TORTURE=$(or $(KILLS),200) cargo test --release --workspace --test torture --test faults -- --nocapture

build: deps ## the binary, target/release/climb
	@cargo build --release

deps: ## fetch libtorch, libxgboost, libclang and the encoder into .deps/
	@scripts/tools.sh cargo cc c++ $(PYTHON)
	@$(PYTHON) scripts/deps.py

corpus: ## unpack the sources of our dependencies into .deps/corpus, the quickstart's text
	@scripts/tools.sh cargo $(PYTHON)
	@$(PYTHON) scripts/corpus.py

clean: ## remove what was built; .deps and the cache stay
	@cargo clean

# Two commands matter: `make demo` and `make test`. Both set everything up first.

SHELL := /bin/sh
PYTHON := $(firstword $(foreach name,python3.11 python3.12 python3,$(shell command -v $(name) 2>/dev/null)))
READY := .venv/.ready
BIN := .venv/bin

.PHONY: setup demo test lint up down clean agent bench-join bench-edge bench-channel fuzz

setup: $(READY)

# Whatever a killed set-up left behind is not trusted: without the mark, both environments are
# made anew. Wheels come from the installer's cache the second time.
$(READY): requirements.lock.txt tools.lock.txt pyproject.toml setup.sh edge/toolchains/npu.lock.txt
	@sh setup.sh "$(PYTHON)" $(READY)

demo: setup
	@$(BIN)/firnline run refrigeration

test: setup lint
	@sh tests/run.sh $(BIN)

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/firnline lock check

# The device agent's own distribution: a wheel in dist/.
agent: setup
	@cd edge/agent && ../../$(BIN)/python -m hatchling build -t wheel -d ../../dist

bench-join: setup
	@$(BIN)/python -m benchmarks.join

bench-edge: setup
	@$(BIN)/python -m benchmarks.edge

bench-channel: setup
	@$(BIN)/python -m benchmarks.channel_load

fuzz: setup
	@$(BIN)/python -m benchmarks.fuzz

up: setup
	@$(BIN)/firnline up

down:
	@test ! -x $(BIN)/firnline || $(BIN)/firnline down

clean: down
	rm -rf dist .venv .tools .toolchains .firnline data .mypy_cache .ruff_cache .pytest_cache .hypothesis

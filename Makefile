# Everything a person does often. Extra flags: make localnet ARGS='--epochs 1 --json'
PYTHON ?= python3.11
VENV   := .venv
RUN    := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
ARGS   ?=
BENCH  ?= capture_overhead

.PHONY: help setup localnet test test-fast lint format bench clean

help:
	@echo "make localnet   a whole subnet on this machine (ARGS='--help' lists its flags)"
	@echo "make test       every test (ARGS='tests/shared' runs a part)"
	@echo "make test-fast  the tests that start no engine"
	@echo "make lint       ruff and mypy --strict"
	@echo "make format     rewrite the layout of the code"
	@echo "make bench      a benchmark, prints its table (BENCH=detection; ls bench lists them)"
	@echo "make setup      only what the others need: the virtual environment"
	@echo "make clean      remove the virtual environment and localnet's files"

setup: $(INSTALLED)

$(INSTALLED): requirements.txt pyproject.toml localnet/install.sh
	@PYTHON="$(PYTHON)" VENV="$(VENV)" bash localnet/install.sh 1>&2

localnet: setup
	@$(RUN) -m localnet up $(ARGS)

test: setup
	@$(RUN) -m pytest $(ARGS)

test-fast: setup
	@$(RUN) -m pytest -m "not vllm and not end_to_end" $(ARGS)

lint: setup
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy shared miners gateway validator localnet bench tests

format: setup
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

bench: setup
	@$(RUN) -m bench.$(BENCH) $(ARGS)

clean:
	rm -rf $(VENV) .localnet

# Everything runs in .venv, made here from the tested versions in constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint clean

demo: $(STAMP)
	$(BIN)/balans demo

test: $(STAMP)
	$(BIN)/ruff check balans_dask tests benchmarks
	$(BIN)/ruff format --check balans_dask tests benchmarks
	$(BIN)/mypy
	$(BIN)/pytest

lint: $(STAMP)
	$(BIN)/ruff check --fix balans_dask tests benchmarks
	$(BIN)/ruff format balans_dask tests benchmarks
	$(BIN)/mypy

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[plot]" --group test --group lint
	touch $(STAMP)

clean:
	rm -rf $(VENV) demo

# Everything runs in .venv, made here from the tested versions in constraints.txt: one set on Python
# 3.11, another on later ones, which `make VENV=.newest PYTHON=python3.13 test` keeps beside the first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
CODE := balans_dask benchmarks docs notebooks tests

.PHONY: demo test docs lint clean

demo: $(VENV)/.installed
	$(BIN)/balans demo

test: $(VENV)/.installed
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist worksteal --durations 25
	$(MAKE) --no-print-directory docs

# The site, in docs/_build/html; a warning is an error. What did not change is not built again.
docs: $(VENV)/.installed
	$(BIN)/sphinx-build -W --keep-going -q docs docs/_build/html

lint: $(VENV)/.installed
	$(BIN)/python -m tests.support.notebook_runs --strip
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .newest .peers demo build docs/_build docs/benchmarks docs/notebooks docs/deploy \
	    docs/rooms.svg

# Everything else, each by its name: `make test-cloud` adds needs-test-cloud to the environment, once,
# and runs run-test-cloud in it. CONTRIBUTING.md says what they are for and what they ask of a machine.
run-test-stores := pytest -n 2 --dist worksteal tests/io tests/cli/test_cli.py \
    tests/repository/test_package.py tests/test_pp.py
# A peak of memory is measured on a quiet machine: results wait longer for each other on a busy one.
LONG := pytest --timeout 1800 -o faulthandler_timeout=1800
run-test-long = $(LONG) -m "long and peak" && $(BIN)/$(LONG) -m "long and not peak" -n 2 --dist worksteal
run-test-pages := pytest -m pages -n 2 --dist worksteal tests/repository/test_docs.py
run-test-benchmarks := pytest -m "benchmarks and not long" -n 2 --dist worksteal tests/benchmarks
run-test-slurm := pytest -m slurm -n 2 --dist worksteal tests/slurm
run-test-hosts := pytest -m hosts tests/hosts
needs-test-cloud := --editable ".[cloud]" --group cloud-test
run-test-cloud := pytest tests/buckets
needs-test-scanpy := scanpy igraph leidenalg xarray
run-test-scanpy := pytest tests/test_scanpy.py tests/test_pp.py
needs-test-evaluate := --editable ".[evaluate]"
run-test-evaluate := pytest -m "" --timeout 900 tests/evaluate \
    "tests/repository/test_docs.py::test_the_blocks_of_a_page_run[evaluating]"
needs-test-browser := playwright --editable ".[dashboard]"
run-test-browser := pytest -m "" tests/report/test_browser.py tests/cli/test_performance_report.py
run-fuzz := pytest --hypothesis-profile fuzz tests/promises/test_fuzz.py --timeout 3600
run-mutants = python -m tests.support.mutant_runs $(ONLY)
run-soak := python -W ignore -m tests.support.soak
run-notebooks := python -m tests.support.notebook_runs
needs-experiments := $(needs-test-evaluate)
run-experiments := python -W ignore -m benchmarks.experiments.run_all --size small
needs-experiments-full := $(needs-test-evaluate)
run-experiments-full := python -W ignore -m benchmarks.experiments.run_all --size full --resume

RUNS := $(patsubst run-%,%,$(filter run-%,$(.VARIABLES)))
.PHONY: $(RUNS) test-package test-deploy peers
.SECONDEXPANSION:
$(RUNS): $(VENV)/.$$(if $$(needs-$$@),$$@,installed)
	$(BIN)/$(run-$@)

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(PIP) --editable ".[plot]" --group test --group lint --group docs
	touch $@

$(VENV)/.%: $(VENV)/.installed
	$(PIP) $(needs-$*)
	touch $@

# Builds sdist and wheel, and tries each in an empty environment; pip settings such as PIP_FIND_LINKS hold.
test-package: $(VENV)/.installed
	rm -rf build/package
	$(PIP) --group package
	$(BIN)/python -m build --outdir build/package/dist
	$(PYTHON) -m venv build/package/venv
	build/package/venv/bin/python -m pip install --quiet --constraint constraints.txt \
	    build/package/dist/*.whl
	cd build/package && venv/bin/python -W ignore $(CURDIR)/tests/support/package_smoke.py
	build/package/venv/bin/python -m pip uninstall --quiet --yes balans-dask
	build/package/venv/bin/python -m pip install --quiet --no-deps build/package/dist/*.tar.gz
	cd build/package && venv/bin/python -W ignore $(CURDIR)/tests/support/package_smoke.py

# The image's pip command in an empty environment, and manifests against the schemas of their pinned
# operator and of Kubernetes.
test-deploy: $(VENV)/.installed
	$(PIP) --group deploy
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target build/deploy dask-kubernetes==2026.3.0
	BALANS_SCHEMAS=build/deploy $(BIN)/pytest --timeout 900 tests/repository/test_deploy.py \
	    tests/repository/test_containers.py

# Other methods, some under the GPL, in an environment of their own.
peers: .peers/.installed

.peers/.installed: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv .peers
	.peers/bin/python -m pip install --quiet --requirement benchmarks/peers/requirements.txt
	touch $@

# Everything runs in .venv, made here from the tested versions in constraints.txt: one set on Python
# 3.11, another on later ones, which `make VENV=.newest PYTHON=python3.13 test` keeps beside the first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EVALUATE := $(VENV)/.evaluate
BROWSER := $(VENV)/.browser
PACKAGE := build/package
SCANPY := $(VENV)/.scanpy
CLOUD := $(VENV)/.cloud
DEPLOY := build/deploy
DOCS := $(VENV)/.docs
PEERS := .peers/.installed

.PHONY: demo test test-stores docs notebooks test-package test-evaluate test-scanpy test-browser test-cloud \
        test-hosts test-slurm test-deploy test-long experiments experiments-full peers fuzz mutants soak lint clean

demo: $(STAMP)
	$(BIN)/balans demo

test: $(STAMP) $(DOCS)
	$(BIN)/ruff check balans_dask benchmarks docs notebooks tests
	$(BIN)/ruff format --check balans_dask benchmarks docs notebooks tests
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist worksteal --durations 25
	$(MAKE) --no-print-directory docs

# What depends most on the versions of anndata, pandas and zarr; two minutes.
test-stores: $(STAMP)
	$(BIN)/pytest -n 2 --dist worksteal tests/io tests/cli/test_cli.py tests/repository/test_package.py tests/test_pp.py

# Builds sdist and wheel, and tries each in an empty environment; pip settings such as PIP_FIND_LINKS hold.
test-package: $(STAMP)
	rm -rf $(PACKAGE)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group package
	$(BIN)/python -m build --outdir $(PACKAGE)/dist
	$(PYTHON) -m venv $(PACKAGE)/venv
	$(PACKAGE)/venv/bin/python -m pip install --quiet --constraint constraints.txt $(PACKAGE)/dist/*.whl
	cd $(PACKAGE) && venv/bin/python -W ignore $(CURDIR)/tests/package_smoke.py
	$(PACKAGE)/venv/bin/python -m pip uninstall --quiet --yes balans-dask
	$(PACKAGE)/venv/bin/python -m pip install --quiet --no-deps $(PACKAGE)/dist/*.tar.gz
	cd $(PACKAGE) && venv/bin/python -W ignore $(CURDIR)/tests/package_smoke.py

# The site, in docs/_build/html; a warning is an error. What did not change is not built again.
docs: $(DOCS)
	$(BIN)/sphinx-build -W --keep-going -q docs docs/_build/html

# Runs every notebook; build/notebooks has the executed copies and the stores that they wrote.
notebooks: $(STAMP)
	rm -rf build/notebooks
	$(BIN)/python -m tests.support.notebook_runs

# Scores against scib-metrics and copairs, which bring jax (half a gigabyte) and compile for a minute,
# and the page of the documentation that shows them.
test-evaluate: $(EVALUATE)
	$(BIN)/pytest tests/evaluate
	$(BIN)/pytest tests/repository/test_docs.py -k evaluating --timeout 900

# The tutorial flow of scanpy, and AnnData objects that xarray reads lazily.
test-scanpy: $(SCANPY)
	$(BIN)/pytest tests/test_scanpy.py tests/test_pp.py

# A report in headless Chromium, which must be there (BALANS_CHROMIUM, or on the PATH), and one of Dask's.
test-browser: $(BROWSER)
	$(BIN)/pytest -m browser tests/report
	$(BIN)/pytest tests/cli/test_performance_report.py

# The paper's experiments and docs/results.md: less than 15 minutes, or hours at the full size. Other
# methods stand beside ours where `make peers` was run before, or BALANS_PEERS names a Python with them.
experiments: $(EVALUATE)
	$(BIN)/python -W ignore -m benchmarks.experiments.run_all --size small

experiments-full: $(EVALUATE)
	$(BIN)/python -W ignore -m benchmarks.experiments.run_all --size full --resume

# Other methods, some under the GPL, in an environment of their own.
peers: $(PEERS)

# Runs on a bucket of a real S3 server process, with kills and a server that refuses requests.
test-cloud: $(CLOUD)
	$(BIN)/pytest tests/buckets

# Scheduler, workers and driver on hosts of their own (network namespaces), whose cables are slow or cut:
# as root on Linux. Five minutes, most of it waiting.
test-hosts: $(STAMP)
	$(BIN)/pytest -m hosts tests/hosts

# Runs on a real SLURM of three nodes, which the tests start: as root, with the packages slurmctld,
# slurmd, slurm-client and munge. Most of it is waiting.
test-slurm: $(STAMP)
	$(BIN)/pytest -m slurm -n 2 --dist worksteal tests/slurm

# The image's pip command in an empty environment, and manifests against the schemas of their pinned
# operator and of Kubernetes.
test-deploy: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group deploy
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(DEPLOY) dask-kubernetes==2026.3.0
	BALANS_SCHEMAS=$(DEPLOY) $(BIN)/pytest tests/repository/test_deploy.py tests/deploy --timeout 900

# Dying workers, all notebooks, large stores, a short soak, and the whole matrix of workers, chunks and
# kills.
test-long: $(STAMP)
	$(BIN)/pytest -m long --timeout 1800

# Ten times the hostile inputs of the default suite; about ten minutes.
fuzz: $(STAMP)
	BALANS_HYPOTHESIS=fuzz $(BIN)/pytest tests/promises/test_fuzz.py --timeout 3600

# Puts every fault of tests/support/mutants into a copy of the tree, where the tests that it names must notice;
# ONLY=elbow-edges tries one. Five seconds for each.
mutants: $(STAMP)
	$(BIN)/python -m tests.support.mutant_runs $(ONLY)

# Kills workers, drivers and clusters at random moments; at most 20 minutes.
soak: $(STAMP)
	$(BIN)/python -W ignore -m tests.support.soak

lint: $(STAMP)
	$(BIN)/python -m tests.support.notebook_runs --strip
	$(BIN)/ruff check --fix balans_dask benchmarks docs notebooks tests
	$(BIN)/ruff format balans_dask benchmarks docs notebooks tests
	$(BIN)/mypy

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[plot]" --group test --group lint
	touch $(STAMP)

$(EVALUATE): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[evaluate]"
	touch $(EVALUATE)

$(SCANPY): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt scanpy igraph leidenalg xarray
	touch $(SCANPY)

$(BROWSER): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt playwright --editable ".[dashboard]"
	touch $(BROWSER)

$(CLOUD): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[cloud]" --group cloud-test
	touch $(CLOUD)

$(DOCS): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group docs
	touch $(DOCS)

$(PEERS): benchmarks/peers/requirements.txt
	$(PYTHON) -m venv .peers
	.peers/bin/python -m pip install --quiet --requirement benchmarks/peers/requirements.txt
	touch $(PEERS)

clean:
	rm -rf $(VENV) .newest .peers demo build docs/_build docs/benchmarks docs/notebooks docs/deploy

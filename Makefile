# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
EXTRAS ?= dev

.PHONY: demo test lint check docs lowest wheel-test clean

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[$(EXTRAS)]'
	touch $@

demo: $(INSTALLED)  ## a short real training, a benchmark and an upscaled image, in demo/
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-2} $(BIN)/python scripts/demo.py

test: $(INSTALLED)  ## the whole suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

check: lint test

docs: $(INSTALLED)  ## the documentation as a site, in site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# These tests touch the dependencies; the lower bounds in pyproject.toml are true while they pass. Needs 7 GB of disk.
LOWEST := .venv-lowest
LOWEST_TESTS := $(addprefix tests/,cli/test_main.py config imaging/test_io.py imaging/test_heic.py prepare/test_lmdb_folder.py \
	weights/test_checkpoint.py data/test_paired.py data/test_shards.py training/test_model.py training/test_checkpoints.py \
	evaluation/report metrics/test_ssim.py inference/test_architecture.py inference/test_export.py web/test_page.py)
lowest:  ## a quick part of the suite at the lowest versions that pyproject.toml allows: make lowest PYTHON=python3.10
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet uv
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct --editable '.[dev,web,export,ncnn,int8,heic,wandb]'
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest $(LOWEST_TESTS)

wheel-test:  ## build the sdist and the wheel, and use the wheel in an empty environment outside the checkout
	scripts/release/test_wheel.sh

clean:
	rm -rf .venv .venv-lowest demo site build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

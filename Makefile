# make install | demo | test | lint | bench   (PYTHON=python3.12 make install to choose another)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One thread per process: parallelism here is by processes.
export OMP_NUM_THREADS := 1

.PHONY: install demo test lint format bench clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt packaging/gpaw_siteconfig.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt setuptools wheel
	$(BIN)/pip install -q -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt -e '.[test,chgnet,classical,optimade]'
	GPAW_CONFIG=$(CURDIR)/packaging/gpaw_siteconfig.py \
		$(BIN)/pip install -q --no-cache-dir -c constraints.txt gpaw gpaw-data
	touch $@

demo: install
	$(BIN)/hopscreen run examples/screen_li.yaml

test: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) build *.egg-info examples/*.store

# make install | demo | test | faults | lint | bench   (PYTHON=python3.12 make install to choose another)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One thread per process: parallelism here is by processes.
export OMP_NUM_THREADS := 1

.PHONY: install demo test test-dgl faults lint format docs bench clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt packaging/gpaw_siteconfig.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt setuptools wheel
	$(BIN)/pip install -q -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt -e '.[test,chgnet,classical,dashboard,docs,notebook,optimade]'
	GPAW_CONFIG=$(CURDIR)/packaging/gpaw_siteconfig.py \
		$(BIN)/pip install -q --no-cache-dir -c constraints.txt gpaw gpaw-data
	touch $@

demo: install
	$(BIN)/hopscreen run examples/screen_li.yaml

test: install
	$(BIN)/python -m pytest

# Our MODEL-3 against the original on DGL, in an environment of its own: the one above and dgl,
# which has wheels for Python 3.11 only.
DGL := .venv-dgl
test-dgl: $(DGL)/.installed
	DGLBACKEND=pytorch $(DGL)/bin/python -c "import dgl"  # a test that skips shows nothing
	$(DGL)/bin/python -m pytest tests/em_model/paper/test_dgl_parity.py

$(DGL)/.installed: $(VENV)/.installed
	$(BIN)/python -m venv --clear $(DGL)
	echo "import site; site.addsitedir('$$($(BIN)/python -c "import site; print(site.getsitepackages()[0])")')" \
		> $$($(DGL)/bin/python -c "import site; print(site.getsitepackages()[0])")/below.pth
	$(DGL)/bin/pip install -q --no-deps -c constraints.txt dgl
	touch $@

# Processes, databases and Slurm jobs killed on purpose; prints what was lost.
faults: install
	HOPSCREEN_FAULTS=1 $(BIN)/python -m pytest -s tests/integration/test_faults.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install
	$(BIN)/python -m sphinx -W --keep-going -q docs build/docs

bench: install
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) $(DGL) build *.egg-info examples/*.store

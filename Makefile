# Two commands do everything: `make demo` and `make test`. Both make .venv first, once, and reuse it.

# The first interpreter that runs and is of a supported version.
SUPPORTED := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))
CANDIDATES := python3.12 python3.11 python3.10 python3 python
PYTHON ?= $(shell for name in $(CANDIDATES); do $$name -c '$(SUPPORTED)' >/dev/null 2>&1 && echo $$name && break; done)
BIN := .venv/bin

.PHONY: demo test check docs clean

# Compresses the small Vision Transformer that ships with the package, offline, and says where the report is.
demo: .venv/ready
	$(BIN)/python -m edgeflex_tflite.convert --output_dir=edgeflex-out/demo --overwrite

# Every test that has what it needs, two files at a time, slow ones first; the others say why they are skipped.
test: .venv/ready
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder

# Linter, formatter and type checker.
check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The user's guide and the reference of the Python API, in build/docs; a warning is an error.
docs: .venv/ready
	$(BIN)/python -m sphinx -W --keep-going --quiet -d build/doctrees docs build/docs

.venv/ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(SUPPORTED)' \
		|| { echo "error: Python 3.10, 3.11 or 3.12 is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv edgeflex-out

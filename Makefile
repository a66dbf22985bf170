# Two commands: `make demo` and `make test`. Both make what they need in .venv (Python 3.11 or later, with venv).
PYTHON ?= python3.11
VENV ?= .venv
INSTALL = $(VENV)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --constraint constraints-thirdparty.txt

.PHONY: demo test thirdparty lint results clean

demo: $(VENV)/installed
	$(VENV)/bin/edgetwin demo

test: $(VENV)/installed-test
	$(VENV)/bin/pytest -n 2 --dist loadfile -m "not slow and not browser and not thirdparty"

thirdparty: $(VENV)/installed-thirdparty
	$(VENV)/bin/pytest -n 2 -m thirdparty

results: $(VENV)/installed
	$(VENV)/bin/python benchmarks/two_timescale.py
	$(VENV)/bin/python benchmarks/network_sync.py
	$(VENV)/bin/python benchmarks/beta_happo.py
	$(VENV)/bin/python benchmarks/association.py
	$(VENV)/bin/python benchmarks/association_learning.py
	$(VENV)/bin/python benchmarks/migration.py

lint: $(VENV)/installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/pip pyproject.toml constraints.txt constraints-thirdparty.txt
	$(INSTALL) --editable .
	touch $@

$(VENV)/installed-%: $(VENV)/installed
	$(INSTALL) --editable .[$*]
	touch $@

clean:
	rm -rf $(VENV) edgetwin-demo

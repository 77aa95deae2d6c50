# Everything here works with Python 3.11+, make and the package registries; nothing needs root.
# What is missing on the machine goes into the cache, keyed by version; nothing is written elsewhere.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
RUN := $(PYTHON) dev/bootstrap.py

.PHONY: help demo test lint bench world lock clean
help:
	@echo 'make demo   a story of plans, approvals and an upgrade, in a throwaway world'
	@echo 'make test   every test            make lint    ruff, mypy, import contracts'
	@echo 'make bench  the ratios            make world   only the throwaway world, until Ctrl-C'
	@echo 'make lock   pin dependencies anew make clean   remove the cache and build leftovers'
demo:
	@$(RUN) -m dev.demo
test:
	@$(RUN) -m dev.prepare
	@$(RUN) -m pytest -n auto --dist worksteal $(ARGS)
lint:
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy
	@$(RUN) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()' --no-logo
bench:
	@$(RUN) -m tests.bench
world:
	@$(RUN) -m dev.world
lock:
	@$(PYTHON) dev/bootstrap.py --lock
clean:
	@$(PYTHON) dev/bootstrap.py --clean
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info

# `make demo` and `make test` set up everything they need in .venv; Python >= 3.11 and make must be there.
# PYTHON=/path/to/python picks the interpreter of a new .venv.

SHELL := /bin/sh
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet

.PHONY: help demo test soak bench bench-kernels bench-baseline lint wheel clean

help:
	@echo "make demo   replay a buoy's readings through a trained model; writes demo.svg"
	@echo "make test   run the test suite"
	@echo "make soak   run the slow and exhaustive tests as well"
	@echo "make bench  measure against other engines; see docs/benchmarks.md"
	@echo "make lint   ruff, mypy and the check of the layers"
	@echo "make wheel  dist/: wheels with the compiled machine for x86-64 and AArch64, and the pure one"

demo: $(VENV)/.demo
	$(PY) -m edgelstm demo --out demo.svg

test: $(VENV)/.test
	$(PY) -m pytest -m "not slow" $(ARGS)

soak: $(VENV)/.test
	EDGELSTM_SOAK=1 $(PY) -m pytest $(ARGS)

bench: $(VENV)/.bench
	$(PY) -m benchmarks $(ARGS)

# Kernels against this machine's own baseline; neither is part of `make test`.
bench-baseline: $(VENV)/.bench
	$(PY) -m benchmarks.kernels.compare --write $(ARGS)

bench-kernels: $(VENV)/.bench
	$(PY) -m benchmarks.kernels.compare $(ARGS)

lint: $(VENV)/.test
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) tools/check_layers.py

wheel: $(VENV)/.wheel
	$(PY) -m tools.wheel -o dist $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist demo.svg

$(PY):
	@test -n "$(PYTHON)" || { echo "edgelstm needs Python 3.11 or newer; none was found. Set PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.demo: pyproject.toml | $(PY)
	$(PIP) -e ".[jit,onnx]"
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(PY)
	$(PIP) -c constraints.txt $$($(PY) tools/torch_index.py) -e ".[all,dev]"
	@touch $@

$(VENV)/.wheel: pyproject.toml constraints.txt | $(PY)
	$(PIP) -c constraints.txt -e ".[build]" "hatchling>=1.26"
	@touch $@

$(VENV)/.bench: pyproject.toml | $(PY)
	$(PIP) -e ".[bench]"
	@for peer in "$$($(PY) tools/torch_index.py) torch" openvino ncnn tract; do \
		$(PIP) -c constraints.txt $$peer || echo "make: no $$peer here; its figures will be missing"; done
	@touch $@

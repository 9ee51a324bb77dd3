# The developer's manual. Every target sets up what it needs in .venv; python3 and a C++ compiler must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find src cpp -type f -not -name '*.pyc') CMakeLists.txt pyproject.toml README.md

.PHONY: help demo test bench lint clean
help:
	@echo "make demo   install, pool a photograph, train a small network: demo/index.html"
	@echo "make test   install and run every test"
	@echo "make bench  time it beside every other pooling library (about ten minutes)"
	@echo "make lint   style"
	@echo "make clean  remove everything that make made"

$(VENV)/.tools: requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@

$(VENV)/.installed: $(VENV)/.tools $(SOURCES)
	$(BIN)/python -m pip install --quiet --no-build-isolation '.[torch,image,demo]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/poolwise demo

test: $(VENV)/.installed
	$(BIN)/python -m pytest

# The peers that PyPI has; `poolwise bench` names those that are missing.
$(VENV)/.peers: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet onnxruntime onnx jax opencv-python-headless scikit-image scipy tinybrain
	touch $@

bench: $(VENV)/.peers
	$(BIN)/poolwise bench --json benchmarks/results/latest.json --svg benchmarks/results/latest.svg

lint: $(VENV)/.tools
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check src tests

clean:
	rm -rf $(VENV) build demo .pytest_cache .hypothesis .ruff_cache

# The developer's manual. Every target sets up what it needs in .venv; python3 and a C++ compiler must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The pinned torch is for CPUs. On a machine with a GPU: one that has torch with CUDA, triton, pytest and this package.
GPU_PYTHON ?= $(BIN)/python
SOURCES := $(shell find src cpp -type f -not -name '*.pyc') CMakeLists.txt pyproject.toml README.md

.PHONY: help demo test test-gpu bench bench-gpu sanitize lint clean
help:
	@echo "make demo   install, pool a photograph, train a small network: demo/index.html"
	@echo "make test   install and run every test"
	@echo "make test-gpu  the tests of the GPU kernels on this machine's GPU: make test-gpu GPU_PYTHON=python3"
	@echo "make bench  time it beside every other pooling library (about half an hour)"
	@echo "make bench-gpu  time the GPU kernels beside torch (minutes): make bench-gpu GPU_PYTHON=python3"
	@echo "make sanitize  the kernels and their tests under AddressSanitizer and UndefinedBehaviorSanitizer (35 minutes on 2 cores)"
	@echo "make lint   style"
	@echo "make clean  remove everything that make made"

$(VENV)/.tools: requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@

$(VENV)/.installed: $(VENV)/.tools $(SOURCES)
	$(BIN)/python -m pip install --quiet --no-build-isolation '.[torch,image,demo,study]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/poolwise demo

test: $(VENV)/.installed
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

# A Python of one's own is taken as it is.
GPU_SETUP := $(if $(filter $(BIN)/python,$(GPU_PYTHON)),$(VENV)/.installed)

test-gpu: $(GPU_SETUP)
	@$(GPU_PYTHON) tests/gpu/ready.py
	$(GPU_PYTHON) -m pytest tests/gpu --device cuda

bench-gpu: $(GPU_SETUP)
	@$(GPU_PYTHON) tests/gpu/ready.py
	$(GPU_PYTHON) benchmarks/gpu.py --json benchmarks/results/gpu-latest.json

# The peers that PyPI has; `poolwise bench` names those that are missing.
$(VENV)/.peers: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet onnxruntime onnx jax opencv-python-headless scikit-image scipy tinybrain
	touch $@

bench: $(VENV)/.peers
	$(BIN)/poolwise bench --json benchmarks/results/latest.json --svg benchmarks/results/latest.svg

# Python itself is not instrumented, so the runtimes are loaded before it; what it never frees is not ours to report.
sanitize: $(VENV)/.tools
	$(BIN)/cmake -S . -B build/sanitize -G Ninja -DPW_SANITIZE=ON -DPython_EXECUTABLE=$(abspath $(BIN)/python) \
	  -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja)
	$(BIN)/cmake --build build/sanitize
	rm -rf build/sanitize/src && cp -r src build/sanitize/src && cp build/sanitize/_core*.so build/sanitize/src/poolwise/
	isas=$$($(SANITIZED) $(BIN)/python -c \
	  "import sys; sys.path.insert(0, 'build/sanitize/src'); from poolwise._core import isa_available; print(*isa_available())") \
	  || exit 1; \
	for isa in $$isas; do \
	  echo "== $$isa"; \
	  POOLWISE_ISA=$$isa PYTHONPATH=build/sanitize/src $(SANITIZED) $(BIN)/python -m pytest -q -p no:cacheprovider \
	    tests/test_kernels_native.py tests/test_filters_native.py || exit 1; \
	done
SANITIZED = LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libubsan.so) \
  $$($(CXX) -print-file-name=libstdc++.so)" ASAN_OPTIONS=detect_leaks=0:verify_asan_link_order=0 UBSAN_OPTIONS=print_stacktrace=1

lint: $(VENV)/.tools
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check src tests

clean:
	rm -rf $(VENV) build demo .pytest_cache .hypothesis .ruff_cache

# Headway: the few verbs. Everything runs in .venv, made from the locked versions in locks/.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Where images come from and their tag: the same as in k8s/images.
IMAGES  ?= registry.example.com/headway
RELEASE := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

.DEFAULT_GOAL := help
.PHONY: help install demo demo-check test test-unit test-lowest serving-tensorflow lint fix check bench bench-overload reproduce image image-check lock proto monitoring pictures clean

help:            ## Show these verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## Create .venv with the locked versions of everything

$(STAMP): pyproject.toml locks/dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Headway needs Python 3.11 or newer; choose one with: make PYTHON=python3.11 ...")'
	@echo "Installing the locked packages into $(VENV) (a minute or two, once) ..."
	@$(PYTHON) -m venv $(VENV)
	@awk '/^uv==/ { found = 1 } found { print } found && !/\\$$/ { exit }' locks/dev.lock > $(VENV)/uv.lock
	@$(PIP) --require-hashes -r $(VENV)/uv.lock
	@# uv installs several times faster; pip, which knows the machine's own mirrors and certificates, where uv cannot.
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r locks/dev.lock \
	  || $(PIP) --require-hashes -r locks/dev.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP)   ## Train a base and a head on real digits, serve both, classify ten held-out digits, keep serving
	@$(BIN)/python scripts/demo.py

demo-check: $(STAMP) ## The demo, then exit: 0 only if at least nine of ten digits are right
	@$(BIN)/python scripts/demo.py --check

# What measures time and memory, or starts many processes, has the machine to itself; the rest uses every core.
ALONE := tests/e2e tests/integration/gateway tests/integration/modelserver tests/integration/test_traffic_sources.py

test: $(STAMP)   ## Every test: unit, integration, e2e, architecture, docs, k8s
	@status=0; \
	$(BIN)/python -m pytest -n auto --dist loadfile $(addprefix --ignore=,$(ALONE)) || status=$$?; \
	$(BIN)/python -m pytest $(ALONE) || status=$$?; \
	exit $$status

test-unit: $(STAMP) ## The unit tests alone, in a minute or so
	@$(BIN)/python -m pytest tests/unit

# The oldest packages that pyproject.toml admits, in an environment of their own.
test-lowest: $(STAMP) ## The unit tests of the gateway and the client with the lowest versions that are admitted
	@rm -rf .lowest && $(PYTHON) -m venv .lowest
	@$(BIN)/uv pip install --quiet --python .lowest/bin/python --resolution lowest-direct -e '.[gateway]' \
	  'pytest>=8.4' 'pytest-timeout>=2.4' 'jsonschema>=4.23' 'hypothesis>=6.130' 'scipy>=1.15'
	@.lowest/bin/python -m pytest tests/unit/client tests/unit/contract tests/unit/serving/core \
	  tests/unit/serving/concurrency tests/unit/serving/adapters tests/unit/serving/gateway tests/unit/serving/wire --ignore tests/unit/contract/test_strokes.py

# The TensorFlow of the newest TensorFlow Serving image, in an environment of its own, for the test that asks both.
serving-tensorflow: .tensorflow-2.20/.installed ## The TensorFlow that TensorFlow Serving's image has, for its test

.tensorflow-2.20/.installed: locks/tensorflow-2.20.lock | $(STAMP)
	@rm -rf $(@D) && $(PYTHON) -m venv $(@D)
	@$(BIN)/uv pip install --quiet --python $(@D)/bin/python --require-hashes -r locks/tensorflow-2.20.lock \
	  || $(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/tensorflow-2.20.lock \
	  || { rm -rf $(@D); exit 1; }
	@touch $@

lint: $(STAMP)   ## Lint and format, without changing anything
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

fix: $(STAMP)    ## Lint and format, and mend what can be mended
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

check: lint      ## Lint, types, import rules
	@$(BIN)/mypy
	@$(BIN)/mypy scripts benchmarks deploy tests
	@$(BIN)/lint-imports

bench: .bench/packages/.installed ## Measure digits, photos and camera pictures beside plain FastAPI and Flask services
	@$(BIN)/python -m benchmarks compare

bench-overload: .bench/packages/.installed ## Measure goodput and latency at three times the load that saturates
	@$(BIN)/python -m benchmarks overload

# Only what the plain services need and Headway does not, in a folder of its own: .venv stays as it is locked.
.bench/packages/.installed: $(STAMP) locks/bench.lock
	@rm -rf $(@D)
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --target $(@D) --require-hashes -r locks/bench.lock \
	  || $(PIP) --target $(@D) --require-hashes -r locks/bench.lock
	@touch $@

reproduce: $(STAMP) ## Run every tutorial experiment, as published and improved, and write docs/reproduced.md
	@$(BIN)/python -m scripts.reproduce

image:           ## Build the container images, with the names and the tag that k8s/images pulls
	docker build --target gateway -t $(IMAGES)/gateway:$(RELEASE) .
	docker build --target model-server -t $(IMAGES)/model-server:$(RELEASE) .
	docker build --target model-server-embedded -t $(IMAGES)/model-server-embedded:$(RELEASE) .
	docker build --target training -t $(IMAGES)/training:$(RELEASE) .

image-check: $(STAMP) ## Build two of them without Docker, run both, and look at what a cluster relies on (root, buildah)
	@$(BIN)/python -m scripts.image_check

lock: $(STAMP)   ## Choose new versions for locks/ from pyproject.toml
	@for extra in dev gateway serving training bench sbom; do \
	  constraint=""; [ $$extra = dev ] || constraint="-c locks/dev.lock"; \
	  case $$extra in gateway) constraint="$$constraint --extra heif --extra kubernetes --extra object-storage --extra tracing";; \
	    serving) constraint="$$constraint --extra tracing";; \
	    training) constraint="$$constraint --extra heif";; esac; \
	  $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	    --extra $$extra $$constraint pyproject.toml -o locks/$$extra.lock || exit 1; \
	done
	@echo 'tensorflow-cpu==2.20.*' | $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --no-header - -o locks/tensorflow-2.20.lock

proto: $(STAMP)  ## Regenerate the wire messages from serving/headway_serving/wire/messages.proto
	@$(BIN)/python -m grpc_tools.protoc -I serving --python_out=serving --pyi_out=serving \
	  serving/headway_serving/wire/messages.proto

monitoring: $(STAMP) ## Write the dashboards and the cluster's rules from deploy/
	@$(BIN)/python -m deploy.prometheus_rule
	@$(BIN)/python -m deploy.dashboards.grafana

pictures: $(STAMP) ## Draw the boards for docs/pictures from a real run of a Prometheus beside real gateways
	@HEADWAY_BOARD_PICTURES=docs/pictures $(BIN)/python -m pytest tests/e2e/test_alerts.py

clean:           ## Remove what the verbs made
	rm -rf $(VENV) .lowest .tensorflow-2.20 .demo .reproduce .bench build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

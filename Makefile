# Every target sets up .venv first; a second call costs nothing.
PYTHON ?= python3
UV ?= uv
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# uv, where it is installed, downloads and unpacks several packages at a time.
INSTALL := $(if $(shell command -v $(UV)),$(UV) pip install --quiet --python $(BIN)/python,$(PIP) install)
STAMP := .venv/.installed
# Environments on top of .venv, each with the optional packages of requirements/integrations/NAME.txt,
# and the tests that skip without them.
EXTRA := .venv-integrations
INTEGRATIONS := detections fiftyone label_studio mim
TESTS_detections := tests/test_results.py
TESTS_fiftyone := tests/demo/test_fiftyone.py
TESTS_label_studio := tests/demo/test_label_studio.py
TESTS_mim := tests/openmmlab/test_mim.py
# What test-matrix runs beside the lock on this Python and test-openmmlab.
MATRIX := openmmlab-torch2.4 newest lock-3.10 lock-3.12 lock-3.13
SITE := import site; print(site.getsitepackages()[0])

# Property tests, fuzzing and mutation testing need packages that .venv lacks.
FAULTS := $(EXTRA)/faults
FUZZ := $(EXTRA)/fuzz
MUTANTS := $(EXTRA)/mutants

.PHONY: help venv test slow test-integrations test-openmmlab test-matrix test-gpu test-faults fuzz mutants breaks gpu licences sbom audit lint types docs format quickstart scenes notebook real zoo lock wheel clean web

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

venv: $(STAMP) ## set up .venv from requirements/lock.txt

$(STAMP): requirements/lock.txt setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("groupvit-mmseg needs Python 3.10 or newer, but %s is %s: name another with PYTHON=/path/to/python." % (sys.executable, sys.version.split()[0]) if sys.version_info < (3, 10) else 0)'
	@echo 'Setting up .venv from requirements/lock.txt: 2 to 3 GB to download, 6.5 GB on the disk (Linux, with CUDA) ...'
	@$(PYTHON) -m venv .venv
	@$(INSTALL) --no-deps --require-hashes -r requirements/lock.txt
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

test: venv ## run the tests
	@$(BIN)/python -m pytest -q -n auto --dist loadfile

slow: venv ## run the slow tests as well
	@$(BIN)/python -m pytest -q -n auto --dist loadfile -m 'not gpu and not faults'

test-integrations: $(INTEGRATIONS:%=$(EXTRA)/%/.passed) ## run the tests of other programs' packages

test-faults: $(FAULTS)/.installed ## faults and hostile input in quantity (20 minutes on two cores)
	@$(FAULTS)/bin/python -m pytest -q -rs -n 2 --dist loadfile -m 'not gpu' tests/faults tests/web/test_load.py

fuzz: $(FUZZ)/.installed ## coverage-guided fuzzing of every parser, SECONDS each (default 60); Linux
	@$(FUZZ)/bin/python tests/faults/fuzz.py --seconds $(or $(SECONDS),60) --corpus work_dirs/fuzz

mutants: $(MUTANTS)/.installed ## which changes to the core no test notices; PARTS="losses head" for some
	@$(MUTANTS)/bin/python tests/faults/mutants.py --show $(PARTS)

breaks: venv ## break each promise of docs/reliability.md on purpose, and see whether a test notices
	@$(BIN)/python tests/faults/break_promises.py --only '$(ONLY)'

$(EXTRA)/%/.installed: requirements/integrations/%.txt $(STAMP)
	@echo 'Setting up $(@D) ...'
	@$(BIN)/python -m venv --clear $(@D)
	@base=$$($(BIN)/python -c '$(SITE)') && site=$$($(@D)/bin/python -c '$(SITE)') && echo "import site; site.addsitedir('$$base')" > $$site/base.pth
	@$(@D)/bin/python -m pip install --disable-pip-version-check --quiet -r $<
	@touch $@

# mim reads an installed wheel.
$(EXTRA)/mim/.wheel: $(EXTRA)/mim/.installed
	@rm -rf $(EXTRA)/wheel && $(BIN)/python -m build --wheel --no-isolation --outdir $(EXTRA)/wheel . > /dev/null
	@$(EXTRA)/mim/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --force-reinstall $(EXTRA)/wheel/*.whl

$(EXTRA)/mim/.passed: $(EXTRA)/mim/.wheel

.PHONY: $(EXTRA)/mim/.wheel
.PRECIOUS: $(EXTRA)/%/.installed
# Passes if no test fails and none skips. Never up to date: the tests run each time.
$(EXTRA)/%/.passed: $(EXTRA)/%/.installed
	@echo '$*:'
	@out=$$($(EXTRA)/$*/bin/python -m pytest -q -rs --disable-warnings -m 'not gpu' $(TESTS_$*) 2>&1); status=$$?; echo "$$out" | tail -n 60; test $$status = 0 && ! echo "$$out" | grep -q '[0-9] skipped'

test-openmmlab: ## run the tests on OpenMMLab's own packages with torch 2.1 (needs Python 3.10)
	@.ci/stack openmmlab

test-matrix: ## run the tests on every other set of packages and Python; names those that failed
	@failed=; for stack in $(MATRIX); do .ci/stack $$stack || failed="$$failed $$stack"; done; \
	if [ -n "$$failed" ]; then echo "Failed:$$failed"; exit 1; fi

test-gpu: venv ## run the tests that need a CUDA device
	@$(BIN)/python -m pytest -q -m gpu

gpu: venv ## measure everything on a CUDA device in at most nine minutes
	@$(BIN)/python tools/benchmarks/run_all.py --device cuda

lint: venv ## ruff: lint, imports, format
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --check --quiet .

types: venv ## mypy on the package, the tools and the demos
	@$(BIN)/mypy

docs: venv .venv/.docs ## build the documentation into docs/_build; broken links are errors
	@$(BIN)/python -m sphinx -q -W --keep-going -E -b html docs docs/_build
	@echo 'Built docs/_build/index.html.'

.venv/.docs: $(STAMP) requirements/docs.txt
	@$(INSTALL) --no-deps -r requirements/docs.txt
	@touch $@

format: venv ## let ruff repair what it can
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

quickstart: venv ## draw scenes, pretrain, evaluate zero-shot, draw a picture
	@$(BIN)/python tools/quickstart.py

scenes: venv ## draw the scenes into data/scenes
	@$(BIN)/python tools/dataset_converters/make_scenes.py --out data/scenes

web: venv ## open the local page; MODEL=... names the weights
	@$(BIN)/groupvit web $(if $(MODEL),--model $(MODEL))

notebook: venv ## execute demo/groupvit.ipynb in place (ten minutes)
	@$(BIN)/python demo/execute_notebook.py

real: venv ## pretrain on real photographs for a bounded time, evaluate on VOC
	@$(BIN)/python tools/real.py

zoo: venv ## write the tables of docs/model_zoo.md and configs/*/README.md from the metafiles
	@$(BIN)/python docs/generate_model_zoo.py

lock: ## compile requirements/lock.txt (needs uv)
	@(head -2 requirements/lock.txt; $(UV) pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-annotate --no-header --no-emit-index-url requirements/lock.in --override requirements/overrides.txt) > requirements/lock.new && mv requirements/lock.new requirements/lock.txt

licences: venv ## list the licences of all packages; fail on one that does not fit Apache-2.0
	@$(BIN)/python tools/licences.py

sbom: $(EXTRA)/sbom/.installed ## write the software bill of materials dist/sbom.json (CycloneDX)
	@mkdir -p dist && $(EXTRA)/sbom/bin/cyclonedx-py environment --output-reproducible --mc-type library --output-file dist/sbom.json $(BIN)/python

audit: $(EXTRA)/sbom/.installed ## ask the public database about known vulnerabilities of the lock (network)
	@$(EXTRA)/sbom/bin/pip-audit --disable-pip --no-deps --requirement requirements/lock.txt

wheel: venv ## build the wheel into dist/
	@$(BIN)/python -m build --wheel --no-isolation

clean: ## remove .venv, caches and build outputs; data and work_dirs stay
	@rm -rf .venv $(EXTRA) .venv-stacks build dist *.egg-info groupvit_mmseg/.mim .pytest_cache .mypy_cache .ruff_cache .coverage

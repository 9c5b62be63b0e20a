# Every target installs what it lacks into .venv; a second run installs nothing.
PYTHON ?=
export PYTHON

BIN := .venv/bin
BASE := .venv/.installed-worker
DEV := .venv/.installed-dev
DEMO := .venv/.installed-demo
TIMM := .venv-timm/.installed
TRACKERS := .venv-trackers/.installed

# torchvision has no build for every torch: change the three together, and name CPU builds where pip's index has them.
TIMM_VERSIONS ?= torch==2.14.1 torchvision==0.29.1 timm==1.0.31

JOBS ?= 2
PYTEST := $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal --durations=25 --durations-min=1

# The two parts of `make test-all`: tracing makes Python twice as slow, so it is left out where it tells little more.
APART := not wide and not learning and not docker and not timm and not trackers and not hostile and not faults
MEASURED := $(APART) and (not full or commands)
NOT_MEASURED := $(APART) and full and not commands
FIGURES := for package in service studies trials; do \
	printf 'coverage of %s: %s %%\n' $$package "$$($(BIN)/python -m coverage report --include="$$package/*" --format=total)"; \
	done

.PHONY: help install demo serve test test-all test-wide test-faults coverage test-learning test-timm test-trackers test-hostile test-docker soak audit lint docs lock bench bench-trainer bench-tasks bench-search bench-promotion clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(BASE) ## .venv with the service and its worker

demo: $(DEMO) ## search over MiniLM on Rotten Tomatoes sentences: examples/quickstart.yaml
	$(BIN)/luthier run examples/quickstart.yaml

serve: $(BASE) ## the service with local workers, on http://127.0.0.1:8000
	$(BIN)/luthier serve

test: $(DEV) ## unit and integration tests and a short slice of the acceptance tests; JOBS=4 runs four at a time
	$(PYTEST)

test-all: $(DEV) ## what `.ci/run` runs: needs no network and no Docker, both databases; prints a coverage
	$(BIN)/python -m coverage erase
	@failed=0; \
	$(PYTEST) -m '$(MEASURED)' --cov --cov-report= || failed=1; \
	$(PYTEST) -m '$(NOT_MEASURED)' || failed=1; \
	$(FIGURES); exit $$failed

test-wide: $(DEV) ## every model and database that another one stands for in `make test-all`: before a release; minutes
	$(PYTEST) -m wide

# As many as a night allows, or as `.ci/run` does: make test-faults FAULTS=60 MINUTES=3
FAULTS ?= 1000
SEED ?= 1
MINUTES ?= 600

test-faults: $(DEV) ## FAULTS=1000 faults drawn by SEED=1 in at most MINUTES=600, and what must be true after them; docs/reliability.md
	$(BIN)/python -m tests.faults --faults $(FAULTS) --seed $(SEED) --minutes $(MINUTES)

coverage: $(DEV) ## how many lines the tests of `make test` and of the commands ran in the last `make test-all`
	@$(FIGURES)

test-learning: $(DEV) ## real models on real data: a study a task reaches a known accuracy; minutes
	$(BIN)/python -m pytest -q -m learning tests/acceptance/learning

test-timm: $(TIMM) ## models of timm (VGG, ResNet, ViT, ...) in .venv-timm, with a torchvision and its torch: some 7 GB
	.venv-timm/bin/python -m pytest -q -m timm --timeout 600 tests/integration/trials

test-trackers: $(TRACKERS) ## MLflow, Weights & Biases, TensorBoard and Trackio themselves, offline, in .venv-trackers
	.venv-trackers/bin/python -m pytest -q -m trackers tests/integration/trackers

test-hostile: $(DEV) ## schemathesis with a thousand requests an operation, longer searches for hostile input; an hour or two
	LUTHIER_HYPOTHESIS=slow $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal -m hostile

audit: $(DEV) ## known holes of the packages that requirements.lock names; needs the network
	$(BIN)/uv tool run --from 'pip-audit>=2.9' pip-audit --strict --requirement requirements.lock --no-deps --disable-pip --progress-spinner off

test-docker: $(DEV) $(DEMO) ## the images and `docker compose up`, on an engine of its own where it finds none; minutes
	docker/ci/run.sh

soak: $(DEV) ## a service under the load of a busy team for MINUTES=60: memory, files, threads, disk, database stay flat
	$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),60) --database $(or $(DATABASE),sqlite)

lint: $(DEV) ## style, types, the arrows between packages, known bad habits (bandit), the Dockerfiles and compose files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit -q -c pyproject.toml -r service studies trials
	docker/ci/lint.sh

docs: $(DEV) ## the reference pages from the code, and the site in site/
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# Without the trackers, which would hold back what the product itself takes (pyarrow, pillow).
LOCKED := --extra worker --extra lora --extra qlora --extra onnx --extra dev

# Without torch, whose build is chosen where it is installed, and what belongs to one build of it; with what any needs:
# torch 2.11 and 2.12 take no setuptools from 82 on.
lock: $(DEV) ## requirements.lock anew, after a change of pyproject.toml; UPGRADE=--upgrade takes newer versions
	echo "torch ; sys_platform == 'never'" >.venv/override.txt
	echo "setuptools<82" >.venv/bounds.txt
	$(BIN)/uv pip compile pyproject.toml -o requirements.lock $(LOCKED) --universal --python-version 3.11 --generate-hashes \
	  --override .venv/override.txt --constraint .venv/bounds.txt --no-emit-package torch --no-annotate --custom-compile-command "make lock" --quiet $(UPGRADE)
	sed -i "s/ ; sys_platform == 'never'//" requirements.lock

bench: $(DEV) ## what the service costs beside plain Optuna
	$(BIN)/python benchmarks/overhead.py --json

bench-trainer: $(DEV) ## the same trials through the Trainer's own search and through Luthier
	$(BIN)/python benchmarks/vs_trainer.py --quick --json

bench-tasks: $(DEV) ## every task beside transformers' own example of it, by freeze depth; then memory and generation
	$(BIN)/python benchmarks/tasks_vs_trainer.py --quick --json
	$(BIN)/python benchmarks/generation.py --json
	$(BIN)/python benchmarks/memory.py --json

bench-search: $(DEV) ## how soon two searches have the best model; then searches over recorded curves
	$(BIN)/python benchmarks/time_to_best.py --quick --json
	$(BIN)/python benchmarks/replay.py --seeds 5 --variant default --json

bench-promotion: $(DEV) ## how often a schedule replaces its champion, simulated
	$(BIN)/python benchmarks/promotion_sizes.py --json
	$(BIN)/python benchmarks/promotion.py --json

clean: ## remove the environments and the caches; studies stay
	rm -rf .venv .venv-timm .venv-trackers site src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

$(BASE): pyproject.toml requirements.lock .ci/setup.sh
	.ci/setup.sh worker
	@touch $@

$(DEV): $(BASE)
	.ci/setup.sh worker,dev
	@touch $@

$(TIMM): pyproject.toml requirements.lock .ci/setup.sh Makefile
	VENV=.venv-timm TORCH="$(TIMM_VERSIONS)" .ci/setup.sh worker,dev
	@touch $@

$(TRACKERS): pyproject.toml requirements.lock .ci/setup.sh Makefile
	VERSIONS=newest VENV=.venv-trackers .ci/setup.sh worker,dev,mlflow,wandb,tensorboard,trackio
	@touch $@

$(DEMO): $(BASE) examples/fetch.py
	$(BIN)/python examples/fetch.py minilm rotten_tomatoes
	@touch $@

# Every target installs what it lacks into .venv; a second run installs nothing.
PYTHON ?=
export PYTHON

BIN := .venv/bin
BASE := .venv/.installed-worker
DEV := .venv/.installed-dev
DEMO := .venv/.installed-demo

.PHONY: help install demo serve test test-slow test-learning lint bench bench-trainer bench-promotion clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(BASE) ## .venv with the service and its worker

demo: $(DEMO) ## search over MiniLM on Rotten Tomatoes sentences: examples/quickstart.yaml
	$(BIN)/luthier run examples/quickstart.yaml

serve: $(BASE) ## the service with local workers, on http://127.0.0.1:8000
	$(BIN)/luthier serve

test: $(DEV) ## the test suite, two tests at a time
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

test-slow: $(DEV) ## the tests that `make test` leaves out because they take long
	$(BIN)/python -m pytest -q -m slow

test-learning: $(DEV) ## real models on real data: a study a task reaches a known accuracy; minutes
	$(BIN)/python -m pytest -q -m learning tests/learning

lint: $(DEV) ## style, types, and the arrows between packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(DEV) ## what the service costs beside plain Optuna
	$(BIN)/python benchmarks/overhead.py --json

bench-trainer: $(DEV) ## the same trials through the Trainer's own search and through Luthier
	$(BIN)/python benchmarks/vs_trainer.py --quick --json

bench-promotion: $(DEV) ## how often a schedule replaces its champion, simulated
	$(BIN)/python benchmarks/promotion.py --json

clean: ## remove .venv and the caches; studies stay
	rm -rf .venv *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

$(BASE): pyproject.toml constraints.txt .ci/setup.sh
	.ci/setup.sh worker
	@touch $@

$(DEV): $(BASE)
	.ci/setup.sh worker,dev
	@touch $@

$(DEMO): $(BASE) examples/fetch.py
	$(BIN)/python examples/fetch.py minilm rotten_tomatoes
	@touch $@

# Two commands: `make demo` and `make test`. Everything is installed into .venv here.

PYTHON ?= python3.11
CORES ?= 2
# Seed of the demo's sky, and the port of its survey on this machine.
SEED ?= 1
PORT ?= 8517

BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help env demo truth half test unit lint format schema clean

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

env: $(INSTALLED)  ## .venv with the pinned packages

$(INSTALLED): requirements.txt requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/pip check
	touch $@

demo: $(INSTALLED)  ## the whole search on the embedded survey, and how much of the truth it found
	@mkdir -p .demo
	@$(BIN)/python -m archipelago.demosky truth --seed $(SEED) --out .demo/truth.csv
	@$(BIN)/python -m archipelago.demosky run --seed $(SEED) --port $(PORT) --endpoints .demo/services.yaml -- \
	    $(BIN)/snakemake --profile profiles/demo --cores $(CORES) \
	    --configfile data/presets/demo.yaml .demo/services.yaml
	@cat results/demo/recall.txt
	@echo "The report lies at $(CURDIR)/results/demo/report.html"

test: lint unit $(INSTALLED)  ## every check and every test
	$(BIN)/pytest -m slow

unit: $(INSTALLED)  ## the fast tests alone
	$(BIN)/pytest -m "not slow"

lint: $(INSTALLED)  ## style, types, the workflow's own lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy workflow/archipelago
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint

format: $(INSTALLED)  ## write the code in its style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow/rules

schema: $(INSTALLED)  ## write workflow/schemas/config.schema.json from the configuration's models
	$(BIN)/python -m archipelago.config.schema > workflow/schemas/config.schema.json

clean:  ## results and caches, not .venv
	rm -rf results .demo .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis

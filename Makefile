# Two commands: `make demo` and `make test`. Everything is installed into .venv here.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
CORES ?= 2
# Seed of the demo's sky, and the port of its survey on this machine.
SEED ?= 1
PORT ?= 8517
# Another sky is another run: results/demo-2 for SEED=2.
SKY := $(if $(filter-out 1,$(SEED)),-$(SEED))
TRUTH := .demo/truth$(SKY).csv

BIN := .venv/bin
INSTALLED := .venv/.installed
# Files of tests in as many processes as there are cores, with one thread each.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses $(CORES) --dist loadfile

.PHONY: help env truth demo half measure-sed test unit cluster lint format schema bench-dag bench-sed bench-resources bench-access bench-similar bench-fields bench-learning bench-discovery bench-report screenshots bench-ranking bench-lenses calibration bench-ablation bench-injections clean

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

env: $(INSTALLED)  ## .venv with the pinned packages

$(INSTALLED): requirements.txt requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/pip check
	touch $@

truth: $(INSTALLED)  ## the truth table of the demo's sky, written if it changed
	@mkdir -p .demo
	@$(BIN)/python -m archipelago.demosky truth --seed $(SEED) --out $(TRUTH)

demo: truth  ## the whole search on the embedded survey, and how much of the truth it found
	@$(BIN)/python -m archipelago.demosky run --seed $(SEED) --port $(PORT) --endpoints .demo/services.yaml -- \
	    $(BIN)/snakemake --profile profiles/demo --cores $(CORES) \
	    --configfile data/presets/demo.yaml .demo/services.yaml \
	    --config run=demo$(SKY) truth="{file: $(TRUTH)}"
	@cat results/demo$(SKY)/recall.txt
	@echo "The report lies at $(CURDIR)/results/demo$(SKY)/report.html"

CATALOGUE ?= ../shared/data/des_vhs_allwise_half.csv.gz
half: $(INSTALLED)  ## rank the objects of CATALOGUE (a published one), and show where its known quasars stand
	@$(BIN)/snakemake sed candidates --cores $(CORES) --configfile data/presets/published_catalogue.yaml \
	    --config run=half catalogue="{file: $(CATALOGUE)}"
	@$(BIN)/python -m archipelago.candidates.ranks results/half/candidates.parquet

# Seeds of the demo skies that the verdicts are measured on.
SEEDS ?= 1-4
measure-sed: $(INSTALLED)  ## how good the SED verdicts are on the demo skies of SEEDS
	@mkdir -p .demo
	@$(BIN)/python -m archipelago.measure.verdicts --seeds $(SEEDS) --cache .demo/skies --threads $(CORES) \
	    --out .demo/verdicts.parquet

bench-dag: $(INSTALLED)  ## seconds that dry runs of 110, 1,500 and 10,000 tiles take, and jobs of DES DR2
	@$(BIN)/python -m archipelago.measure.dag

# Sizes of the catalogues, and the data of LePHARE (left out where they are not).
SIZES ?= 7438 30000 100000
LEPHARE_DATA ?= ../shared/data/lephare-data.tar.xz
bench-sed: $(INSTALLED)  ## speed and memory of the SED stage for SIZES objects, beside LePHARE and BAGPIPES
	@$(BIN)/python -m archipelago.sed.bench --threads $(CORES) --sizes $(SIZES) \
	    $(if $(wildcard $(CATALOGUE)),--catalogue $(CATALOGUE)) \
	    $(if $(wildcard $(LEPHARE_DATA)),--lephare-data $(LEPHARE_DATA))

bench-resources: truth  ## memory and time of every rule at several sizes, from results/demo (make demo first), into data/resources.csv
	@$(BIN)/python -m archipelago.demosky run --seed $(SEED) --endpoints .demo/services.yaml -- \
	    $(BIN)/python -m archipelago.measure.resources --runs results/demo$(SKY) --truth $(TRUTH) \
	    --services .demo/services.yaml $(if $(wildcard $(LEPHARE_DATA)),--lephare-data $(LEPHARE_DATA))
	@$(BIN)/python -m archipelago.measure.resources --plan

bench-access: $(INSTALLED)  ## speed, requests and memory of the access to a survey, beside wget; edge objects rescued
	@mkdir -p .demo
	@OMP_NUM_THREADS=1 $(BIN)/python -m archipelago.measure.access --out .demo/access.csv

FIELDS ?= ../shared/data/des_fields
bench-fields: $(INSTALLED)  ## whether extended and compact sources of real FIELDS (<band>.fits.gz) fall apart
	@OMP_NUM_THREADS=1 $(BIN)/python -m archipelago.measure.fields $(FIELDS)

bench-similar: $(INSTALLED)  ## time of "more like this" at three sizes, its growth, and what the index misses
	@OMP_NUM_THREADS=1 $(BIN)/python -m archipelago.measure.similar

OBJECTS ?= 1500,20000
bench-report: $(INSTALLED)  ## seconds to write and to open the report of OBJECTS with 100 cards, and its size
	@OMP_NUM_THREADS=1 $(BIN)/python -m archipelago.measure.report --sizes $(OBJECTS)

screenshots: $(INSTALLED)  ## pictures of the demo's report, light and dark, into docs/images (needs Chromium; make demo first)
	@$(BIN)/python -m archipelago.measure.screenshots results/demo$(SKY)/report.html --out docs/images

bench-learning: $(INSTALLED)  ## speed and memory of the training, beside the usual way and the products' peak
	@OMP_NUM_THREADS=$(CORES) $(BIN)/python -m archipelago.measure.learning_speed --threads $(CORES)

# Skies that took no part in any choice; networks per set of seeds (two sets).
SKIES ?= 301-305
NETWORKS ?= 5
bench-discovery: $(INSTALLED)  ## what learning finds on SKIES whose truth is known, beside the published network (25 min)
	@$(BIN)/python -m archipelago.measure.discovery --skies $(SKIES) --seeds $(NETWORKS) --processes $(CORES) \
	    --out .demo/discovery.csv

calibration: $(INSTALLED)  ## how the candidates' evidence is weighed, fitted to demo skies 201-206, into data/calibration.csv
	@$(BIN)/python -m archipelago.measure.calibration --processes $(CORES)

bench-ranking: $(INSTALLED)  ## unknown quasars among the first 30 of SKIES, and how far final probabilities are shares
	@$(BIN)/python -m archipelago.measure.ranking --skies $(SKIES) --networks $(NETWORKS) --processes $(CORES) \
	    --out .demo/ranking.csv

bench-lenses: $(INSTALLED)  ## how well shapes in images alone tell lensed quasars from single ones, on SKIES
	@$(BIN)/python -m archipelago.measure.lens_evidence --skies $(SKIES) --processes $(CORES) --out .demo/lenses.csv

bench-ablation: $(INSTALLED)  ## what each choice of the learning stage is worth, on skies that only choose
	@$(BIN)/python -m archipelago.measure.ablation --skies 201,202 --processes $(CORES) --out .demo/ablation.csv

# Skies that the completeness is checked on: 301 and 304 were looked at while it was built.
INJECTION_SKIES ?= 302,303,305
bench-injections: $(INSTALLED)  ## whether the completeness that injections predict is that of INJECTION_SKIES
	@mkdir -p .demo
	@OMP_NUM_THREADS=1 $(BIN)/python -m archipelago.measure.injections --skies $(INJECTION_SKIES) --out .demo/injections.csv

test: lint unit $(INSTALLED)  ## every check and every test
	$(PYTEST) -m slow

unit: $(INSTALLED)  ## the fast tests alone
	$(PYTEST) -m "not slow"

cluster: $(INSTALLED)  ## the tests on a real SLURM alone (as root; skipped, loudly, where there is none)
	$(BIN)/pytest tests/cluster

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

# Two commands do everything, set-up included:  make train_neuro   make test
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(BIN):$(PATH)
CORES ?= all
KILLS ?= 60
SEED ?= 1

.PHONY: train_neuro test torture check setup fib_medulla isbi2012 benchmarks clean

train_neuro: $(READY)
	@snakemake --cores $(CORES) --quiet rules progress host --rerun-incomplete -- train_neuro
	@echo "report: $(CURDIR)/data/reports/neuro/index.html"

test: $(READY)
	@pytest -q --numprocesses auto --maxprocesses 4 --dist loadfile

torture: $(READY)
	@python -m tests.workflow.kill_campaign --kills $(KILLS) --seed $(SEED)

check: $(READY)
	@ruff check . && ruff format --check . && snakefmt --check . && mypy

fib_medulla isbi2012: $(READY)
	@snakemake --directory examples/$@ --cores $(CORES) --quiet rules progress host --rerun-incomplete -- train_$@
	@echo "report: $(CURDIR)/examples/$@/data/reports/$@/index.html"

benchmarks: $(READY)
	@for script in benchmarks/*.py; do echo "== $$script"; python $$script || exit 1; done

setup: $(READY)

# the stamp is written last: a set-up that was interrupted starts again
$(READY): pyproject.toml envs/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 …"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c envs/constraints.txt "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c envs/constraints.txt -e ".[workflow,dev]"
	@touch $@

clean:
	rm -rf data/interim data/models data/predictions data/reports data/logs data/benchmarks

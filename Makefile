# Every command of the project; `make help` lists them. What a command needs is installed before it runs, once:
# the stamps below are older than the lock when something changed, and are what makes the second `make run` start at once.
#
#   make run RECIPE=conf/iris.yaml ARGS="--force"      another recipe, more flags of `pipeline run`
#   make test ARGS="tests/feed -k plan"                some of the tests
#   make run DEVICE=gpu                                TensorFlow with CUDA, Horovod with NCCL

RECIPE ?= conf/digits.yaml
ARGS ?=
DEVICE ?= cpu
PYTHON ?= python3
ID ?=
PORT ?=

WORK := .venv/.ready-$(DEVICE)
AIRFLOW := .venv-airflow/.ready
SETUP := uv.lock pyproject.toml .python-version scripts/setup.py scripts/system_packages.py scripts/horovod_wheel.py $(wildcard scripts/horovod_include/*.h) scripts/uv.txt

.DEFAULT_GOAL := help
.PHONY: help run test test-all check fix airflow ui bench doctor setup clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1 /' | awk '{ printf "  %s %-9s", $$1, $$2; $$1 = $$2 = ""; print }'

run: $(WORK) ## set up what is missing, then run RECIPE through every stage
	@.venv/bin/pipeline run $(RECIPE) $(ARGS)

test: $(WORK) $(AIRFLOW) ## set up what is missing, then run the tests
	@.venv/bin/pytest $(ARGS)

test-all: $(WORK) $(AIRFLOW) ## the tests, slow ones too
	@LONGHAUL_EXPLORE=1 .venv/bin/pytest -m "" $(ARGS)

check: $(WORK) ## lint, format and types, without changing anything
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/mypy

fix: $(WORK) ## mend what lint and format can mend
	@.venv/bin/ruff check --fix
	@.venv/bin/ruff format

airflow: $(WORK) $(AIRFLOW) ## Airflow on this machine, http://127.0.0.1:8080 (PORT=…)
	@scripts/airflow.sh $(PORT)

# MLflow would start four web workers and five job runners; one reader needs one worker.
ui: $(WORK) ## MLflow's pages over runs/, http://127.0.0.1:5000 (PORT=…)
	@mkdir -p runs
	@MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false .venv/bin/mlflow ui --backend-store-uri sqlite:///runs/mlflow.db \
	  --host 127.0.0.1 --port $(or $(PORT),5000) --workers 1

bench: $(WORK) ## benchmarks against peers, all or one (ID=P5, ARGS=--quick)
	@.venv/bin/python -m benchmarks $(ID) $(ARGS)

doctor: $(WORK) ## what this machine has, what is wrong, and the command that mends it
	@.venv/bin/pipeline doctor $(ARGS)

setup: $(WORK) $(AIRFLOW) ## everything that the other commands need, and nothing more

clean: ## remove the environments and caches; runs/ and .airflow/ stay
	rm -rf .venv .venv-airflow .tools .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(WORK): $(SETUP)
	@$(PYTHON) scripts/setup.py work $(if $(filter gpu,$(DEVICE)),--gpu)
	@rm -f .venv/.ready-*
	@touch $@

$(AIRFLOW): $(SETUP)
	@$(PYTHON) scripts/setup.py airflow
	@touch $@

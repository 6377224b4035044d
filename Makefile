# Heart on Ray: `make run` and `make test` are all a new user needs; `make help` lists the rest.
SHELL := /bin/sh
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$p && break; done)
BIN := .venv/bin
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup run search serve mlflow-ui monitoring eda results lint types test test-full full test-long \
	image image-run image-stop minikube-up minikube-down verify clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready ## build .venv from the lock file, if missing or stale

.venv/.ready: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: Python 3.11, 3.12 or 3.13 is needed, none was found" >&2; exit 2; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --disable-pip-version-check --no-compile --require-hashes -r requirements.lock
	$(BIN)/pip install --disable-pip-version-check --no-compile --no-deps --no-build-isolation -e .
	@echo "compiling bytecode, which halves every start"
	@$(BIN)/python -m compileall -q -j 0 .venv/lib >/dev/null || true
	@touch $@

run: setup ## search if there is no champion, then serve, with page, dashboard and MLflow UI
	@$(BIN)/python scripts/run.py

search: setup ## the default search: 60 candidates on the 918 pooled patients
	@$(BIN)/python -m tune.search

serve: setup ## the service alone, on http://127.0.0.1:8000
	@$(BIN)/python -m serve_app

mlflow-ui: setup ## the MLflow UI on http://127.0.0.1:5000
	@$(BIN)/python scripts/run.py mlflow-ui

monitoring: setup ## Prometheus on the service that runs here, with the cluster's rules and alerts
	@$(BIN)/python scripts/monitoring.py

eda: setup ## the figures and the summary of the patients
	@$(BIN)/python -m heart.eda

results: setup ## every figure of docs/results.md, from the table
	@$(BIN)/python -m tune.study --out docs/results.md

lint: setup ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## mypy, strict
	$(BIN)/mypy
	$(BIN)/mypy scripts

test: lint types ## lint, types and the tests
	$(BIN)/python -m pytest

test-full: test full ## the same and what takes a while

full: setup ## what takes a while, alone
	$(BIN)/python -m pytest -m full

test-long: setup ## what an image, a cluster of its own or thousands of requests take
	$(BIN)/python -m pytest -m long

image: ## the container image, with docker or podman
	@scripts/image.sh build

image-run: ## the service in a container, on http://127.0.0.1:8000
	@scripts/image.sh run

image-stop: ## end that
	@scripts/image.sh stop

minikube-up: setup ## the whole stack on a Minikube of its own, with monitoring
	@scripts/minikube.sh up

minikube-down: setup ## take that down, its data as well
	@scripts/minikube.sh down

verify: ## everything from set-up to teardown; VERIFY="--without cluster --without monitoring"
	@scripts/verify.sh $(VERIFY)

clean: ## remove the environment, caches and all output
	rm -rf .venv artifacts .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

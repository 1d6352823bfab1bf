#!/usr/bin/env bash
# Airflow on this machine for one user: scheduler, API server, DAG processor and triggerer in one process tree, on loopback.
#   scripts/airflow.sh [PORT]      default 8080; the user's name and password are printed when it has started
set -euo pipefail
cd "$(dirname "$0")/.."
port=${1:-8080}
export AIRFLOW_HOME="$PWD/.airflow"
export AIRFLOW__CORE__DAGS_FOLDER="$PWD/dags"
export AIRFLOW__CORE__LOAD_EXAMPLES=False
export AIRFLOW__API__HOST=127.0.0.1
export AIRFLOW__API__PORT="$port"
export AIRFLOW__API__BASE_URL="http://127.0.0.1:$port"
export AIRFLOW__CORE__EXECUTION_API_SERVER_URL="http://127.0.0.1:$port/execution/"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
export PATH="$PWD/.venv-airflow/bin:$PATH" # `airflow standalone` starts the other parts as `airflow`
mkdir -p "$AIRFLOW_HOME"
exec airflow standalone

#!/usr/bin/env bash
# Airflow on this machine for one user, on loopback, until Ctrl-C.
#   scripts/airflow.sh [PORT]      default 8080
# The same four parts as `airflow standalone`, which also opens two log servers to the network; on one machine nobody needs them.
set -euo pipefail
set -m # each part in a process group of its own, so that all of it can be ended
cd "$(dirname "$0")/.."
umask 077 # the database, the signing key and the password are one user's
port=${1:-8080}
export AIRFLOW_HOME="$PWD/.airflow"
export AIRFLOW__CORE__DAGS_FOLDER="$PWD/dags"
export AIRFLOW__CORE__LOAD_EXAMPLES=False
export AIRFLOW__CORE__EXECUTOR=LocalExecutor
export AIRFLOW__CORE__PARALLELISM=4 # tasks at a time, each held by a process; the default of 32 is for a server
export AIRFLOW__CORE__EXECUTION_API_SERVER_URL="http://127.0.0.1:$port/execution/"
export AIRFLOW__API__HOST=127.0.0.1
export AIRFLOW__API__PORT="$port"
export AIRFLOW__API__BASE_URL="http://127.0.0.1:$port"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
export PATH="$PWD/.venv-airflow/bin:$PATH" # Airflow's parts start others as `airflow`
logs="$AIRFLOW_HOME/logs/parts"
password="$AIRFLOW_HOME/simple_auth_manager_passwords.json.generated"

start() { # NAME ARGUMENTS...
  airflow "$@" >>"$logs/$1.log" 2>&1 &
  parts[$!]=$1
}

answers() { python3 -c "import urllib.request as web; web.urlopen('http://127.0.0.1:$port/api/v2/version', timeout=2)" 2>/dev/null; }

any_lives() { kill -0 "${!parts[@]}" 2>/dev/null; } # kill of several succeeds when one of them is there

all_live() {
  for part in "${!parts[@]}"; do kill -0 "$part" 2>/dev/null || return 1; done
}

stop() { # Airflow 3.3's scheduler does not always end when told to: its workers wait for ever
  trap - EXIT INT TERM
  echo "airflow: stopping"
  for part in "${!parts[@]}"; do kill -TERM "$part" 2>/dev/null || true; done
  for _ in {1..10}; do any_lives || break; sleep 1; done
  for part in "${!parts[@]}"; do kill -KILL -- "-$part" 2>/dev/null || true; done
}

mkdir -p "$logs"
echo "airflow: preparing its database; logs are in .airflow/logs/parts"
airflow db migrate >>"$logs/database.log" 2>&1 || { tail -n 20 "$logs/database.log" >&2; exit 4; }
declare -A parts=()
trap stop EXIT
trap 'stop; exit 0' INT TERM
start api-server
start dag-processor
start scheduler --skip-serve-logs
start triggerer --skip-serve-logs
until answers; do
  all_live || break
  sleep 1
done
[ ! -s "$password" ] || echo "airflow: http://127.0.0.1:$port, user and password: $(cat "$password")"
wait -n -p ended "${!parts[@]}" || true
echo "airflow: ${parts[$ended]} has ended; the end of its log:" >&2
tail -n 20 "$logs/${parts[$ended]}.log" >&2
exit 4

"""How often a Petastorm ends an epoch early without an error: `python -m benchmarks.petastorm_versions [--runs 40]`.

135 rows in two files of 10-row groups, read once by `make_batch_reader` with a thread pool and a consumer that only counts, again and
again.
Each version is in an environment of its own (peers/petastorm-*.txt). What it found decides which version the project uses (docs/feed.md).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import environments

VERSIONS = ("0.12.1", "0.13.1")
WORKERS = (1, 2, 10)
ROWS = 135

# Runs in the environment of one version; it knows nothing of this project. A reader for each run, as a training has one for each epoch.
READ = """
import json, logging, sys, warnings
from collections import Counter
warnings.simplefilter("ignore")
logging.disable()
from petastorm import make_batch_reader
url, workers, runs, ordered = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "ordered"
options = {"shuffle_row_groups": False, "results_queue_size": 2} if ordered else {}
seen = Counter()
for _ in range(runs):
    with make_batch_reader(url, num_epochs=1, reader_pool_type="thread", workers_count=workers, **options) as reader:
        seen[sum(len(batch.x) for batch in reader)] += 1
print(json.dumps(seen), flush=True)
"""

WRITE = """
import sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
for name, first, last in (("a", 0, 70), ("b", 70, 135)):
    pq.write_table(pa.table({"x": np.arange(first, last)}), f"{sys.argv[1]}/{name}.parquet", row_group_size=10)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=40, help="of each version with each pool")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        python = {version: environments.interpreter(f"petastorm-{version}", print) for version in VERSIONS}
        subprocess.run([python[VERSIONS[0]], "-c", WRITE, folder], check=True)
        print(f"{'petastorm':<10} {'order':<10} {'workers':>7} {'runs':>5} {'short':>6} {'too long':>8}   rows of short epochs")
        for order in ("shuffled", "ordered"):
            for workers in WORKERS:
                for version in VERSIONS:
                    print_line(version, order, workers, read(python[version], Path(folder), workers, runs, order))


def read(python: Path, folder: Path, workers: int, runs: int, order: str) -> dict[int, int]:
    """Rows of an epoch -> in how many runs. A process that had read them all and then died as it ended is told of, and counts."""
    command = [python, "-c", READ, folder.as_uri(), str(workers), str(runs), order]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        print(f"the next line's process ended with {done.returncode}: {' '.join(done.stderr.splitlines()[-1:])}", flush=True)
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])  # 0.13.1 prints of its own
    return {int(rows): count for rows, count in found.items()}


def print_line(version: str, order: str, workers: int, seen: dict[int, int]) -> None:
    short: dict[Any, int] = {rows: count for rows, count in sorted(seen.items()) if rows < ROWS}
    too_long = sum(count for rows, count in seen.items() if rows > ROWS)
    times = " ".join(f"{rows}x{count}" for rows, count in short.items()) or "-"
    total = sum(seen.values())
    print(f"{version:<10} {order:<10} {workers:>7} {total:>5} {sum(short.values()):>6} {too_long:>8}   {times}", flush=True)


if __name__ == "__main__":
    main()

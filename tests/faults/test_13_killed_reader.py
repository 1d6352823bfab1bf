"""A worker process of Petastorm's that is killed: upstream waits for ever, the feed's stream says so within its limit."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.tf

LIMIT_S = 5
# A process of its own: the pool's thread goes on trying to send to the dead worker, and fails 20 s later, wherever the tests are then.
READER = """
import os, signal, sys, time, warnings
warnings.simplefilter("ignore")
import psutil
from petastorm import make_batch_reader
from pipeline.errors import InfrastructureError
from pipeline.feed.stream import Stream

url, limit = sys.argv[1], float(sys.argv[2])
reader = make_batch_reader(url, reader_pool_type="process", workers_count=1, results_queue_size=1, num_epochs=1)
stream = Stream(lambda: (len(batch.x) for batch in reader), "The feed of rank 0", limit)
print("first", next(stream), flush=True)
workers = [child for child in psutil.Process().children(recursive=True) if "petastorm" in " ".join(child.cmdline())]
for worker in workers:
    os.kill(worker.pid, signal.SIGKILL)
print("killed", len(workers), flush=True)
rows, last = 1000, time.monotonic()
try:
    for count in stream:  # what was on its way still comes
        rows, last = rows + count, time.monotonic()
except InfrastructureError as error:
    print("rows", rows, flush=True)
    print("waited", time.monotonic() - last, flush=True)
    print("error", error, flush=True)
os._exit(0)
"""


def test_a_killed_process_of_petastorms_pool_is_an_error_within_the_limit(tmp_path):
    for number in range(40):
        pq.write_table(pa.table({"x": np.arange(1000)}), tmp_path / f"part-{number:02d}.parquet")
    command = [sys.executable, "-c", READER, tmp_path.as_uri(), str(LIMIT_S)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240)
    said = dict(line.split(" ", 1) for line in ended.stdout.splitlines())
    assert said.get("first") == "1000", ended.stderr
    assert int(said["killed"]) >= 1
    assert int(said["rows"]) < 40_000
    assert LIMIT_S <= float(said["waited"]) < 30
    assert f"The feed of rank 0 gave nothing for {LIMIT_S} s" in said["error"]

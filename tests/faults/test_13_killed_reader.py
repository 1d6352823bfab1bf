"""A worker process of Petastorm's that is killed: upstream waits for ever, the feed's stream says so within its limit."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import InfrastructureError
from pipeline.feed.stream import Stream

pytestmark = pytest.mark.tf

LIMIT_S = 5


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_killed_process_of_petastorms_pool_is_an_error_within_the_limit(tmp_path):
    from petastorm import make_batch_reader

    for number in range(40):
        pq.write_table(pa.table({"x": np.arange(1000)}), tmp_path / f"part-{number:02d}.parquet")
    reader = make_batch_reader(tmp_path.as_uri(), reader_pool_type="process", workers_count=1, results_queue_size=1, num_epochs=1)

    def produce() -> Iterator[int]:
        for batch in reader:
            yield len(batch.x)

    stream = Stream(produce, "The feed of rank 0", LIMIT_S)
    assert next(stream) == 1000
    workers = [child for child in psutil.Process().children(recursive=True) if "petastorm" in " ".join(child.cmdline())]
    for worker in workers:
        os.kill(worker.pid, signal.SIGKILL)
    assert workers
    began = time.monotonic()
    with pytest.raises(InfrastructureError, match=f"The feed of rank 0 gave nothing for {LIMIT_S} s"):
        for _ in stream:  # what was on its way still comes
            began = time.monotonic()
    assert time.monotonic() - began < 30

"""A feed over hundreds of epochs, in a process of its own: its memory does not grow."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from pipeline.train.ranks_here import ARROW_MEMORY
from tests.conftest import PROJECT

pytestmark = [pytest.mark.tf, pytest.mark.slow, pytest.mark.timeout(1800)]  # minutes

# Real files through the whole feed. RSS is read after every epoch; malloc keeps reserves of its own, so single epochs differ by megabytes,
# and only a rise over many of them is growth.
SOAK = """
import gc, json, sys
from pathlib import Path
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from pipeline.feed.dataset import TrainingFeed
from pipeline.feed.plan import Plan
from pipeline.feed.reader import SplitReader
from pipeline.manifest import FileEntry
from pipeline.schema import Tensor
from pipeline.sections.feed import Feed, FeedAugment

folder, epochs, rows, files, width, batch, extra = Path(sys.argv[1]), *map(int, sys.argv[2:7]), json.loads(sys.argv[7])
entries = []
(folder / "data" / "train").mkdir(parents=True)
for number in range(files):
    path = folder / "data" / "train" / f"part-{number:05d}.parquet"
    values = np.random.default_rng(number).standard_normal((rows, width), np.float32)
    packed = pa.array([row.tobytes() for row in values], pa.binary())
    pq.write_table(pa.table({"features": packed, "label": np.arange(rows), "weight": np.ones(rows, np.float32)}), path)
    entries.append(FileEntry(path=f"data/train/{path.name}", bytes=path.stat().st_size, sha256="", rows=rows))
reader = SplitReader(folder, tuple(entries), Tensor(name="features", dtype="float32", shape=(width,)))
plan = Plan(reader.rows_per_file, batch, 8, 17)
feed = TrainingFeed(reader, plan, Feed(augment=FeedAugment(**extra.pop("augment", {})), **extra), epochs=epochs)
resident = []
for epoch in range(epochs):
    seen = 0
    for tensor, _, _ in feed.epoch(epoch):
        seen += len(tensor)
    assert seen == plan.num_steps * batch, seen
    gc.collect()
    status = Path("/proc/self/status").read_text()
    resident.append(int(status.split("VmRSS:")[1].split()[0]) / 1024)
print(json.dumps(resident))
"""


@pytest.mark.parametrize(
    ("epochs", "rows", "files", "width", "batch", "extra"),
    [
        (400, 300, 20, 32, 256, {}),
        (400, 300, 20, 32, 256, {"augment": {"jitter": 0.1}}),
        (40, 12_000, 12, 256, 2048, {"memory_mb": 512}),
    ],
    ids=["small blocks", "augmented", "big blocks"],
)
def test_memory_is_flat_over_hundreds_of_epochs(tmp_path, epochs, rows, files, width, batch, extra):
    arguments = [str(value) for value in (tmp_path, epochs, rows, files, width, batch)] + [json.dumps(extra)]
    command, environment = [sys.executable, "-c", SOAK, *arguments], os.environ | ARROW_MEMORY
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=1700, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    resident = json.loads(done.stdout.splitlines()[-1])
    quarter = len(resident) // 4
    early, late = (sorted(part)[quarter // 2] for part in (resident[quarter : 2 * quarter], resident[-quarter:]))
    print(f"{epochs} epochs: {resident[0]:.0f} MB after the first, median {early:.0f} MB in the second quarter, {late:.0f} MB in the last")
    assert late - early < max(8, 0.02 * early), f"{early:.1f} MB in the second quarter of the epochs, {late:.1f} MB in the last"

"""A rank's memory: what is promised adds up, and too little is refused with the numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.feed.budget import BLOCKS, MB, divide, files_in_flight

SIZES = st.lists(st.integers(1, 100 * MB), min_size=1, max_size=60)


@given(SIZES, st.integers(1, 64), st.integers(1, 4096), st.integers(1, 100_000), st.integers(1, 8192))
def test_what_is_promised_is_never_more_than_the_limit(sizes, lanes, batch, row_bytes, memory_mb):
    try:
        budget = divide(file_bytes=sizes, row_bytes=row_bytes, num_lanes=lanes, batch=batch, memory_mb=memory_mb)
    except ConfigError as error:
        assert f"feed.memory_mb={memory_mb} is less than" in str(error)
        return
    batches = (BLOCKS * budget.block_steps + budget.prefetched_steps) * batch * row_bytes
    on_their_way = files_in_flight(budget.queued_files) * max(sizes)
    assert budget.window_bytes + batches + on_their_way + budget.keep_rows * row_bytes <= memory_mb * MB
    assert budget.queued_files >= 1 and budget.block_steps >= 1 and budget.prefetched_steps >= 2


def test_the_memory_that_a_refusal_asks_for_is_enough_and_one_less_is_not():
    given_ = {"file_bytes": [64 * MB] * 20, "row_bytes": 12_300, "num_lanes": 8, "batch": 128}
    with pytest.raises(ConfigError, match=r"512.0 MB for a file in each of its 8 lanes.*Set feed.memory_mb to (\d+) or more") as refusal:
        divide(**given_, memory_mb=100)
    least = int(str(refusal.value).partition("Set feed.memory_mb to ")[2].split()[0])
    divide(**given_, memory_mb=least)
    with pytest.raises(ConfigError):
        divide(**given_, memory_mb=least - 1)


def test_a_cache_in_memory_counts_every_file():
    sizes = [10 * MB] * 50
    divide(file_bytes=sizes, row_bytes=1000, num_lanes=2, batch=32, memory_mb=300)
    with pytest.raises(ConfigError, match=r"500.0 MB for all files.*or set feed.cache: none"):
        divide(file_bytes=sizes, row_bytes=1000, num_lanes=2, batch=32, memory_mb=300, is_cached=True)

"""Ranks on cores of their own, when the recipe says so."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.train.ranks_here import PIN, RanksHere, share_cores, thread_limits

TELLS_ITS_CORES = """
import os, pathlib, threading, time
time.sleep(0.3)  # as an interpreter that imports a library
found = []
thread = threading.Thread(target=lambda: found.append(sorted(os.sched_getaffinity(0))))
thread.start()
thread.join()
print(found[0], os.environ["TF_NUM_INTRAOP_THREADS"])
"""
COUNTS_NEW_PAGES = """
import os, resource
import numpy as np, pyarrow as pa
def fill():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    memory = pa.allocate_buffer(64 << 20)
    np.frombuffer(memory, np.uint8)[::4096] = 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
fill()
print(fill(), os.environ["JE_ARROW_MALLOC_CONF"])
"""


def said(logs: Path, worlds: list[dict[str, str]], program: str = TELLS_ITS_CORES) -> list[str]:
    ranks = RanksHere(["-c", program], worlds, logs)
    try:
        while None in ranks.poll():
            time.sleep(0.05)
        assert ranks.poll() == [0] * len(worlds)
    finally:
        ranks.end()
    return [(logs / f"rank-{rank}.log").read_text().strip() for rank in range(len(worlds))]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_pinned_ranks_and_their_threads_have_cores_of_their_own(tmp_path):
    cores = sorted(os.sched_getaffinity(0))
    each = len(cores) // 2
    worlds = [{"HOROVOD_RANK": str(rank), PIN: "1"} for rank in (0, 1)]
    assert said(tmp_path, worlds) == [f"{cores[:each]} {each}", f"{cores[each : 2 * each]} {each}"]


def test_ranks_may_run_anywhere_unless_they_are_pinned(tmp_path):
    cores = sorted(os.sched_getaffinity(0))
    assert said(tmp_path, [{"HOROVOD_RANK": "0"}]) == [f"{cores} {len(cores)}"]


def test_more_pinned_ranks_than_cores_are_refused_before_any_starts(tmp_path):
    size = len(os.sched_getaffinity(0)) + 1
    with pytest.raises(ConfigError, match="launch.pin"):
        RanksHere(["-c", TELLS_ITS_CORES], [{"HOROVOD_RANK": str(rank), PIN: "1"} for rank in range(size)], tmp_path)
    assert not list(tmp_path.iterdir())


def test_arrow_in_a_rank_fills_memory_that_it_had_before(tmp_path, monkeypatch):
    monkeypatch.delenv("JE_ARROW_MALLOC_CONF", raising=False)
    new_pages, settings = said(tmp_path, [{"HOROVOD_RANK": "0"}], COUNTS_NEW_PAGES)[0].split(" ", 1)
    assert int(new_pages) < 1_000, f"of 16,384, with {settings}"


def test_what_the_environment_says_of_arrows_memory_goes_first(tmp_path, monkeypatch):
    monkeypatch.setenv("JE_ARROW_MALLOC_CONF", "narenas:2")
    assert said(tmp_path, [{"HOROVOD_RANK": "0"}], COUNTS_NEW_PAGES)[0].endswith("narenas:2")


@given(st.integers(1, 64), st.integers(1, 64))
def test_no_core_is_two_ranks_and_all_have_as_many(size, num_cores):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "sched_getaffinity", lambda process: set(range(num_cores)))
        if size > num_cores:
            with pytest.raises(ConfigError):
                share_cores(size)
            return
        shares = share_cores(size)
        assert len({core for share in shares for core in share}) == sum(map(len, shares)) <= num_cores
        assert {len(share) for share in shares} == {int(thread_limits(size)["OMP_NUM_THREADS"])} == {num_cores // size}

"""Who holds a training up, from what ranks have said."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.train.verdict import START_LIMIT_S, Beat, Stall, Watchdog

LIMIT_S = 10


def beat(rank: int, **changes: object) -> Beat:
    return replace(Beat(rank, "", "compute", 2, 7, "part-00001.parquet", 1), **changes)  # type: ignore[arg-type]


def watch(*phases: str) -> Watchdog:
    """Ranks that were heard at second 0, each on a host of its own."""
    dog = Watchdog([f"host-{rank}" for rank in range(len(phases))], LIMIT_S, 0.0)
    for rank, phase in enumerate(phases):
        dog.hear(beat(rank, phase=phase), 0.0)
    return dog


def go_on(dog: Watchdog, until: int, *, silent: tuple[int, ...] = ()) -> Stall | None:
    """Every rank beats once a second and gets on with nothing."""
    for second in range(1, until + 1):
        for rank, last in list(dog.beats.items()):
            if rank not in silent:
                dog.hear(last, float(second))
    return dog.stall(float(until))


def test_a_rank_that_says_nothing_is_named_with_what_it_did_last():
    stall = go_on(watch("reduce", "compute"), LIMIT_S + 1, silent=(1,))
    assert stall is not None and (stall.cause, stall.rank, stall.host, stall.phase) == ("silent", 1, "host-1", "compute")
    assert "rank 1 on host-1" in stall.line() and "part-00001.parquet" in stall.line() and "\n" not in stall.line()


def test_a_stuck_reader_is_named_and_not_those_who_wait_for_it():
    stall = go_on(watch("reduce", "read", "reduce"), LIMIT_S + 1)
    assert stall is not None and (stall.cause, stall.rank, stall.phase, stall.file) == ("stuck", 1, "read", "part-00001.parquet")


def test_ranks_that_all_wait_for_each_other_have_no_network():
    dog = watch("reduce", "reduce")
    dog.hear(beat(1, phase="reduce", reduces=3), 0.0)
    dog.hear(beat(0, phase="reduce", reduces=4), 0.0)
    stall = go_on(dog, LIMIT_S + 1)
    assert stall is not None and (stall.cause, stall.rank) == ("network", 1)


@pytest.mark.parametrize("phase", ["checkpoint", "evaluate", "compute"])
def test_who_waits_is_not_blamed_while_another_gets_on(phase):
    dog = watch("reduce", phase)
    for second in range(1, 4 * LIMIT_S):
        dog.hear(beat(0, phase="reduce"), float(second))
        dog.hear(beat(1, phase=phase, moves=second), float(second))
        assert dog.stall(float(second)) is None


def test_a_start_has_a_longer_limit():
    dog = watch("start", "start")
    assert go_on(dog, LIMIT_S + 1) is None
    stall = go_on(dog, int(START_LIMIT_S) + 1)
    assert stall is not None and stall.phase == "start" and stall.limit_s == START_LIMIT_S


def test_ranks_that_were_never_heard_are_a_stall_too():
    dog = Watchdog(["x", "y"], LIMIT_S, 0.0)
    assert dog.stall(LIMIT_S + 1.0) is None
    assert dog.stall(START_LIMIT_S + 1.0) is not None


@given(st.lists(st.sampled_from(["read", "compute", "reduce", "evaluate", "checkpoint"]), min_size=1, max_size=6))
def test_within_the_limit_nobody_is_blamed_and_beyond_it_somebody_is(phases):
    dog = watch(*phases)
    assert go_on(dog, LIMIT_S) is None
    stall = go_on(dog, LIMIT_S + 1)
    assert stall is not None
    if set(phases) != {"reduce"}:
        assert stall.phase != "reduce"


def test_a_slow_rank_is_named_with_its_share():
    dog = Watchdog(["x", "y", "z"], LIMIT_S, 0.0)
    for rank, (own_s, wait_s) in enumerate([(1.0, 1.1), (2.0, 0.1), (1.0, 1.1)]):
        dog.hear(beat(rank, timed_steps=100, own_s=own_s, wait_s=wait_s), 0.0)
    (straggler,) = dog.stragglers()
    assert (straggler["rank"], straggler["host"], straggler["own_ms"], straggler["others_ms"]) == (1, "y", 20.0, 10.0)
    assert straggler["share"] == pytest.approx(1.0 / 2.1, abs=1e-3)  # a step takes 21 ms, 10 of which all others wait


def test_equal_ranks_have_no_straggler():
    dog = Watchdog(["x", "y"], LIMIT_S, 0.0)
    for rank, own_s in enumerate([1.0, 1.2]):
        dog.hear(beat(rank, timed_steps=100, own_s=own_s, wait_s=0.1), 0.0)
    assert not dog.stragglers()

"""The pure parts of the harness: what runs in which order, which record is kept, what its figures become."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import results, runner
from benchmarks.bench import Benchmark, Checked, Figures, NotMeasured, Side, at_least, at_most, known_ids, load
from benchmarks.runner import Measured, plan, turns


def side(name: str, repetitions: int | None = None, sizes: tuple[str, ...] | None = None) -> Side:
    return Side(name, lambda job: ["true"], "", repetitions=repetitions, sizes=sizes)


BENCH = Benchmark(
    id="P0",
    title="nothing",
    steps=(),
    sizes={"small": 10, "large": 100},
    quick_rows=1,
    sides=(side("ours"), side("peer"), side("slow", repetitions=1, sizes=("small",))),
    make_data=lambda folder, rows, say: folder,
    facts=lambda folder, rows: {},
    check=lambda side, job, stdout: Checked({}),
    agree=lambda checksums: None,
    values={"ratio": lambda figures: figures("large", "ours") / figures("large", "peer")},
    targets={"ratio": at_most(2)},
    repetitions={"large": 1},
)


@pytest.mark.parametrize(("asked", "small", "large"), [(3, 3, 1), (1, 1, 1)])
def test_a_size_that_takes_long_runs_as_often_as_the_benchmark_says_and_not_more_often_than_asked(asked, small, large):
    wanted = plan(BENCH, repetitions=asked)
    assert (wanted.repetitions_of("small"), wanted.repetitions_of("large")) == (small, large)


@given(st.lists(st.sampled_from([None, 1, 2]), min_size=1, max_size=5), st.integers(1, 6))
def test_every_side_has_its_repetitions_and_no_two_in_one_round(limits, repetitions):
    sides = [side(str(index), limit) for index, limit in enumerate(limits)]
    order = turns(sides, repetitions)
    counts = Counter(found.name for _, found in order)
    assert counts == {found.name: min(found.repetitions or repetitions, repetitions) for found in sides}
    assert len({(repetition, found.name) for repetition, found in order}) == len(order)
    assert [repetition for repetition, _ in order] == sorted(repetition for repetition, _ in order)


def test_another_side_goes_first_in_each_round():
    order = turns([side("a"), side("b"), side("c")], 3)
    assert [found.name for _, found in order] == list("abcbcacab")


def test_sides_run_only_at_their_sizes():
    whole = plan(BENCH)
    assert [found.name for found in whole.sides_of("small")] == ["ours", "peer", "slow"]
    assert [found.name for found in whole.sides_of("large")] == ["ours", "peer"]


@pytest.mark.parametrize(
    ("part", "is_full"),
    [({}, True), ({"rows": 5}, False), ({"sizes": ["small"]}, False), ({"sides": ["ours"]}, False), ({"repetitions": 2}, False)],
)
def test_only_a_whole_run_replaces_the_committed_record(part, is_full, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "kept")
    monkeypatch.setattr(results, "CACHE", tmp_path / "cache")
    wanted = plan(BENCH, **part)
    path = results.save(results.record(BENCH, wanted, Measured(), {}))
    assert path.is_relative_to(tmp_path / ("kept" if is_full else "cache"))


def test_rows_stand_for_the_first_size():
    assert plan(BENCH, rows=7).sizes == {"small": 7}


@pytest.mark.parametrize("part", [{"sizes": ["huge"]}, {"sides": ["nobody"]}])
def test_unknown_names_are_refused_with_the_known_ones(part):
    with pytest.raises(ValueError, match="It has: "):
        plan(BENCH, **part)


def test_figures_are_medians_and_missing_ones_say_so():
    figures = Figures({"large": {"ours": [{"wall_s": 9.0}, {"wall_s": 1.0}, {"wall_s": 2.0}]}})
    assert figures("large", "ours") == 2.0
    with pytest.raises(NotMeasured, match="wall_s of peer, large"):
        figures("large", "peer")


@pytest.mark.parametrize(("ours", "holds"), [(3.9, True), (4.0, True), (4.1, False)])
def test_a_target_holds_up_to_its_bound(ours, holds):
    values, missing = results.evaluate(BENCH, Figures({"large": {"ours": [{"wall_s": ours}], "peer": [{"wall_s": 2.0}]}}))
    assert results.targets(BENCH, values) == {"ratio": {"value": ours / 2, "bound": "<= 2", "holds": holds}}
    assert not missing


def test_a_target_that_was_not_measured_neither_holds_nor_fails():
    values, missing = results.evaluate(BENCH, Figures({}))
    assert results.targets(BENCH, values) == {}
    assert missing == {"ratio": "no wall_s of ours, large"}


def test_bounds_include_their_limit():
    assert at_least(5).holds(5.0) and not at_least(5).holds(4.99)
    assert at_most(5).holds(5.0) and not at_most(5).holds(5.01)


@pytest.mark.parametrize("name", known_ids())
def test_every_benchmark_is_whole(name):
    found = load(name)
    assert found.id == name
    assert set(found.targets) <= set(found.values)
    assert len({known.name for known in found.sides}) == len(found.sides)
    assert all(set(known.sizes or ()) <= set(found.sizes) for known in found.sides)
    for environment in {known.environment for known in found.sides} - {"work"}:
        text = (Path(runner.__file__).parent / "peers" / f"{environment}.txt").read_text()
        assert "==" in text and "--hash=sha256:" in text


def test_figures_of_a_side_are_kept_with_what_it_said_of_itself():
    measured = Measured()
    measured.add("small", "ours", {"wall_s": 1.0}, Checked({"rows": 3}, {"prepare": 0.5}, {"python": "3"}))
    measured.add("small", "ours", {"wall_s": 3.0}, Checked({"rows": 3}, {"prepare": 0.7}, {"python": "3"}))
    assert measured.figures("small", "ours") == 2.0
    assert measured.figures("small", "ours", "own.prepare") == 0.6
    assert measured.own["small"]["ours"] == [{"prepare": 0.5}, {"prepare": 0.7}]
    assert measured.checksums == {"small": {"ours": {"rows": 3}}}
    assert measured.versions == {"ours": {"python": "3"}}


def test_ids_are_found_by_their_folder():
    assert "P5" in known_ids()
    with pytest.raises(KeyError):
        load("P0")


def test_a_plan_of_some_sides_keeps_their_sizes():
    only = replace(BENCH, sides=BENCH.sides[2:])
    assert plan(only, sides=["slow"]).sides_of("large") == []

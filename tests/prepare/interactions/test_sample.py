"""Negatives: items with an id that a user did not take, by popularity, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.prepare.interactions.sample import Exhausted, cumulative_weights, draw_negatives


def draw(taken: set[int], rows: list[int], count: int, seed: int = 0, sampling: str = "popularity") -> list[int]:
    weights = cumulative_weights(np.asarray(rows), sampling)
    return draw_negatives(np.asarray(sorted(taken), np.int64), weights, count, np.random.default_rng(seed)).tolist()


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.data())
def test_a_negative_is_an_item_that_was_not_taken_and_none_comes_twice_while_there_are_others(rows, data):
    taken = data.draw(st.sets(st.integers(0, len(rows)), max_size=len(rows)))
    count = data.draw(st.integers(1, 12))
    left = set(range(1, len(rows) + 1)) - taken
    if not left:
        with pytest.raises(Exhausted):
            draw(taken, rows, count)
        return
    found = draw(taken, rows, count)
    assert len(found) == count and set(found) <= left
    assert len(set(found)) == min(count, len(left))


def test_the_same_seed_draws_the_same_and_another_others():
    rows = [5] * 200
    assert draw({3}, rows, 10, seed=1) == draw({3}, rows, 10, seed=1) != draw({3}, rows, 10, seed=2)


def test_popular_items_are_drawn_by_their_rows_to_the_three_quarters():
    rows = [16, 1]
    found = [draw(set(), rows, 1, seed=seed)[0] for seed in range(4000)]
    share = found.count(1) / len(found)
    assert share == pytest.approx(16**0.75 / (16**0.75 + 1), abs=0.02)
    uniform = [draw(set(), rows, 1, seed=seed, sampling="uniform")[0] for seed in range(4000)]
    assert uniform.count(1) / len(uniform) == pytest.approx(0.5, abs=0.03)

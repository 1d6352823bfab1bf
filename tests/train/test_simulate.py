"""The alpha-beta model: limits that hold whatever the numbers, and the published points."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.train.scaling import PASCAL, PUBLISHED, RESNET, VGG, calibrate, simulated
from pipeline.train.simulate import Link, Machine, Step, all_reduce_s, efficiency, fit_link, ring_s, step_s

ranks = st.integers(1, 512)
links = st.builds(Link, st.floats(1e-6, 1e-3), st.floats(1e8, 1e11))
machines = st.builds(Machine, st.integers(1, 8), links, links)
steps = st.builds(Step, st.floats(1e-3, 10), st.floats(1e3, 1e9))


@given(steps, ranks, machines, st.sampled_from(["ring", "hierarchical"]))
def test_overlap_never_hurts_with_one_message_and_no_rank_is_faster_than_alone(step, size, machine, algorithm):
    assume(step.gradient_bytes <= step.fusion_bytes)
    alone = step_s(step, size, machine, algorithm, overlap=False)
    assert step.compute_s <= step_s(step, size, machine, algorithm, overlap=True) <= alone * (1 + 1e-9)
    assert 0 < efficiency(step, size, machine, algorithm, overlap=True) <= 1


@given(st.floats(1e3, 1e9), st.integers(2, 511), links)
def test_a_longer_ring_takes_longer(num_bytes, size, link):
    assert ring_s(num_bytes, size + 1, link) > ring_s(num_bytes, size, link)
    assert ring_s(num_bytes, size, link) >= 2 * (size - 1) / size * num_bytes / link.bytes_per_s  # its bandwidth's bound


def test_many_ranks_with_little_to_say_are_better_off_with_a_hierarchy():
    machine = Machine(8, Link(5e-6, 1e10), Link(30e-6, 1e9))
    assert all_reduce_s(1e5, 64, machine, "hierarchical") < all_reduce_s(1e5, 64, machine, "ring")


@given(links, st.integers(2, 16))
def test_a_link_is_found_again_from_its_own_times(link, size):
    sizes = [4e5, 4e6, 4e7, 1e8]
    found = fit_link(sizes, [ring_s(num_bytes, size, link) for num_bytes in sizes], size)
    assert found.bytes_per_s == pytest.approx(link.bytes_per_s, rel=1e-6)
    assert found.latency_s == pytest.approx(link.latency_s, rel=1e-3, abs=1e-9)


def test_times_that_do_not_grow_are_refused():
    with pytest.raises(ValueError, match="do not grow"):
        fit_link([1e3, 1e6], [2.0, 1.0], 2)


@pytest.mark.parametrize("known", [RESNET, VGG], ids=lambda point: point.name)
def test_a_latency_from_one_published_point_predicts_the_others_within_five_hundredths(known):
    machine = calibrate(known, PASCAL)
    assert simulated(known, machine) == pytest.approx(known.efficiency, abs=1e-6)
    for point in PUBLISHED:
        assert simulated(point, machine) == pytest.approx(point.efficiency, abs=0.05)


def test_a_point_that_no_latency_explains_is_refused():
    with pytest.raises(ValueError, match="No latency"):
        calibrate(replace(VGG, efficiency=0.999), PASCAL)

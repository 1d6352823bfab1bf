"""The Gaussian-process sampler finds what a random one has to be lucky for, and stays inside its space."""

from __future__ import annotations

import math

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from pipeline.tune.gaussian_process import GaussianProcessSampler, at, encode, place, propose

SPACE = {
    "rate": FloatDistribution(1e-4, 1.0, log=True),
    "width": IntDistribution(8, 256, log=True),
    "share": FloatDistribution(0.0, 0.5, step=0.1),
    "kind": CategoricalDistribution(["a", "b"]),
}


def loss(params) -> float:
    """Smallest, 0, at rate 0.01, share 0.2, kind b; width hardly matters."""
    far = (math.log10(params["rate"]) + 2) ** 2 + 20 * (params["share"] - 0.2) ** 2 + 0.01 * math.log(params["width"])
    return far + (params["kind"] == "a")


def best_after(sampler_of, trials: int, direction: str = "minimize") -> float:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction=direction)
    sign = 1 if direction == "minimize" else -1
    for number in range(trials):
        study.sampler = sampler_of(number)
        trial = study.ask(SPACE)
        study.tell(trial, sign * loss(trial.params))
    return sign * study.best_value


@pytest.mark.parametrize("direction", ["minimize", pytest.param("maximize", marks=pytest.mark.slow)])
def test_it_finds_a_better_point_than_random_draws(direction):
    found = best_after(lambda number: GaussianProcessSampler(SPACE, 6, number), 22, direction)
    drawn = [best_after(lambda number, seed=seed: optuna.samplers.RandomSampler(seed=1000 * seed + number), 22) for seed in range(5)]
    assert found < min(drawn) and found < 0.15


@given(st.floats(0, 1))
def test_every_place_is_a_value_of_the_space(share):
    for known in SPACE.values():
        value = at(share, known)
        assert known._contains(known.to_internal_repr(value))
        if isinstance(known, FloatDistribution) and known.step is None:
            assert place(value, known) == pytest.approx(share, abs=1e-9)


def test_a_point_that_is_known_or_running_is_not_proposed_again():
    space = {"kind": CategoricalDistribution(["a", "b", "c"])}
    for seed in range(5):
        rng = np.random.default_rng(seed)
        assert propose(space, [{"kind": "a"}], np.asarray([0.0]), [{"kind": "b"}], rng) == {"kind": "c"}


def test_choices_have_a_position_each():
    assert encode({"kind": "b"}, {"kind": SPACE["kind"]}).tolist() == [0.0, 1.0]

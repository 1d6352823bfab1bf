"""The recipe's sampler and pruner as Optuna's."""

from __future__ import annotations

import hashlib
import warnings

import optuna

from pipeline.sections.tuning import Pruner, Tune
from pipeline.tune.space import distributions


def make_sampler(tune: Tune, number: int) -> optuna.samplers.BaseSampler:
    """The sampler of one trial, seeded by its number.

    So a search that is resumed, or has several workers, neither repeats what was drawn nor differs from one that was not disturbed.
    """
    seed = int.from_bytes(hashlib.sha256(f"{tune.seed} {number}".encode()).digest()[:4], "big")
    if tune.sampler == "tpe":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # Running trials count as bad ones, so that workers do not try the same place.
            return optuna.samplers.TPESampler(seed=seed, n_startup_trials=tune.startup_trials, constant_liar=True)
    if tune.sampler == "gp":
        from pipeline.tune.gaussian_process import GaussianProcessSampler

        return GaussianProcessSampler(distributions(tune), tune.startup_trials, seed)
    return optuna.samplers.RandomSampler(seed=seed)  # a grid's points are fixed before, and nothing is drawn


def make_pruner(settings: Pruner) -> optuna.pruners.BasePruner:
    if settings.name == "none":
        return optuna.pruners.NopPruner()
    return optuna.pruners.MedianPruner(n_startup_trials=settings.startup_trials, n_warmup_steps=settings.warmup_epochs)

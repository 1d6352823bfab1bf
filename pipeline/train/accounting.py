"""What DP-SGD spends: epsilon after so many epochs, and how many epochs a budget pays for. Loads no TensorFlow.

The feed cuts a shuffled epoch into batches of a fixed size: no row twice in an epoch. That is not Poisson sampling, so the usual
amplification by sampling may not be claimed: it can be far too optimistic (Chua et al. 2024, arXiv:2403.17673). Nothing is claimed of the
order either, whose seed stands in the recipe. What holds for any order: within an epoch a row touches one noisy sum at most, so by parallel
composition an epoch is one Gaussian mechanism; epochs compose one after another. Neighbours are two data sets of which one has a row's
gradient replaced by zero.
"""

from __future__ import annotations

import math

from pipeline.errors import ConfigError
from pipeline.schema import PrivacyFacts
from pipeline.sections.private_training import PrivateTraining

MAX_EPOCHS = 1_000_000

ACCOUNTING = (
    "Epsilon takes nothing for granted of the order of rows: within an epoch each row is in one batch at most, so an epoch is one Gaussian "
    "mechanism, and epochs are composed. Amplification by sampling is not claimed, because batches are cut from a shuffled epoch and are "
    "not Poisson samples; where it is claimed, epsilon looks smaller for the same noise. Neighbours are two data sets of which one has a "
    "row's gradient replaced by zero."
)


def epsilon(noise_multiplier: float, epochs: int, delta: float) -> float:
    """Of `epochs` epochs; 0 before the first.

    k Gaussian mechanisms of one noise multiplier are exactly one with 1/sqrt(k) of it (Dong et al. 2022, arXiv:1905.02383), for which
    dp-accounting has the exact epsilon of Balle & Wang 2018.

    Args:
        noise_multiplier: standard deviation of the noise / clipping norm, > 0.
        epochs: >= 0.
        delta: in (0, 1).
    """
    import dp_accounting

    if not epochs:
        return 0.0
    return float(dp_accounting.get_epsilon_gaussian(noise_multiplier / math.sqrt(epochs), delta))


def affordable_epochs(noise_multiplier: float, delta: float, budget: float) -> int:
    """The most epochs whose epsilon is within the budget; 0 if the first is not. At most MAX_EPOCHS."""
    low, high = 0, 1
    while high <= MAX_EPOCHS and epsilon(noise_multiplier, high, delta) <= budget:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if epsilon(noise_multiplier, middle, delta) <= budget else (low, middle)
    return min(low, MAX_EPOCHS)


def check_budget(settings: PrivateTraining, num_rows: int) -> None:
    """Before any rank starts.

    Args:
        settings: of the recipe.
        num_rows: train rows.

    Raises:
        ConfigError: delta would allow to publish a row as it is, or the first epoch costs more than the budget.
    """
    if settings.delta >= 1 / num_rows:
        raise ConfigError(
            f"train.privacy.delta is {settings.delta:g} with {num_rows:,} train rows. Expected less than 1 / rows = {1 / num_rows:.3g}: "
            "with more, publishing one row as it is would count as private."
        )
    first = epsilon(settings.noise_multiplier, 1, settings.delta)
    if first > settings.epsilon_budget:
        raise ConfigError(
            f"The first epoch would spend epsilon {first:.3f} of a train.privacy.epsilon_budget of {settings.epsilon_budget:g}. "
            f"Raise train.privacy.noise_multiplier (now {settings.noise_multiplier:g}), or the budget."
        )


def privacy_facts(settings: PrivateTraining, epochs: int) -> PrivacyFacts:
    """For the manifest, after `epochs` epochs."""
    return PrivacyFacts(
        epsilon=epsilon(settings.noise_multiplier, epochs, settings.delta),
        delta=settings.delta,
        noise_multiplier=settings.noise_multiplier,
        max_grad_norm=settings.max_grad_norm,
        epsilon_budget=settings.epsilon_budget,
        accounting=ACCOUNTING,
        noise_is_secret=settings.noise_seed is None,
    )

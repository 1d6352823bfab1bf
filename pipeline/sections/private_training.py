"""The section `train.privacy`: differentially private training."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from pipeline.sections.base import Section


class PrivateTraining(Section):
    """DP-SGD: every row's gradient is cut to `max_grad_norm`, and noise is added to the sum of each global batch.

    Source: Abadi et al. 2016, arXiv:1607.00133, algorithm 1; how epsilon is counted is said in train/accounting.py.
    """

    noise_multiplier: PositiveFloat  # standard deviation of the noise / max_grad_norm
    max_grad_norm: PositiveFloat  # of one row's gradient over all weights, L2
    epsilon_budget: PositiveFloat  # training ends before an epoch that would exceed it
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5  # less than 1 / train rows, or it would allow to publish a row
    microbatch: PositiveInt | None = None  # rows whose gradients are in memory at once; changes no result. None: all of a rank's batch
    noise_seed: NonNegativeInt | None = (
        None  # for tests: who knows it takes the noise away. None: from the system, kept in checkpoints alone
    )

"""Mixup of written copies: which row a copy is mixed with, how much of each, and what comes of it. Pure; runs in Spark's Python workers.

Partners are rows of the same prepared file, which follows from the plan of files alone, so a retried task sees the same ones. A class
index cannot be mixed, but the loss can: a mixture is written once with either label, each row weighed by its label's share. The two
weights add up to the 1 of any other copy.

Source: Zhang et al. 2018, arXiv:1710.09412.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.prepare.augment import generator
from pipeline.sections.augment import Augment

PARTNER = "+"  # behind the id of a mixture's row that has the partner's label


@dataclass(frozen=True)
class Mixture:
    """Of one copy."""

    partner: int  # the other row's place in the file; its own, if it is the only one
    share: float  # of the copy itself, from 0 to 1; the partner has the rest


def draw(names: Sequence[str], row: int, copy: int, options: Augment) -> Mixture:
    """What copy number `copy` of a row is mixed with; `options` must have mixup. By (seed, sample, copy, operation) alone."""
    if options.mixup is None:
        raise ValueError("augment.operations has no mixup")
    rng = generator(options.seed, names[row], copy, len(options.operations) - 1)
    share = float(rng.beta(options.mixup.alpha, options.mixup.alpha))
    others = len(names) - 1
    partner = int(rng.integers(others)) if others else row
    return Mixture(partner + (partner >= row) if others else row, share)


def mix(one: NDArray[Any], other: NDArray[Any], share: float) -> NDArray[Any]:
    """`share` of one and the rest of the other, of the same type; whole numbers are rounded."""
    mixed = one * np.float32(share) + other * np.float32(1 - share)
    return np.asarray(np.rint(mixed) if np.issubdtype(one.dtype, np.integer) else mixed, one.dtype)

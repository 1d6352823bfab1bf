"""What is trained: the networks' names, a rank's rows, and how many steps are timed at once. numpy only: peers import it too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Work:
    """A network, and what a rank does in a step."""

    name: str
    rows: int  # of a rank's batch
    shape: tuple[int, ...]
    num_classes: int
    steps: int  # timed at once: a second or more
    parameters: int
    execution: int  # of them, between two looks from Python (Keras' steps_per_execution), where a side has that

    def batch(self, rank: int, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """`count` rows of a rank, the same in every step."""
        random = np.random.default_rng([4, rank])
        rows = random.standard_normal((count, *self.shape), dtype=np.float32)
        return rows, random.integers(0, self.num_classes, count)


WORKS = {
    work.name: work
    for work in (
        Work("cnn", 64, (28, 28, 1), 10, 32, 195_058, 16),
        Work("vgg", 16, (64, 64, 3), 1000, 2, 24_832_360, 1),
        Work("transformer", 32, (32, 16), 10, 24, 601_674, 8),
    )
}

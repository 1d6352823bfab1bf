"""The section `train.checkpoints`."""

from __future__ import annotations

from pydantic import PositiveInt

from pipeline.sections.base import Section


class CheckpointsKept(Section):
    """Which checkpoints stay on disk until the model is published: the newest, and that of the best epoch so far."""

    keep: PositiveInt = 3  # the newest so many; with 1, a damaged one leaves nothing to go on from but the best epoch's

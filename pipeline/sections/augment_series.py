"""Operations of `augment` for windows of series and for rows of tables. What each does stands in pipeline/prepare/augment/."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from pipeline.sections.base import Section


class Jitter(Section):
    """Normal noise of this deviation, in model units (of standard scaling: shares of the train rows' deviation); labels stay."""

    std: PositiveFloat


class Magnify(Section):
    """Windows: every channel times exp(normal(0, std)), and a target's label times the same factor as the target."""

    std: PositiveFloat


class WindowSlice(Section):
    """Windows: only the latest part of the history, uniform in [share, 1] of it; what was before is held at its first value."""

    share: Annotated[float, Field(gt=0, lt=1)]


class Smote(Section):
    """Tables: a point on the line to one of the `neighbours` nearest train rows of its class; of a regression, of any row, label too."""

    neighbours: PositiveInt = 5

"""The feed section of a recipe: how prepared rows reach the model. Only `augment` changes what is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from pipeline.sections.base import Section


class Feed(Section):
    """Limits of one rank's feed, and where it reads from."""

    memory_mb: PositiveInt = 1024  # megabytes of rows that a rank holds at most: its shuffle window, files read ahead, batches
    timeout_s: PositiveInt = 300  # a reader that gives nothing for so long has failed
    cache: Literal["none", "memory"] = "none"  # memory: every file is read once a training; must fit in memory_mb

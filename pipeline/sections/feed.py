"""The feed section of a recipe: how prepared rows reach the model. Only `augment` changes what is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from pipeline.sections.base import Section

Share = Annotated[float, Field(gt=0, le=1)]

IMAGE = ("flip", "rotate_degrees", "translate", "zoom", "contrast", "cutout")
SOUND = ("shift", "noise", "time_mask", "frequency_mask")


class FeedAugment(Section):
    """Changes of train rows as they are fed, others in every epoch, in this order; random by (seed, epoch, sample) alone."""

    seed: NonNegativeInt = 0
    flip: Literal["horizontal", "vertical", "both"] | None = None  # images: each axis with probability 1/2
    rotate_degrees: Annotated[float, Field(gt=0, le=180)] | None = None  # images: uniform up to so much either way, bilinear
    translate: Share | None = None  # images: uniform up to this share of height and width
    zoom: Annotated[float, Field(gt=0, lt=1)] | None = None  # images: uniform in [1 - zoom, 1 + zoom]
    contrast: Annotated[float, Field(gt=0, lt=1)] | None = None  # images: distance from the image's mean times [1 - contrast, 1 + contrast]
    cutout: Share | None = None  # images: a square of this share of the shorter side becomes 0. Source: DeVries and Taylor 2017, 1708.04552
    shift: Share | None = None  # sound: later or earlier by up to this share of its length, around the end
    noise: PositiveFloat | None = None  # sound: normal noise of this share of the sample's own root mean square
    time_mask: PositiveInt | None = None  # SpecAugment (Park et al. 2019, 1904.08779) on (time, frequency, …): frames set to 0, at most
    frequency_mask: PositiveInt | None = None  # … and bands
    token_dropout: Share | None = None  # text as token numbers: each becomes `dropped_token` with this probability; 0 is padding and stays
    dropped_token: PositiveInt = 1
    jitter: PositiveFloat | None = None  # float vectors and series: normal noise of this standard deviation, in prepared units
    # Pairs within a lane, weights from Beta(mixup, mixup). Source: Zhang et al. 2018, 1710.09412. Every pair counts for both labels.
    mixup: PositiveFloat | None = None

    @property
    def operations(self) -> tuple[str, ...]:
        """Those that are on."""
        names = [name for name in type(self).model_fields if name not in ("seed", "dropped_token")]
        return tuple(name for name in names if getattr(self, name) is not None)


class Feed(Section):
    """Limits of one rank's feed, and what it does to train rows."""

    memory_mb: PositiveInt = 1024  # megabytes of rows that a rank holds at most: its shuffle window, files read ahead, batches
    timeout_s: PositiveInt = 300  # a reader that gives nothing for so long has failed
    # memory: every file is read once a training; must fit in memory_mb. disk: a checked copy on each host, for its ranks and later runs
    cache: Literal["none", "memory", "disk"] = "none"
    cache_mb: PositiveInt = 20_000  # megabytes of all copies on a host's disk; files beyond are read where they lie
    cache_folder: Path | None = None  # of the copies, on a local disk; if not said, longhaul/prepared in the user's cache folder
    augment: FeedAugment = FeedAugment()

"""What a recipe says of image and audio columns: how a file of any size becomes an array of one shape."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from pipeline.sections.base import Fraction, Section

MAX_SAMPLES = 50_000_000  # of one sound after resampling: 200 MB


class ImageOptions(Section):
    """Of `kind: image`; the column's `shape` is what comes out.

    | resize | an image of another size |
    |---|---|
    | stretch | is brought to the shape, whatever its own proportions |
    | fit | keeps its proportions, all of it is seen, in the middle of a ground of `fill` |
    | crop | keeps its proportions, fills the shape, and loses what stands over, as much at both ends |
    """

    resize: Literal["stretch", "fit", "crop"] = "stretch"
    fill: int = Field(0, ge=0, le=255)  # of fit: every channel of the ground
    store: Literal["pixels", "png", "jpeg"] = "pixels"  # png loses nothing; jpeg (quality 95) does, and takes the least room
    mislabelled: Literal["quarantine", "accept"] = "quarantine"  # a name that ends like another format than the bytes are of
    max_file_mb: PositiveInt = 256  # of one encoded image
    max_pixels: int = Field(64_000_000, ge=1, le=89_000_000)  # of one image, from its header; nothing of a larger one is decoded
    min_side: PositiveInt = 1  # pixels of the shorter side; a smaller image goes to quarantine

    @model_validator(mode="after")
    def fill_goes_with_fit(self) -> Self:
        if self.fill and self.resize != "fit":
            raise ValueError(f"fill is the ground of resize: fit; resize: {self.resize} has none")
        return self


class AudioOptions(Section):
    """Of `kind: audio`: sounds come out as `seconds` of mono at `sample_rate`.

    Order: check, mono, resample, silence, clipping, length. Levels are in dB below full scale.
    """

    sample_rate: int = Field(ge=1_000, le=384_000)  # Hz
    seconds: PositiveFloat
    store: Literal["int16", "float32"] = "int16"  # float32 is from -1 to 1
    other_rates: Literal["resample", "quarantine"] = "resample"
    channels: Literal["mean", "first", "quarantine"] = "mean"  # of a sound with several
    align: Literal["start", "middle"] = "start"  # what is kept of a longer sound, and where a shorter one stands in zeros
    silence: Literal["keep", "trim", "quarantine"] = "quarantine"  # trim: also cut both ends. A sound that is silent all over is no sample
    silence_db: float = Field(-60.0, lt=0)  # silent: no sample above it
    max_clipped: Fraction = 1.0  # share of samples at full scale, above which a sound goes to quarantine
    min_seconds: float = Field(0.0, ge=0)  # shorter ones, after silence was cut, go to quarantine
    max_seconds: PositiveFloat | None = None  # longer files go to quarantine
    mislabelled: Literal["quarantine", "accept"] = "quarantine"
    max_file_mb: PositiveInt = 512

    @property
    def num_samples(self) -> int:
        return max(1, round(self.seconds * self.sample_rate))

    @model_validator(mode="after")
    def is_of_a_size(self) -> Self:
        if self.num_samples > MAX_SAMPLES:
            raise ValueError(f"{self.seconds:g} s at {self.sample_rate} Hz is {self.num_samples} samples a row; at most {MAX_SAMPLES}")
        return self

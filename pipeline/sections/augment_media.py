"""Operations of `augment` on images and sounds; what each does stands in prepare/augment/image.py and audio.py, by the same name."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, PositiveFloat, model_validator

from pipeline.sections.base import Fraction, Section

Share = Annotated[float, Field(gt=0, lt=1)]

IMAGE_OPERATIONS = (
    *("rotate", "translate", "flip_horizontal", "flip_vertical", "zoom", "shear", "crop"),
    *("brightness", "contrast", "pixel_noise", "blur", "cutout", "mixup"),
)
AUDIO_OPERATIONS = ("time_shift", "gain", "noise", "speed", "time_mask", "band_mask", "mixup")


class Rotate(Section):
    """Uniform in [-degrees, degrees] around the centre, bilinear."""

    degrees: Annotated[float, Field(gt=0, le=180)]


class Translate(Section):
    """Uniform in [-pixels, pixels] on each axis, bilinear."""

    pixels: PositiveFloat


class Flip(Section):
    """Mirrored, or left as it is."""

    share: Fraction = 0.5  # of the copies


class Zoom(Section):
    """In or out around the centre, by a factor uniform in [1 / (1 + max), 1 + max] on a logarithmic scale; black outside."""

    max: PositiveFloat


class Shear(Section):
    """Rows slide sideways, by an angle uniform in [-degrees, degrees]; black outside."""

    degrees: Annotated[float, Field(gt=0, lt=80)]


class Crop(Section):
    """A part anywhere in the image, of the same proportions, brought back to the whole size."""

    min_share: Share  # of each side; uniform from here to all of it


class Brightness(Section):
    """Times a factor uniform in [1 - max, 1 + max]."""

    max: Annotated[float, Field(gt=0, le=1)]


class Contrast(Section):
    """Distances from the image's mean grey, times a factor uniform in [1 - max, 1 + max]."""

    max: Annotated[float, Field(gt=0, le=1)]


class PixelNoise(Section):
    """Normal noise, of each pixel and channel its own."""

    std: PositiveFloat  # in steps of 0 to 255


class Blur(Section):
    """Gaussian, with a radius uniform in [0, radius]."""

    radius: PositiveFloat  # pixels, of the standard deviation


class Cutout(Section):
    """A square of one value, its middle anywhere, so that it may stand over. Source: DeVries & Taylor 2017, arXiv:1708.04552."""

    share: Share  # of the shorter side
    fill: int = Field(0, ge=0, le=255)


class TimeShift(Section):
    """Earlier or later by up to a share of the length; zeros come in."""

    max_share: Share


class Gain(Section):
    """Louder or softer, uniform in [-db, db]; what goes beyond full scale is cut off."""

    db: PositiveFloat


class Noise(Section):
    """White noise at a ratio of signal to noise that is uniform between two, in dB. A silent sound stays silent."""

    min_snr_db: float
    max_snr_db: float

    @model_validator(mode="after")
    def is_a_range(self) -> Self:
        if self.min_snr_db > self.max_snr_db:
            raise ValueError(f"expected min_snr_db up to max_snr_db, received {self.min_snr_db:g} and {self.max_snr_db:g}")
        return self


class Speed(Section):
    """Faster or slower, pitch along with it, by a factor uniform in [1 - max, 1 + max]. Source: Ko et al. 2015, Interspeech, section 2."""

    max: Annotated[float, Field(gt=0, lt=1)]


class TimeMask(Section):
    """One stretch of silence, up to a share of the length. Source: Park et al. 2019, arXiv:1904.08779 (SpecAugment), section 2."""

    max_share: Share


class BandMask(Section):
    """One band of frequencies taken out, up to a share of all. Source: as of TimeMask; there in mel channels, here in hertz."""

    max_share: Share


class Mixup(Section):
    """Mixed with another train row, as it was read; the copy's share is drawn from Beta(alpha, alpha). Source: arXiv:1710.09412."""

    alpha: PositiveFloat

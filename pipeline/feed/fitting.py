"""Whether feed.augment goes with the prepared rows. Pure: the launcher asks before any rank starts."""

from __future__ import annotations

from pipeline.errors import ConfigError
from pipeline.schema import Tensor
from pipeline.sections.feed import IMAGE, SOUND, FeedAugment


def refuse_what_does_not_fit(settings: FeedAugment, tensor: Tensor, rows_per_lane: int) -> None:
    """Raises ConfigError that names the operation, what it needs and what the rows are."""
    is_image = len(tensor.shape) == 3
    for name in settings.operations:
        needs = None
        if name in IMAGE and not is_image:
            needs = "images (height, width, channels)"
        if name in SOUND and (tensor.dtype not in ("int16", "float32") or (name.endswith("mask") and len(tensor.shape) < 2)):
            needs = "sound: (time,) or (time, frequency) of int16 or float32"
        if name == "token_dropout" and tensor.dtype not in ("int32", "int64"):
            needs = "text as token numbers"
        if name == "jitter" and tensor.dtype != "float32":
            needs = "float32 vectors or series"
        if name == "mixup" and (rows_per_lane < 2 or tensor.dtype in ("int32", "int64")):
            needs = "two rows or more of a batch in each lane (train.global_batch / train.lanes), and no token numbers"
        if needs:
            received = f"{tensor.dtype} of shape {list(tensor.shape)}, {rows_per_lane} rows a lane"
            raise ConfigError(f"feed.augment.{name} needs {needs}. Received {received}.")

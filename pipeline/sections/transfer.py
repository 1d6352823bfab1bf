"""The section of a recipe whose training starts from a model that is there already."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from pipeline.sections.base import Section

LayerNames = tuple[Annotated[str, Field(min_length=1)], ...]  # names or patterns such as block_*
NAME = "[a-z][a-z0-9_-]{0,62}"
REGISTERED = re.compile(rf"^(?P<name>{NAME})(?:@(?P<alias>{NAME})|/(?P<version>[1-9][0-9]*))$")


class Unfreezing(Section):
    """Layers that train from the beginning of an epoch on."""

    epoch: PositiveInt  # from 1
    layers: LayerNames = ("*",)
    learning_rate: PositiveFloat | None = None  # from then on, in place of optimizer.learning_rate and scaled like it


class Transfer(Section):
    """Start from the weights of another training, layer by layer by name, and from what it knew of its data: see docs/transfer.md."""

    source: str  # name@alias or name/version of this root's registry; or a run's folder, its train folder or the model.keras in it
    head: Literal["auto", "new", "keep"] = "auto"  # the last layer with weights; auto: new where the label means something else
    new_layers: LayerNames = ()  # start anew besides the head, where this model has others than the source
    freeze: LayerNames = ()  # keep the source's weights; what starts anew never does
    freeze_depth: NonNegativeInt = 0  # so do the first so many layers that have weights
    unfreeze: tuple[Unfreezing, ...] = ()

    @field_validator("source")
    @classmethod
    def is_no_pickle(cls, source: str) -> str:
        if source.lower().endswith((".h5", ".hdf5", ".pkl", ".pb")):
            raise ValueError(f"{source}: such a file may run code when it is loaded; expected the model.keras of a finished training")
        return source

    @model_validator(mode="after")
    def stages_are_in_order(self) -> Self:
        epochs = [stage.epoch for stage in self.unfreeze]
        if epochs != sorted(set(epochs)):
            raise ValueError(f"unfreeze expects rising epochs, received {epochs}")
        if self.unfreeze and not (self.freeze or self.freeze_depth):
            raise ValueError("unfreeze goes with freeze or freeze_depth: nothing is frozen")
        return self

"""The section of a training that starts from a model that is there already."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from pipeline.sections.base import Section

LayerNames = tuple[Annotated[str, Field(min_length=1)], ...]  # names or patterns such as block_*


class Stage(Section):
    """Layers that train from the beginning of an epoch on."""

    epoch: PositiveInt  # from 1
    layers: LayerNames


class Transfer(Section):
    """Start from the weights of another training, layer by layer by name; where the classes differ, the outputs start anew."""

    source: str  # a run's folder, its train folder or its model.keras; or name@alias, name/version of this root's registry
    new_layers: LayerNames = ()  # start anew besides the outputs, where this model has others than the source
    freeze: LayerNames = ()  # keep the source's weights
    freeze_depth: NonNegativeInt = 0  # so do the first so many layers that have weights
    unfreeze: tuple[Stage, ...] = ()

    @model_validator(mode="after")
    def stages_are_in_order(self) -> Self:
        epochs = [stage.epoch for stage in self.unfreeze]
        if epochs != sorted(set(epochs)):
            raise ValueError(f"unfreeze expects rising epochs, received {epochs}")
        if self.unfreeze and not self.freezes:
            raise ValueError("unfreeze goes with freeze or freeze_depth: nothing is frozen")
        return self

    @property
    def freezes(self) -> bool:
        return bool(self.freeze or self.freeze_depth)

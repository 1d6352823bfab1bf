"""A model that starts from another one's weights, with layers that are frozen for a while.

The optimizer is built for all weights, so that a layer that is unfrozen later finds its place in it, and checkpoints look the same in
every epoch; what is frozen is left out of the gradient.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import keras

from pipeline.errors import ConfigError, DataError
from pipeline.sections.transfer import Transfer


def copy_weights(model: keras.Model, path: Path, settings: Transfer, *, new_head: bool) -> None:
    """Give each layer that has weights those of the source's layer of the same name.

    Args:
        model: built, not trained.
        path: the source's file, whose digest has been verified.
        settings: `new_layers` keep what they have.
        new_head: the last layer with weights does too.

    Raises:
        DataError: the file is no Keras model that can be loaded safely.
        ConfigError: layers that are not to start anew have no counterpart of the same shape; all are listed.
    """
    try:
        source = keras.saving.load_model(path, safe_mode=True, compile=False)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise DataError(f"transfer.source: {path} cannot be loaded as a Keras model: {error}") from error
    there = {layer.name: layer for layer in with_weights(source)}
    layers = with_weights(model)
    anew = {layer.name for layer in layers if is_any(layer.name, settings.new_layers)} | ({layers[-1].name} if new_head else set())
    wrong = []
    for layer in layers:
        if layer.name in anew:
            continue
        wanted, found = shapes(layer), shapes(there[layer.name]) if layer.name in there else None
        if wanted == found:
            layer.set_weights(there[layer.name].get_weights())
        else:
            wrong.append(f"  {layer.name}: expected weights of shapes {wanted}, the source has {found or 'no layer of this name'}")
    if wrong:
        raise ConfigError(
            "transfer.source has another architecture:\n"
            + "\n".join(wrong)
            + "\nGive `model` the source's name and arguments, or name these "
            "layers in transfer.new_layers, to start them anew."
        )


def freeze(model: keras.Model, settings: Transfer, epoch: int) -> bool:
    """Freeze what is frozen in an epoch, counted from 1, and nothing else; whether that changed anything."""
    layers = with_weights(model)
    frozen = {layer.name for layer in layers if is_any(layer.name, settings.freeze)} | {
        layer.name for layer in layers[: settings.freeze_depth]
    }
    for stage in settings.unfreeze:
        if stage.epoch <= epoch:
            frozen -= {name for name in frozen if is_any(name, stage.layers)}
    changed = [layer for layer in layers if layer.trainable == (layer.name in frozen)]
    for layer in changed:
        layer.trainable = layer.name not in frozen
    if not model.trainable_variables:
        raise ConfigError(f"transfer.freeze leaves nothing to train in epoch {epoch}. Layers: {', '.join(layer.name for layer in layers)}.")
    return bool(changed)


def check_patterns(model: keras.Model, settings: Transfer) -> None:
    """Raises ConfigError for a pattern that no layer has: a name that is mistyped would train what was to be kept."""
    names = [layer.name for layer in with_weights(model)]
    patterns = [*settings.freeze, *settings.new_layers, *(pattern for stage in settings.unfreeze for pattern in stage.layers)]
    unknown = [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in names)]
    if unknown:
        raise ConfigError(f"transfer: no layer is called {', '.join(unknown)}. Layers with weights: {', '.join(names)}.")
    if settings.freeze_depth > len(names):
        raise ConfigError(
            f"transfer.freeze_depth: expected at most {len(names)}, the layers with weights, received {settings.freeze_depth}."
        )


class Stages(keras.callbacks.Callback):  # type: ignore[misc]  # Keras publishes no types
    """Unfreezes layers when their epoch begins."""

    def __init__(self, settings: Transfer) -> None:
        super().__init__()
        self.settings = settings

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if freeze(self.model, self.settings, epoch + 1):
            self.model.make_train_function(force=True)


def with_weights(model: keras.Model) -> list[keras.Layer]:
    """The model's layers that have weights, in order; a nested model is one."""
    return [layer for layer in model.layers if layer.weights]


def shapes(layer: keras.Layer) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in layer.weights]


def is_any(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)

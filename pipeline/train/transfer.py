"""A model that starts from another one's weights, with layers that are frozen for a while.

The optimizer is built for all weights, so that a layer that is unfrozen later finds its place in it, and checkpoints look the same in
every epoch; what is frozen is left out of the gradient, of decay and of the norm that clipping goes by. Which layers are frozen follows
from the epoch alone, so ranks agree on it, and a resumed training does what an undisturbed one would.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import keras

from pipeline.errors import ConfigError, DataError
from pipeline.manifest import sha256_of_file
from pipeline.schema import Prepared, TransferFacts
from pipeline.sections.training import Train
from pipeline.sections.transfer import Transfer
from pipeline.train.schedules import peak


class Plan:
    """Which layers of a model start anew, and which are frozen when."""

    def __init__(self, model: keras.Model, settings: Transfer, *, is_new_head: bool) -> None:
        """Args: model: built, on any weights. is_new_head: what `head: auto` comes to.

        Raises:
            ConfigError: a pattern that no layer has, more layers than there are, or an epoch in which nothing would train.
        """
        self.settings = settings
        self.names = [layer.name for layer in with_weights(model)]
        refuse_unknown(self.names, settings)
        head = {self.names[-1]} if is_new_head else set()
        self.anew = {name for name in self.names if is_any(name, settings.new_layers)} | head
        for epoch in (1, *(stage.epoch for stage in settings.unfreeze)):
            if self.frozen(epoch) >= set(self.names):
                raise ConfigError(f"transfer leaves nothing to train in epoch {epoch}. Layers with weights: {', '.join(self.names)}.")

    def frozen(self, epoch: int) -> set[str]:
        """In an epoch, counted from 1."""
        settings = self.settings
        found = {name for name in self.names if is_any(name, settings.freeze)} | set(self.names[: settings.freeze_depth])
        for stage in settings.unfreeze:
            if stage.epoch <= epoch:
                found -= {name for name in found if is_any(name, stage.layers)}
        return found - self.anew

    def stages(self) -> list[tuple[int, tuple[str, ...]]]:
        """(first epoch, frozen layers in the model's order)."""
        epochs = dict.fromkeys([1, *(stage.epoch for stage in self.settings.unfreeze)])
        return [(epoch, tuple(name for name in self.names if name in self.frozen(epoch))) for epoch in epochs]

    def facts(self, data: Prepared) -> TransferFacts | None:
        if data.origin is None:
            return None
        anew = tuple(name for name in self.names if name in self.anew)
        return TransferFacts(origin=data.origin, new_layers=anew, frozen=tuple(self.stages()))


def make_plan(model: keras.Model, settings: Transfer, origin: Prepared, here: Prepared) -> Plan:
    """A model's plan. Raises ConfigError for `head: keep` where the labels' meaning is not kept."""
    is_same = (origin.task, origin.classes, origin.target, origin.label_shape) == (here.task, here.classes, here.target, here.label_shape)
    if settings.head == "keep" and not is_same:
        raise ConfigError(
            f"transfer.head: keep expects the origin's labels: {labels_of(origin)}. Here they are {labels_of(here)}. Use head: auto or new."
        )
    return Plan(model, settings, is_new_head=settings.head == "new" or (settings.head == "auto" and not is_same))


def labels_of(facts: Prepared) -> str:
    return f"{facts.label} of {', '.join(facts.classes[:20])}" if facts.classes else f"{facts.label}, scaled by {facts.target}"


def refuse_unknown(names: Sequence[str], settings: Transfer) -> None:
    """Raises ConfigError for a pattern that no layer has: a name that is mistyped would train what was to be kept."""
    patterns = [*settings.freeze, *settings.new_layers, *(pattern for stage in settings.unfreeze for pattern in stage.layers)]
    unknown = [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in names)]
    if unknown:
        raise ConfigError(f"transfer: no layer is called {', '.join(unknown)}. Layers with weights: {', '.join(names)}.")
    if settings.freeze_depth > len(names):
        raise ConfigError(
            f"transfer.freeze_depth: expected at most {len(names)}, the layers with weights, received {settings.freeze_depth}."
        )


def copy_weights(model: keras.Model, path: Path, sha256: str, anew: Iterable[str]) -> None:
    """Give each layer that has weights those of the origin's layer of the same name.

    Args:
        model: built, not trained.
        path: of the origin's model.
        sha256: that the file must have; looked at before it is opened.
        anew: layers that keep what they have.

    Raises:
        DataError: the file is another one, or cannot be loaded safely.
        ConfigError: layers that are not to start anew have no counterpart of the same shape; all are listed.
    """
    there = {layer.name: layer for layer in with_weights(load(path, sha256))}
    wrong = []
    for layer in with_weights(model):
        if layer.name in anew:
            continue
        wanted, found = shapes(layer), shapes(there[layer.name]) if layer.name in there else None
        if wanted == found:
            layer.set_weights(there[layer.name].get_weights())
        else:
            wrong.append(f"  {layer.name}: expected weights of shapes {wanted}, the origin has {found or 'no layer of this name'}")
    if wrong:
        raise ConfigError(
            "transfer.source has another architecture:\n"
            + "\n".join(wrong)
            + "\nGive `model` the origin's name and arguments, or name these "
            "layers in transfer.new_layers, to start them anew."
        )


def load(path: Path, sha256: str) -> keras.Model:
    found = sha256_of_file(path)
    if found != sha256:
        raise DataError(f"transfer.source: {path} has SHA-256 {found[:16]}…, its manifest says {sha256[:16]}…. It was not loaded.")
    try:
        return keras.saving.load_model(path, safe_mode=True, compile=False)
    except (ValueError, TypeError, KeyError, OSError) as error:
        reason = " ".join(str(error).split())[:400]
        raise DataError(
            f"transfer.source: {path} cannot be loaded safely: {reason} Expected a model of Keras' own layers, without a Lambda layer, "
            "whose code would come from the file."
        ) from error


class Stages(keras.callbacks.Callback):  # type: ignore[misc]  # Keras publishes no types
    """Freezes what an epoch freezes when it begins, and sets the learning rate that a stage brings."""

    def __init__(self, plan: Plan, train: Train) -> None:
        super().__init__()
        self.plan, self.train = plan, train

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if freeze(self.model, self.plan.frozen(epoch + 1)):
            self.model.make_train_function(force=True)
        for stage in self.plan.settings.unfreeze:
            if stage.epoch == epoch + 1 and stage.learning_rate is not None:
                chosen = self.train.optimizer.model_copy(update={"learning_rate": stage.learning_rate})
                self.model.optimizer.learning_rate = peak(chosen, self.train.global_batch)


def freeze(model: keras.Model, frozen: Iterable[str]) -> bool:
    """Freeze these layers and no others; whether that changed anything."""
    changed = [layer for layer in with_weights(model) if layer.trainable == (layer.name in frozen)]
    for layer in changed:
        layer.trainable = not layer.trainable
    return bool(changed)


def with_weights(model: keras.Model) -> list[keras.Layer]:
    """The model's layers that have weights, in order; a nested model is one."""
    return [layer for layer in model.layers if layer.weights]


def shapes(layer: keras.Layer) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in layer.weights]


def is_any(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)

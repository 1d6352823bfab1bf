"""Is training on N ranks the training on one? Both are done, on a user's own recipe and data, and what came out is compared."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import model_arguments, storage
from pipeline.attempt import Found
from pipeline.config import Recipe
from pipeline.errors import ConfigError
from pipeline.train.job import origin_of
from pipeline.train.launch import launch
from pipeline.train.rank_spec import Spec

TOLERANCE = 1e-3  # of a variable's size: sums of float32 in another order, some steps on
RANDOM_LAYERS = ("Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "AlphaDropout")


@dataclass(frozen=True)
class Difference:
    """Of one variable, or one epoch's metric."""

    name: str
    shape: tuple[int, ...]
    largest: float  # absolute
    relative: float  # norm of the difference / norm of one rank's

    @property
    def holds(self) -> bool:
        return self.relative <= TOLERANCE or self.largest <= 1e-6


@dataclass(frozen=True)
class Verified:
    """What was compared, and what in the model draws random numbers, which no two numbers of ranks draw alike."""

    ranks: int
    epochs: int
    weights: tuple[Difference, ...]
    metrics: tuple[Difference, ...]
    random_layers: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return all(difference.holds for difference in (*self.weights, *self.metrics))


def verify(recipe: Recipe, prepared: Found, ranks: int, epochs: int, tell: Callable[[str], None]) -> Verified:
    """Train from the same start on one rank and on `ranks`, in float32 and without dropout, and compare.

    Args:
        recipe: checked.
        prepared: a verified prepare result.
        ranks: at least 2, at most the recipe's lanes.
        epochs: of each training.
        tell: told what is being done.

    Raises:
        ConfigError: fewer than 2 ranks, or more than lanes.
        LonghaulError: a training failed.
    """
    if not 2 <= ranks <= recipe.train.lanes:
        raise ConfigError(f"--ranks {ranks}: expected 2 to {recipe.train.lanes} (train.lanes).")
    with tempfile.TemporaryDirectory(prefix="longhaul-verify-") as scratch:
        folders = []
        for size in (1, ranks):
            tell(f"training {epochs} epoch{'s' if epochs > 1 else ''} on {size} rank{'s' if size > 1 else ''}")
            folders.append(train(for_verification(recipe, size, epochs), prepared, Path(scratch) / str(size), recipe.folder))
        one, many = (read(folder) for folder in folders)
    names, shapes = one["names"], [weight.shape for weight in one["weights"]]
    weights = tuple(difference(*parts) for parts in zip(names, shapes, one["weights"], many["weights"], strict=True))
    metrics = tuple(
        difference(f"epoch {line['epoch']} {name}", (), np.asarray(value), np.asarray(other["metrics"][name]))
        for line, other in zip(one["history"], many["history"], strict=True)
        for name, value in line["metrics"].items()
    )
    return Verified(ranks, epochs, weights, metrics, tuple(one["random"]))


def for_verification(recipe: Recipe, ranks: int, epochs: int) -> Recipe:
    """The recipe without what may end training early or draw random numbers: dropout options, early stopping, half precision."""
    values = recipe.resolved()
    path = model_arguments.source_path(recipe.model.name, recipe.folder)
    signature = model_arguments.signature(path, model_arguments.builder_name(recipe.model.name)) if path else None
    if signature is not None and "dropout" in signature.options:
        values["model"]["dropout"] = 0.0
    values["train"] |= {"ranks": ranks, "epochs": epochs, "early_stopping": None, "precision": "float32", "compression": "none"}
    values["train"]["callbacks"] |= {"custom": [], "time_limit_s": None}
    changed = Recipe.model_validate_json(json.dumps(values))
    changed._folder = recipe.folder
    return changed


def train(recipe: Recipe, prepared: Found, folder: Path, code: Path) -> Path:
    """The folder with model.keras and history.json."""
    output, logs = folder / "files", folder / "log"
    for path in (output, logs):
        path.mkdir(parents=True)
    spec = folder / "spec.json"
    Spec(
        recipe=recipe.resolved(),
        prepared=str(storage.absolute(prepared.folder)),
        prepared_digest=prepared.manifest.digest,
        checkpoints=str(folder / "checkpoints"),
        output=str(output),
        folder=str(code),
        origin=origin_of(recipe, prepared),
    ).write(spec)
    settings = recipe.train
    command = ["-m", "pipeline.train.rank_start", str(spec)]
    launch(command, settings.ranks, logs=logs, stall_timeout_s=settings.stall_timeout_s, on_event=lambda event: None)
    return output


def read(folder: Path) -> dict[str, Any]:
    import keras

    model = keras.saving.load_model(folder / "model.keras", safe_mode=True, compile=False)
    layers = [layer for layer in model._flatten_layers() if type(layer).__name__ in RANDOM_LAYERS]
    return {
        "names": [weight.path for weight in model.weights],
        "weights": model.get_weights(),
        "random": [layer.name for layer in layers if getattr(layer, "rate", 0) or getattr(layer, "stddev", 0)],
        "history": json.loads((folder / "history.json").read_text())["history"],
    }


def difference(name: str, shape: tuple[int, ...], one: Any, many: Any) -> Difference:
    distance = np.abs(np.asarray(one, np.float64) - many)
    size = float(np.linalg.norm(one))
    relative = float(np.linalg.norm(distance)) / size if size else float(distance.max() > 0)
    return Difference(name, tuple(shape), float(distance.max()), relative)

"""The model that a training starts from: found, verified, and made for the same inputs. Loads no TensorFlow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.attempt import read_published
from pipeline.errors import ConfigError, DataError
from pipeline.manifest import Manifest, verify
from pipeline.paths import MANIFEST, Run
from pipeline.schema import Prepared, Trained, prepared

REGISTERED = re.compile(r"^(?P<name>[a-z][a-z0-9_-]{0,62})(?:@(?P<alias>[a-z][a-z0-9_-]{0,62})|/(?P<version>[1-9][0-9]*))$")
PREPROCESSING = ("task", "features", "scalers", "encoders", "times", "target")


@dataclass(frozen=True)
class SourceModel:
    """A verified model with what its inputs were."""

    path: Path
    manifest: Manifest
    facts: Prepared

    @property
    def pixels(self) -> dict[str, Any] | None:
        """Statistics that its first layer was trained with, where it has such."""
        tensor = self.facts.tensor
        return None if tensor.mean is None else {"mean": tensor.mean, "std": tensor.std}

    def is_new_head(self, here: Prepared) -> bool:
        """Other classes, or another order of them, mean another thing in each output."""
        return self.facts.classes != here.classes


def find_source(source: str, run: Run, here: Prepared) -> SourceModel:
    """What `transfer.source` names, if this data can be its input.

    Args:
        source: a path or a registered model.
        run: the one that is trained; its root has the registry.
        here: this run's prepared data.

    Raises:
        ConfigError: there is no such model.
        DataError: it is damaged, or its inputs were made otherwise; every difference is listed.
    """
    registered = REGISTERED.match(source) if not Path(source).exists() else None
    folder = registered_folder(source, registered, run) if registered else train_folder(Path(source))
    manifest = read_published(folder)
    if manifest is None:
        raise ConfigError(f"transfer.source: {source} leads to {folder}, which has no published training.")
    verify(manifest, folder)
    data = read_published(folder.parent / "prepare")
    if data is None or data.digest != manifest.inputs["prepare"].digest:
        raise DataError(
            f"transfer.source: {folder} was trained on data that {folder.parent / 'prepare'} does not hold any more. Expected the manifest "
            f"with digest {manifest.inputs['prepare'].digest[:16]}…, which says how its inputs were made. Run its recipe again."
        )
    facts = prepared(data)
    if found := differences(facts, here):
        listed = "\n".join(f"  {line}" for line in found)
        raise DataError(
            f"transfer.source: {source} was trained on inputs that were made otherwise:\n{listed}\n"
            "Give both recipes the same columns and rules; `normalize: none` and images need nothing that is fitted."
        )
    return SourceModel(folder / manifest.attempt / Trained.model_validate(manifest.facts).model, manifest, facts)


def train_folder(path: Path) -> Path:
    """The train stage's folder of a run's folder, of itself, or of a model file in it."""
    candidates = [path / "train", path, *path.parents[2:3]]
    found = next((folder for folder in candidates if (folder / MANIFEST).is_file() and folder.name == "train"), None)
    if found is None:
        raise ConfigError(
            f"transfer.source: {path} is no training of this pipeline. Expected a run's folder, its train folder or the model.keras in it, "
            "whose manifest has the digest of the model; or a registered model as name@alias or name/version."
        )
    return found


def registered_folder(source: str, found: re.Match[str], run: Run) -> Path:
    from pipeline.register.store import origin_of

    tags = origin_of(run, found["name"], found["alias"], found["version"])
    if tags is None:
        raise ConfigError(f"transfer.source: {source} is neither a path nor a registered model in {run.registry}.")
    folder = Run(run.root, tags["recipe"], tags["pipeline_run"]).stage("train")
    manifest = read_published(folder)
    if manifest is None or manifest.digest != tags["train_digest"]:
        raise DataError(f"transfer.source: {source} was registered from {folder}, which does not hold that training any more.")
    return folder


def differences(source: Prepared, here: Prepared) -> list[str]:
    """What an input means there and here, where it is not the same; pixel statistics are the source's and may differ."""
    without = {"mean", "std"}
    pairs = [("tensor", source.tensor.model_dump(exclude=without), here.tensor.model_dump(exclude=without))]
    pairs += [(name, getattr(source, name), getattr(here, name)) for name in PREPROCESSING]
    return [line for name, there, now in pairs if there != now for line in describe(name, there, now)]


def describe(name: str, there: Any, now: Any) -> list[str]:
    if isinstance(there, tuple) and isinstance(now, tuple) and len(there) == len(now):
        pairs = zip(there, now, strict=True)
        return [f"{name}: expected {shortened(left)}, received {shortened(right)}" for left, right in pairs if left != right]
    return [f"{name}: expected {shortened(there)}, received {shortened(now)}"]


def shortened(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:199]}…"

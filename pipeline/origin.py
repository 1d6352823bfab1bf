"""The training that another one starts from: found, verified, and made for the same inputs. Loads no TensorFlow.

Prepare finds it, takes its preprocessing along and notes in its manifest which one it was; train goes by that note. So both use the
same one, and a run that is asked for again stays with the one that it took first, wherever the alias points by then.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.attempt import Found, read_published
from pipeline.errors import ConfigError, DataError
from pipeline.manifest import Manifest, verify, verify_file
from pipeline.paths import MANIFEST
from pipeline.schema import OriginFacts, Prepared, Trained, prepared
from pipeline.sections.transfer import REGISTERED
from pipeline.stage import Request

SHOWN = 160  # characters of a value in a message
MAX_SHOWN = 12  # differences in a message


@dataclass(frozen=True)
class Origin:
    """A verified training, with the prepared data that says what its inputs were."""

    train: Found
    data: Found

    @property
    def facts(self) -> Prepared:
        return prepared(self.data.manifest)

    @property
    def model(self) -> Path:
        return self.train.local_files / Trained.model_validate(self.train.manifest.facts).model

    @property
    def model_sha256(self) -> str:
        name = Trained.model_validate(self.train.manifest.facts).model
        return next(entry.sha256 for entry in self.train.manifest.files if entry.path == name)

    def text_of(self, name: str) -> str:
        """A small file beside the prepared data, once it has the digest of its manifest."""
        entry = next(entry for entry in self.data.manifest.files if entry.path == name)
        verify_file(self.data.files / name, entry, "prepare")
        return (self.data.local_files / name).read_text(encoding="utf-8")


def find(request: Request) -> OriginFacts | None:
    """What `transfer.source` names, noted for the manifest; None without such a section.

    Raises:
        ConfigError: there is no such training.
        DataError: it is damaged.
    """
    settings = request.recipe.transfer
    if settings is None:
        return None
    if request.run.data is not None:
        raise ConfigError(
            f"transfer starts from a training and its prepared data under --root. Expected no --data, received {request.run.data}."
        )
    own = read_published(request.run.stage("prepare"))
    known = prepared(own).origin if own is not None else None
    if known is not None and known.source == settings.source and not request.force:
        return known
    folder = train_folder(settings.source, request)
    origin = open_training(folder)
    root = request.run.root.resolve()
    place = folder.resolve()
    return OriginFacts(
        source=settings.source,
        folder=place.relative_to(root).as_posix() if place.is_relative_to(root) else str(place),
        recipe=origin.train.manifest.recipe,
        run_id=origin.train.manifest.run_id,
        train_digest=origin.train.manifest.digest,
    )


def train_folder(source: str, request: Request) -> Path:
    """The train stage's folder: of a registered model, of a run's folder, of itself, or of a model file in it."""
    path, registered = Path(source), REGISTERED.match(source)
    if registered and not path.exists():
        if request.registered is None:
            raise ConfigError(f"transfer.source: {source} is a registered model, and this command does not ask the registry.")
        return request.registered(request.run, source)
    candidates = [path / "train", path, *path.absolute().parents[2:3]]
    found = next((folder for folder in candidates if (folder / MANIFEST).is_file() and folder.name == "train"), None)
    if found is None or (path.is_file() and path.absolute() != open_training(found).model.absolute()):
        raise ConfigError(
            f"transfer.source: {source} is no training of this pipeline. Expected a run's folder, its train folder or the model.keras that "
            "is published there, whose manifest has the model's digest; or a registered model as name@alias or name/version."
        )
    return found


def open_training(folder: Path, digest: str | None = None) -> Origin:
    """A training whose files are those of its manifest, with the manifest of its data.

    Args:
        folder: of the train stage.
        digest: that its manifest must have, or None for any.

    Raises:
        DataError: it is not there any more, damaged, or its prepared data is of another training.
    """
    manifest = read_published(folder)
    if manifest is None or digest not in (None, manifest.digest):
        there = "no training" if manifest is None else f"another one ({manifest.digest[:16]}…)"
        expected = f" with digest {digest[:16]}…" if digest else ""
        raise DataError(f"transfer.source: {folder} holds {there}. Expected the training{expected} that this run starts from.")
    verify(manifest, folder)
    data = folder.parent / "prepare"
    return Origin(Found(manifest, folder), Found(made_from(manifest, data), data))


def made_from(training: Manifest, folder: Path) -> Manifest:
    found = read_published(folder)
    if found is None or found.digest != training.inputs["prepare"].digest:
        raise DataError(
            f"transfer.source: {folder} does not hold the prepared data of the training beside it any more. Expected the manifest with "
            f"digest {training.inputs['prepare'].digest[:16]}…, which says how its inputs were made. Run that recipe again."
        )
    return found


def of(data: Found) -> Origin | None:
    """The training that prepared data was made for to start from, verified; None if it was made for none."""
    noted = prepared(data.manifest).origin
    return None if noted is None else open_noted(noted, data.local_files.resolve().parents[4])


def open_noted(noted: OriginFacts, root: Path) -> Origin:
    """Raises DataError where what was noted is not there any more."""
    return open_training(root / noted.folder, noted.train_digest)


def refuse_other_inputs(origin: Prepared, here: Prepared) -> None:
    """Raises DataError with every difference between what a model's inputs were there and are here."""
    if found := differences(origin, here):
        shown = found[:MAX_SHOWN] + ([f"and {len(found) - MAX_SHOWN} more"] if len(found) > MAX_SHOWN else [])
        raise DataError(
            "transfer.source was trained on inputs that were made otherwise:\n"
            + "\n".join(f"  {line}" for line in shown)
            + "\nScalers, encoders, image statistics and vocabularies are taken along where both recipes name the same method. Give both "
            "the same columns, kinds, methods and shapes."
        )


def differences(origin: Prepared, here: Prepared) -> list[str]:
    """What an input means there and here, where it is not the same; in the order of the manifest."""
    there, now = inputs_of(origin), inputs_of(here)
    return [line for name in there if there[name] != now[name] for line in describe(name, there[name], now[name])]


def inputs_of(facts: Prepared) -> dict[str, Any]:
    """Everything that decides what a number in a tensor means. Out-of-fold means are of train rows alone and decide nothing."""
    vocabulary, windows = facts.vocabulary, facts.windows
    named = {encoder.column: encoder.model_dump(exclude={"fold_means"}) for encoder in facts.encoders}
    return {
        "tensor": facts.tensor.model_dump(exclude={"encoding"}),
        "scaler": {scaler.column: scaler.model_dump() for scaler in (*facts.scalers, *(windows.targets if windows else ()))},
        "encoder": named,
        "time": {time.column: time.model_dump() for time in facts.times},
        "vocabulary": vocabulary.model_dump(include={"method", "size", "max_tokens", "sha256"}) if vocabulary else {},
        "windows": windows.model_dump(include={"history", "horizon", "gap", "period_s", "scale"}) if windows else {},
        "features": dict(enumerate(facts.features)),
    }


def describe(name: str, there: Any, now: Any) -> list[str]:
    if not (isinstance(there, dict) and isinstance(now, dict)):
        return [f"{name}: the origin has {shortened(there)}, here it is {shortened(now)}"]
    keys = [key for key in {**there, **now} if there.get(key) != now.get(key)]
    return [line for key in keys for line in describe(f"{name} {key}", there.get(key, "nothing"), now.get(key, "nothing"))]


def shortened(value: Any) -> str:
    text = str(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"

"""What the launcher tells every rank. Imports no TensorFlow."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class OriginModel:
    """The model that training starts from, verified by the launcher; ranks look at its digest again before they open it."""

    path: str
    sha256: str
    facts: dict[str, Any]  # of the data that it was trained on


@dataclass(frozen=True)
class Spec:
    """What the launcher tells every rank; paths are absolute."""

    recipe: dict[str, Any]
    prepared: str  # the prepare stage's folder, verified by the launcher
    prepared_digest: str  # of the manifest that it verified
    checkpoints: str
    output: str
    folder: str = "."  # the recipe's, for code of the user's own
    origin: OriginModel | None = None  # of a recipe with transfer

    @classmethod
    def read(cls, path: Path) -> Spec:
        values = json.loads(path.read_text())
        origin = values.pop("origin", None)
        return cls(**values, origin=OriginModel(**origin) if origin else None)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

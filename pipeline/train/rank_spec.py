"""What the launcher tells every rank. Imports no TensorFlow."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Spec:
    """What the launcher tells every rank; paths are absolute."""

    recipe: dict[str, Any]
    prepared: str  # the prepare stage's folder, verified by the launcher
    prepared_digest: str  # of the manifest that it verified
    checkpoints: str
    output: str
    folder: str = "."  # the recipe's, for code of the user's own

    @classmethod
    def read(cls, path: Path) -> Spec:
        return cls(**json.loads(path.read_text()))

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

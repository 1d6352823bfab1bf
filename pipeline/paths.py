"""Every folder of a run, as pure paths: `<root>/<recipe>/<run id>/<stage>/attempt-<token>/`.

Prepared data may lie on a store instead, as `<data>/<recipe>/<run id>/prepare/` of a URL. Nothing here touches a disk or a network.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

Stage = Literal["prepare", "train", "evaluate", "register"]
STAGES: tuple[Stage, ...] = get_args(Stage)

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Remote:
    """A file or folder on a store, `scheme://bucket/key`: as much of `pathlib.Path` as names need. `storage.py` reads it."""

    url: str  # without a slash at its end

    def __truediv__(self, name: str) -> Remote:
        return Remote(f"{self.url}/{name}")

    def __str__(self) -> str:
        return self.url

    @property
    def scheme(self) -> str:
        return self.url.partition("://")[0]

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> Remote:
        return Remote(self.url.rpartition("/")[0])


Place = Path | Remote


@dataclass(frozen=True)
class Run:
    """One execution of a recipe: where it is kept and what it is called."""

    root: Path
    recipe: str
    run_id: str
    data: Remote | None = None  # where prepared data is published and read, if not under the root

    @property
    def folder(self) -> Path:
        return self.root / self.recipe / self.run_id

    def stage(self, stage: Stage) -> Path:
        return self.folder / stage

    def published(self, stage: Stage) -> Place:
        """The stage's folder that other stages read."""
        return self.stage(stage) if self.data is None or stage != "prepare" else self.data / self.recipe / self.run_id / stage

    @property
    def registry(self) -> str:
        """SQLAlchemy URL of the MLflow store, shared by all recipes under this root."""
        return f"sqlite:///{self.root.resolve() / 'mlflow.db'}"

    @property
    def registry_artifacts(self) -> Path:
        return self.root.resolve() / "mlflow-artifacts"


def run_id(config_digest: str, logical_date: datetime | None) -> str:
    """`20260103T000000Z-1a2b3c4d` for a scheduled run, `manual-1a2b3c4d` for one without a date.

    The same request gives the same id, so it finds its own results; a run without a date is the same request whenever it is typed.

    Args:
        config_digest: hex digest of the resolved recipe; the first 8 digits are used.
        logical_date: aware datetime of the schedule's interval; any time zone, written in UTC. None for a run by hand.

    Raises:
        ValueError: a naive datetime, whose zone would be a guess.
    """
    if logical_date is None:
        return f"manual-{config_digest[:8]}"
    if logical_date.tzinfo is None:
        raise ValueError(f"{logical_date.isoformat()} has no time zone. Write it as {logical_date.isoformat()}+00:00.")
    return f"{logical_date.astimezone(UTC):%Y%m%dT%H%M%SZ}-{config_digest[:8]}"


def date_of(run_id: str) -> str | None:
    """`20260103T000000Z` of a scheduled run's id, whose order is that of time; None of a run without a date."""
    date = run_id.partition("-")[0]
    return None if date == "manual" else date

"""The recipe's last published prepare result before this run: what drift is measured against, and whose stratified splits go on."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from pipeline.attempt import Found, read_published
from pipeline.config import Recipe
from pipeline.console import Console
from pipeline.errors import DataError
from pipeline.manifest import digest_of, verify_file
from pipeline.paths import Run, date_of
from pipeline.prepare.drift import check_drift, compare, warnings
from pipeline.prepare.sketch import Sketch, from_json
from pipeline.schema import Drifted, Prepared, prepared

STATISTICS = "statistics.json.gz"  # of a result's files: sketches of its train rows


@dataclass(frozen=True)
class Baseline:
    """`own`: what this run has published before; `earlier`: the result before this run. Either may be missing.

    `listing`: digest of the source's files now.
    """

    own: Found | None
    earlier: Found | None
    listing: str

    def bounds_for(self, recipe: Recipe) -> dict[str, tuple[float, float]]:
        """Stratified bounds to go on with. A run that is asked for again inherits what it inherited the first time.

        It is another request where the source's files are others: that goes on from the run's own result.
        """
        if recipe.split.by != "stratified":
            return {}
        if (facts := facts_of(self.own)) and facts.split_digest == split_digest(recipe):
            return facts.inherited_bounds if facts.listing == self.listing else facts.split_bounds
        if (facts := facts_of(self.earlier)) and facts.split_digest == split_digest(recipe):
            return facts.split_bounds
        return {}


def find(run: Run, listing: str) -> Baseline:
    """Of a scheduled run, the result with the latest earlier date, so that a backfill never looks ahead; else the newest other one."""
    others = []
    for folder in sorted(run.folder.parent.glob("*/prepare")):
        with suppress(DataError):
            manifest = read_published(folder)
            if manifest is not None and folder != run.stage("prepare"):
                others.append((folder.parent.name, Found(manifest, folder)))
    today = date_of(run.run_id)
    if today is None:
        newest = max((found for _, found in others), key=lambda found: found.manifest.started_at, default=None)
    else:
        dated = [(date, found) for name, found in others if (date := date_of(name)) and date < today]
        newest = max(dated, key=lambda pair: (pair[0], pair[1].manifest.started_at))[1] if dated else None
    own = read_published(run.stage("prepare"))
    return Baseline(Found(own, run.stage("prepare")) if own else None, newest, listing)


def facts_of(found: Found | None) -> Prepared | None:
    if found is None:
        return None
    with suppress(ValueError):  # of another version
        return prepared(found.manifest)
    return None


def split_digest(recipe: Recipe) -> str:
    keys = [name for name, column in recipe.columns.items() if column.role == "key"]
    return digest_of({"split": recipe.section("split"), "label": recipe.label, "keys": keys})


def drift(baseline: Baseline, sketches: Mapping[str, Sketch], recipe: Recipe, console: Console) -> Drifted | None:
    """This run's train rows against the earlier run's; None where there is none to compare with.

    Raises:
        DataError: a column drifted further than the recipe allows.
    """
    if baseline.earlier is None or (before := read_sketches(baseline.earlier)) is None:
        return None
    found = Drifted(against=baseline.earlier.manifest.run_id, shifts=compare(before, sketches, recipe.drift))
    check_drift(found, recipe.drift)
    for line in warnings(found, recipe.drift):
        console.note(line)
    return found


def read_sketches(found: Found) -> dict[str, Sketch] | None:
    """The train rows' statistics of a prepare result; None where it has none or they are damaged."""
    entry = next((entry for entry in found.manifest.files if entry.path == STATISTICS), None)
    if entry is None:
        return None
    with suppress(DataError, OSError, ValueError, KeyError):
        verify_file(found.files / entry.path, entry, "prepare")
        return load_statistics((found.local_files / entry.path).read_bytes())
    return None


def load_statistics(content: bytes) -> dict[str, Sketch]:
    """The sketches of a file of STATISTICS. Raises anything from ValueError to AttributeError for what is not one."""
    return {name: from_json(value) for name, value in json.loads(gzip.decompress(content)).items()}

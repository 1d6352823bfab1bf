"""Rows in = rows out + dropped by each rule, and written = counted: no row is lost on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config import Recipe
from pipeline.errors import DataError
from pipeline.schema import SPLITS, Accounting, SplitFacts, SplitName
from pipeline.sections.rules import CHANGING

if TYPE_CHECKING:
    from pipeline.prepare.tally import Tally


def account(recipe: Recipe, tally: Tally, splits: dict[SplitName, SplitFacts]) -> Accounting:
    """Rows in = rows out + dropped, and what was written is what was counted: no row is lost on the way.

    Raises:
        DataError: with both sides of the sum.
    """
    accounting = Accounting(
        rows_in=tally.rows,
        rows_out=rows_out(recipe, tally),
        dropped=drops(recipe, tally),
        nulls=dict(sorted(tally.nulls.items())),
        changed=changes(recipe, tally),
        augmented=sum(split.rows - split.sources for split in splits.values()),
    )
    dropped, quarantined = sum(accounting.dropped.values()), sum(tally.quarantined.values()) - tally.windows["gaps"]  # gaps are no rows
    copies = train_copies(recipe, tally)
    added = sum(tally.labels["train"][name] * number for name, number in copies.items())
    added = added if copies else splits["train"].sources * recipe.augment.copies
    added *= recipe.augment.rows_per_copy(has_classes=recipe.task == "classification")
    expected = {name: splits[name].sources + (added if name == "train" else 0) for name in SPLITS}
    if recipe.interactions:
        expected = {name: splits[name].sources * (1 + recipe.interactions.negatives_of(name)) for name in SPLITS}
    written = {name: splits[name].rows for name in SPLITS}
    if accounting.rows_in != accounting.rows_out + dropped or expected != written or quarantined != dropped:
        raise DataError(
            f"Rows do not add up: {accounting.rows_in} in, {accounting.rows_out} kept, {dropped} dropped; expected files of {expected} and "
            f"{dropped} in quarantine, wrote {written} and {quarantined}. The source changed while it was read: run again."
        )
    return accounting


def drops(recipe: Recipe, tally: Tally) -> dict[str, int]:
    """Rows that each rule dropped; rules of the recipe that dropped none are there with 0, in its order."""
    from pipeline.prepare.split import ANOMALY, GAP

    gap = [*([GAP] if recipe.split.gap_s else []), *([ANOMALY] if recipe.anomalies and recipe.anomalies.training == "leave_out" else [])]
    rules = ["unreadable", *gap, *(rule.name for rule in recipe.clean.rules if rule.name not in CHANGING)]
    return {rule: tally.dropped[rule] for rule in dict.fromkeys([*rules, *sorted(tally.dropped)])}


def changes(recipe: Recipe, tally: Tally) -> dict[str, int]:
    """Values that each value rule changed; rules of one name are numbered."""
    names = [rule.name for rule in recipe.clean.rules if rule.name in CHANGING]
    numbered = [f"{name} {names[: index + 1].count(name)}" if names.count(name) > 1 else name for index, name in enumerate(names)]
    return {name: tally.changed[str(index)] for index, name in enumerate(numbered)}


def rows_out(recipe: Recipe, tally: Tally) -> int:
    """Raw rows that were kept; of windows those that became steps."""
    return tally.windows["rows"] if recipe.windows else sum(tally.kept(name) for name in SPLITS)


def train_copies(recipe: Recipe, tally: Tally) -> dict[str, int]:
    """Of a balanced recipe: copies of each train row, by its label."""
    labels: dict[str, int] = dict(tally.labels.get("train", {}))
    names = sorted(labels)
    return dict(zip(names, recipe.augment.copies_of([labels[name] for name in names]), strict=True)) if recipe.augment.balance else {}


def split_facts(tally: Tally, name: SplitName, rows: int) -> SplitFacts:
    return SplitFacts(rows=rows, sources=tally.kept(name), label_counts=dict(sorted(tally.labels.get(name, {}).items())))


def rows_of(written: dict[str, int], split: str) -> int:
    return sum(rows for path, rows in written.items() if path.startswith(f"data/{split}/"))

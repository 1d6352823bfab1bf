"""What a reader of prepared data should look at first. Bounds are ours where the recipe has none; nothing here fails a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.config import Recipe
from pipeline.prepare.wording import is_near, percent
from pipeline.schema import ColumnStatistics, Drifted, Leak, Prepared, Shift, SplitName

MAX_NULLS = 0.2  # share of train rows
MIN_CLASS_SHARE = 0.01  # of the train rows
MIN_CLASS_ROWS = 10  # of validation or test: with fewer, what is measured of a class is chance
IDENTIFIER_ROWS = 100  # a category of so many rows, with more than
IDENTIFIER_SHARE = 0.5  # so many values a row, is a name and not a category
MAX_NAMED = 10
MEASURED: tuple[SplitName, ...] = ("validation", "test")


@dataclass(frozen=True)
class Finding:
    """One thing to look at. `place` is the id of the page's section that tells more."""

    is_grave: bool
    title: str
    text: str
    place: str


def find(recipe: Recipe, facts: Prepared) -> list[Finding]:
    """Grave ones first, else in the order of how much a model may suffer."""
    statistics = {name: facts.statistics[name] for name in recipe.columns if name in facts.statistics}
    found = [
        *find_leaks(facts.audit),
        *(find_drift(facts.drift) if facts.drift else ()),
        *find_empty(statistics),
        *find_constant(recipe, statistics),
        *find_identifiers(recipe, statistics),
        *(find_rare_classes(facts) if facts.task == "classification" else ()),
    ]
    return sorted(found, key=lambda finding: not finding.is_grave)


def find_leaks(leaks: Sequence[Leak]) -> Iterator[Finding]:
    for leak in leaks:
        text = f"{leak.rows:,} validation and test rows ({percent(leak.share)}) stand in train too; at most {percent(leak.limit)} may."
        if not leak.holds:
            yield Finding(True, f"Leak: {leak.check}", text, "leaks")
        elif is_near(leak):
            yield Finding(False, f"Near the limit: {leak.check}", text, "leaks")


def find_drift(drift: Drifted) -> Iterator[Finding]:
    for verdict, title in (("fail", "Drift beyond the recipe's limit"), ("warn", "Drift")):
        if shifts := [shift for shift in drift.shifts if shift.verdict == verdict]:
            worst_first = sorted(shifts, key=lambda shift: -shift.psi)
            yield Finding(verdict == "fail", title, f"Against run {drift.against}: {named(map(shifted, worst_first))}.", "drift")


def shifted(shift: Shift) -> str:
    num = len(shift.new_categories)
    new = f", {num} new value{'' if num == 1 else 's'}" if num else ""
    return f"{shift.column} (PSI {shift.psi:.2f}{new})"


def find_empty(statistics: dict[str, ColumnStatistics]) -> Iterator[Finding]:
    shares = {name: column.nulls / max(column.count + column.nulls, 1) for name, column in statistics.items()}
    if often := sorted((name for name in shares if shares[name] > MAX_NULLS), key=lambda name: -shares[name]):
        texts = named(f"{name} ({percent(shares[name])})" for name in often)
        yield Finding(False, "Often missing", f"No value in more than {percent(MAX_NULLS)} of the train rows: {texts}.", "columns")


def find_constant(recipe: Recipe, statistics: dict[str, ColumnStatistics]) -> Iterator[Finding]:
    """Missing numbers are filled with the one value that there is; a missing category is a value of its own."""
    is_category = {name: recipe.columns[name].kind == "category" for name in statistics}
    constant = [name for name, column in statistics.items() if column.distinct == 1 and not (is_category[name] and column.nulls)]
    if constant:
        yield Finding(False, "Constant", f"One value in all train rows, nothing to learn from: {named(constant)}.", "columns")


def find_identifiers(recipe: Recipe, statistics: dict[str, ColumnStatistics]) -> Iterator[Finding]:
    found = {name: statistics[name] for name in recipe.names("category") if name in statistics}
    if like := {name: column for name, column in found.items() if is_like_an_identifier(column)}:
        texts = named(f"{name} ({column.distinct:,} values)" for name, column in like.items())
        yield Finding(False, "Like an identifier", f"Nearly a value for each row; consider role: key or ignore: {texts}.", "columns")


def is_like_an_identifier(column: ColumnStatistics) -> bool:
    return column.count >= IDENTIFIER_ROWS and column.distinct > IDENTIFIER_SHARE * column.count


def find_rare_classes(facts: Prepared) -> Iterator[Finding]:
    counts = {name: facts.splits["train"].label_counts.get(name, 0) for name in facts.classes}
    if rare := [name for name in facts.classes if counts[name] < MIN_CLASS_SHARE * sum(counts.values())]:
        texts = named(f"{name} ({counts[name]:,} rows)" for name in sorted(rare, key=lambda name: counts[name]))
        yield Finding(False, "Rare classes", f"Under {percent(MIN_CLASS_SHARE)} of the train rows: {texts}.", "splits")
    for split in MEASURED:
        found = {name: facts.splits[split].label_counts.get(name, 0) for name in facts.classes}
        if few := [name for name in facts.classes if found[name] < MIN_CLASS_ROWS]:
            texts = named(f"{name} ({found[name]})" for name in sorted(few, key=lambda name: found[name]))
            text = f"Classes with fewer than {MIN_CLASS_ROWS} rows to measure them by: {texts}."
            yield Finding(False, f"Small {split} split", text, "splits")


def named(items: Iterable[str]) -> str:
    """`a, b, c and 4 more`."""
    listed = list(items)
    rest = f" and {len(listed) - MAX_NAMED:,} more" if len(listed) > MAX_NAMED else ""
    return ", ".join(listed[:MAX_NAMED]) + rest

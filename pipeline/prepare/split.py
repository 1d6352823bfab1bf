"""Which split a row is in: a function of its key, its group or its time, so it stays there for ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipeline.config import Recipe
from pipeline.errors import DataError
from pipeline.prepare.columns import ORDER, RULE, SPLIT, col, fraction_of, hash_of
from pipeline.prepare.marks import mark
from pipeline.schema import SPLITS, SplitName
from pipeline.sections.data import Split

Bounds = dict[str, tuple[float, float]]  # stratum -> hash fractions at which train and validation end
GAP = "split_gap"
ANOMALY = "anomaly"
GRID = 2**16  # places at which a stratum's hashes may be cut
MAX_STRATA = 1000
NO_VALUE = ""  # the stratum of rows without a value


def assign_splits(rows: DataFrame, recipe: Recipe, bounds: Bounds) -> DataFrame:
    """Rows that are still in get their split, dropped rows null. Lazy.

    Args:
        rows: as read.
        recipe: its split.
        bounds: of `by: stratified`, as `fit_bounds` gives them.
    """
    split = recipe.split
    if split.by == "time" and recipe.windows is None:  # a window may begin in the gap
        rows = mark(rows, GAP, gap_reason(split))
    fraction = fraction_of(hash_of(f"split:{split.seed}", [col(split.column or "") if split.by == "group" else F.col(ORDER)]))
    match split.by:
        case "time":
            name = by_time(split)
        case "kfold":
            name = by_fold(fraction, split)
        case "user_time":  # where all of a user are together: interactions/stage.py
            name = F.lit("train")
        case "stratified":
            name = by_stratum(fraction, stratum_of(recipe), bounds)
        case _:
            name = cut(fraction, F.lit(split.train), F.lit(split.train + split.validation))
    return rows.withColumn(SPLIT, F.when(F.col(RULE).isNull(), name))


def leave_out_anomalies(rows: DataFrame, recipe: Recipe) -> DataFrame:
    """Known anomalies of train and validation are marked, before anything is fitted; those of test stay. Lazy."""
    if recipe.anomalies is None or recipe.anomalies.training == "keep":
        return rows
    is_known = col(recipe.label).isin(*recipe.anomalies.values) & (F.col(SPLIT) != "test")
    return mark(rows, ANOMALY, F.when(is_known, F.concat(F.lit(f"{recipe.label}: "), col(recipe.label), F.lit(" is of anomalies.values"))))


def cut(fraction: Column, train_end: Column, validation_end: Column) -> Column:
    return F.when(fraction < train_end, "train").when(fraction < validation_end, "validation").otherwise("test")


def by_time(split: Split) -> Column:
    validation_from, test_from = split.boundaries
    time = col(split.column or "")
    return F.when(time < validation_from, "train").when(time < test_from, "validation").otherwise("test")


def gap_reason(split: Split) -> Column:
    """Rows so short before a boundary that what they predict may lie behind it."""
    time = col(split.column or "")
    is_within = [(time >= boundary - split.gap_s) & (time < boundary) for boundary in split.boundaries]
    text = f"{split.column}: within {split.gap_s:g} s before a boundary of the split"
    return F.when(is_within[0] | is_within[1], F.lit(text))


def by_fold(fraction: Column, split: Split) -> Column:
    folds, fold = split.folds or 0, split.fold or 0
    part = F.floor(fraction * folds).cast("int")
    return F.when(part == fold, "test").when(part == (fold + 1) % folds, "validation").otherwise("train")


def stratum_of(recipe: Recipe) -> Column:
    return F.coalesce(col(recipe.split.column or recipe.label).cast("string"), F.lit(NO_VALUE))


def by_stratum(fraction: Column, stratum: Column, bounds: Bounds) -> Column:
    ends = F.create_map(*(part for name, pair in bounds.items() for part in (F.lit(name), F.array(*map(F.lit, pair)))))
    found = F.element_at(ends.cast("map<string, array<double>>"), stratum)
    return cut(fraction, found[0], found[1])


def fit_bounds(rows: DataFrame, recipe: Recipe, inherited: Bounds) -> Bounds:
    """Where each stratum's hashes are cut so that its shares are exact. One Spark job; none where nothing is stratified.

    Rows that arrive later fall on the same sides as long as the bounds of the run before are inherited.
    """
    if recipe.split.by != "stratified":
        return {}
    split = recipe.split
    place = F.floor(fraction_of(hash_of(f"split:{split.seed}", [F.col(ORDER)])) * GRID).cast("int").alias("place")
    counts = rows.where(F.col(RULE).isNull()).groupBy(stratum_of(recipe).alias("stratum"), place).count()
    strata = counts.groupBy("stratum").agg(F.map_from_entries(F.collect_list(F.struct("place", "count"))).alias("counts"))
    fresh = {}
    for row in strata.toLocalIterator():  # one stratum's places at a time
        fresh[row["stratum"]] = cut_places(row["counts"], split.train, split.validation)
        if len(fresh) > MAX_STRATA:
            raise DataError(f"split.column {split.column or recipe.label} has more than {MAX_STRATA} values: too many to stratify by.")
    return dict(sorted({**fresh, **inherited}.items()))


def cut_places(counts: Mapping[int, int], train: float, validation: float) -> tuple[float, float]:
    """Ends of train and validation on [0, 1), so that the rows before them are as near to the shares as the grid allows.

    Args:
        counts: rows at each place of the grid, 0 to GRID - 1.
        train, validation: shares. With three places or more, each split gets one at least; with fewer, train does.
    """
    ordered = sorted(counts)
    before = list(accumulate((counts[place] for place in ordered), initial=0))  # rows before each place, and all
    edges, num_places = [*ordered, GRID], len(ordered)

    def nearest(indices: range, share: float) -> int:
        return min(indices, key=lambda index: abs(before[index] - share * before[-1]))

    spare = 1 if num_places >= len(SPLITS) else 0  # what each later split takes in any case
    train_end = nearest(range(1, num_places + 1 - 2 * spare), train)
    validation_end = nearest(range(train_end + spare, num_places + 1 - spare), train + validation)
    return edges[train_end] / GRID, edges[validation_end] / GRID


def check_sizes(sizes: Mapping[SplitName, int]) -> None:
    """Raises DataError if a split has no rows."""
    if empty := [name for name in SPLITS if not sizes[name]]:
        raise DataError(f"Split {', '.join(empty)} has no rows (rows: {dict(sizes)}). Give it a larger share in `split`, or more data.")


def labels_seen(counts: Mapping[SplitName, Mapping[str, int]]) -> tuple[str, ...]:
    """Values of a label that nothing learns from, sorted, of all splits: () where rows have none."""
    return tuple(sorted({value for found in counts.values() for value in found}))


def check_labels(counts: Mapping[SplitName, Mapping[str, int]], label: str) -> tuple[str, ...]:
    """The classes, sorted, if every split can be used with them.

    Args:
        counts: rows of each label value in each split.
        label: name of the label column, for the message.

    Raises:
        DataError: fewer than two classes, or a label outside train that train does not have.
    """
    classes = tuple(sorted(counts["train"]))
    if len(classes) < 2:
        raise DataError(f"Column {label} has one class in the train rows: {classes[0]!r}. Expected at least two to learn from.")
    others: Sequence[SplitName] = ("validation", "test")
    for name in others:
        if unseen := sorted(set(counts[name]) - set(classes)):
            raise DataError(
                f"Label {', '.join(map(repr, unseen))} of column {label} is in {name} but not in train. "
                "Expected every class among the train rows: give train more rows, or drop the class from the source."
            )
    return classes

"""One self-contained HTML page about prepared data, for a lead and a data scientist. No script, nothing loaded from elsewhere.

What is in the data is hostile: every text is escaped, and what a browser would obey or hide (control characters, text direction) is shown.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from markupsafe import Markup

from pipeline.config import Recipe
from pipeline.prepare import figures
from pipeline.prepare.encode import feature_names, time_names
from pipeline.prepare.findings import MAX_NULLS, MIN_CLASS_ROWS, find
from pipeline.prepare.media_sheet import Example
from pipeline.prepare.value_sample import SAMPLE
from pipeline.prepare.wording import (
    cut,
    encoder_text,
    figure,
    leak_text,
    moment,
    operation_text,
    percent,
    positions,
    sample_id_text,
    scaler_text,
    short,
    split_text,
    verdict,
)
from pipeline.schema import UNLABELLED, ColumnStatistics, Drifted, Prepared, Shift

TEMPLATES = Path(__file__).parent
MAX_SAMPLES = 20  # quarantined rows
RAW_CHARACTERS = 300
SECONDS_PER_DAY = 86_400
AFTER_PREPARE = ("description", "model", "train", "evaluate", "register", "schedule")  # the page is of what decides the result alone

Sample = tuple[str, str, str]  # rule, reason, raw


@dataclass(frozen=True)
class Step:
    """What one column becomes in the packed vector."""

    column: str
    positions: str
    method: str
    text: str


@dataclass(frozen=True)
class Card:
    """One column of the train rows."""

    name: str
    kind: str
    role: str
    found: ColumnStatistics
    share_missing: float
    is_estimate: bool  # of the distinct values; the most frequent ones are of a sample then
    moments: list[tuple[str, str]]
    histogram: Markup | None
    ends: tuple[str, str]  # of the histogram
    becomes: str


def render(
    recipe: Recipe,
    facts: Prepared,
    source: str,
    quarantine: Sequence[Sample],
    text_examples: Sequence[tuple[str, Sequence[str]]] = (),
    media: Sequence[Example] = (),
) -> str:
    """The page. It depends on nothing but the arguments, and of the recipe on what prepare reads: the same facts give the same bytes.

    Args:
        recipe: as it was run.
        facts: of the manifest.
        source: where the rows came from.
        quarantine: as `sample_quarantine` gives it.
        text_examples: train texts and their augmented copies.
        media: train images or sounds and their augmented copies.
    """
    loader = jinja2.FileSystemLoader(TEMPLATES, encoding="utf-8")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, finalize=visible, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(percent=percent, figure=figure, short=short, count=lambda number: f"{number:,}", operation=operation_text)
    settings = {name: value for name, value in recipe.resolved().items() if name not in AFTER_PREPARE}
    return environment.get_template("report.html.j2").render(
        recipe=recipe,
        recipe_yaml=yaml.safe_dump(settings, sort_keys=False, allow_unicode=True),
        facts=facts,
        source=source,
        findings=find(recipe, facts),
        split_text=split_text(recipe),
        class_names=by_frequency(facts),
        min_class_rows=MIN_CLASS_ROWS,
        max_nulls=MAX_NULLS,
        target=target_figure(facts),
        leaks=[(leak, leak_text(leak, recipe), verdict(leak)) for leak in facts.audit],
        shifts=worst_first(facts.drift),
        cards=list(cards(recipe, facts)),
        steps=list(steps(facts)),
        channels=channels(facts),
        media=media,
        content_word={"image": "image", "audio": "sound"}.get(recipe.columns[recipe.content].kind if recipe.content else "", "row"),
        sample_id=sample_id_text(recipe),
        target_text=scaler_text(facts.target) if facts.target else "",
        uncounted=[(name, column) for name, column in recipe.columns.items() if name not in facts.statistics],
        quarantine=quarantine,
        max_raw=RAW_CHARACTERS,
        text_examples=text_examples,
    )


def sample_quarantine(files: Path, limit_per_rule: int = 3) -> list[Sample]:
    """(rule, reason, raw) of a few quarantined rows of every rule, at most `MAX_SAMPLES`, from the first files that have some.

    Args:
        files: of the attempt; the rows are in its `quarantine/`.
        limit_per_rule: rows of one rule.
    """
    found: dict[str, list[Sample]] = defaultdict(list)
    for path in sorted((files / "quarantine").glob("*.parquet")):
        rules = pq.read_table(path, columns=["rule"])["rule"]
        wanted = {rule: limit_per_rule - len(found[rule]) for rule in pc.unique(rules).to_pylist()}
        places = [pc.indices_nonzero(pc.equal(rules, rule))[:number] for rule, number in wanted.items() if number > 0]
        if places:
            rows = pq.read_table(path, columns=["rule", "reason", "raw"]).take(pa.concat_arrays(places))
            for row in rows.to_pylist():
                found[row["rule"]].append((row["rule"], row["reason"] or "", cut(row["raw"] or "", RAW_CHARACTERS)))
    by_turn = sorted((turn, rule) for rule, samples in found.items() for turn in range(len(samples)))
    return [found[rule][turn] for rule, turn in sorted((rule, turn) for turn, rule in by_turn[:MAX_SAMPLES])]


def visible(value: Any) -> Any:
    """Text with the code of every character that a reader could not see, or that would turn the text around."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(shown(character) for character in value)


def shown(character: str) -> str:
    is_hidden = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in "\n\t"
    return character.encode("unicode_escape").decode() if is_hidden else character


def by_frequency(facts: Prepared) -> list[str]:
    """The classes, most frequent in the train rows first."""
    counts = facts.splits["train"].label_counts
    return sorted(facts.classes, key=lambda name: -counts.get(name, 0))


def target_figure(facts: Prepared) -> tuple[Markup, str, str] | None:
    """(histogram, its ends) of a regression's label."""
    found = facts.statistics.get(facts.label)
    if facts.task != "regression" or found is None or found.histogram is None:
        return None
    drawn = figures.histogram(found.histogram, histogram_title(facts.label, found), width=640, height=120)
    return drawn, figure(found.histogram.edges[0]), figure(found.histogram.edges[-1])


def worst_first(drift: Drifted | None) -> list[Shift]:
    verdicts = ("fail", "warn", "ok")
    return sorted(drift.shifts if drift else (), key=lambda shift: (verdicts.index(shift.verdict), -shift.psi))


def cards(recipe: Recipe, facts: Prepared) -> Iterator[Card]:
    """One for each column with statistics, in the recipe's order."""
    uses = {step.column: f"{step.method}, {step.positions}" for step in steps(facts)}
    for name, column in recipe.columns.items():
        if (found := facts.statistics.get(name)) is None:
            continue
        as_text = moment if column.kind == "time" else figure
        drawn = found.histogram
        yield Card(
            name=name,
            kind=column.kind,
            role=column.role,
            found=found,
            share_missing=found.nulls / max(found.count + found.nulls, 1),
            is_estimate=found.distinct > SAMPLE,
            moments=moments(found, is_time=column.kind == "time"),
            histogram=figures.histogram(drawn, histogram_title(name, found)) if drawn else None,
            ends=(as_text(drawn.edges[0]), as_text(drawn.edges[-1])) if drawn else ("", ""),
            becomes=becomes(column.role, uses.get(name), facts),
        )


def moments(found: ColumnStatistics, *, is_time: bool) -> list[tuple[str, str]]:
    as_text = moment if is_time else figure
    quantiles = {"0.5": "median", **{name: f"{100 * float(name):g} %" for name in found.quantiles if name != "0.5"}}
    values = {"mean": found.mean, "min": found.min, **{quantiles[name]: value for name, value in found.quantiles.items()}, "max": found.max}
    listed = [(name, as_text(value)) for name, value in values.items() if value is not None]
    if found.std is not None:
        listed.insert(1, ("std", f"{found.std / SECONDS_PER_DAY:,.1f} days" if is_time else figure(found.std)))
    return listed


def histogram_title(name: str, found: ColumnStatistics) -> str:
    """For who hears the page, or points at the figure."""
    low, high = (figure(value) for value in (found.min or 0.0, found.max or 0.0))
    return f"{visible(short(name))}: histogram of {found.count:,} values from {low} to {high}"


def becomes(role: str, use: str | None, facts: Prepared) -> str:
    if role == "label" and facts.task in UNLABELLED:
        return f"kept for evaluation: index of {len(facts.classes)} values"
    if role == "label":
        return "the label, scaled" if facts.target else f"the label: index of {len(facts.classes)} classes"
    if use:
        return use
    return {
        "weight": "how much the row counts in training",
        "sensitive": "kept beside the tensor as text",
        "meta": "for rules and splits; not stored",
    }.get(role, "not stored")


def steps(facts: Prepared) -> Iterator[Step]:
    """The packed vector from its first position to its last."""
    if facts.windows or facts.interactions:
        yield from named_steps(facts)
        return
    place = 0
    for scaler in facts.scalers:
        text = f"{scaler_text(scaler)}; a missing x is {figure(scaler.fill)}"
        yield Step(scaler.column, positions(place, 1), scaler.method, text)
        place += 1
    for encoder in facts.encoders:
        yield Step(encoder.column, positions(place, encoder.width), encoder.method, encoder_text(encoder))
        place += encoder.width
    for time in facts.times:
        text = f"sine and cosine of its place in the {', '.join(time.cycles)}, UTC; a missing time is all zeros"
        yield Step(time.column, positions(place, time.width), "cycles", text)
        place += time.width


def named_steps(facts: Prepared) -> Iterator[Step]:
    """Channels of windows, or ids of interactions, from the first position to the last, by their names."""
    scalers = {scaler.column: scaler for scaler in (*(facts.windows.targets if facts.windows else ()), *facts.scalers)}
    first = {feature_names(encoder)[0]: encoder for encoder in facts.encoders if facts.windows}
    waves = {time_names(time)[0]: time for time in facts.times}
    ids = {encoder.column: encoder for encoder in facts.encoders if facts.interactions}
    for place, name in enumerate(facts.features):
        if name in scalers:
            yield Step(name, positions(place, 1), scalers[name].method, scaler_text(scalers[name]))
        elif name in first:
            yield Step(first[name].column, positions(place, first[name].width), first[name].method, encoder_text(first[name]))
        elif name in waves:
            text = f"sine and cosine of its place in the {', '.join(waves[name].cycles)}, UTC; known ahead"
            yield Step(waves[name].column, positions(place, waves[name].width), "cycles", text)
        elif facts.interactions:
            text = encoder_text(ids[name]) if name in ids else f"ids by falling number of train rows: ids/{('user', 'item')[place]}.parquet"
            yield Step(name, positions(place, 1), "ids", text)


def channels(facts: Prepared) -> list[tuple[str, float, float]]:
    """(channel, mean, std) of the train pixels."""
    sizes = {1: ("grey",), 3: ("red", "green", "blue")}
    names = ("mono",) if facts.tensor.sample_rate else sizes.get(facts.tensor.shape[-1] if facts.tensor.mean else 0, ())
    return list(zip(names, facts.tensor.mean or (), facts.tensor.std or (), strict=False))

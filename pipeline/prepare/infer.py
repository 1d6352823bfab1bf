"""Raw files -> the `source` and `columns` sections of a recipe, to start from: what the first rows suggest, and why.

Guesses only: a comment on each line says what was seen, so that a person can decide. `sample.py` reads, this decides and writes.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import cast, get_args

import yaml

from pipeline.config_errors import suggestion
from pipeline.errors import ConfigError
from pipeline.prepare.sample import Cell, Format, Kind, Sample, read_sample
from pipeline.prepare.source import SUFFIXES, list_files
from pipeline.schema import SAMPLE_ID
from pipeline.sections.data import Source

NULLS = ("", "?", "NA", "N/A", "n/a", "null", "NULL", "NaN", "nan")  # texts that mean in many files that a value is missing
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
PADDED = re.compile(r"0\d+")  # 007 is a name
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
ISO_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?")
KEY_NAME = re.compile(r"id|ID|Id|.+_(id|ID|Id)|.*[a-z](Id|ID)")
MOSTLY = 0.95  # share of a column's texts that are numbers (times), for it to be one of numbers (times)
MANY_VALUES = 50  # of a category: more ask for another encoding than a position for each
FEW_NUMBERS = 20  # a label of so many different whole numbers, or fewer, holds classes


@dataclass(frozen=True)
class Profile:
    """What a column seems to hold, and what for."""

    name: str
    kind: Kind
    values: Sequence[Cell]  # those that are not missing
    fitting: Sequence[Cell]  # of these, those that are of the kind
    num_nulls: int
    role: str = "feature"
    remarks: tuple[str, ...] = ()

    @property
    def num_distinct(self) -> int:
        return len(set(self.values))

    def seen_as(self, role: str, *remarks: str, kind: Kind | None = None) -> Profile:
        return replace(self, role=role, kind=kind or self.kind, remarks=(*self.remarks, *remarks))


def infer(path: str, *, format: str | None = None, separator: str | None = None, label: str | None = None, limit: int = 10_000) -> str:
    """YAML of the two sections. Starts no Spark.

    Args:
        path: a local file, folder or glob.
        format: one of csv, jsonl, parquet, orc; None: as the files' names end.
        separator: of CSV, a character or `tab`; None: found in the file.
        label: the column to learn; None: a comment says that one has to be chosen.
        limit: rows to look at, >= 1.

    Raises:
        ConfigError: no such path, no such format or none that can be told, a label that cannot be one.
        DataError: a file cannot be read, or there is no row.
    """
    known = check_format(path, format)
    files = list_files(Source(format=known, path=path), Path()).files
    sample = read_sample(path, files, known, check_separator(separator), limit)
    nulls = find_nulls(sample) if known in ("csv", "jsonl") else {}
    profiles = assign_roles(profile_all(sample, nulls), label)
    lines = [*head(path, sample, profiles), *source_lines(path, known, sample, nulls), *column_lines(profiles, sample)]
    return "\n".join(lines) + "\n"


def check_format(path: str, given: str | None) -> Format:
    """The format given, or found by the names of a path's files."""
    known = get_args(Format)
    if "://" in path or path.startswith("bundled:"):
        raise ConfigError(f"{path}: expected a local file, folder or glob. Copy some of the files here and name those.")
    if not any(mark in path for mark in "*?[") and not Path(path).exists():
        raise ConfigError(f"{path}: no such file or folder (from {Path.cwd()}). Name one that exists, or a glob in quotes.")
    if given is not None and given not in known:
        raise ConfigError(f"--format {given}: expected one of {', '.join(known)}{suggestion(given, known)}")
    names = [file.name for file in Path(path).rglob("[!._]*")] if Path(path).is_dir() else [path]
    found = [given] if given else [each for each in known if any(name.lower().endswith(SUFFIXES[each]) for name in names)]
    if len(found) != 1:
        raise ConfigError(f"{path}: names of {' and '.join(found) or 'no known'} files. Say which to read: --format {'|'.join(known)}.")
    return cast(Format, found[0])


def check_separator(given: str | None) -> str | None:
    found = {"tab": "\t", "\\t": "\t"}.get(given or "", given)
    if found is not None and len(found) != 1:
        raise ConfigError(f"--separator {given}: expected one character, or `tab`.")
    return found


def find_nulls(sample: Sample) -> dict[str, int]:
    """Texts that stand for a missing value, and how often; the empty one first."""
    counts = Counter(cell for cells in sample.cells.values() for cell in cells if cell in NULLS)
    return {text: counts[text] for text in NULLS if counts[text]}


def profile_all(sample: Sample, nulls: Mapping[str, int]) -> list[Profile]:
    stored = [
        profile(name, [cell for cell in cells if cell is not None and cell not in nulls], len(cells), sample.kinds.get(name))
        for name, cells in sample.cells.items()
        if name not in sample.folders and not cannot_be_read(name)
    ]
    folders = [profile(name, [cell for cell in cells if cell is not None], len(cells), None) for name, cells in sample.folders.items()]
    return stored + [replace(found, remarks=("from the folders' names", *found.remarks)) for found in folders]


def cannot_be_read(name: str) -> bool:
    return name.startswith("_") or "`" in name


def profile(name: str, values: Sequence[Cell], num_cells: int, stored: Kind | None) -> Profile:
    kind = stored or guess_kind([str(value) for value in values])
    fitting, remarks = [value for value in values if FITS[kind](str(value))], []
    if num_odd := len(values) - len(fitting):
        odd = next(value for value in values if not FITS[kind](str(value)))
        remarks.append(f"{num_odd} no {kind}, e.g. {shown(odd)}: such rows go to quarantine")
    if kind == "category" and values and all(DECIMAL_COMMA.fullmatch(str(value)) for value in values):
        remarks.append("numbers with a decimal comma are not read as such: write a point in the source")
    if kind == "category" and stored is None and any(PADDED.fullmatch(str(value)) for value in values):
        remarks.append("leading zeros, hence no number")
    return Profile(name, kind, values, fitting, num_cells - len(values), remarks=tuple(remarks))


def guess_kind(texts: Sequence[str]) -> Kind:
    if not texts or any(map(PADDED.fullmatch, texts)):
        return "category"
    kinds: tuple[Kind, ...] = ("number", "time")
    return next((kind for kind in kinds if sum(map(FITS[kind], texts)) >= MOSTLY * len(texts)), "category")


def is_number(text: str) -> bool:
    return NUMBER.fullmatch(text) is not None and math.isfinite(float(text))


def is_time(text: str) -> bool:
    if not ISO_TIME.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


FITS: dict[Kind, Callable[[str], bool]] = {"number": is_number, "time": is_time, "category": lambda text: True}


def assign_roles(profiles: Sequence[Profile], label: str | None) -> list[Profile]:
    """The profiles with their roles; at most one key."""
    names = [found.name for found in profiles]
    if label is not None and label not in names:
        raise ConfigError(f"--label {label}: not one of the columns {names}{suggestion(label, names)}")
    roles: list[Profile] = []
    for found in profiles:
        has_key = any(other.role == "key" for other in roles)
        roles.append(as_label(found) if found.name == label else without_own_name(with_role(found, has_key)))
    return roles


def without_own_name(found: Profile) -> Profile:
    """The column, left unread where a recipe could not have it."""
    if found.name != SAMPLE_ID or found.role in ("key", "ignore"):
        return found
    return found.seen_as("ignore", f"prepared files have a column {found.name} of their own: rename it in the source to use it")


def as_label(found: Profile) -> Profile:
    if found.kind == "time":
        raise ConfigError(f"--label {found.name}: holds times. Expected a column of classes or of numbers to learn.")
    remarks = ["rows without it go to quarantine"] if found.num_nulls else []
    remarks += ["one value: nothing to learn"] if found.num_distinct < 2 else []
    if found.kind == "category":
        return found.seen_as("label", *remarks)
    numbers = set(map(as_number, found.fitting))
    if len(numbers) > FEW_NUMBERS or not all(number.is_integer() for number in numbers):
        return found.seen_as("label", *remarks)
    return replace(found, remarks=()).seen_as("label", *remarks, kind="category")  # any text is a class


def with_role(found: Profile, has_key: bool) -> Profile:
    if found.num_distinct < 2:
        return found.seen_as("ignore", "always the same" if found.values else "never a value")
    if found.kind == "time":
        return found.seen_as("meta", "for rules and splits; as a feature: cycles: [day, week, year] in place of role")
    if KEY_NAME.fullmatch(found.name):
        if found.num_nulls or found.num_distinct < len(found.values):
            remark = f"names a group, not a row; split: {{by: group, column: {scalar(found.name)}}} keeps it in one split"
            return found.seen_as("meta", remark, kind="category")
        return found.seen_as("ignore", "another key", kind="category") if has_key else found.seen_as("key", kind="category")
    if found.kind == "category" and found.num_distinct > MANY_VALUES:
        name = scalar(found.name)
        return found.seen_as("feature", f"many values: encode: {{{name}: vocabulary}} or {{{name}: hash}}, or role: ignore")
    return found


def head(path: str, sample: Sample, profiles: Sequence[Profile]) -> Iterator[str]:
    rows = f"all {sample.num_rows:,} rows" if sample.is_whole else f"the first {sample.num_rows:,} rows"
    yield f"# What {rows} of {shown(path, 120)} suggest. Check every line; then add name, model and register."
    if sample.num_broken:
        yield f"# {sample.num_broken:,} lines are no rows (fields missing or too many, broken JSON): such lines go to quarantine."
    label = next((found for found in profiles if found.role == "label"), None)
    if label is None:
        yield "# CHOOSE THE LABEL: give the column that is to be learnt role: label, or run this again with --label NAME."
    elif label.kind == "number":
        yield f"task: regression  # {shown(label.name)} is a number"


def source_lines(path: str, format: Format, sample: Sample, nulls: Mapping[str, int]) -> Iterator[str]:
    yield "source:"
    yield f"  format: {format}"
    yield f"  path: {scalar(path)}"
    if format == "csv":
        yield f"  separator: {quoted(sample.separator)}"
    if sample.encoding == "utf-16":
        yield "  encoding: utf-16"
    if sample.encoding == "latin-1":
        yield "  encoding: latin-1  # not UTF-8; latin-1 takes any bytes, so look at letters with accents"
    if nulls:
        texts = dict.fromkeys(["", *nulls])
        counts = ", ".join(f"{quoted(text)} {count:,} times" for text, count in nulls.items())
        yield f"  null_values: [{', '.join(map(quoted, texts))}]  # {counts}"


def column_lines(profiles: Sequence[Profile], sample: Sample) -> Iterator[str]:
    """A line for each column, comments below each other."""
    yield "columns:"
    roles = {found.name: "" if found.role == "feature" else f", role: {found.role}" for found in profiles}
    entries = [(f"  {scalar(found.name)}: {{kind: {found.kind}{roles[found.name]}}}", found) for found in profiles]
    width = min(60, max((len(entry) for entry, _ in entries), default=0))
    for entry, found in entries:
        yield f"{entry:<{width}}  # {comment(found)}"
    left_out = {name: f"{what}, for which there is no kind" for name, what in sample.unusable.items()}
    left_out |= {name: "a leading _ and a ` cannot be in a name; rename it in the source" for name in sample.cells if cannot_be_read(name)}
    for name, reason in left_out.items():
        yield f"  # left out: {shown(name)}: {reason}"


def comment(found: Profile) -> str:
    nulls = f"{found.num_nulls:,} nulls" if found.num_nulls else "no nulls"
    return "; ".join([f"{nulls}, {found.num_distinct:,} different", *describe_values(found), *found.remarks])


def describe_values(found: Profile) -> Iterator[str]:
    """Range and examples of numbers and times, the most frequent values of categories."""
    examples = list(dict.fromkeys(found.fitting))[:3]
    if found.kind == "category" and 0 < found.num_distinct < len(found.values):
        yield ", ".join(f"{shown(value)} {count:,}" for value, count in Counter(found.values).most_common(3))
    elif found.kind == "category" and examples:
        yield f"e.g. {', '.join(map(shown, examples))}"
    elif found.kind == "number" and examples:
        numbers = sorted(map(as_number, found.fitting))
        yield f"{brief(numbers[0])} to {brief(numbers[-1])}, e.g. {', '.join(brief(as_number(value)) for value in examples)}"
    elif examples:
        yield f"{min(map(str, found.fitting))} to {max(map(str, found.fitting))}"


def as_number(value: Cell) -> float:
    return float(value or 0)


def brief(number: float) -> str:
    return f"{number:.0f}" if number.is_integer() and abs(number) < 1e15 else f"{number:.6g}"


def shown(value: Cell, width: int = 30) -> str:
    """A value within a comment: one line, no longer than it helps."""
    text = repr(value)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def scalar(text: str) -> str:
    """Text as YAML, quoted where YAML would read something else."""
    plain = yaml.safe_dump([text], default_flow_style=True, width=math.inf, allow_unicode=True).strip()[1:-1]
    return plain if plain == text else quoted(text)


def quoted(text: str) -> str:
    return yaml.safe_dump(text, default_style='"', width=math.inf, allow_unicode=True).strip()

"""What is counted while rows are staged. Tallies of parts of the rows add up to that of all, in any order, to the last digit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pipeline.prepare.sketch import Sketch, from_json, merge, to_json
from pipeline.prepare.sketching import dump, undump


@dataclass
class Tally:
    """Of some rows. Grows; never sent anywhere but as bytes."""

    rows: int = 0
    dropped: Counter[str] = field(default_factory=Counter)  # rule -> rows
    changed: Counter[str] = field(default_factory=Counter)  # index of a value rule, as text -> values
    found: Counter[str] = field(default_factory=Counter)  # place in FOUND, as text -> personal data found
    nulls: Counter[str] = field(default_factory=Counter)  # column -> kept rows without a value
    labels: dict[str, Counter[str]] = field(default_factory=dict)  # split -> label -> kept rows
    staged: dict[str, dict[str, int]] = field(default_factory=dict)  # split -> partition -> kept rows
    quarantined: dict[str, int] = field(default_factory=dict)  # partition -> dropped rows
    writers: dict[str, str] = field(default_factory=dict)  # partition -> folder of the task that counted it, see task_files.py
    times: dict[str, tuple[float, float]] = field(default_factory=dict)  # split -> first and last time of its rows
    totals: list[list[int]] = field(default_factory=list)  # what the content's kind counts of the train rows; empty of no train rows
    sketches: dict[str, Sketch] = field(default_factory=dict)  # of the train rows
    windows: Counter[str] = field(default_factory=Counter)  # what else is counted of windows, by name

    def add(self, other: Tally) -> None:
        self.rows += other.rows
        for mine, theirs in ((self.dropped, other.dropped), (self.changed, other.changed), (self.nulls, other.nulls)):
            mine.update(theirs)
        self.windows.update(other.windows)
        self.found.update(other.found)
        for split, counts in other.labels.items():
            self.labels.setdefault(split, Counter()).update(counts)
        for split, rows in other.staged.items():
            self.staged.setdefault(split, {}).update(rows)
        self.quarantined.update(other.quarantined)
        self.writers.update(other.writers)
        for split, (first, last) in other.times.items():
            known = self.times.get(split, (first, last))
            self.times[split] = (min(first, known[0]), max(last, known[1]))
        pairs = zip(self.totals or [[0] * len(row) for row in other.totals], other.totals, strict=True) if other.totals else ()
        self.totals = [[a + b for a, b in zip(left, right, strict=True)] for left, right in pairs] or self.totals
        self.sketches = {
            **self.sketches,
            **{name: merge(self.sketches[name], sketch) if name in self.sketches else sketch for name, sketch in other.sketches.items()},
        }

    def dump(self) -> bytes:
        fields: dict[str, Any] = {
            **self.__dict__,
            "sketches": {name: to_json(sketch, packed=True) for name, sketch in self.sketches.items()},
        }
        return dump(fields)

    def kept(self, split: str) -> int:
        return sum(self.staged.get(split, {}).values())


def load_tally(state: bytes) -> Tally:
    fields = undump(state)
    return Tally(
        rows=fields["rows"],
        dropped=Counter(fields["dropped"]),
        changed=Counter(fields["changed"]),
        nulls=Counter(fields["nulls"]),
        found=Counter(fields["found"]),
        labels={split: Counter(counts) for split, counts in fields["labels"].items()},
        staged=fields["staged"],
        quarantined=fields["quarantined"],
        writers=fields["writers"],
        times={split: (first, last) for split, (first, last) in fields["times"].items()},
        totals=fields["totals"],
        sketches={name: from_json(value) for name, value in fields["sketches"].items()},
        windows=Counter(fields["windows"]),
    )


def merge_tallies(states: Iterable[bytes]) -> bytes:
    total = Tally()
    for state in states:
        total.add(load_tally(state))
    return total.dump()

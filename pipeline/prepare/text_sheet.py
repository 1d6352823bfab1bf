"""A few train texts beside their augmented copies, for the report: what the operations really do to this data."""

from __future__ import annotations

from pathlib import Path

from pipeline.config import Recipe
from pipeline.prepare.augment import augment
from pipeline.prepare.staging import read_staged
from pipeline.prepare.tally import Tally
from pipeline.schema import SAMPLE_ID

NUM_TEXTS, NUM_COPIES = 4, 2
SHOWN_CHARACTERS = 300

Example = tuple[str, tuple[str, ...]]  # a text and copies of it


def text_examples(recipe: Recipe, tally: Tally, work: Path) -> list[Example]:
    """The first train rows as they are staged, and the very copies that are packed; none where there are no texts or copies."""
    name, options = recipe.content, recipe.augment
    if name is None or recipe.columns[name].kind != "text" or not options.copies:
        return []
    first = min(map(int, tally.staged["train"]))
    rows = read_staged(work, "train", first).slice(0, NUM_TEXTS)
    return [
        (
            text[:SHOWN_CHARACTERS],
            tuple(
                augment(text, "text", options.operations, seed=options.seed, sample_id=sample_id, copy=copy)[:SHOWN_CHARACTERS]
                for copy in range(1, min(options.copies, NUM_COPIES) + 1)
            ),
        )
        for sample_id, text in zip(rows[SAMPLE_ID].to_pylist(), rows[name].to_pylist(), strict=True)
    ]

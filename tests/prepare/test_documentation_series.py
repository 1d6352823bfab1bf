"""docs/series.md and docs/interactions.md leave out nothing that their sections can say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.sections.interactions import Interactions
from pipeline.sections.series import Windows

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(("page", "model"), [("series.md", Windows), ("interactions.md", Interactions)])
def test_every_key_has_a_row(page, model):
    cells = re.findall(r"^\| ([^|]+) \|", (DOCS / page).read_text(), re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert set(model.model_fields) <= named

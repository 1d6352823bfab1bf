"""docs/faults.md names a test for every fault that has one, and those tests exist."""

from __future__ import annotations

import ast
import re

import pytest

from tests.conftest import PROJECT

NUM_FAULTS = 60
ROWS = [line.split(" | ") for line in (PROJECT / "docs" / "faults.md").read_text().splitlines() if re.match(r"\| \d+ \|", line)]


def test_every_fault_is_on_the_page_once():
    assert sorted(int(row[0].strip("| ")) for row in ROWS) == list(range(1, NUM_FAULTS + 1))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip("| "))
def test_a_fault_has_tests_that_exist_or_says_that_it_has_none(row):
    cell = row[-1].removesuffix(" |")
    named = re.findall(r"`([^`]+)::([^`]+)`", cell)
    assert named or cell == "not yet", cell
    for path, name in named:
        functions = {node.name for node in ast.walk(ast.parse((PROJECT / path).read_text())) if isinstance(node, ast.FunctionDef)}
        assert name in functions, f"{path} has no {name}"

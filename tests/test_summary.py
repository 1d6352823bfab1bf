"""What a person reads of numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.summary import rounded


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.989, "0.9890"), (0.0, "0.000"), (-1.5, "-1.500"), (0.001234, "0.001234"), (45_123.4, "45,123"), (999.96, "1,000"),
        (1.2346e20, "1.235e+20"), (-3.4e38, "-3.400e+38"), (1e-9, "1.000e-09"),
    ],
)  # fmt: skip
def test_numbers_have_four_significant_digits_and_their_whole_part(value, text):
    assert rounded(value) == text


@given(st.floats(-1e300, 1e300))
def test_a_rounded_number_is_within_a_thousandth(value):
    assert math.isclose(float(rounded(value).replace(",", "")), value, rel_tol=1e-3)

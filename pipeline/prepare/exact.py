"""Sums of float64 values without any rounding: the same integer whatever the order of the rows and however they are cut into parts.

A block's values are cut at a common power of two: the parts above it are multiples of one unit, few enough that adding them is exact in
float64 whatever the order. What is below is cut again, until nothing is left; the few partial sums are added as Python integers.

Source: Rump, Ogita, Oishi 2008, Accurate floating-point summation part I, 10.1137/050645671, section 3 (ExtractVector).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

UNIT_BITS = 1074  # sums are counted in units of 2**-1074, the smallest float64
_BLOCK_BITS = 14
_BLOCK = 2**_BLOCK_BITS - 2  # values; extraction is exact up to this many, and a block's arrays stay in the cache of one core
_SPLITTER = float(2**27 + 1)
_LIMIT = 2.0**500  # squares stay finite

Floats = NDArray[np.float64]


def exact_sum(values: Floats) -> int:
    """Sum of (N,) finite values, in units of 2**-UNIT_BITS.

    Raises:
        ValueError: a value is NaN, infinite, or beyond 2**500.
    """
    return sum(_sum_by_extraction(block.copy(), _LIMIT) for block in _blocks(values))


def exact_sum_of_squares(values: Floats) -> int:
    """Sum of the squares of (N,) finite values, in units of 2**-UNIT_BITS.

    A square below 2**-968 may lose what is smaller than a unit: the same for the same value, so that order still does not matter.

    Raises:
        ValueError: a value is NaN, infinite, or beyond 2**500.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # of values that the sums then refuse
        return sum(_sum_by_extraction(part, _LIMIT**2) for block in _blocks(values) for part in _square(block))


def exact_mean(count: int, total: int) -> float:
    """Correctly rounded mean of `count` values, from their `exact_sum`."""
    return total / (count << UNIT_BITS)


def exact_std(count: int, total: int, total_of_squares: int) -> float:
    """Correctly rounded population standard deviation, from `exact_sum` and `exact_sum_of_squares`."""
    spread = ((count * total_of_squares) << UNIT_BITS) - total**2  # count**2 times the variance
    return _root(max(spread, 0), (count << UNIT_BITS) ** 2)  # below 0 only where squares were too small for a unit


def _blocks(values: Floats) -> Iterator[Floats]:
    for start in range(0, len(values), _BLOCK):
        yield values[start : start + _BLOCK]


def _square(values: Floats) -> tuple[Floats, Floats]:
    """(rounded squares, what rounding took away). Source: Dekker 1971, 10.1007/BF01397083, with Veltkamp's split into 26-bit halves."""
    squares = values * values
    high = values * _SPLITTER
    high -= high - values
    low = values - high
    errors = high * high
    errors -= squares
    high *= low
    high += high
    errors += high
    low *= low
    errors += low
    return squares, errors


def _sum_by_extraction(rest: Floats, limit: float) -> int:
    """Exact sum in units; uses `rest` up."""
    total = 0
    cut = np.empty_like(rest)
    while largest := max(float(rest.max()), -float(rest.min())):
        if not largest <= limit:
            raise ValueError(f"Exact sums expect finite values up to {_LIMIT:g}, received one that is not.")
        boundary = math.ldexp(1.0, math.frexp(largest)[1] + _BLOCK_BITS)
        np.add(rest, boundary, out=cut)
        cut -= boundary
        rest -= cut
        total += _in_units(float(cut.sum()))
    return total


def _in_units(value: float) -> int:
    numerator, denominator = value.as_integer_ratio()
    return (numerator << UNIT_BITS) // denominator


def _root(numerator: int, denominator: int) -> float:
    """Correctly rounded square root of a fraction: from 64 bits or more, the last one odd if there is more below.

    Source: Boldo, Melquiond 2008, 10.1109/TC.2007.70819 (rounding to odd).
    """
    shift = max(0, 130 + denominator.bit_length() - numerator.bit_length()) // 2
    quotient, rest = divmod(numerator << (2 * shift), denominator)
    root = math.isqrt(quotient)
    return (root | (rest > 0 or root * root < quotient)) / (1 << shift)

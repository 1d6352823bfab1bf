"""Columns that the pipeline adds to the declared ones while rows go through Spark.

    <declared columns>   typed: number and time double (time: seconds since 1970), category string, image binary (packed pixels)
    KEY                  text that names the row for ever (a key column's value, an image's path); null where the content names it
    CONTENT              two longs: 128 bits of hash of the declared content, equal for equal rows
    ORDER                long: hash of the key, or of the content where there is no key; decides partition and order
    SPLIT                train, validation or test; null for rows that were dropped before they got one
    RULE, REASON, RAW    null, or what sends the row to quarantine, why, and what was read, as JSON
    CHANGES              ints: how many of the row's values each value rule changed

The hash is Spark's xxhash64, whose value is part of Spark's contract. Nulls, which it passes over, are hashed as flags.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F

KEY, ORDER, SPLIT, RULE, REASON, RAW, CHANGES = "_key", "_order", "_split", "_rule", "_reason", "_raw", "_changes"
CONTENT = ("_content_high", "_content_low")
FOUND = "_found"  # of privacy: how often each kind stands in each text-like column, ints
FEATURES, NEAR, GROUP = "_features", "_near", "_group"  # hashes that the leak audit compares
NUMBERS, FLOATS = "_numbers", "array<double>"  # all number columns of a row, where they leave the JVM


def col(name: str) -> Column:
    """A column by its whole name, dots included."""
    return F.col(f"`{name}`")


def hash_of(salt: str | int, values: Sequence[Column], numbers: Sequence[Column] = ()) -> Column:
    """64 bits of hash of some values, null told from every value. Another salt gives an independent hash.

    Args:
        salt: of the hash.
        values: of any type.
        numbers: doubles, none of them NaN; many of them cost little here.
    """
    packed = [F.array(*(F.coalesce(number, F.lit(math.nan)) for number in numbers))] if numbers else []
    return F.xxhash64(F.lit(salt), *packed, *values, *(F.isnull(value) for value in values))


def seldom(value: Column) -> Column:
    """The same value, worked out by Spark's interpreter: for what few rows need.

    Spark writes every expression of a step into one Java method; what is too long for Java's compiler makes all rows slow.
    """
    return F.transform(F.array(value), lambda only: only)[0]


def fraction_of(hashed: Column) -> Column:
    """A 64-bit hash as a number in [0, 1); its upper 52 bits, exact in a double."""
    return F.shiftrightunsigned(hashed, 12).cast("double") / float(2**52)

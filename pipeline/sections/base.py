"""What every section of a recipe has in common."""

from __future__ import annotations

import re
import warnings
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

JAVA_ONLY = ("bad escape", "unknown extension ?<")  # what Python has against \p{Lu} and (?<name>…), which Java takes


def _compiles(pattern: str) -> str:
    """Most mistakes are told without Java; `prepare.validate.check_patterns` finds the rest."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of && in a character class
        try:
            re.compile(pattern)
        except re.error as error:
            if not error.msg.startswith(JAVA_ONLY):
                raise ValueError(f"pattern {pattern!r} is not a regular expression: {error}") from None
    return pattern


def _names_groups(pattern: str) -> str:
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"pattern {pattern!r} is not a regular expression: {error}") from None
    if not found.groupindex:
        raise ValueError(f"pattern {pattern!r} names no group; expected one for each column, such as (?P<label>[a-z]+)")
    return pattern


Fraction = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
Pattern = Annotated[str, AfterValidator(_compiles)]  # Java's regular expressions
PathPattern = Annotated[str, AfterValidator(_names_groups)]  # Python's
T = TypeVar("T", bound="Section")


class Section(BaseModel):
    """Base of every section: frozen, no unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def exactly_one(section: T) -> T:
    """The section, if one of its fields is set and no more.

    Raises:
        ValueError: with the fields that are set.
    """
    if len(given := set_fields(section)) != 1:
        raise ValueError(f"expected exactly one of {', '.join(type(section).model_fields)}, received {given}")
    return section


def in_order(low: float | None, high: float | None) -> None:
    """Raises ValueError for a smallest value above the largest."""
    if low is not None and high is not None and low > high:
        raise ValueError(f"expected min up to max, received min: {low:g} and max: {high:g}")


def set_fields(section: Section) -> list[str]:
    return [name for name in type(section).model_fields if getattr(section, name) is not None]

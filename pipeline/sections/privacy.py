"""The section `privacy`: what is looked for in text, what becomes of it, and how small a group of people may be."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from pipeline.sections.base import Section, exactly_one

Kind = Literal["mail", "phone", "card", "iban", "ip", "name"]
ACTIONS = ("fail", "warn", "drop_rows", "mask", "drop", "hash", "generalise")
OF_FINDINGS = ("fail", "warn", "drop_rows", "mask")  # these do something only where something is found


class Generalise(Section):
    """A coarser value; exactly one way."""

    step: PositiveFloat | None = None  # numbers: down to a multiple of it; 37 with step 10 is 30
    to: Literal["day", "month", "year"] | None = None  # times: the beginning of it, UTC
    prefix: PositiveInt | None = None  # categories: the first so many characters
    values: dict[str, str] | None = None  # categories: another text for each; what is not listed becomes `(other)`

    @model_validator(mode="after")
    def is_one_way(self) -> Self:
        return exactly_one(self)

    @property
    def kind(self) -> str:
        """The kind of column that it is for."""
        return "number" if self.step is not None else "time" if self.to is not None else "category"


class Action(Section):
    """What becomes of one column; exactly one key, or the key alone as a text.

    | action | |
    |---|---|
    | fail | the run fails if anything is found |
    | warn | what is found is counted and said, and stays |
    | drop_rows | rows in which something is found go to quarantine, without this column |
    | mask | what is found becomes `[mail]`, `[phone]`, … |
    | drop | every value is missing from here on |
    | hash | every value becomes its HMAC-SHA256, 64 hexadecimal digits |
    | generalise | every value becomes a coarser one |
    """

    fail: Literal[True] | None = None
    warn: Literal[True] | None = None
    drop_rows: Literal[True] | None = None
    mask: Literal[True] | None = None
    drop: Literal[True] | None = None
    hash: Literal[True] | None = None
    generalise: Generalise | None = None

    @model_validator(mode="before")
    @classmethod
    def name_alone(cls, value: Any) -> Any:
        return {value: True} if isinstance(value, str) else value

    @model_validator(mode="after")
    def is_one_action(self) -> Self:
        return exactly_one(self)

    @property
    def name(self) -> str:
        return next(name for name in ACTIONS if getattr(self, name) is not None)


class Anonymity(Section):
    """How well rows hide among those with the same values of some columns, over all rows that are kept."""

    columns: Annotated[tuple[str, ...], Field(min_length=1)]  # what others may know of a person: quasi-identifiers
    sensitive: str | None = None  # what they should not learn
    min_k: PositiveInt = 2  # rows of the smallest group. Source: Sweeney 2002, 10.1142/S0218488502001648
    min_l: PositiveInt = 1  # different sensitive values in every group. Source: Machanavajjhala et al. 2007, 10.1145/1217299.1217302
    below: Literal["warn", "fail"] = "warn"

    @model_validator(mode="after")
    def has_what_it_needs(self) -> Self:
        if self.min_l > 1 and self.sensitive is None:
            raise ValueError("min_l goes with sensitive: the column whose values should differ in every group")
        if self.sensitive in self.columns:
            raise ValueError(f"sensitive: {self.sensitive} cannot be one of the columns that groups are made of")
        return self


class Privacy(Section):
    """Applied as soon as a row is read: nothing that a run writes holds what was masked, hashed, dropped or generalised."""

    columns: dict[str, Action] = {}
    otherwise: Literal["warn", "fail", "ignore"] = "warn"  # for what is found in a column without an action of its own
    kinds: tuple[Kind, ...] = ("mail", "phone", "card", "iban", "ip")  # looked for; `name` too if there is a list of names
    names: str | None = None  # a UTF-8 file, one name a line; its letter case does not matter
    key_from: str | None = None  # environment variable with the key of `hash`, 16 bytes or more
    anonymity: Anonymity | None = None

    @model_validator(mode="after")
    def has_what_it_needs(self) -> Self:
        hashed = [name for name, action in self.columns.items() if action.hash]
        if bool(hashed) != (self.key_from is not None):
            raise ValueError("key_from: the environment variable with the key goes with hash, and only with it")
        if ("name" in self.kinds) and self.names is None:
            raise ValueError("kinds: name goes with names, a file with one name a line")
        return self

    @property
    def sought(self) -> tuple[Kind, ...]:
        return (*self.kinds, "name") if self.names is not None and "name" not in self.kinds else self.kinds

"""The section `interactions`: who took what and when, for a model that tells what somebody will take next."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from pipeline.sections.base import Section


class Interactions(Section):
    """A row of the source is something that happened: a positive. Negatives are items that the user never took, drawn as files are written.

    Category features other than user and item are features of the item.
    """

    user: str  # a category feature
    item: str  # a category feature
    time: str | None = None  # a column of kind: time; needed by split: {by: user_time}, and to tell the first of repeated pairs
    weight: str | None = None  # a number column with role: meta: the weight of a positive, > 0
    test_last: PositiveInt = 1  # of split: {by: user_time}: each user's last so many interactions are for test
    validation_last: PositiveInt = 1  # … and those before for validation; users with no more than both are train rows alone
    repeats: Literal["first", "keep"] = "first"  # of a user and an item that met several times: the first alone, or all
    negatives: PositiveInt = 4  # for each positive of train
    candidates: PositiveInt = 20  # negatives for each positive of validation and test, always the same ones
    sampling: Literal["uniform", "popularity"] = "popularity"  # of items: all alike, or by train rows ^ 0.75
    min_user: PositiveInt = 1  # train rows; who has fewer shares id 0 with the unknown
    min_item: PositiveInt = 1
    max_ids: Annotated[int, Field(ge=1, le=10_000_000)] = 1_000_000  # users, and items, with an id of their own: the most frequent ones
    seed: NonNegativeInt = 0

    @property
    def columns(self) -> dict[str, str]:
        """Columns that a row cannot be without -> what they are."""
        named = {self.user: "user", self.item: "item", self.time: "time", self.weight: "weight"}
        return {name: what for name, what in named.items() if name is not None}

    def negatives_of(self, split: str) -> int:
        """Negatives for each positive of a split."""
        return self.negatives if split == "train" else self.candidates

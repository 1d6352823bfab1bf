"""What does not go with `train.privacy`: all by which a train row would enter more than one noisy sum of an epoch, or a sum uncut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.recipe_file import Location

if TYPE_CHECKING:  # called by the checks of a recipe; nothing here makes one
    from pipeline.config import Recipe


def private_training_problems(recipe: Recipe) -> list[tuple[Location, str]]:
    """Each with its place in the recipe; none without train.privacy."""
    if recipe.train.privacy is None:
        return []
    problems: list[tuple[Location, str]] = []
    if recipe.augment.copies or recipe.augment.balance is not None:
        text = "train.privacy counts each train row once an epoch, and copies take part like rows of their own; change rows in feed.augment"
        problems.append((("augment",), text))
    if recipe.feed.augment.mixup is not None:
        problems.append((("feed", "augment", "mixup"), "mixup puts one row into the gradients of two; it does not go with train.privacy"))
    if recipe.train.precision == "float16" or recipe.train.compression == "float16":
        where = "precision" if recipe.train.precision == "float16" else "compression"
        text = (
            "float16 would scale or round gradients after they were cut to train.privacy.max_grad_norm; use float32 or precision: bfloat16"
        )
        problems.append((("train", where), text))
    return problems

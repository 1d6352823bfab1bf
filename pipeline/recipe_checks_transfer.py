"""What does not go with a section `transfer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.recipe_file import Location
from pipeline.sections.objective import LearningRate

if TYPE_CHECKING:  # called by the checks of a recipe; nothing here makes one
    from pipeline.config import Recipe


def find_transfer_problems(recipe: Recipe) -> list[tuple[Location, str]]:
    """Each with its place in the recipe; none without transfer."""
    if recipe.transfer is None:
        return []
    problems: list[tuple[Location, str]] = []
    if recipe.interactions is not None:
        text = "transfer does not go with interactions: ids of users and items are those of one training's data"
        problems.append((("transfer",), text))
    optimizer, epochs = recipe.train.optimizer, recipe.train.epochs
    is_changed = optimizer.schedule != LearningRate() or optimizer.plateau is not None
    for index, stage in enumerate(recipe.transfer.unfreeze):
        place: Location = ("transfer", "unfreeze", index)
        if stage.epoch > epochs:
            problems.append(((*place, "epoch"), f"unfreeze in epoch {stage.epoch} never comes: train.epochs is {epochs}"))
        if stage.learning_rate is not None and is_changed:
            text = "learning_rate of a stage changes a constant one; it does not go with a schedule, a warm-up or a plateau"
            problems.append(((*place, "learning_rate"), text))
    return problems

"""What the section `interactions` allows alone but a recipe as a whole does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config_errors import suggestion
from pipeline.recipe_file import Location

if TYPE_CHECKING:  # config.load calls this module; at run time nothing here imports config
    from pipeline.config import Recipe

Problem = tuple[Location, str]  # place in the recipe, message


def find_interaction_problems(recipe: Recipe) -> list[Problem]:
    """Every contradiction of a recipe's interactions with its other sections."""
    rules, split = recipe.interactions, recipe.split
    if rules is None:
        text = "by: user_time goes with interactions, and only with them"
        return [(("split", "by"), text)] if split.by == "user_time" else []
    columns = recipe.columns
    of_kind = {
        "user": recipe.names("category"),
        "item": recipe.names("category"),
        "time": [name for name, column in columns.items() if column.kind == "time" and column.role == "meta"],
        "weight": [name for name, column in columns.items() if column.kind == "number" and column.role == "meta"],
    }
    problems: list[Problem] = [
        (("interactions", key), f"interactions.{key}: column {name!r} is not one of {allowed}{suggestion(name, allowed)}")
        for key, allowed in of_kind.items()
        if (name := getattr(rules, key)) is not None and name not in allowed
    ]
    if rules.user == rules.item:
        problems.append((("interactions", "item"), f"user and item cannot be one column, {rules.user}"))
    if split.by not in ("user_time", "time"):
        problems.append((("split", "by"), f"interactions are split by user_time or time, which know no future; received {split.by}"))
    if split.by == "user_time" and rules.time is None:
        problems.append((("interactions",), "split: {by: user_time} needs interactions.time, the column that says what came last"))
    if recipe.task != "classification":
        problems.append((("task",), f"interactions tell taken from not taken; expected task: classification, received {recipe.task}"))
    wrong = [name for name, column in columns.items() if column.role in ("label", "key", "sensitive")]
    wrong += [*recipe.names("number"), *recipe.names("time")]
    if wrong:
        text = "interactions make their own label; besides user and item, features are categories of the item. Use role: meta or ignore"
        problems.append((("columns", wrong[0]), f"{wrong[0]!r}: {text}"))
    if recipe.windows is not None or recipe.content is not None:
        problems.append((("interactions",), "interactions do not go with windows, nor with images, sounds and texts"))
    if recipe.augment.copies or recipe.augment.balance is not None:
        problems.append((("augment",), "interactions are not augmented: negatives are drawn as interactions.negatives says"))
    if recipe.encode:
        problems.append((("encode",), "interactions have ids of their own: leave encode out, and use interactions.min_user and min_item"))
    return problems

"""Facts of prepared data that a model's builder may ask for by name; models/__init__.py says what each is.

Two views of the same table: which facts a recipe's data will have, known before any run, and their values once it is prepared.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pipeline.schema import UNLABELLED, Prepared

if TYPE_CHECKING:  # config.load asks this module; at run time nothing here imports config
    from pipeline.config import Recipe

ALWAYS = frozenset({"num_outputs", "tensor_shape", "tensor_dtype"})
OF_TABLES = frozenset({"num_features", "category_sizes"})
OF_WINDOWS = frozenset({"sequence_shape", "history", "horizon", "num_channels"})
OF_INTERACTIONS = frozenset({"num_users", "num_items"})
OF_CONTENT = {  # by the kind of the one feature that is a whole image, sound or text
    "image": frozenset({"image_shape", "pixel_mean", "pixel_std"}),
    "audio": frozenset({"num_samples", "sample_rate"}),
    "text": frozenset({"sequence_length", "vocabulary_size"}),
}


def names(recipe: Recipe) -> set[str]:
    """Facts that this recipe's prepared data will have."""
    return of_inputs(recipe) - ({"num_outputs"} if recipe.task in UNLABELLED else set())


def of_inputs(recipe: Recipe) -> set[str]:
    if recipe.interactions is not None:
        return set(ALWAYS | OF_INTERACTIONS)
    if recipe.windows is not None:
        return set(ALWAYS | OF_WINDOWS)
    kinds = {column.kind for column in recipe.columns.values() if column.role == "feature"}
    content = next((OF_CONTENT[kind] for kind in OF_CONTENT if kind in kinds), None)
    if any(column.text and column.text.tokens.method == "none" for column in recipe.columns.values()):
        return set(ALWAYS)  # the text itself, for a model that cuts it
    return set(ALWAYS | (OF_TABLES if content is None else content))


def values(facts: Prepared) -> dict[str, Any]:
    """Every fact that can be told of prepared data, by name. What goes with another kind of data is there too, and not asked for."""
    shape = facts.tensor.shape
    return {
        "num_outputs": len(facts.classes) or math.prod(facts.label_shape),
        "tensor_shape": shape,
        "tensor_dtype": facts.tensor.dtype,
        "num_features": shape[0] if shape else 1,
        "category_sizes": category_sizes(facts),
        "image_shape": shape,
        "pixel_mean": facts.tensor.mean,
        "pixel_std": facts.tensor.std,
        "num_samples": shape[0] if shape else 1,
        "sample_rate": facts.tensor.sample_rate,
        "sequence_length": facts.vocabulary.max_tokens if facts.vocabulary else None,
        "vocabulary_size": facts.vocabulary.size if facts.vocabulary else None,
        "sequence_shape": shape,
        "num_users": facts.interactions.num_users if facts.interactions else None,
        "num_items": facts.interactions.num_items if facts.interactions else None,
        "history": facts.windows.history if facts.windows else None,
        "horizon": facts.windows.horizon if facts.windows else None,
        "num_channels": shape[-1],
    }


def category_sizes(facts: Prepared) -> dict[int, int]:
    """Position in the packed vector of each category that is a code -> number of codes, the one for the rest included."""
    codes = {encoder.column: len(encoder.values) + 1 for encoder in facts.encoders if encoder.method in ("ordinal", "vocabulary")}
    return {position: codes[name] for position, name in enumerate(facts.features) if name in codes}

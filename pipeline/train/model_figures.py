"""What a model costs, before it is trained: parameters, arithmetic and memory, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from pipeline import model_facts
from pipeline.config import Recipe
from pipeline.schema import Prepared
from pipeline.train.build import call_builder
from pipeline.train.objective import make_optimizer

BYTES = 4  # of a float32


@dataclass(frozen=True)
class LayerFigures:
    """Of one layer, a row."""

    name: str
    kind: str
    shape: tuple[int | None, ...]  # of the output, without the rows; of the first if there are several
    parameters: int
    flops: int  # multiplications and additions of one row's forward pass, in products with weights and of attention


@dataclass(frozen=True)
class ModelFigures:
    """Of a whole model. Memory is what the numbers need on one rank; TensorFlow itself and its buffers come on top."""

    layers: tuple[LayerFigures, ...]
    trainable: int
    weight_bytes: int
    optimizer_bytes: int
    gradient_bytes: int
    activation_bytes: int  # every layer's output for a rank's rows, which the backward pass keeps

    @property
    def flops(self) -> int:
        return sum(layer.flops for layer in self.layers)

    @property
    def parameters(self) -> int:
        return self.weight_bytes // BYTES

    @property
    def memory_bytes(self) -> int:
        return self.weight_bytes + self.optimizer_bytes + self.gradient_bytes + self.activation_bytes


def measure(model: keras.Model, recipe: Recipe) -> ModelFigures:
    """Figures of a built model under a recipe's training settings."""
    settings = recipe.train
    optimizer = make_optimizer(settings, num_steps=1)
    optimizer.build(model.trainable_variables)
    layers = tuple(of_layers(model))
    rows = math.ceil(settings.global_batch / settings.ranks)
    width = BYTES if settings.precision == "float32" else 2
    trainable = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    return ModelFigures(
        layers=layers,
        trainable=trainable,
        weight_bytes=BYTES * model.count_params(),
        optimizer_bytes=BYTES * sum(math.prod(variable.shape) for variable in optimizer.variables),
        gradient_bytes=BYTES * trainable,
        activation_bytes=width * rows * sum(math.prod(size or 1 for size in layer.shape) for layer in layers),
    )


def of_layers(model: keras.Model) -> Iterator[LayerFigures]:
    """In the order of the model; a model within the model is opened."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from of_layers(layer)
            continue
        outputs = layer.output if not isinstance(layer.output, list | tuple | dict) else next(iter(layer.output))
        yield LayerFigures(layer.name, type(layer).__name__, tuple(outputs.shape[1:]), layer.count_params(), flops_of(layer))


def flops_of(layer: keras.layers.Layer) -> int:
    """Twice the products with weights of one row. Normalisation, activations and look-ups are left out: they cost memory instead."""
    if isinstance(layer, keras.layers.Bidirectional):
        return steps_of(layer) * sum(2 * size for size in matrices(layer))
    if isinstance(layer, keras.layers.RNN):
        return steps_of(layer) * sum(2 * size for size in matrices(layer))
    if isinstance(layer, keras.layers.MultiHeadAttention):
        steps = int(layer.output.shape[1])
        return 2 * steps * sum(matrices(layer)) + 4 * steps**2 * int(layer.num_heads * layer.key_dim)  # projections; scores and their sums
    if isinstance(layer, keras.layers.Conv2DTranspose | keras.layers.Conv1DTranspose):
        return sum(2 * size for size in matrices(layer)) * int(math.prod(layer.input.shape[1:-1]))
    if isinstance(layer, keras.layers.Embedding):
        return 0
    if isinstance(layer, keras.layers.EinsumDense):
        return sum(2 * size for size in matrices(layer))
    positions = math.prod(layer.output.shape[1:-1]) if matrices(layer) else 0
    return sum(2 * size for size in matrices(layer)) * positions


def matrices(layer: keras.layers.Layer) -> list[int]:
    """Sizes of the weights that rows are multiplied with."""
    return [math.prod(weight.shape) for weight in layer.trainable_weights if weight.name.endswith("kernel")]


def steps_of(layer: keras.layers.Layer) -> int:
    return int(layer.input.shape[1])


def build(recipe: Recipe, facts: Prepared | None, given: Mapping[str, Any]) -> keras.Model:
    """The recipe's model of its prepared data, or, where there is none yet, of what the recipe and the user say. Raises ConfigError."""
    allowed = model_facts.names(recipe)
    known = model_facts.values(facts) if facts else from_recipe(recipe)
    return call_builder(recipe, {name: value for name, value in {**known, **given}.items() if name in allowed})


def from_recipe(recipe: Recipe) -> dict[str, Any]:
    """What is known of the data before it is prepared. An image's statistics do not change what a model costs."""
    found: dict[str, Any] = {"num_outputs": 1} if recipe.task == "regression" else {}
    image = next((column for column in recipe.columns.values() if column.kind == "image" and column.role == "feature"), None)
    if image is not None and image.shape is not None:
        channels = image.shape[2]
        found |= {"image_shape": image.shape, "pixel_mean": (127.5,) * channels, "pixel_std": (64.0,) * channels}
    return found

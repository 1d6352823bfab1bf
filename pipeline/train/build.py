"""A recipe's model: built from the facts of its data, compiled with its objective. Every rank does this; so does who only looks at it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipeline import model_arguments, model_facts, user_code
from pipeline.config import Recipe
from pipeline.errors import ConfigError, DataError
from pipeline.feed.reader import LABEL_DTYPES
from pipeline.schema import Prepared
from pipeline.train.horovod import World
from pipeline.train.losses import make_loss
from pipeline.train.metrics import make_metrics
from pipeline.train.objective import check_outputs_are_linear, regularize


def build_model(recipe: Recipe, facts: Prepared) -> keras.Model:
    """The recipe's model, with the facts of its data that its builder asks for by name."""
    allowed = model_facts.names(recipe)
    return call_builder(recipe, {name: value for name, value in model_facts.values(facts).items() if name in allowed})


def call_builder(recipe: Recipe, known: Mapping[str, Any]) -> keras.Model:
    """The recipe's model, of facts.

    Raises:
        ConfigError: a fact is needed that is not known, or the builder refuses what it gets.
    """
    name, folder = recipe.model.name, recipe.folder
    path, function = model_arguments.source_path(name, folder), model_arguments.builder_name(name)
    signature = model_arguments.signature(path, function) if path else None
    if signature is None:
        raise DataError(f"The file of model {name} has gone since the recipe was checked.")
    missing = [fact for fact in signature.given if fact not in known]
    choice = [fact for fact in signature.choice if fact in model_facts.names(recipe)]
    if missing := missing or ([] if set(choice) & set(known) else choice):
        raise ConfigError(
            f"model {name} is built from {', '.join(missing)}, which are not known before the data is prepared. Run `pipeline prepare "
            f"RECIPE` first, or say them to `pipeline model show`: {' '.join(f'--fact {fact}=…' for fact in missing)}"
        )
    module = user_code.load(name.partition(":")[0], folder) if ":" in name else importlib.import_module(f"models.{name}")
    try:
        model = getattr(module, function)(**signature.facts(known), **recipe.model.arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model {name} cannot be built: {error}") from error
    if not isinstance(model, keras.Model):
        raise ConfigError(f"model {name} gave {type(model).__name__}. Expected its builder to return a keras.Model.")
    return model


def compile_model(model: keras.Model, recipe: Recipe, facts: Prepared, optimizer: keras.Optimizer, num_steps: int) -> None:
    settings = recipe.train
    check_outputs_are_linear(model, recipe.model.name)
    regularize(model, settings.regularize)
    model.compile(
        optimizer=optimizer,
        loss=make_loss(settings.loss, facts),
        weighted_metrics=make_metrics(settings.metrics, facts),
        steps_per_execution=min(settings.steps_per_execution, num_steps),
        jit_compile=False,  # XLA would compile Horovod's operations away
    )
    optimizer.build(model.trainable_variables)
    # Keras makes the metrics' variables with the first batch; a resumed epoch needs them before.
    outputs = (1, *model.output_shape[1:])
    labels = tf.zeros((1,) if recipe.task == "classification" else outputs, LABEL_DTYPES[recipe.task])
    model.compute_metrics(None, labels, tf.zeros(outputs), tf.ones((1,)))
    model.reset_metrics()


def vary_random_numbers(model: keras.Model, world: World) -> None:
    """Other dropout on every rank: from the same state of all layers' generators, rank r's seeds move on by r. Once, after each restore.

    Checkpoints hold rank 0's state, which every rank has again when it resumes, so it takes the same distance from it as before.
    """
    for variable in model.variables:
        if world.rank and variable.path.endswith("seed_generator_state"):
            variable.assign(variable.value + np.asarray([world.rank, 0], variable.dtype))

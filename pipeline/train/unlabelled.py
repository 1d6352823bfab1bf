"""Tasks without a label as Keras models that `fit` can train: what wraps what the recipe's builder made, and what is saved of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from pipeline.config import Recipe
from pipeline.errors import ConfigError
from pipeline.feed.plan import Plan
from pipeline.schema import Prepared
from pipeline.sections.objective import LOSSES, Loss, Optimizer
from pipeline.train.adversarial import Adversarial
from pipeline.train.objective import check_outputs_are_linear, make_optimizer, regularize
from pipeline.train.reconstruction import Reconstructing

Summed = Callable[[keras.Optimizer], keras.Optimizer]  # the same optimizer, summing gradients over ranks


def compile_unlabelled(model: keras.Model, recipe: Recipe, facts: Prepared, plan: Plan, lanes: range, summed: Summed) -> keras.Model:
    """What trains a built model without a label, compiled.

    Args:
        model: as the recipe's builder made it.
        recipe: of task autoencoder or gan.
        facts: of the prepared data.
        plan: of the training.
        lanes: this rank's.
        summed: given each optimizer once, unbuilt.

    Raises:
        ConfigError: the model is not one of its task.
    """
    regularize(model, recipe.train.regularize)
    options = {"steps_per_execution": min(recipe.train.steps_per_execution, plan.num_steps), "jit_compile": False}
    if recipe.task == "gan":
        return compile_gan(model, recipe, plan, lanes, summed, options)
    check_gives_back(model, recipe.model.name)
    loss = loss_of(recipe)
    trainer = Reconstructing(model, scale=facts.tensor.std, loss=loss.name, beta=loss.beta)
    trainer.compile(summed(make_optimizer(recipe.train, plan.num_steps)), **options)
    trainer.optimizer.build(model.trainable_variables)
    return trainer


def compile_gan(model: keras.Model, recipe: Recipe, plan: Plan, lanes: range, summed: Summed, options: dict[str, Any]) -> keras.Model:
    check_is_a_pair(model, recipe.model.name)
    settings, loss, share = recipe.train, loss_of(recipe), plan.rows_per_lane_batch
    critic_steps = loss.critic_steps or (5 if loss.name == "wasserstein" else 1)  # 5: Gulrajani et al. 2017, algorithm 1
    rows = range(lanes.start * share, lanes.stop * share)
    trainer = Adversarial(model, objective=loss.name, rows=rows, num_rows=plan.global_batch, critic_steps=critic_steps, seed=settings.seed)

    def make(chosen: Optimizer, updates: int) -> keras.Optimizer:
        return summed(make_optimizer(settings.model_copy(update={"optimizer": chosen}), plan.num_steps * updates))

    trainer.compile(make(settings.optimizer, 1), make(settings.critic_optimizer or settings.optimizer, critic_steps), **options)
    return trainer


def loss_of(recipe: Recipe) -> Loss:
    """The recipe's, else its task's own; wgan_gp brings its own."""
    own = "wasserstein" if recipe.model.name == "wgan_gp" else LOSSES[recipe.task][0]
    return recipe.train.loss or Loss.model_validate(own)


def check_gives_back(model: keras.Model, name: str) -> None:
    """Raises ConfigError for a model whose output is not of its input's shape, or is cut off by an activation."""
    outputs = model.output if isinstance(model.output, dict) else {"reconstruction": model.output}
    again = outputs.get("reconstruction")
    received = None if again is None or isinstance(again, list | tuple) else tuple(again.shape[1:])
    expected = None if isinstance(model.input, list | tuple | dict) else tuple(model.input.shape[1:])
    if received is None or received != expected:
        raise ConfigError(
            f"model {name} takes {expected} and gives {received}. task: autoencoder expects one input, and one output of its shape, "
            "or a dict with `reconstruction` of its shape and `distribution` of (2 x code,)."
        )
    check_outputs_are_linear(model, name)


def check_is_a_pair(model: keras.Model, name: str) -> None:
    """Raises ConfigError for a model without the parts that are trained against each other."""
    if missing := sorted({"generator", "critic"} - {layer.name for layer in model.layers if isinstance(layer, keras.Model)}):
        raise ConfigError(
            f"model {name} has no {' and no '.join(missing)}. task: gan expects two models as its layers, `generator` of (noise,) and "
            "`critic` of an image. models/dcgan.py shows how."
        )


def what_is_saved(built: keras.Model, trained: keras.Model) -> keras.Model:
    """The part of a freshly built model that is the result, with the weights of what was trained: of a gan the generator."""
    if isinstance(trained, Adversarial):
        built, trained = built.get_layer("generator"), trained.generator
    if isinstance(trained, Reconstructing):
        trained = trained.parts
    built.set_weights(trained.get_weights())
    return built

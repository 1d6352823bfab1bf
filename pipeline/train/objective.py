"""The recipe's objective as Keras objects: optimizer, penalties, and what a model must be for its loss."""

from __future__ import annotations

from typing import Any

import keras

from pipeline.errors import ConfigError
from pipeline.sections.objective import Regularize
from pipeline.sections.training import Train
from pipeline.train.schedules import make_learning_rate

KINDS = {
    "sgd": keras.optimizers.SGD,
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "adagrad": keras.optimizers.Adagrad,
    "nadam": keras.optimizers.Nadam,
    "lion": keras.optimizers.Lion,
    "lamb": keras.optimizers.Lamb,
}


def make_optimizer(settings: Train, num_steps: int) -> keras.Optimizer:
    """The optimizer of a training of `num_steps` steps an epoch, for one rank.

    Clipping, weight decay, accumulation and the moving average happen in its `apply`, so after the sum over ranks that horovod.py adds.
    """
    chosen = settings.optimizer
    options: dict[str, Any] = {"weight_decay": chosen.weight_decay, "global_clipnorm": chosen.clip_norm, "momentum": chosen.momentum}
    options |= {"beta_1": chosen.beta_1}
    options = {name: value for name, value in options.items() if value is not None}
    options |= {"nesterov": True} if chosen.nesterov else {}
    options |= {"gradient_accumulation_steps": chosen.accumulate} if chosen.accumulate > 1 else {}
    options |= {"use_ema": True, "ema_momentum": chosen.ema} if chosen.ema is not None else {}
    rate = make_learning_rate(chosen, settings.global_batch, num_steps, settings.epochs)
    optimizer = KINDS[chosen.name](learning_rate=rate, **options)
    return keras.optimizers.LossScaleOptimizer(optimizer) if settings.precision == "float16" else optimizer


def optimizer_variables(model: keras.Model) -> list[keras.Variable]:
    """Of a compiled model: of its optimizer, or of all of them where it has `optimizers`."""
    return [variable for optimizer in getattr(model, "optimizers", [model.optimizer]) for variable in optimizer.variables]


def inner(optimizer: keras.Optimizer) -> keras.Optimizer:
    """The optimizer that holds the moving averages, inside loss scaling or alone."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def regularize(model: keras.Model, settings: Regularize) -> None:
    """Put penalties and limits on every kernel and embedding; a file that is saved from a rebuilt model has none of them."""
    for variable in model.trainable_weights:
        if len(variable.shape) < 2 or variable.name.startswith(("bias", "gamma", "beta")):
            continue
        if settings.l1 or settings.l2:
            variable.regularizer = keras.regularizers.L1L2(settings.l1, settings.l2)
        if settings.max_norm is not None:
            axes = list(range(len(variable.shape) - 1))
            variable.constraint = keras.constraints.MaxNorm(settings.max_norm, axis=axes)


def check_outputs_are_linear(model: keras.Model, name: str) -> None:
    """Every loss here takes logits or scaled numbers, so an activation on the outputs would be applied twice, or cut a label's range off.

    Raises:
        ConfigError: the model ends with a softmax, sigmoid or other bounded activation.
    """
    for layer in {operation.operation for operation in (getattr(output, "_keras_history", None) for output in model.outputs) if operation}:
        activation = getattr(getattr(layer, "activation", None), "__name__", None) or type(layer).__name__.lower()
        if activation in ("softmax", "sigmoid", "tanh", "softplus", "softsign", "relu", "hard_sigmoid", "log_softmax"):
            raise ConfigError(
                f"model {name} ends with {activation} (layer {layer.name}). Expected linear outputs: the losses of train.loss apply "
                "softmax themselves, and a regression's scaled label may be any number. Remove the last activation in the builder."
            )

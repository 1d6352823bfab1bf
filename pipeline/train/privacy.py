"""DP-SGD on any number of ranks: each row's gradient is cut, the cut ones are summed over ranks, noise is added once to the sum.

The noise comes from a counter-based generator whose key every rank has from rank 0, so all add the same numbers to the same sum, and N
ranks give the weights of one. How epsilon is counted is in accounting.py.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipeline.errors import ConfigError
from pipeline.sections.private_training import PrivateTraining
from pipeline.train.accounting import epsilon

MIXES_ROWS = (keras.layers.BatchNormalization, keras.layers.SpectralNormalization)  # keep a state of what they have seen

Tensors = list[Any]


def make_private(model: keras.Model, settings: PrivateTraining) -> None:
    """Let a compiled model train by clipped gradients of single rows. The noise is the optimizer's part, see `add_noise`.

    Raises:
        ConfigError: a layer mixes the rows of a batch, or the model has a training step of its own.
    """
    refuse_mixing(model)
    model.train_step = partial(private_step, model, settings)


def refuse_mixing(model: keras.Model) -> None:
    """Raises ConfigError where a row's gradient would depend on other rows."""
    mixing = [layer.name for layer in model._flatten_layers() if isinstance(layer, MIXES_ROWS)]
    if mixing:
        raise ConfigError(
            f"train.privacy needs gradients of single rows, but {', '.join(mixing)} keeps statistics of batches. Expected a model without "
            "batch normalisation; use layer or group normalisation (models residual_mlp, transformer)."
        )
    if type(model).train_step is not keras.Model.train_step:
        raise ConfigError(
            f"train.privacy replaces the training step, and model {model.name} has one of its own. "
            "Expected a model that Keras trains by its loss."
        )


def private_step(model: keras.Model, settings: PrivateTraining, data: Any) -> Any:
    """What Keras calls for every batch, in its graph."""
    x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
    num_rows = tf.shape(tf.nest.flatten(x)[0])[0]
    weight = tf.ones(tf.shape(y)[:1]) if weight is None else weight
    generators = [variable for variable in model.non_trainable_variables if is_generator(variable)]
    total, losses, outputs = clipped_sum(model, (x, y, weight), settings.max_grad_norm, settings.microbatch)
    for generator in generators:  # every row had its own; the next batch has others
        generator.assign(generator + tf.cast([0, 1], generator.dtype))
    model._loss_tracker.update_state(tf.reduce_mean(losses), sample_weight=num_rows)
    # The optimizer weighs a rank's mean gradient by its share of the rows: what it sums is the sum over all rows / global batch.
    rows = tf.cast(num_rows, tf.float32)
    model.optimizer.apply([gradient / rows for gradient in total], model.trainable_variables)
    return model.compute_metrics(x, y, outputs, sample_weight=weight)


def clipped_sum(model: keras.Model, batch: tuple[Any, Any, Any], max_norm: float, microbatch: int | None) -> tuple[Tensors, Any, Any]:
    """Sum over rows of each row's gradient, cut to `max_norm`.

    Args:
        model: compiled; no layer of it mixes rows.
        batch: inputs, labels (B, …) and weights (B,).
        max_norm: bound of a row's gradient, L2 over all weights.
        microbatch: rows whose gradients are held at once, or None for all B.

    Returns:
        Sums, one for each trainable variable; losses (B,); outputs (B, …).
    """
    num_rows = tf.shape(batch[1])[0]
    held = num_rows if microbatch is None else tf.minimum(microbatch, num_rows)

    def some(begin: Any) -> tuple[Tensors, Any, Any]:
        rows = tf.range(begin, tf.minimum(begin + held, num_rows))
        part = tf.nest.map_structure(lambda tensor: tf.gather(tensor, rows), batch)
        gradients, losses, outputs = tf.vectorized_map(partial(row_gradient, model, max_norm), (rows, part))
        return [tf.reduce_sum(gradient, axis=0) for gradient in gradients], losses, outputs

    if microbatch is None:
        return some(0)
    totals = [tf.zeros(variable.shape) for variable in model.trainable_variables]
    num_parts = (num_rows + held - 1) // held
    losses, outputs = tf.TensorArray(tf.float32, num_parts, infer_shape=False), tf.TensorArray(tf.float32, num_parts, infer_shape=False)

    def add(index: Any, totals: Tensors, losses: Any, outputs: Any) -> tuple[Any, Tensors, Any, Any]:
        more, new_losses, new_outputs = some(index * held)
        sums = [total + gradient for total, gradient in zip(totals, more, strict=True)]
        return index + 1, sums, losses.write(index, new_losses), outputs.write(index, new_outputs)

    _, totals, losses, outputs = tf.while_loop(
        lambda index, *_: index < num_parts, add, (0, totals, losses, outputs), parallel_iterations=1
    )
    joined = tf.ensure_shape(outputs.concat(), model.output_shape)
    return totals, losses.concat(), joined


def row_gradient(model: keras.Model, max_norm: float, row: tuple[Any, tuple[Any, Any, Any]]) -> tuple[Tensors, Any, Any]:
    """One row's cut gradient, loss and output. `row`: its place in the batch, which its random numbers depend on, and the row."""
    place, part = row
    x, y, weight = tf.nest.map_structure(lambda tensor: tensor[None], part)
    state = [own_generator(variable, place) if is_generator(variable) else variable.value for variable in model.non_trainable_variables]
    variables = [variable.value for variable in model.trainable_variables]
    with tf.GradientTape() as tape:
        values = [tf.convert_to_tensor(variable) for variable in variables]
        tape.watch(values)
        output, _, penalties = model.stateless_call(values, state, x, training=True, return_losses=True)
        loss = model._compile_loss(y, output, weight)
        objective = tf.add_n([loss, *penalties]) if penalties else loss
    gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(objective, values, unconnected_gradients="zero")]
    return clip(gradients, max_norm), objective, output[0]


def clip(gradients: Sequence[Any], max_norm: float) -> Tensors:
    """Scaled down together so that their L2 norm is at most `max_norm`; a smaller one stays as it is."""
    norm = tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(gradient)) for gradient in gradients]))
    factor = max_norm / tf.maximum(norm, max_norm)
    return [gradient * factor for gradient in gradients]


def is_generator(variable: keras.Variable) -> bool:
    """Whether it is the state of a layer's random numbers, (seed, count)."""
    return bool(variable.path.endswith("seed_generator_state"))


def own_generator(variable: keras.Variable, place: Any) -> Any:
    """Other random numbers for every row of a batch."""
    offset = tf.stack([tf.cast(place, tf.int64) * 7919, tf.constant(0, tf.int64)])
    return variable.value + tf.cast(offset, variable.dtype)


def add_noise(optimizer: keras.Optimizer, settings: PrivateTraining, global_batch: int) -> keras.Optimizer:
    """The same optimizer, adding normal noise to the mean gradient of a global batch before it does anything else with it.

    To be wrapped by the sum over ranks, so that noise is added once, to the sum. The noise's key is a variable of the optimizer: rank 0
    shares it with all, and checkpoints hold it, so that a resumed training adds the noise that the undisturbed one would have.

    Args:
        optimizer: unbuilt.
        settings: of the recipe.
        global_batch: rows of the mean; its noise has the standard deviation noise_multiplier * max_grad_norm / global_batch.
    """
    base: type = type(optimizer)
    deviation = settings.noise_multiplier * settings.max_grad_norm / global_batch
    key = secrets.randbits(63) if settings.noise_seed is None else settings.noise_seed

    class Noisy(base):  # type: ignore[misc]  # the base is known at run time only
        def build(self, variables: Any) -> None:
            if not self.built:
                super().build(variables)
                self.noise_key = self.add_variable((), initializer="zeros", dtype="int64", name="noise_key")
                self.noise_key.assign(np.int64(key))

        def apply(self, grads: Sequence[Any], trainable_variables: Any = None) -> Any:
            step = tf.cast(self._iterations.value, tf.int64)
            return super().apply(with_noise(grads, deviation, self.noise_key.value, step), trainable_variables)

    return Noisy.from_config(optimizer.get_config())


def with_noise(gradients: Sequence[Any], deviation: float, key: Any, step: Any) -> Tensors:
    """Independent normal numbers on top of every entry; `key` and `step`, int64, decide them all, on any device."""
    noisy = []
    for index, gradient in enumerate(gradients):
        seed = tf.stack([tf.convert_to_tensor(key), step * len(gradients) + index])  # each used once in a training
        noisy.append(gradient + tf.random.stateless_normal(gradient.shape, seed, stddev=deviation, dtype=gradient.dtype, alg="philox"))
    return noisy


class Budget(keras.callbacks.Callback):  # type: ignore[misc]  # Keras publishes no types
    """Writes what each epoch has spent into its logs, and ends training where another epoch would exceed the budget."""

    def __init__(self, settings: PrivateTraining, spent: Callable[[float, int, float], float] = epsilon) -> None:
        super().__init__()
        self.settings, self.spent = settings, spent

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        noise, delta = self.settings.noise_multiplier, self.settings.delta
        if logs is not None:
            logs["epsilon"] = self.spent(noise, epoch + 1, delta)
        if self.spent(noise, epoch + 2, delta) > self.settings.epsilon_budget:
            self.model.stop_training = True

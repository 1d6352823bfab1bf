"""What two real ranks do in half precision: called by ranks.py, looked at by test_models.py."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipeline.sections.objective import Optimizer
from pipeline.sections.training import Train
from pipeline.train.horovod import World, all_reduce_gradients
from pipeline.train.objective import make_optimizer

PLANTED_STEP, PLANTED_RANK = 2, 1


def overflow(world: World) -> list[dict[str, float]]:
    """Four updates under loss scaling; in one, one rank alone has a gradient that is no number."""
    settings = Train(precision="float16", optimizer=Optimizer(name="sgd", learning_rate=1.0))
    optimizer = all_reduce_gradients(make_optimizer(settings, 4), world, 1 / world.size)
    weight = keras.Variable(np.zeros(2, np.float32))
    optimizer.build([weight])
    seen = []
    for step in range(4):
        is_planted = (step, world.rank) == (PLANTED_STEP, PLANTED_RANK)
        gradient = optimizer.scale_loss(tf.constant([np.nan if is_planted else 1.0, 2.0]))
        optimizer.apply([gradient], [weight])
        seen.append({"weight": float(weight.numpy()[1]), "scale": float(optimizer.dynamic_scale)})
    return seen


def compressed(world: World) -> dict[str, Any]:
    """One update with gradients that differ by rank, sent as float16, and one sent as they are."""
    gradient = np.random.default_rng(world.rank).normal(size=100).astype(np.float32)
    found = {}
    for compress in (False, True):
        optimizer = all_reduce_gradients(keras.optimizers.SGD(1.0), world, 1 / world.size, compress=compress)
        weight = keras.Variable(np.zeros(100, np.float32))
        optimizer.build([weight])
        optimizer.apply([tf.constant(gradient)], [weight])
        found[str(compress)] = weight.numpy().tolist()
    return found


def bfloat16(world: World) -> dict[str, Any]:
    """A small model with bfloat16 arithmetic: losses, and the types of what it holds and gives out."""
    keras.utils.set_random_seed(3)
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        from models import mlp

        model = mlp.build(4, 2, width=16, dropout=0.0)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    model.compile(
        all_reduce_gradients(keras.optimizers.Adam(0.01), world, 1 / world.size),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    rows = np.random.default_rng(1).normal(size=(64, 4)).astype(np.float32)
    labels = (rows[:, 0] > 0).astype(np.int64)
    world.share_variables(model.weights)
    losses = [float(model.train_on_batch(rows[world.rank :: 2], labels[world.rank :: 2])) for _ in range(20)]
    types = {"compute": model.get_layer("hidden_0").compute_dtype, "stored": model.weights[0].dtype, "outputs": model.outputs[0].dtype}
    return {"losses": losses, "weights": [weight.numpy().tolist() for weight in model.weights], **types}


def everything(world: World) -> dict[str, Any]:
    return {"overflow": overflow(world), "compressed": compressed(world), "bfloat16": bfloat16(world)}

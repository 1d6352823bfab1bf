"""One of two ranks that train every case, one after another: `python -m tests.models.ranks FOLDER`, started by the test's launch.

The ranks have a third and two thirds of the rows. When all are trained, each trains half of the cases alone on all rows.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.schema import Prepared
from pipeline.sections.objective import Loss, Optimizer
from pipeline.sections.training import Train
from pipeline.train.adversarial import Adversarial
from pipeline.train.build import vary_random_numbers
from pipeline.train.horovod import World, all_reduce_gradients, detect_world
from pipeline.train.losses import make_loss
from pipeline.train.normalisation import synchronise
from pipeline.train.objective import make_optimizer
from pipeline.train.reconstruction import Reconstructing
from tests.models import precision
from tests.models.cases import CASES, NUM_ROWS, Case

STEPS = 12
FIRST_SHARE = 1 / 3


def main(folder: Path) -> None:
    tf.config.experimental.enable_op_determinism()
    world = detect_world()
    results = {name: train(case, world, folder / f"{index}.keras") for index, (name, case) in enumerate(CASES.items())}
    for index, (name, case) in enumerate(CASES.items()):
        if index % world.size == world.rank and not case.is_random:
            results[name]["alone"] = train(case, World(), None)
    (folder / f"precision-{world.rank}.json").write_text(json.dumps(precision.everything(world)))
    (folder / f"rank-{world.rank}.json").write_text(json.dumps(results))


def train(case: Case, world: World, path: Path | None) -> dict[str, Any]:
    """The first and the last step's loss over all rows, and every weight; with a path rank 0 saves the model and what it predicts."""
    keras.utils.set_random_seed(7)
    rows, labels = case.make_rows()
    model = case.build()
    cut = round(NUM_ROWS * FIRST_SHARE)
    mine = slice(0, NUM_ROWS) if world.size == 1 else slice(0, cut) if world.rank == 0 else slice(cut, NUM_ROWS)
    share = len(labels[mine]) / NUM_ROWS
    synchronise(model, world, share)
    settings = Train(optimizer=Optimizer(name="sgd", learning_rate=case.learning_rate, momentum=0.5, clip_norm=5.0))

    def make() -> keras.Optimizer:
        return all_reduce_gradients(make_optimizer(settings, STEPS), world, share)

    trainer = compiled(model, case, make, range(mine.start, mine.stop))
    vary_random_numbers(trainer, world)
    world.share_variables(model.weights)
    initial = [weight.numpy() for weight in model.weights]
    losses = []
    for _ in range(STEPS):
        trainer.reset_metrics()
        targets = rows if case.loss in ("reconstruction", "variational", "pixel shares") else labels
        losses.append(trainer.train_on_batch(rows[mine], targets[mine], return_dict=True))
    shared = world.sum([np.asarray([watched(loss, case) * share for loss in losses])])[0]
    result: dict[str, Any] = {"before": float(shared[0]), "after": float(shared[-1])}
    result |= {"weights": [weight.numpy().tolist() for weight in model.weights]}
    result |= {"moved": float(max(np.abs(weight.numpy() - first).max() for weight, first in zip(model.weights, initial, strict=True)))}
    if path is not None and world.rank == 0:
        clean = case.build()
        clean.set_weights(model.get_weights())
        clean.save(path)
        inputs = {"noise": np.ones((NUM_ROWS, 4), np.float32), "image": rows.astype(np.float32)} if isinstance(model.input, dict) else rows
        np.savez(path.with_suffix(".npz"), **as_arrays(inputs), outputs=first_of(model(inputs, training=False)))
    return result


def compiled(model: keras.Model, case: Case, make: Callable[[], keras.Optimizer], places: range) -> keras.Model:
    """What is trained: the model, or what trains a model without labels."""
    if case.loss in ("adversarial", "wasserstein"):
        pair = Adversarial(model, objective=case.loss, rows=places, num_rows=NUM_ROWS, critic_steps=2)
        pair.compile(make(), make(), jit_compile=False)
        return pair
    if case.loss in ("reconstruction", "variational", "pixel shares"):
        loss = "binary_cross_entropy" if case.loss == "pixel shares" else "mse"
        trainer = Reconstructing(model, scale=case.facts.get("pixel_std"), loss=loss)
        trainer.compile(make(), jit_compile=False)
        trainer.optimizer.build(model.trainable_variables)
        return trainer
    model.compile(make(), make_loss(Loss(name=case.loss), facts_of(case)), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def watched(losses: dict[str, Any], case: Case) -> float:
    """The loss of a rank's rows; of a pair, the critic's; of pixel shares their error, since cross-entropy ends at their entropy."""
    name = {"adversarial": "critic_loss", "wasserstein": "critic_loss", "pixel shares": "mae"}.get(case.loss, "loss")
    return float(losses[name])


def as_arrays(inputs: Any) -> dict[str, NDArray[Any]]:
    """Inputs by name; one alone is called rows."""
    return inputs if isinstance(inputs, dict) else {"rows": inputs}


def first_of(outputs: Any) -> NDArray[Any]:
    return np.asarray(next(iter(outputs.values())) if isinstance(outputs, dict) else outputs)


def facts_of(case: Case) -> Prepared:
    """As much of a manifest as losses look at."""
    return Prepared.model_construct(task="regression" if case.loss == "mse" else "classification", classes=("a", "b", "c"), splits={})


if __name__ == "__main__":
    keras.utils.disable_interactive_logging()
    main(Path(sys.argv[1]))

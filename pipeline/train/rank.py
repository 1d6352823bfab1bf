"""One rank of a training: `python -m pipeline.train.rank SPEC.json`, started by launch.py."""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipeline import model_arguments, model_facts
from pipeline.attempt import Found, read_published
from pipeline.config import Recipe
from pipeline.errors import DataError, LonghaulError
from pipeline.feed.dataset import TrainingFeed, evaluation_dataset
from pipeline.feed.plan import Plan, Position
from pipeline.feed.reader import LABEL_DTYPES, SplitReader
from pipeline.schema import Prepared, Task, prepared
from pipeline.sections.training import LOSSES, Optimizer, Train
from pipeline.train import checkpoint as checkpoints
from pipeline.train.callbacks import Checkpoints, ExactMetrics, News, OneTraining, RankZeroDecides
from pipeline.train.checkpoint import Checkpoint
from pipeline.train.feed_watch import FeedWatch
from pipeline.train.horovod import World, all_reduce_gradients, detect_world
from pipeline.train.launch import EVENTS_FD
from pipeline.train.rank_spec import Spec

PR_SET_PDEATHSIG = 1


def main(arguments: Sequence[str]) -> int:
    end_with_parent()
    world = World()
    try:
        world = detect_world()
        train(Spec.read(Path(arguments[0])), world)
    except LonghaulError as error:
        tell({"rank": world.rank, "error": str(error)})
        return error.exit_code
    except Exception as error:
        text = f"{type(error).__name__}: {str(error)[:1000]}"
        tell({"rank": world.rank, "error": f"Rank {world.rank} failed: {text}. The trace is in its log."})
        raise
    return 0


def end_with_parent() -> None:
    """A launcher that is killed takes its ranks along (Linux)."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def tell(event: Mapping[str, Any]) -> None:
    """A line to the launcher, if there is one; texts are cut so that a pipe takes the line whole (4,096 bytes)."""
    descriptor = os.environ.get(EVENTS_FD)
    if descriptor is not None:
        short = {name: value[:900] if isinstance(value, str) else value for name, value in event.items()}
        os.write(int(descriptor), (json.dumps(short, ensure_ascii=False) + "\n").encode())


def train(spec: Spec, world: World) -> None:
    """Train to the end from the newest checkpoint, or from the start; rank 0 writes the model and what happened."""
    recipe = Recipe.model_validate_json(json.dumps(spec.recipe))
    found = open_prepared(Path(spec.prepared), spec.prepared_digest)
    make_deterministic(recipe.train.seed)
    reader = SplitReader.open(found, "train")
    training = begin(recipe, prepared(found.manifest), reader, world, Path(spec.checkpoints))
    feed = make_feed(training, reader)
    validation = evaluation_dataset(found, "validation", recipe.train.global_batch, rank=world.rank, size=world.size)
    fit(training, feed, make_callbacks(training, feed, validation, Path(spec.checkpoints)))
    if world.rank == 0:
        save_model(training, Path(spec.output))


@dataclass(frozen=True)
class Training:
    """One rank's part of a training, ready to go on: the model has its weights, `history` its finished epochs."""

    recipe: Recipe
    facts: Prepared
    world: World
    plan: Plan
    model: keras.Model
    resumed: Checkpoint | None
    stopping: keras.callbacks.EarlyStopping | None
    history: list[dict[str, Any]]  # grows by an entry an epoch


def open_prepared(folder: Path, digest: str) -> Found:
    """The data that the launcher verified, and no other that was published since."""
    manifest = read_published(folder)
    if manifest is None or manifest.digest != digest:
        raise DataError(f"{folder} has changed since training was launched: expected {digest[:16]}…. Run the same command again.")
    return Found(manifest, folder)


def make_deterministic(seed: int) -> None:
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    for threads in ("intra", "inter"):
        limit = os.environ.get(f"TF_NUM_{threads.upper()}OP_THREADS")
        if limit:
            getattr(tf.config.threading, f"set_{threads}_op_parallelism_threads")(int(limit))


def begin(recipe: Recipe, facts: Prepared, reader: SplitReader, world: World, folder: Path) -> Training:
    """A compiled model at the newest checkpoint in `folder`, or at its start. Collective."""
    settings = recipe.train
    plan = Plan(reader.rows_per_file, settings.global_batch, settings.lanes, settings.seed)
    model = build_model(recipe, facts)
    share = len(plan.lanes_of(world.rank, world.size)) / plan.lanes
    compile_model(model, recipe, all_reduce_gradients(make_optimizer(settings.optimizer), world, share), plan.num_steps)
    resumed = restore(folder, model, world)
    history = list(resumed.history) if resumed else []
    return Training(recipe, facts, world, plan, model, resumed, make_stopping(settings), history)


def build_model(recipe: Recipe, facts: Prepared) -> keras.Model:
    """The recipe's model, with the facts that its builder asks for by name."""
    path = model_arguments.source_path(recipe.model.name)
    build = model_arguments.signature(path) if path else None
    if build is None:
        raise DataError(f"models/{recipe.model.name}.py has gone since the recipe was checked.")
    module = importlib.import_module(f"models.{recipe.model.name}")
    return module.build(**build.facts(model_facts.values(facts)), **recipe.model.arguments)


def make_optimizer(settings: Optimizer) -> keras.Optimizer:
    kinds = {
        "sgd": keras.optimizers.SGD,
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "rmsprop": keras.optimizers.RMSprop,
    }
    options = {name: value for name in ("momentum", "weight_decay") if (value := getattr(settings, name)) is not None}
    return kinds[settings.name](learning_rate=settings.learning_rate, **options)


def compile_model(model: keras.Model, recipe: Recipe, optimizer: keras.Optimizer, num_steps: int) -> None:
    model.compile(
        optimizer=optimizer,
        loss=make_loss(recipe.train.loss or LOSSES[recipe.task][0]),
        weighted_metrics=[make_metric(recipe.task)],
        steps_per_execution=min(recipe.train.steps_per_execution, num_steps),
        jit_compile=False,  # XLA would compile Horovod's operations away
    )
    optimizer.build(model.trainable_variables)
    # Keras makes the metrics' variables with the first batch; a resumed epoch needs them before.
    model.compute_metrics(None, tf.zeros((1,), LABEL_DTYPES[recipe.task]), tf.zeros((1, *model.output_shape[1:])), tf.ones((1,)))
    model.reset_metrics()


def make_loss(name: str) -> keras.losses.Loss:
    kinds = {
        "cross_entropy": partial(keras.losses.SparseCategoricalCrossentropy, from_logits=True),
        "mse": keras.losses.MeanSquaredError,
        "mae": keras.losses.MeanAbsoluteError,
        "huber": keras.losses.Huber,
    }
    return kinds[name]()


def make_metric(task: Task) -> keras.metrics.Metric:
    """What is shown beside the loss."""
    return keras.metrics.MeanAbsoluteError("mae") if task == "regression" else keras.metrics.SparseCategoricalAccuracy("accuracy")


def make_stopping(settings: Train) -> keras.callbacks.EarlyStopping | None:
    if settings.early_stopping is None:
        return None
    metric = settings.early_stopping.metric
    mode = "max" if metric.endswith("accuracy") else "min"
    return keras.callbacks.EarlyStopping(metric, patience=settings.early_stopping.patience, mode=mode, restore_best_weights=True)


def restore(folder: Path, model: keras.Model, world: World) -> Checkpoint | None:
    """The newest whole checkpoint's weights and optimizer, on every rank; else rank 0's fresh ones."""
    found, warnings = checkpoints.newest(folder)
    for warning in warnings:
        tell({"warning": warning}) if world.rank == 0 else None
    mine = [found.epoch, found.step] if found else [0, 0]
    position = world.from_rank_0(np.asarray(mine, np.int64)).tolist()
    if found is not None and mine != position:
        raise DataError(
            f"Ranks see different checkpoints in {folder}: rank {world.rank} {mine}, rank 0 {position}. Expected a shared folder."
        )
    variables = [*model.variables, *model.optimizer.variables]
    if found is not None:
        for variable, value in zip(variables, [*found.arrays["model"], *found.arrays["optimizer"]], strict=True):
            variable.assign(value)
    world.share_variables(variables)
    offset_random_seeds(model, world.rank)
    return found


def offset_random_seeds(model: keras.Model, rank: int) -> None:
    """Other dropout masks on every rank; rank 0's seeds are those that checkpoints hold."""
    for variable in model.variables:
        if variable.path.endswith("seed_generator_state"):
            variable.assign(variable.numpy() + np.asarray([rank, 0], variable.dtype))


def make_feed(training: Training, reader: SplitReader) -> TrainingFeed:
    """This rank's rows, from the position that training is at to its end."""
    recipe, resumed, world = training.recipe, training.resumed, training.world
    start = Position(resumed.epoch, resumed.step) if resumed else Position()
    return TrainingFeed(reader, training.plan, recipe.feed, world.rank, world.size, start, recipe.train.epochs)


def make_callbacks(training: Training, feed: TrainingFeed, validation: tf.data.Dataset, folder: Path) -> OneTraining:
    """In the order that callbacks.py asks for."""
    watch = FeedWatch(training.world, feed.clock)
    settings, world, num_steps = training.recipe.train, training.world, training.plan.num_steps
    stopping, history = training.stopping, training.history
    news = News(tell if world.rank == 0 else lambda event: None, watch, history, num_steps)
    saver = Checkpoints(world, folder, num_steps, settings.checkpoint_steps, stopping, history)
    saver.resumed = training.resumed
    order = [watch,
        ExactMetrics(world, validation), *([stopping] if stopping else []), news, RankZeroDecides(world), saver]
    return OneTraining(order, training.model, epochs=settings.epochs, steps=num_steps, verbose=0)


def fit(training: Training, feed: TrainingFeed, callbacks: OneTraining) -> None:
    model, resumed, first, epochs = training.model, training.resumed, feed.start, training.recipe.train.epochs
    is_over = resumed is not None and bool(resumed.callbacks["stop_training"])
    if is_over or first.epoch >= epochs:  # killed between the last checkpoint and the model's file
        callbacks.on_train_begin()
    for epoch in range(first.epoch, 0 if is_over else epochs):
        try:
            model.fit(feed.epoch(epoch), initial_epoch=epoch, epochs=epoch + 1, callbacks=callbacks, shuffle=False, verbose=0)
        except tf.errors.OpError as error:  # TensorFlow passes on an error's text alone
            raise feed.error or error from error
        if model.stop_training:
            break
    feed.close()
    callbacks.finish()


def save_model(training: Training, output: Path) -> None:
    """The model alone, as Keras writes it: rebuilt, so that neither our optimizer nor its state is in the file."""
    clean = build_model(training.recipe, training.facts)
    clean.set_weights(training.model.get_weights())
    clean.save(output / "model.keras")
    digest = hashlib.sha256()
    for weight in clean.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    stopping, resumed, history = training.stopping, training.resumed, training.history
    record = {
        "num_parameters": clean.count_params(),
        "best_epoch": stopping.best_epoch + 1 if stopping is not None else len(history),
        "stopped_early": len(history) < training.recipe.train.epochs,
        "resumed_from": f"epoch {resumed.epoch + 1}, step {resumed.step}" if resumed else None,
        "weight_digest": digest.hexdigest(),
        "history": history,
    }
    (output / "history.json").write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

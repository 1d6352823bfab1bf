"""One rank of a training. Its process begins in rank_start.py."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipeline import storage, user_code
from pipeline.attempt import Found, read_published
from pipeline.config import Recipe
from pipeline.errors import DataError, Interrupted, LonghaulError
from pipeline.feed.dataset import TrainingFeed, evaluation_dataset
from pipeline.feed.plan import Plan, Position
from pipeline.feed.reader import SplitReader
from pipeline.lifeline import end_with_parent
from pipeline.paths import Place
from pipeline.progress import NOW
from pipeline.schema import UNLABELLED, Prepared, prepared
from pipeline.sections.training import Train
from pipeline.train import checkpoint as checkpoints
from pipeline.train import privacy
from pipeline.train import transfer as transfers
from pipeline.train.build import build_model, compile_model, vary_random_numbers
from pipeline.train.callbacks import Checkpoints, ExactMetrics, News, OneTraining, Progress, RankZeroDecides
from pipeline.train.checkpoint import Checkpoint
from pipeline.train.events import mark, show_on_screen, tell
from pipeline.train.feed_watch import FeedWatch
from pipeline.train.gpu import use_one_gpu
from pipeline.train.heartbeat import STOP_FILE, StopRequest, beat, listen
from pipeline.train.horovod import World, all_reduce_gradients, detect_world
from pipeline.train.normalisation import synchronise
from pipeline.train.objective import make_optimizer, optimizer_variables
from pipeline.train.pace import Pace
from pipeline.train.pulse import Alive, Pulse, StopsTogether, saving
from pipeline.train.rank_spec import OriginModel, Spec
from pipeline.train.unlabelled import compile_unlabelled, what_is_saved
from pipeline.train.watch import (
    CsvHistory,
    MovingAverage,
    Plateaus,
    SameWeights,
    StopOnNan,
    TensorBoardScalars,
    TimeLimit,
    best_is,
    make_custom,
)

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}  # Keras' names


def main(arguments: Sequence[str]) -> int:
    end_with_parent(signal.SIGTERM if STOP_FILE in os.environ else signal.SIGKILL)  # Spark goes first where its job is stopped
    world, stop, rank = World(), StopRequest(), int(os.environ.get("HOROVOD_RANK", "0"))
    listen(stop)
    beat(tell, rank, stop)
    if rank == 0:
        show_on_screen()
    mark("imported", rank)
    try:
        use_one_gpu()
        world = detect_world()
        mark("met", rank)
        train(Spec.read(Path(arguments[0])), world, stop)
    except LonghaulError as error:
        tell({"rank": world.rank, "error": str(error)})
        return error.exit_code
    except Interrupted as error:
        tell({"rank": world.rank, "error": str(error)})
        return error.exit_code
    except Exception as error:
        text = f"{type(error).__name__}: {str(error)[:1000]}"
        tell({"rank": world.rank, "error": f"Rank {world.rank} failed: {text}. The trace is in its log."})
        raise
    return 0


def train(spec: Spec, world: World, stop: StopRequest) -> None:
    """Train to the end from the newest checkpoint, or from the start; rank 0 writes the model and what happened."""
    recipe = Recipe.model_validate_json(json.dumps(spec.recipe))
    recipe._folder = Path(spec.folder)
    world.stopwatch.when_second = partial(mark, "first step", world.rank)  # Python hears of it when an execution of several steps is over
    NOW.in_reduce, NOW.num_reduces = (lambda: world.stopwatch.is_running), (lambda: world.stopwatch.times)
    found = open_prepared(storage.place(spec.prepared), spec.prepared_digest)
    make_deterministic(recipe.train.seed)
    keras.mixed_precision.set_global_policy(POLICIES[recipe.train.precision])
    reader = SplitReader.open(found, "train", recipe.feed)
    training = begin(recipe, prepared(found.manifest), reader, world, Path(spec.checkpoints), spec.origin)
    mark("model built", world.rank)
    feed = make_feed(training, reader)
    batch, feeding = recipe.train.global_batch, recipe.feed
    validation = evaluation_dataset(found, "validation", batch, rank=world.rank, size=world.size, settings=feeding)
    if recipe.task == "autoencoder":
        validation = validation.map(lambda rows, label, weight: (rows, rows, weight))
    fit(training, feed, make_callbacks(training, feed, validation, Path(spec.checkpoints), Path(spec.output), stop))
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
    transfer: transfers.Plan | None = None


def open_prepared(folder: Place, digest: str) -> Found:
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


def begin(recipe: Recipe, facts: Prepared, reader: SplitReader, world: World, folder: Path, origin: OriginModel | None = None) -> Training:
    """A compiled model at the newest checkpoint in `folder`, or at its start. Collective."""
    settings = recipe.train
    plan = Plan(reader.rows_per_file, settings.global_batch, settings.lanes, settings.seed)
    model = build_model(recipe, facts)
    lanes = plan.lanes_of(world.rank, world.size)
    share = len(lanes) / plan.lanes
    synchronise(model, world, share)
    summed = partial(all_reduce_gradients, world=world, share=share, compress=settings.compression == "float16")
    if recipe.task in UNLABELLED:
        model = compile_unlabelled(model, recipe, facts, plan, lanes, summed)
    else:
        optimizer = make_optimizer(settings, plan.num_steps)
        optimizer = privacy.add_noise(optimizer, settings.privacy, plan.global_batch) if settings.privacy else optimizer
        compile_model(model, recipe, facts, summed(optimizer), plan.num_steps)
    if settings.privacy is not None:
        privacy.make_private(model, settings.privacy)
    transfer = plan_transfer(model, recipe, facts, origin)
    resumed = restore(folder, model, world, partial(start_from, model, origin, transfer))
    history = list(resumed.history) if resumed else []
    return Training(recipe, facts, world, plan, model, resumed, make_stopping(settings), history, transfer)


def plan_transfer(model: keras.Model, recipe: Recipe, facts: Prepared, origin: OriginModel | None) -> transfers.Plan | None:
    if origin is None or recipe.transfer is None:
        return None
    return transfers.make_plan(model, recipe.transfer, Prepared.model_validate(origin.facts), facts)


def start_from(model: keras.Model, origin: OriginModel | None, transfer: transfers.Plan | None) -> None:
    if origin is not None and transfer is not None:
        transfers.copy_weights(model, Path(origin.path), origin.sha256, transfer.anew)


def make_stopping(settings: Train) -> keras.callbacks.EarlyStopping | None:
    if settings.early_stopping is None:
        return None
    metric = settings.early_stopping.metric
    patience = settings.early_stopping.patience
    return keras.callbacks.EarlyStopping(metric, patience=patience, mode=best_is(metric), restore_best_weights=True)


def restore(folder: Path, model: keras.Model, world: World, start: Callable[[], None]) -> Checkpoint | None:
    """The newest whole checkpoint's weights and optimizer, on every rank, else rank 0's after `start`; random numbers differ by rank."""
    found, warnings = checkpoints.newest(folder)
    for warning in warnings:
        tell({"warning": warning}) if world.rank == 0 else None
    mine = [found.epoch, found.step] if found else [0, 0]
    position = world.from_rank_0(np.asarray(mine, np.int64)).tolist()
    if found is not None and mine != position:
        raise DataError(
            f"Ranks see different checkpoints in {folder}: rank {world.rank} {mine}, rank 0 {position}. Expected a shared folder."
        )
    variables = [*model.variables, *optimizer_variables(model)]
    if found is not None:
        for variable, value in zip(variables, [*found.arrays["model"], *found.arrays["optimizer"]], strict=True):
            variable.assign(value)
    elif world.rank == 0:
        start()
    world.share_variables(variables)
    vary_random_numbers(model, world)
    return found


def make_feed(training: Training, reader: SplitReader) -> TrainingFeed:
    """This rank's rows, from the position that training is at to its end."""
    recipe, resumed, world = training.recipe, training.resumed, training.world
    start = Position(resumed.epoch, resumed.step) if resumed else Position()
    gives_back = recipe.task == "autoencoder"
    return TrainingFeed(reader, training.plan, recipe.feed, world.rank, world.size, start, recipe.train.epochs, gives_back=gives_back)


def make_callbacks(
    training: Training, feed: TrainingFeed, validation: tf.data.Dataset, folder: Path, output: Path, stop: StopRequest
) -> OneTraining:
    """In the order that callbacks.py asks for."""
    watch = FeedWatch(training.world, feed.clock)
    settings, world, stopping, history = training.recipe.train, training.world, training.stopping, training.history
    plan = training.plan
    progress = Progress(plan.num_steps, training.resumed)
    before, after = make_watchers(training.recipe, world, output, history)
    stages = [transfers.Stages(training.transfer, settings)] if training.transfer is not None else []
    average = [MovingAverage()] if settings.optimizer.ema is not None else []
    saver = Checkpoints(world, folder, progress, settings.checkpoint_steps, stopping, before, history)
    saver.resumed, saver.keep = training.resumed, settings.checkpoints.keep
    saving(saver)
    order = [
        *stages,
        progress,
        Pulse(world, progress, partial(has_stepped, rank=world.rank)),
        *average,
        watch,
        ExactMetrics(world, validation, [Alive()]),
        *before,
        *([stopping] if stopping else []),
        News(tell if world.rank == 0 else lambda event: None, watch, history, progress),
        Pace(world, progress, watch, plan.rows_per_lane_batch * len(plan.lanes_of(world.rank, world.size)), history),
        *after,
        RankZeroDecides(world),
        *(callback.resume for callback in average),
        SameWeights(world),
        saver,
        StopsTogether(world, stop, progress, saver),
    ]
    return OneTraining(order, training.model, epochs=settings.epochs, steps=training.plan.num_steps, verbose=0)


def has_stepped(name: str, rank: int) -> None:
    mark(name, rank)
    gc.enable()  # rank_start.py has switched it off


def make_watchers(
    recipe: Recipe, world: World, output: Path, history: list[dict[str, Any]]
) -> tuple[list[keras.callbacks.Callback], list[keras.callbacks.Callback]]:
    """What the recipe asks for: callbacks that may decide, and those that write the history once it has grown."""
    chosen, plateau = recipe.train.callbacks, recipe.train.optimizer.plateau
    before: list[keras.callbacks.Callback] = [StopOnNan()] if chosen.stop_on_nan else []
    before += [TimeLimit(chosen.time_limit_s)] if chosen.time_limit_s is not None else []
    before += [Plateaus(plateau)] if plateau is not None else []
    before += [privacy.Budget(recipe.train.privacy)] if recipe.train.privacy is not None else []
    mine = [custom for custom in chosen.custom if custom.ranks == "all" or world.rank == 0]
    before += [make_custom(custom, partial(user_code.load, folder=recipe.folder)) for custom in mine]
    if world.rank:
        return before, []
    after: list[keras.callbacks.Callback] = [CsvHistory(output / "history.csv", history)] if chosen.csv else []
    return before, after + ([TensorBoardScalars(output / "tensorboard", history)] if chosen.tensorboard else [])


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
    """The model alone, as Keras writes it: rebuilt in float32, so that neither our optimizer nor its state is in the file."""
    keras.mixed_precision.set_global_policy(POLICIES["float32"])
    clean = what_is_saved(build_model(training.recipe, training.facts), training.model)
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
    if training.transfer is not None and (started := training.transfer.facts(training.facts)):
        record["transfer"] = started.model_dump(mode="json")
    (output / "history.json").write_text(json.dumps(record, indent=1))

"""Models that learnt without a label, over every row of a split. Runs TensorFlow; rows are summed up batch by batch, never held."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.attempt import Found
from pipeline.console import Meter
from pipeline.errors import DataError
from pipeline.evaluate.inference import check_num_rows
from pipeline.evaluate.reconstruction import Errors, Running, scaled
from pipeline.feed.dataset import evaluation_dataset
from pipeline.schema import SplitName, prepared
from pipeline.sections.feed import Feed

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Reconstructed:
    """A split as the model gives it back."""

    labels: NDArray[np.int64]  # (N,) as prepared
    errors: Errors
    mean: Floats  # (F,) of the scaled rows
    of_mean: Errors | None  # of the rows given back as another split's mean


def reconstruct_split(
    found: Found,
    split: SplitName,
    model: keras.Model,
    batch: int,
    meter: Meter,
    settings: Feed,
    mean: Floats | None = None,
    *,
    done: int = 0,
) -> Reconstructed:
    """Every row once, in the files' order.

    Args:
        found: a verified prepare result.
        split: which split.
        model: (B, *shape) -> the same shape, or a dict with `reconstruction`.
        batch: rows at a time.
        meter: shows rows done.
        settings: the recipe's feed section.
        mean: (F,) scaled; also measure the errors of giving it back for every row.
        done: rows of other splits that the meter has shown.

    Raises:
        DataError: another number of rows than the manifest says, or a reconstruction of another shape or that is not finite.
    """
    scale = prepared(found.manifest).tensor.std
    errors, of_mean, labels, total, num_rows = Running(), Running(), [], np.zeros(1), 0
    for rows, label, again in reconstructions(found, split, model, batch, settings):
        true = scaled(rows, scale)
        errors.add(true - scaled(again, scale))
        if mean is not None:
            of_mean.add(true - mean)
        total = total + true.sum(axis=0)
        labels.append(label)
        num_rows += len(label)
        meter(done + num_rows)
    check_num_rows(num_rows, found, split)
    return Reconstructed(np.concatenate(labels), errors.errors(), total / num_rows, None if mean is None else of_mean.errors())


def reconstructions(
    found: Found, split: SplitName, model: keras.Model, batch: int, settings: Feed
) -> Iterator[tuple[Floats, NDArray[np.int64], Floats]]:
    """(rows, labels, rows given back) of each batch."""
    forward = tf.function(lambda rows: only_reconstruction(model(rows, training=False)), reduce_retracing=True)
    for rows, label, _ in evaluation_dataset(found, split, batch, settings=settings):
        yield rows.numpy(), label.numpy(), checked(forward(rows).numpy(), tuple(rows.shape[1:]))


def give_back(model: keras.Model, rows: NDArray[Any]) -> Floats:
    """(P, *shape) of few rows."""
    return checked(np.asarray(only_reconstruction(model(rows, training=False))), rows.shape[1:])


def only_reconstruction(outputs: Any) -> Any:
    return outputs["reconstruction"] if isinstance(outputs, dict) else outputs


def imagine(model: keras.Model, count: int, shape: tuple[int, ...], batch: int, meter: Meter, seed: int = 0) -> NDArray[np.uint8]:
    """(count, *shape) images that a generator makes of seeded noise, rounded as an image file would.

    Raises:
        DataError: images of another shape, or that are not finite.
    """
    generator = np.random.default_rng(seed)
    forward = tf.function(lambda noise: model(noise, training=False), reduce_retracing=True)
    made = []
    for begin in range(0, count, batch):
        noise = generator.normal(size=(min(batch, count - begin), model.input_shape[1])).astype(np.float32)
        images = checked(forward(noise).numpy(), shape)
        made.append(np.clip(np.rint(images), 0, 255).astype(np.uint8))
        meter(min(begin + batch, count))
    return np.concatenate(made)


def checked(outputs: Floats, shape: tuple[int, ...]) -> Floats:
    if outputs.shape[1:] != shape:
        raise DataError(
            f"The model gives arrays of shape {list(outputs.shape[1:])}. Expected {list(shape)}, as the prepared rows are. "
            "Train on this data again: `pipeline train RECIPE --force`."
        )
    if not np.isfinite(outputs).all():
        raise DataError("The model's outputs are not finite. Training diverged. Lower train.optimizer.learning_rate and train again.")
    return outputs


def project_split(found: Found, split: SplitName, project: Callable[[NDArray[Any]], Floats], batch: int, settings: Feed) -> Floats:
    """(N, K) features of every image of a split, in the files' order; raises DataError for another number of rows than expected."""
    parts = [project(rows.numpy()) for rows, _, _ in evaluation_dataset(found, split, batch, settings=settings)]
    check_num_rows(sum(map(len, parts)), found, split)
    return np.concatenate(parts)

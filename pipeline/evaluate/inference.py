"""The trained model over every row of a split. The only part of evaluate that runs TensorFlow."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.attempt import Found
from pipeline.console import Meter
from pipeline.errors import DataError
from pipeline.feed.dataset import evaluation_dataset
from pipeline.schema import SplitName, files_of, prepared
from pipeline.sections.feed import Feed


def predict_split(
    found: Found, split: SplitName, model: keras.Model, batch: int, meter: Meter, settings: Feed | None = None
) -> tuple[NDArray[Any], NDArray[np.floating[Any]]]:
    """The model's outputs for every row, in the files' order.

    Args:
        found: a verified prepare result.
        split: which split.
        model: inputs as the prepared tensor, (B, K) out: a logit for each class, or the K numbers of a scaled label.
        batch: rows at a time; decides memory and speed, not the result.
        meter: shows rows done.
        settings: the recipe's feed section.

    Returns:
        Labels (N,) as prepared, or (N, K) of K numbers each, and outputs (N, K).

    Raises:
        DataError: another number of rows than the manifest says, outputs of another shape, or outputs that are not finite.
    """
    forward = tf.function(lambda rows: model(rows, training=False), reduce_retracing=True)
    labels, outputs, done = [], [], 0
    for rows, label, _ in evaluation_dataset(found, split, batch, settings=settings):
        labels.append(label.numpy())
        outputs.append(forward(rows).numpy())
        done += len(labels[-1])
        meter(done)
    check_num_rows(done, found, split)
    joined = np.concatenate(outputs)
    facts = prepared(found.manifest)
    check_outputs(joined, done, len(facts.classes) or math.prod(facts.label_shape))
    return np.concatenate(labels), joined


def load_model(path: Path) -> keras.Model:
    """The model without its optimizer. The file's digest must have been verified; code inside it (Lambda layers) is refused.

    Raises:
        DataError: it is not a Keras model that can be loaded safely.
    """
    try:
        return keras.saving.load_model(path, safe_mode=True, compile=False)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise DataError(
            f"{path} cannot be loaded as a Keras model: {error}. Expected layers that Keras knows and no Lambda, whose code would be "
            "run from the file. Change the architecture in models/, then run `pipeline train RECIPE --force`."
        ) from error


def check_num_rows(received: int, found: Found, split: SplitName) -> None:
    expected = sum(entry.rows or 0 for entry in files_of(found.manifest, split))
    if received != expected or expected == 0:
        raise DataError(
            f"Evaluation saw {received} rows of the {split} split in {found.files}, its manifest says {expected}. "
            "Expected every row exactly once, and at least one. Run `pipeline prepare RECIPE --force`, or give the split a larger share."
        )


def check_outputs(outputs: NDArray[np.floating[Any]], num_rows: int, num_outputs: int) -> None:
    if outputs.shape != (num_rows, num_outputs):
        raise DataError(
            f"The model's outputs have shape {list(outputs.shape)}. Expected [{num_rows}, {num_outputs}]: one logit for each class of the "
            "prepared data, or each number of a regression's label. Train on this data again: `pipeline train RECIPE --force`."
        )
    finite = np.isfinite(outputs).all(axis=1)
    if not finite.all():
        raise DataError(
            f"The model's outputs are not finite in {int((~finite).sum())} of {num_rows} rows, first in row {int(np.argmin(finite))}. "
            "Training diverged or inputs are not finite. Lower train.optimizer.learning_rate and train again."
        )

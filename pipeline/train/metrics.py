"""Metrics that training shows, of linear outputs. Their states are sums over rows, so the ranks' states added up are those of all rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from pipeline.schema import Prepared

NUM_THRESHOLDS = 400  # of the area under the curve, which is summed by trapezoids


def make_metrics(names: Sequence[str], facts: Prepared) -> list[keras.metrics.Metric]:
    """The task's own metric, then those that the recipe names."""
    own = "accuracy" if facts.task == "classification" else "mae"
    return [make_metric(name, len(facts.classes)) for name in dict.fromkeys((own, *names))]


def make_metric(name: str, num_classes: int) -> keras.metrics.Metric:
    if name == "accuracy":
        return keras.metrics.SparseCategoricalAccuracy("accuracy")
    if name == "auc":
        return AreaUnderCurve(num_classes)
    if name in ("precision", "recall", "macro_f1"):
        return MacroAverage(name, num_classes)
    if name == "r2":
        return ShareExplained()
    return {"mae": keras.metrics.MeanAbsoluteError, "rmse": keras.metrics.RootMeanSquaredError}[name](name)


class AreaUnderCurve(keras.metrics.AUC):  # type: ignore[misc]  # Keras publishes no types
    """ROC area of each class against the rest, averaged over the classes; of two classes, that of the second."""

    def __init__(self, num_classes: int) -> None:
        several = {"multi_label": True, "num_labels": num_classes} if num_classes > 2 else {}
        super().__init__(name="auc", num_thresholds=NUM_THRESHOLDS, **several)
        self.num_classes = num_classes

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        classes = tf.reshape(tf.cast(y_true, tf.int32), [-1])  # (B,)
        shares = tf.nn.softmax(tf.cast(y_pred, tf.float32))  # (B, K)
        if self.num_classes > 2:
            super().update_state(tf.one_hot(classes, self.num_classes), shares, sample_weight)
        else:
            super().update_state(classes, shares[:, -1], sample_weight)


class MacroAverage(keras.metrics.Metric):  # type: ignore[misc]  # Keras publishes no types
    """Precision, recall or F1 of the most likely class: of each class, then the mean; of two classes, that of the second for the first two.

    A class without rows (recall) or without answers (precision) counts 0, as in scikit-learn with zero_division=0.
    """

    def __init__(self, kind: str, num_classes: int) -> None:
        super().__init__(name=kind)
        self.kind, self.num_classes = kind, num_classes
        shape = (num_classes,)
        self.right, self.answered, self.true = (
            self.add_variable(shape=shape, initializer="zeros", dtype="float32", name=name) for name in ("right", "answered", "true")
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        classes = tf.reshape(tf.cast(y_true, tf.int32), [-1])  # (B,)
        weights = tf.ones_like(classes, tf.float32) if sample_weight is None else tf.reshape(tf.cast(sample_weight, tf.float32), [-1])
        true = tf.one_hot(classes, self.num_classes) * weights[:, None]  # (B, K)
        answered = tf.one_hot(tf.argmax(y_pred, axis=-1), self.num_classes)  # (B, K)
        self.right.assign_add(tf.reduce_sum(true * answered, axis=0))
        self.answered.assign_add(tf.reduce_sum(answered * weights[:, None], axis=0))
        self.true.assign_add(tf.reduce_sum(true, axis=0))

    def result(self) -> Any:
        numerator, denominator = {
            "precision": (self.right, self.answered),
            "recall": (self.right, self.true),
            "macro_f1": (2 * self.right, self.answered + self.true),
        }[self.kind]
        each = tf.math.divide_no_nan(tf.convert_to_tensor(numerator), tf.convert_to_tensor(denominator))  # (K,)
        return each[-1] if self.num_classes == 2 and self.kind != "macro_f1" else tf.reduce_mean(each)


class ShareExplained(keras.metrics.Metric):  # type: ignore[misc]  # Keras publishes no types
    """R²: 1 - squared errors / squared distances from the mean, over every number of the labels; 0 where labels do not vary."""

    def __init__(self) -> None:
        super().__init__(name="r2")
        self.sums = self.add_variable(shape=(4,), initializer="zeros", dtype="float32", name="sums")  # weight, y, y², error²

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        predicted = tf.cast(y_pred, tf.float32)
        true = tf.reshape(tf.cast(y_true, tf.float32), tf.shape(predicted))  # (B, K)
        weights = tf.ones_like(true)
        if sample_weight is not None:
            weights *= tf.reshape(tf.cast(sample_weight, tf.float32), [-1, *[1] * (len(true.shape) - 1)])
        parts = [weights, weights * true, weights * true**2, weights * (true - predicted) ** 2]
        self.sums.assign_add(tf.stack([tf.reduce_sum(part) for part in parts]))

    def result(self) -> Any:
        weight, first, second, errors = tf.unstack(tf.convert_to_tensor(self.sums))
        return tf.where(weight > 0, 1 - tf.math.divide_no_nan(errors, second - tf.math.divide_no_nan(first**2, weight)), 0.0)

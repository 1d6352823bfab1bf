"""Losses, learning rates, penalties and optimizers against what their sources say; no ranks, no data."""

from __future__ import annotations

import importlib
import math
import typing
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import pytest
import tensorflow as tf
from pydantic import ValidationError
from sklearn import metrics as sklearn_metrics

from models import Activation
from pipeline import model_arguments
from pipeline.errors import ConfigError
from pipeline.schema import Prepared, SplitFacts
from pipeline.sections.objective import LearningRate, Loss, Optimizer, Regularize
from pipeline.sections.training import Train
from pipeline.train.horovod import World, all_reduce_gradients
from pipeline.train.losses import class_weights, make_loss
from pipeline.train.metrics import make_metric
from pipeline.train.objective import check_outputs_are_linear, make_optimizer, regularize
from pipeline.train.schedules import make_learning_rate, peak

pytestmark = pytest.mark.tf

COUNTS = {"a": 60, "b": 30, "c": 10}
LOGITS = np.random.default_rng(3).normal(size=(50, 3)).astype(np.float32) * 2
LABELS = np.random.default_rng(4).integers(0, 3, 50)


def facts(task: str = "classification") -> Prepared:
    train = SplitFacts(rows=100, sources=100, label_counts=COUNTS)
    return Prepared.model_construct(task=task, classes=tuple(COUNTS) if task == "classification" else (), splits={"train": train})


def loss_of(
    labels: np.ndarray, outputs: np.ndarray, weight: np.ndarray | None = None, task: str = "classification", **settings: object
) -> float:
    return float(make_loss(Loss.model_validate(settings), facts(task))(labels, outputs, sample_weight=weight))


def test_cross_entropy_is_keras_own():
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(LABELS, LOGITS)
    assert loss_of(LABELS, LOGITS, name="cross_entropy") == pytest.approx(float(expected), rel=1e-5)


def test_label_smoothing_is_keras_own():
    expected = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)(np.eye(3)[LABELS], LOGITS)
    assert loss_of(LABELS, LOGITS, name="cross_entropy", label_smoothing=0.2) == pytest.approx(float(expected), rel=1e-5)


def test_focal_loss_is_cross_entropy_times_what_is_not_yet_right():
    shares = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    right = shares[np.arange(50), LABELS]
    assert loss_of(LABELS, LOGITS, name="focal", gamma=3.0) == pytest.approx(np.mean(-((1 - right) ** 3) * np.log(right)), rel=1e-4)
    assert loss_of(LABELS, LOGITS, name="focal", gamma=0.0) == pytest.approx(loss_of(LABELS, LOGITS, name="cross_entropy"), rel=1e-6)


def test_the_gradient_of_focal_loss_is_finite_where_a_row_is_surely_right():
    logits = tf.constant([[200.0, 0.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = make_loss(Loss(name="focal", gamma=0.5), facts())(np.asarray([0]), logits)
    assert np.isfinite(tape.gradient(loss, logits)).all()


def test_balanced_classes_weigh_the_same_in_sum_and_one_on_average():
    weights = class_weights(Loss(name="cross_entropy", class_weights="balanced"), facts())
    assert np.multiply(weights, list(COUNTS.values())) == pytest.approx([100 / 3] * 3)


def test_class_and_sample_weights_multiply_and_the_mean_is_over_rows():
    weight = np.random.default_rng(5).uniform(0, 2, 50).astype(np.float32)
    each = np.asarray([loss_of(LABELS[i : i + 1], LOGITS[i : i + 1], name="cross_entropy") for i in range(50)])
    of_class = np.asarray([2.0, 1.0, 5.0])[LABELS]
    found = loss_of(LABELS, LOGITS, weight, name="cross_entropy", class_weights={"a": 2.0, "c": 5.0})
    assert found == pytest.approx(np.mean(each * of_class * weight), rel=1e-5)


def test_a_weight_of_an_unknown_label_is_refused_with_the_labels():
    with pytest.raises(ConfigError, match=r"\['d'\] are no labels .* Expected of \['a', 'b', 'c'\]"):
        class_weights(Loss(name="focal", class_weights={"d": 2.0}), facts())


ERRORS = np.asarray([-3.0, -0.2, 0.0, 0.5, 4.0], np.float32)


@pytest.mark.parametrize(
    ("settings", "of_errors"),
    [
        ({"name": "huber", "delta": 2.0}, lambda e: np.where(np.abs(e) <= 2, e**2 / 2, 2 * np.abs(e) - 2)),
        ({"name": "log_cosh"}, lambda e: np.log(np.cosh(e))),
        ({"name": "quantile", "quantile": 0.9}, lambda e: np.where(e > 0, 0.9 * e, -0.1 * e)),
        ({"name": "mae"}, np.abs),
        ({"name": "mse"}, np.square),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("width", [1, 5])
def test_losses_of_numbers_are_means_over_rows_and_over_each_rows_numbers(settings, of_errors, width):
    true = np.tile(ERRORS, (width, 1)).T  # (5, width)
    labels = true[:, 0] if width == 1 else true
    found = loss_of(labels, np.zeros((5, width), np.float32), task="regression", **settings)
    assert found == pytest.approx(np.mean(of_errors(ERRORS)), rel=1e-5)


def test_the_quantile_loss_is_least_at_the_quantile():
    rows = np.random.default_rng(6).exponential(size=2000).astype(np.float32)
    candidates = np.linspace(0, 5, 101)
    losses = [loss_of(rows, np.full((2000, 1), at, np.float32), task="regression", name="quantile", quantile=0.8) for at in candidates]
    assert candidates[int(np.argmin(losses))] == pytest.approx(np.quantile(rows, 0.8), abs=0.06)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"name": "mse", "label_smoothing": 0.1}, "label_smoothing does not go with the loss mse"),
        ({"name": "cross_entropy", "delta": 2.0}, "delta does not go with the loss cross_entropy"),
        ({"name": "huber", "class_weights": "balanced"}, "class_weights does not go with the loss huber"),
    ],
)
def test_settings_of_another_loss_are_refused(settings, says):
    with pytest.raises(ValidationError, match=says):
        Loss.model_validate(settings)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"name": "adam", "nesterov": True}, "nesterov goes with sgd and a momentum above 0"),
        ({"scaling": "linear"}, "scaling: linear or sqrt and base_batch"),
        ({"plateau": {}, "schedule": {"name": "cosine"}}, "plateau changes a constant learning rate"),
        ({"schedule": {"name": "one_cycle", "warmup_steps": 5}}, "warmup_steps does not go with one_cycle"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, says):
    with pytest.raises(ValidationError, match=says):
        Optimizer.model_validate(settings)


@pytest.mark.parametrize("settings", [{"optimizer": {"accumulate": 2}}, {"compression": "float16"}], ids=["accumulate", "compression"])
def test_half_precision_refuses_what_would_hide_an_overflow(settings):
    with pytest.raises(ValidationError, match="does not go with|would overflow"):
        Train.model_validate({"precision": "float16", **settings})


def rates(schedule: dict[str, object], *, num_steps: int = 10, epochs: int = 10, accumulate: int = 1) -> list[float]:
    settings = Optimizer(learning_rate=1.0, schedule=LearningRate.model_validate(schedule), accumulate=accumulate)
    planned = make_learning_rate(settings, 32, num_steps, epochs)
    return [float(planned(tf.constant(step, tf.int64))) for step in range(num_steps * epochs // accumulate)]


def test_the_learning_rate_warms_up_linearly_and_falls_as_half_a_cosine():
    found = rates({"name": "cosine", "warmup_steps": 10, "end": 0.1})
    assert found[:10] == pytest.approx([(step + 1) / 10 for step in range(10)], rel=1e-5)
    assert found[10] == pytest.approx(1.0) and found[-1] == pytest.approx(0.1, abs=1e-3)
    assert found[54] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * 44 / 89)) / 2, rel=1e-4)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_learning_rate_steps_down_every_so_many_epochs(accumulate):
    found = rates({"name": "step", "factor": 0.5, "every_epochs": 3}, accumulate=accumulate)
    expected = [0.5 ** (update * accumulate // 30) for update in range(len(found))]
    assert found == pytest.approx(expected, rel=1e-5)


def test_one_cycle_rises_to_the_peak_and_falls_to_its_end():
    found = rates({"name": "one_cycle", "rise": 0.25})
    assert found[0] == pytest.approx(1 / 25) and max(found) == pytest.approx(1.0, abs=2e-3) and found[-1] == pytest.approx(0, abs=1e-3)
    assert 23 <= int(np.argmax(found)) <= 26


@pytest.mark.parametrize(("scaling", "expected"), [("none", 0.1), ("linear", 0.8), ("sqrt", 0.1 * math.sqrt(8))])
def test_the_learning_rate_is_scaled_by_the_rows_of_an_update_and_only_if_asked(scaling, expected):
    base = None if scaling == "none" else 64
    assert peak(Optimizer(learning_rate=0.1, scaling=scaling, base_batch=base, accumulate=2), 256) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "adagrad", "nadam", "lion", "lamb"])
def test_every_optimizer_goes_downhill(name):
    optimizer = make_optimizer(Train(optimizer=Optimizer(name=name, learning_rate=0.05)), num_steps=10)
    weight = keras.Variable(np.full((3, 2), 2.0, np.float32))
    optimizer.build([weight])
    for _ in range(20):
        optimizer.apply([2 * weight.value], [weight])
    assert float(keras.ops.sum(weight**2)) < 24


START, RATE, B1, B2, TINY = np.asarray([0.5, -2.0], np.float64), 0.1, 0.9, 0.999, 1e-7
GRADIENTS = [np.asarray([0.3, -1.5]), np.asarray([-0.2, 0.7]), np.asarray([1.1, 0.05])]


def adam_like(name: str, decay: float) -> np.ndarray:
    """Kingma & Ba 2014, algorithm 1; its decoupled decay: Loshchilov & Hutter 2017, algorithm 2; LAMB: You et al. 2019, algorithm 2."""
    weight, first, second = START.copy(), np.zeros(2), np.zeros(2)
    for step, gradient in enumerate(GRADIENTS, start=1):
        first, second = B1 * first + (1 - B1) * gradient, B2 * second + (1 - B2) * gradient**2
        update = (first / (1 - B1**step)) / (np.sqrt(second / (1 - B2**step)) + TINY)
        weight = weight * (1 - RATE * decay)
        ratio = np.linalg.norm(weight) / np.linalg.norm(update) if name == "lamb" else 1.0
        weight = weight - RATE * ratio * update
    return weight


def momentum_like(momentum: float, nesterov: bool) -> np.ndarray:
    """Sutskever et al. 2013, equations 1 to 4, with the gradient taken where the weight is."""
    weight, speed = START.copy(), np.zeros(2)
    for gradient in GRADIENTS:
        speed = momentum * speed - RATE * gradient
        weight = weight + (momentum * speed - RATE * gradient if nesterov else speed)
    return weight


def lion_like(decay: float) -> np.ndarray:
    """Chen et al. 2023, program 1."""
    weight, first = START.copy(), np.zeros(2)
    for gradient in GRADIENTS:
        weight = weight * (1 - RATE * decay) - RATE * np.sign(B1 * first + (1 - B1) * gradient)
        first = 0.99 * first + 0.01 * gradient
    return weight


def adagrad_like() -> np.ndarray:
    """Duchi et al. 2011, with Keras' start of 0.1 for the sum of squares."""
    weight, squares = START.copy(), np.full(2, 0.1)
    for gradient in GRADIENTS:
        squares = squares + gradient**2
        weight = weight - RATE * gradient / np.sqrt(squares + TINY)
    return weight


def rmsprop_like(momentum: float) -> np.ndarray:
    """Tieleman & Hinton 2012, lecture 6.5."""
    weight, squares, speed = START.copy(), np.zeros(2), np.zeros(2)
    for gradient in GRADIENTS:
        squares = 0.9 * squares + 0.1 * gradient**2
        speed = momentum * speed + RATE * gradient / np.sqrt(squares + TINY)
        weight = weight - speed
    return weight


def nadam_like() -> np.ndarray:
    """Dozat 2016, algorithm 2, with its schedule of momentum."""
    weight, first, second, product = START.copy(), np.zeros(2), np.zeros(2), 1.0
    for step, gradient in enumerate(GRADIENTS, start=1):
        now, then = (B1 * (1 - 0.5 * 0.96**place) for place in (step, step + 1))
        product *= now
        first, second = B1 * first + (1 - B1) * gradient, B2 * second + (1 - B2) * gradient**2
        ahead = then * first / (1 - product * then) + (1 - now) * gradient / (1 - product)
        weight = weight - RATE * ahead / (np.sqrt(second / (1 - B2**step)) + TINY)
    return weight


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"name": "sgd"}, momentum_like(0.0, nesterov=False)),
        ({"name": "sgd", "momentum": 0.8}, momentum_like(0.8, nesterov=False)),
        ({"name": "sgd", "momentum": 0.8, "nesterov": True}, momentum_like(0.8, nesterov=True)),
        ({"name": "adam"}, adam_like("adam", 0.0)),
        ({"name": "adamw", "weight_decay": 0.2}, adam_like("adamw", 0.2)),
        ({"name": "lamb"}, adam_like("lamb", 0.0)),
        ({"name": "lion", "weight_decay": 0.2}, lion_like(0.2)),
        ({"name": "rmsprop", "momentum": 0.5}, rmsprop_like(0.5)),
        ({"name": "adagrad"}, adagrad_like()),
        ({"name": "nadam"}, nadam_like()),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_updates_of_the_sum_over_ranks_are_those_of_the_papers(settings, expected):
    train = Train(optimizer=Optimizer(learning_rate=RATE, **settings))
    optimizer = all_reduce_gradients(make_optimizer(train, num_steps=10), Twin(size=2), share=0.5)
    weight = keras.Variable(START.astype(np.float32))
    optimizer.build([weight])
    for gradient in GRADIENTS:
        optimizer.apply([tf.constant(gradient.astype(np.float32))], [weight])
    np.testing.assert_allclose(weight.numpy(), expected, rtol=2e-5, atol=2e-6)


@dataclass(frozen=True)
class Twin(World):
    """Rank 0 of two that have the same gradients."""

    def sum_in_graph(self, gradients: Sequence[typing.Any]) -> list[typing.Any]:
        return [2 * gradient for gradient in gradients]


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("world", [World(), World(0, 2)], ids=["alone", "with another"])
def test_an_optimizer_over_ranks_keeps_its_schedule_and_settings(world, precision):
    schedule = LearningRate(name="cosine", warmup_steps=4)
    settings = Train(precision=precision, optimizer=Optimizer(name="adamw", schedule=schedule, clip_norm=2.0, ema=0.9, weight_decay=0.1))
    plain = make_optimizer(settings, num_steps=10)
    over_ranks = all_reduce_gradients(plain, world, share=0.5)
    assert over_ranks.get_config() == plain.get_config()
    assert float(over_ranks.learning_rate) == pytest.approx(0.001 / 4)


def test_clipping_is_by_the_norm_of_all_gradients_together():
    optimizer = make_optimizer(Train(optimizer=Optimizer(name="sgd", learning_rate=1.0, clip_norm=1.0)), num_steps=10)
    weights = [keras.Variable(np.zeros(1, np.float32)), keras.Variable(np.zeros(1, np.float32))]
    optimizer.build(weights)
    optimizer.apply([tf.constant([3.0]), tf.constant([4.0])], weights)
    assert [float(weight.numpy()[0]) for weight in weights] == pytest.approx([-0.6, -0.8])


def test_accumulated_gradients_make_one_update_of_their_mean():
    optimizer = make_optimizer(Train(optimizer=Optimizer(name="sgd", learning_rate=1.0, accumulate=2)), num_steps=10)
    weight = keras.Variable(np.zeros(1, np.float32))
    optimizer.build([weight])
    optimizer.apply([tf.constant([1.0])], [weight])
    assert weight.numpy()[0] == 0
    optimizer.apply([tf.constant([3.0])], [weight])
    assert weight.numpy()[0] == pytest.approx(-2.0)


@pytest.mark.parametrize("name", typing.get_args(Activation))
@pytest.mark.parametrize("model", ["mlp", "residual_mlp", "wide_deep", "transformer"])
def test_every_activation_is_the_one_that_hidden_units_have(model, name):
    build = importlib.import_module(f"models.{model}").build
    built = build(num_features=4, num_outputs=2, width=8, dropout=0.0, activation=name)
    used = {getattr(layer.activation, "__name__", "") for layer in built.layers if isinstance(layer, keras.layers.Dense)}
    assert keras.activations.get(name).__name__ in used
    assert np.isfinite(built(np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32))).all()


def test_an_unknown_activation_is_refused_before_the_run_with_the_known_ones():
    ((place, text),) = model_arguments.problems("cnn", {"activation": "reluu"}, {"image_shape", "pixel_mean", "pixel_std", "num_outputs"})
    assert place == ("activation",) and "'gelu'" in text and "received 'reluu'" in text


def small_model(activation: str | None = None) -> keras.Model:
    inputs = keras.Input((4,))
    hidden = keras.layers.LayerNormalization()(keras.layers.Dense(3, name="hidden")(inputs))
    return keras.Model(inputs, keras.layers.Dense(2, activation=activation, name="out")(hidden))


def test_penalties_and_limits_are_of_kernels_alone():
    model = small_model()
    kernels = [layer.kernel for layer in (model.get_layer("hidden"), model.get_layer("out"))]
    regularize(model, Regularize(l1=0.1, l2=0.01, max_norm=0.5))
    expected = sum(0.1 * np.abs(kernel.numpy()).sum() + 0.01 * (kernel.numpy() ** 2).sum() for kernel in kernels)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)
    model.fit(np.ones((8, 4)), np.full((8, 2), 50.0), verbose=0)
    assert all(np.linalg.norm(kernel.numpy(), axis=0).max() <= 0.5 + 1e-5 for kernel in kernels)
    assert np.abs(model.get_layer("out").bias.numpy()).max() > 0.5


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "relu"])
def test_a_model_whose_outputs_are_not_linear_is_refused(activation):
    with pytest.raises(ConfigError, match=rf"model mine ends with {activation} \(layer out\).*Remove the last activation"):
        check_outputs_are_linear(small_model(activation), "mine")
    check_outputs_are_linear(small_model(), "mine")


def summed(name: str, num_classes: int, labels: np.ndarray, outputs: np.ndarray) -> float:
    """A metric whose rows were seen by three uneven ranks, and whose states were added up."""
    parts = []
    for share in (slice(0, 7), slice(7, 8), slice(8, None)):
        metric = make_metric(name, num_classes)
        metric.update_state(labels[share], outputs[share], np.ones(len(labels[share]), np.float32))
        parts.append([variable.numpy() for variable in metric.variables])
    for variable, *values in zip(metric.variables, *parts, strict=True):
        variable.assign(sum(values))
    return float(metric.result())


@pytest.mark.parametrize("num_classes", [2, 3])
def test_metrics_added_up_over_ranks_are_those_of_the_whole_split(num_classes):
    labels, logits = LABELS % num_classes, LOGITS[:, :num_classes]
    answers, shares = logits.argmax(axis=1), np.asarray(tf.nn.softmax(logits))
    average = "macro" if num_classes > 2 else "binary"
    expected = {
        "accuracy": sklearn_metrics.accuracy_score(labels, answers),
        "precision": sklearn_metrics.precision_score(labels, answers, average=average, zero_division=0),
        "recall": sklearn_metrics.recall_score(labels, answers, average=average, zero_division=0),
        "macro_f1": sklearn_metrics.f1_score(labels, answers, average="macro", zero_division=0),
    }
    found = {name: summed(name, num_classes, labels, logits) for name in expected}
    assert found == pytest.approx(expected, rel=1e-5)
    scores = shares[:, 1] if num_classes == 2 else shares
    area = sklearn_metrics.roc_auc_score(labels, scores, multi_class="ovr")
    assert summed("auc", num_classes, labels, logits) == pytest.approx(area, abs=2e-3)  # 400 thresholds


def test_errors_added_up_over_ranks_are_those_of_the_whole_split():
    true = np.random.default_rng(8).normal(5, 2, 50).astype(np.float32)
    predicted = true[:, None] + LOGITS[:, :1] / 4
    expected = {
        "mae": sklearn_metrics.mean_absolute_error(true, predicted),
        "rmse": math.sqrt(sklearn_metrics.mean_squared_error(true, predicted)),
        "r2": sklearn_metrics.r2_score(true, predicted),
    }
    assert {name: summed(name, 0, true, predicted) for name in expected} == pytest.approx(expected, rel=1e-4)

"""DP-SGD: every row's gradient is bounded, the noise is there and is added once, and epsilon is what dp-accounting says."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from pipeline.errors import ConfigError
from pipeline.sections.private_training import PrivateTraining
from pipeline.train.accounting import affordable_epochs, check_budget, epsilon, privacy_facts
from pipeline.train.privacy import Budget, add_noise, clip, clipped_sum, make_private, with_noise
from tests.train.test_ranks import train, weights

pytestmark = pytest.mark.tf

SETTINGS = PrivateTraining(noise_multiplier=2.0, max_grad_norm=0.5, epsilon_budget=8.0, noise_seed=3)


def make_model(*, dropout: float = 0.0) -> keras.Model:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((5,))
    hidden = keras.layers.Dropout(dropout)(keras.layers.Dense(7, activation="relu")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(hidden))
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.fixture
def batch() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(11, 5)) * draw.lognormal(sigma=2.0, size=(11, 1))  # some gradients are far above the bound, some below
    return tf.constant(x, tf.float32), tf.constant(draw.integers(0, 3, 11)), tf.ones(11)


def gradients_row_by_row(model: keras.Model, batch: tuple[tf.Tensor, ...]) -> list[list[np.ndarray]]:
    """As anybody would write it: one backward pass for each row."""
    found = []
    for row in zip(*(tensor.numpy() for tensor in batch), strict=True):
        x, y, weight = (tf.constant([value]) for value in row)
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x, y, model(x, training=True), weight)
        found.append([gradient.numpy() for gradient in tape.gradient(loss, model.trainable_variables)])
    return found


def norm(gradients: list[np.ndarray]) -> float:
    return float(np.sqrt(sum(np.square(gradient, dtype=np.float64).sum() for gradient in gradients)))


@pytest.mark.parametrize("microbatch", [None, 4, 11, 64], ids=["whole", "parts with a rest", "one part", "larger than the batch"])
def test_the_sum_is_of_each_rows_own_gradient_cut_to_the_bound(batch, microbatch):
    model = make_model()
    rows = gradients_row_by_row(model, batch)
    norms = [norm(row) for row in rows]
    assert min(norms) < 0.5 < max(norms)
    expected = [sum(part * min(1, 0.5 / length) for part, length in zip(parts, norms, strict=True)) for parts in zip(*rows, strict=True)]
    total, losses, outputs = tf.function(lambda: clipped_sum(model, batch, 0.5, microbatch))()
    for mine, theirs in zip(total, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(outputs, model(batch[0]), rtol=1e-5, atol=1e-6)
    assert tf.reduce_mean(losses).numpy() == pytest.approx(
        model.compute_loss(batch[0], batch[1], model(batch[0]), batch[2]).numpy(), rel=1e-5
    )


def test_one_row_moves_the_sum_by_no_more_than_the_bound(batch):
    model = make_model()
    everybody, *_ = clipped_sum(model, batch, 0.5, None)
    for left_out in range(11):
        others = [row for row in range(11) if row != left_out]
        rest, *_ = clipped_sum(model, tuple(tf.gather(tensor, others) for tensor in batch), 0.5, None)
        moved = norm([(all_ - some).numpy() for all_, some in zip(everybody, rest, strict=True)])
        assert 0 < moved <= 0.5 * (1 + 1e-4)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 0.3, 1.0, 1e6, 1e18])
def test_a_cut_gradient_is_never_longer_than_the_bound_and_a_short_one_stays(scale):
    gradients = [tf.fill((4,), scale * 0.5), tf.zeros((2, 2))]  # norm: scale
    cut = [part.numpy() for part in clip(gradients, 1.0)]
    assert norm(cut) == pytest.approx(min(scale, 1.0), rel=1e-5)


def test_rows_of_a_batch_have_dropout_of_their_own_and_another_the_next_time():
    model = make_model(dropout=0.5)
    same = (tf.ones((64, 5)), tf.zeros(64, tf.int64), tf.ones(64))
    make_private(model, SETTINGS)
    _, _, outputs = clipped_sum(model, same, 0.5, None)
    assert len(np.unique(np.round(outputs.numpy(), 4), axis=0)) > 2  # two of the seven units are above zero for this row
    generator = next(variable for variable in model.non_trainable_variables if variable.path.endswith("seed_generator_state"))
    before = generator.numpy()
    model.train_step(same)
    assert not np.array_equal(before, generator.numpy())


def noise_of(optimizer: keras.Optimizer, variable: keras.Variable) -> np.ndarray:
    """What an update with a gradient of zeros adds."""
    before = variable.numpy()
    optimizer.apply([tf.zeros(variable.shape)], [variable])
    return before - variable.numpy()


def test_noise_is_normal_with_the_standard_deviation_that_epsilon_is_counted_for():
    variable = keras.Variable(np.zeros((500, 200), np.float32))
    optimizer = add_noise(keras.optimizers.SGD(1.0), SETTINGS, global_batch=40)
    optimizer.build([variable])
    first, second = noise_of(optimizer, variable).ravel(), noise_of(optimizer, variable).ravel()
    deviation = 2.0 * 0.5 / 40
    for noise in (first, second):
        assert stats.kstest(noise / deviation, "norm").pvalue > 1e-3
        assert noise.std() == pytest.approx(deviation, rel=0.01)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.02  # another draw each step


def test_noise_depends_on_key_step_and_variable_alone():
    zeros = [tf.zeros(50), tf.zeros(50)]
    draw = {place: with_noise(zeros, 1.0, *(tf.constant(number, tf.int64) for number in place)) for place in ((5, 0), (5, 1), (6, 0))}
    again = with_noise(zeros, 1.0, tf.constant(5, tf.int64), tf.constant(0, tf.int64))
    assert np.array_equal(again, draw[5, 0])
    streams = [tensor.numpy().tobytes() for pair in draw.values() for tensor in pair]
    assert len(set(streams)) == 6


def test_without_a_seed_nobody_can_draw_the_noise_again():
    secret = SETTINGS.model_copy(update={"noise_seed": None})
    drawn = []
    for _ in range(2):
        variable = keras.Variable(np.zeros(20, np.float32))
        optimizer = add_noise(keras.optimizers.SGD(1.0), secret, global_batch=1)
        optimizer.build([variable])
        drawn.append(noise_of(optimizer, variable))
        assert "noise" not in str(optimizer.get_config())
    assert not np.array_equal(*drawn)
    assert privacy_facts(secret, 1).noise_is_secret and not privacy_facts(SETTINGS, 1).noise_is_secret


def test_a_step_updates_by_the_mean_of_cut_gradients_and_one_draw_of_noise(batch):
    model = make_model()
    optimizer = add_noise(keras.optimizers.SGD(0.1), SETTINGS, global_batch=11)
    model.compile(optimizer, model.loss)
    optimizer.build(model.trainable_variables)
    make_private(model, SETTINGS)
    before = [variable.numpy() for variable in model.trainable_variables]
    total, *_ = clipped_sum(model, batch, 0.5, None)
    key, step = tf.constant(3, tf.int64), tf.constant(0, tf.int64)
    expected = with_noise([gradient / 11 for gradient in total], 2.0 * 0.5 / 11, key, step)
    model.fit(*batch[:2], batch_size=11, epochs=1, verbose=0)
    for old, variable, gradient in zip(before, model.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), old - 0.1 * gradient.numpy(), rtol=1e-4, atol=1e-6)


def test_batch_statistics_and_own_training_steps_are_refused():
    inputs = keras.Input((5,))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.BatchNormalization(name="norm_1")(inputs)))
    with pytest.raises(ConfigError, match="norm_1 keeps statistics of batches.*layer or group normalisation"):
        make_private(model, SETTINGS)

    class Own(keras.Model):
        def train_step(self, data):
            return {}

    with pytest.raises(ConfigError, match="has one of its own"):
        make_private(Own(), SETTINGS)


@pytest.mark.parametrize(("noise", "epochs", "delta"), [(4.0, 10, 1e-5), (1.0, 1, 1e-6), (20.0, 400, 1e-7)])
def test_epsilon_is_that_of_dp_accountings_accountants_for_composed_gaussians(noise, epochs, delta):
    import dp_accounting
    from dp_accounting import pld, rdp

    event = dp_accounting.SelfComposedDpEvent(dp_accounting.GaussianDpEvent(noise), epochs)
    mine = epsilon(noise, epochs, delta)
    assert mine == pytest.approx(pld.PLDAccountant().compose(event).get_epsilon(delta), rel=1e-3)
    assert mine <= rdp.RdpAccountant().compose(event).get_epsilon(delta)  # Rényi's is an upper bound


def test_epsilon_inverts_the_noise_that_a_guarantee_needs():
    import dp_accounting

    sigma = dp_accounting.get_sigma_gaussian(1.0, 1e-5)
    assert epsilon(sigma, 1, 1e-5) == pytest.approx(1.0) and epsilon(sigma, 0, 1e-5) == 0
    assert epsilon(sigma * 3, 9, 1e-5) == pytest.approx(1.0)


@pytest.mark.parametrize("budget", [0.5, 1.0, 4.0, 20.0])
def test_the_budget_pays_for_as_many_epochs_as_stay_within_it(budget):
    epochs = affordable_epochs(5.0, 1e-5, budget)
    assert epsilon(5.0, epochs, 1e-5) <= budget < epsilon(5.0, epochs + 1, 1e-5)


def test_the_budget_stops_training_before_it_is_exceeded(batch):
    affordable = affordable_epochs(SETTINGS.noise_multiplier, SETTINGS.delta, SETTINGS.epsilon_budget)
    model = make_model()
    history = model.fit(*batch[:2], batch_size=11, epochs=affordable + 5, verbose=0, callbacks=[Budget(SETTINGS)]).history
    assert 1 <= affordable == len(history["loss"])
    assert history["epsilon"][-1] <= SETTINGS.epsilon_budget < epsilon(SETTINGS.noise_multiplier, affordable + 1, SETTINGS.delta)


def test_what_no_epoch_fits_into_is_refused_before_the_run():
    with pytest.raises(ConfigError, match=r"first epoch would spend epsilon \d.*Raise train.privacy.noise_multiplier"):
        check_budget(SETTINGS.model_copy(update={"epsilon_budget": 0.1}), 100)
    with pytest.raises(ConfigError, match=r"delta is 1e-05 with 200,000 train rows. Expected less than 1 / rows = 5e-06"):
        check_budget(SETTINGS, 200_000)
    check_budget(SETTINGS, 1000)


@pytest.mark.e2e
@pytest.mark.slow
def test_two_private_ranks_give_the_weights_and_the_epsilon_of_one(iris_run, tmp_path):
    private = "train.privacy={noise_multiplier: 3.0, max_grad_norm: 0.5, epsilon_budget: 4.0, noise_seed: 7}"
    overrides = ("train.epochs=3", "train.early_stopping=null", private)
    two, model_of_two = train(iris_run, tmp_path, *overrides)
    one, model_of_one = train(iris_run, tmp_path, *overrides, "train.ranks=1")
    for left, right in zip(weights(model_of_two), weights(model_of_one), strict=True):
        np.testing.assert_allclose(left, right, rtol=2e-4, atol=1e-5)
    assert two.privacy == one.privacy and two.privacy is not None
    assert two.privacy.epsilon == pytest.approx(epsilon(3.0, 3, 1e-5)) == pytest.approx(two.history[-1].metrics["epsilon"])

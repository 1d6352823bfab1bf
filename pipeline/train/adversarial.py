"""A generator and a critic that learn from each other: training without a label, `task: gan`.

It wraps what a builder made and leaves its layers alone, so a saved generator needs Keras alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

PENALTY = 10.0  # of the critic's gradient. Source: Gulrajani et al. 2017, arXiv:1704.00028, algorithm 1
SHOWN = 64  # images that the critic judges in a validation batch, always of the same noise


class Adversarial(keras.Model):  # type: ignore[misc]  # Keras publishes no types
    """Trains `generator` and `critic` of a built model in turn, each with an optimizer of its own.

    `optimizer` is the generator's, which callbacks look at; `optimizers` are both, for checkpoints. Each sums its gradients over
    ranks in its own `apply`; every rank makes the same calls in the same order. Noise is drawn for the whole global batch, from the
    number of the step, and each rank takes that of its own rows: so it does not depend on the number of ranks, and goes on after a resume.
    """

    def __init__(self, parts: keras.Model, *, objective: str, rows: range, num_rows: int, critic_steps: int = 1, seed: int = 17) -> None:
        """Of a model with the layers `generator` and `critic`.

        Args:
            parts: as `models/dcgan.py` builds it.
            objective: `adversarial` (non-saturating cross-entropy) or `wasserstein` (with gradient penalty).
            rows: this rank's places in every global batch.
            num_rows: of a global batch.
            critic_steps: updates of the critic for each of the generator, all on the same real images.
            seed: of the noise.
        """
        super().__init__(name=parts.name)
        self.generator, self.critic = parts.get_layer("generator"), parts.get_layer("critic")
        self.objective, self.critic_steps, self.seed = objective, critic_steps, seed % 2**31
        self.rows, self.num_rows = rows, num_rows
        self.critic_loss = keras.metrics.Mean("critic_loss")
        self.generator_loss = keras.metrics.Mean("generator_loss")
        self.built = True

    def compile(self, optimizer: keras.Optimizer, critic_optimizer: keras.Optimizer, **options: Any) -> None:
        """Both optimizers unbuilt; they may not be the same object."""
        super().compile(optimizer=optimizer, **options)
        self.critic_optimizer = critic_optimizer
        self.optimizer.build(self.generator.trainable_variables)
        self.critic_optimizer.build(self.critic.trainable_variables)

    @property
    def optimizers(self) -> list[keras.Optimizer]:
        return [self.optimizer, self.critic_optimizer]

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.critic_loss, self.generator_loss]

    def call(self, image: Any, training: bool = False) -> Any:
        """The critic's verdict; what Keras calls a forward pass."""
        return self.critic(tf.cast(image, tf.float32), training=training)

    def train_step(self, data: Any) -> dict[str, Any]:
        real, weight = rows_of(data)
        step = tf.cast(self.optimizer._iterations.value, tf.int32) * (2 * self.critic_steps + 1)
        for number in range(self.critic_steps):
            with tf.GradientTape() as tape:
                loss = self.judge(real, weight, step + 2 * number)
            self.step(self.critic_optimizer, tape, loss, self.critic.trainable_variables)
        self.critic_loss.update_state(loss, tf.shape(real)[0])
        with tf.GradientTape() as tape:
            loss = self.deceive(weight, step + 2 * self.critic_steps)
        self.step(self.optimizer, tape, loss, self.generator.trainable_variables)
        self.generator_loss.update_state(loss, tf.shape(real)[0])
        return self.get_metrics_result()

    def test_step(self, data: Any) -> dict[str, Any]:
        """Losses on real images and on SHOWN generated ones, without the penalty. Rows count one by one: sums over ranks are exact."""
        real, _ = rows_of(data)
        noise = tf.random.stateless_normal((SHOWN, self.generator.input_shape[1]), (self.seed, -1))
        on_real = self.critic(real, training=False)[:, 0]  # (B,)
        on_fake = self.critic(self.generator(noise, training=False), training=False)[:, 0]  # (SHOWN,)
        if self.objective == "wasserstein":
            judged, deceived = tf.reduce_mean(on_fake) - on_real, -tf.reduce_mean(on_fake)
        else:
            judged = tf.nn.softplus(-on_real) + tf.reduce_mean(tf.nn.softplus(on_fake))
            deceived = tf.reduce_mean(tf.nn.softplus(-on_fake))
        self.critic_loss.update_state(judged)
        self.generator_loss.update_state(deceived, tf.shape(real)[0])
        return self.get_metrics_result()

    def get_metrics_result(self) -> dict[str, Any]:
        """`loss` is the sum of both: what is watched for numbers that are none, not for progress."""
        critic, generator = self.critic_loss.result(), self.generator_loss.result()
        return {"critic_loss": critic, "generator_loss": generator, "loss": critic + generator}

    @staticmethod
    def step(optimizer: keras.Optimizer, tape: tf.GradientTape, loss: Any, variables: Sequence[Any]) -> None:
        optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)

    def mine(self, of_all: Any) -> Any:
        """(B, …) this rank's rows of what was drawn for a global batch."""
        return of_all[self.rows.start : self.rows.stop]

    def imagine(self, draw: Any) -> Any:
        """(B, H, W, C) images of the noise with this number, one for each row of this rank."""
        noise = tf.random.stateless_normal((self.num_rows, self.generator.input_shape[1]), tf.stack([self.seed, draw]))
        return self.generator(self.mine(noise), training=True)

    def judge(self, real: Any, weight: Any, draw: Any) -> Any:
        """The critic's loss."""
        fake = self.imagine(draw)
        on_real, on_fake = self.critic(real, training=True)[:, 0], self.critic(fake, training=True)[:, 0]  # (B,) (B,)
        if self.objective == "wasserstein":
            return mean_of(on_fake - on_real + PENALTY * self.steepness(real, fake, draw + 1), weight)
        return mean_of(tf.nn.softplus(-on_real) + tf.nn.softplus(on_fake), weight)

    def deceive(self, weight: Any, draw: Any) -> Any:
        """The generator's loss; as many images as the batch has rows."""
        verdict = self.critic(self.imagine(draw), training=True)[:, 0]  # (B,)
        return mean_of(-verdict if self.objective == "wasserstein" else tf.nn.softplus(-verdict), weight)

    def steepness(self, real: Any, fake: Any, draw: Any) -> Any:
        """(B,) squared distance of the critic's gradient norm from 1, somewhere between each real and fake image; pixels from -1 to 1."""
        share = self.mine(tf.random.stateless_uniform((self.num_rows, 1, 1, 1), tf.stack([self.seed, draw])))
        between = fake + share * (real - fake)
        with tf.GradientTape() as tape:
            tape.watch(between)
            verdict = self.critic(between, training=True)
        gradient = tape.gradient(verdict, between) * 127.5  # (B, H, W, C) per unit of a pixel scaled to -1 to 1
        norm = tf.sqrt(tf.reduce_sum(gradient**2, axis=[1, 2, 3]) + 1e-12)
        return (norm - 1) ** 2


def rows_of(data: Any) -> tuple[Any, Any]:
    """(B, H, W, C) float32 pixels and (B,) weights of a batch (image, label, weight); the label is not looked at."""
    image, _, weight = keras.utils.unpack_x_y_sample_weight(data)
    image = tf.cast(image, tf.float32)
    return image, tf.ones_like(image[:, 0, 0, 0]) if weight is None else weight


def mean_of(losses: Any, weight: Any) -> Any:
    """Over the rows of the batch, not over the sum of the weights: shares of ranks add up to the mean over all."""
    return tf.reduce_mean(losses * tf.cast(weight, losses.dtype))

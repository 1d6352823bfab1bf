"""Training without a label: a model against itself (gan), and a model that gives back what it gets (autoencoder).

Both wrap what a builder made and leave its layers alone, so the saved file is the builder's model and needs Keras alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

PENALTY = 10.0  # of the critic's gradient. Source: Gulrajani et al. 2017, arXiv:1704.00028, algorithm 1


class Adversarial(keras.Model):  # type: ignore[misc]  # Keras publishes no types
    """Trains `generator` and `critic` of a built model in turn, each with an optimizer of its own.

    `optimizer` is the generator's, which callbacks look at; `optimizers` are both, for checkpoints. Each sums its gradients over
    ranks in its own `apply`; every rank makes the same calls in the same order.
    """

    def __init__(self, parts: keras.Model, *, objective: str, critic_steps: int = 1, seed: int = 17) -> None:
        """`objective`: `adversarial` (non-saturating cross-entropy) or `wasserstein` (with gradient penalty)."""
        super().__init__(name=parts.name)
        self.generator, self.critic = parts.get_layer("generator"), parts.get_layer("critic")
        self.objective, self.critic_steps = objective, critic_steps
        self.seed_generator = keras.random.SeedGenerator(seed)
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
        for _ in range(self.critic_steps):
            with tf.GradientTape() as tape:
                loss = self.judge(real, weight, training=True)
            self.step(self.critic_optimizer, tape, loss, self.critic.trainable_variables)
        self.critic_loss.update_state(loss, tf.shape(real)[0])
        with tf.GradientTape() as tape:
            loss = self.deceive(real, weight, training=True)
        self.step(self.optimizer, tape, loss, self.generator.trainable_variables)
        self.generator_loss.update_state(loss, tf.shape(real)[0])
        return self.get_metrics_result()

    def test_step(self, data: Any) -> dict[str, Any]:
        real, weight = rows_of(data)
        self.critic_loss.update_state(self.judge(real, weight, training=False), tf.shape(real)[0])
        self.generator_loss.update_state(self.deceive(real, weight, training=False), tf.shape(real)[0])
        return self.get_metrics_result()

    def get_metrics_result(self) -> dict[str, Any]:
        """`loss` is the sum of both: what is watched for numbers that are none, not for progress."""
        critic, generator = self.critic_loss.result(), self.generator_loss.result()
        return {"critic_loss": critic, "generator_loss": generator, "loss": critic + generator}

    @staticmethod
    def step(optimizer: keras.Optimizer, tape: tf.GradientTape, loss: Any, variables: Sequence[Any]) -> None:
        optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)

    def imagine(self, like: Any, *, training: bool) -> Any:
        """As many images as there are in `like`, of fresh noise."""
        noise = keras.random.normal((tf.shape(like)[0], self.generator.input_shape[1]), seed=self.seed_generator)
        return self.generator(noise, training=training)

    def judge(self, real: Any, weight: Any, *, training: bool) -> Any:
        """The critic's loss."""
        fake = self.imagine(real, training=training)
        on_real, on_fake = self.critic(real, training=training)[:, 0], self.critic(fake, training=training)[:, 0]  # (B,) (B,)
        if self.objective == "wasserstein":
            return mean_of(on_fake - on_real + PENALTY * self.steepness(real, fake), weight)
        return mean_of(tf.nn.softplus(-on_real) + tf.nn.softplus(on_fake), weight)

    def deceive(self, real: Any, weight: Any, *, training: bool) -> Any:
        """The generator's loss; as many images as the batch has rows."""
        verdict = self.critic(self.imagine(real, training=training), training=training)[:, 0]  # (B,)
        return mean_of(-verdict if self.objective == "wasserstein" else tf.nn.softplus(-verdict), weight)

    def steepness(self, real: Any, fake: Any) -> Any:
        """(B,) squared distance of the critic's gradient norm from 1, somewhere between each real and fake image; pixels from -1 to 1."""
        share = keras.random.uniform((tf.shape(real)[0], 1, 1, 1), seed=self.seed_generator)
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


class Reconstructing(keras.Model):  # type: ignore[misc]  # Keras publishes no types
    """Trains a built model to give its input back; a variational one also to keep its code close to a normal distribution."""

    def __init__(self, parts: keras.Model, *, scale: Sequence[float] | None, beta: float = 1.0) -> None:
        """Of a model that gives back its input.

        Args:
            parts: input (B, …); output its reconstruction, or {"reconstruction": (B, …), "distribution": (B, 2Z)}.
            scale: by channel, what an error is divided by: the standard deviation of pixels. None for rows that are scaled already.
            beta: weight of the divergence. Source: Higgins et al. 2017, beta-VAE, ICLR.
        """
        super().__init__(name=parts.name)
        self.parts, self.scale, self.beta = parts, scale, beta
        self.is_variational = isinstance(parts.output, dict)
        self.loss_mean, self.error_mean = keras.metrics.Mean("loss"), keras.metrics.Mean("mae")
        self.built = True

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.loss_mean, self.error_mean]

    def call(self, rows: Any, training: bool = False) -> Any:
        outputs = self.parts(rows, training=training)
        return outputs["reconstruction"] if self.is_variational else outputs

    def train_step(self, data: Any) -> Any:
        rows, _, weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            loss = self.loss_of(rows, weight, training=True)
            scaled = self.optimizer.scale_loss(loss)
        variables = self.parts.trainable_variables
        self.optimizer.apply(tape.gradient(scaled, [variable.value for variable in variables]), variables)
        return self.get_metrics_result()

    def test_step(self, data: Any) -> Any:
        rows, _, weight = keras.utils.unpack_x_y_sample_weight(data)
        self.loss_of(rows, weight, training=False)
        return self.get_metrics_result()

    def loss_of(self, rows: Any, weight: Any, *, training: bool) -> Any:
        """Mean over the batch of half the squared scaled errors' sum plus beta times the divergence; of a plain autoencoder, their mean."""
        outputs = self.parts(rows, training=training)
        again = tf.cast(outputs["reconstruction"] if self.is_variational else outputs, tf.float32)
        errors = (tf.cast(rows, tf.float32) - again) / (1.0 if self.scale is None else tf.constant(self.scale, tf.float32))
        errors = tf.reshape(errors, [tf.shape(errors)[0], -1])  # (B, F)
        if self.is_variational:
            losses = tf.reduce_sum(errors**2, axis=-1) / 2 + self.beta * divergence(outputs["distribution"])
        else:
            losses = tf.reduce_mean(errors**2, axis=-1)
        loss = tf.reduce_mean(losses) if weight is None else mean_of(losses, weight)
        self.loss_mean.update_state(loss, tf.shape(errors)[0])
        self.error_mean.update_state(tf.reduce_mean(tf.abs(errors)), tf.shape(errors)[0])
        return loss + sum(self.parts.losses) if self.parts.losses else loss


def divergence(distribution: Any) -> Any:
    """(B,) Kullback-Leibler divergence of N(mean, exp(log variance)) from N(0, 1), of (B, 2Z). Kingma & Welling 2014, appendix B."""
    mean, log_variance = tf.split(tf.cast(distribution, tf.float32), 2, axis=-1)
    return tf.reduce_sum(tf.exp(log_variance) + mean**2 - 1 - log_variance, axis=-1) / 2

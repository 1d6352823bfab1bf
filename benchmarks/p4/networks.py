"""The networks, for Keras 3 and Keras 2 alike; sides/torch_ddp.py mirrors them."""

from __future__ import annotations

from typing import Any

from benchmarks.p4 import orders
from benchmarks.p4.works import WORKS


def build(keras: Any, name: str) -> Any:
    keras.utils.set_random_seed(7)
    work = WORKS[name]
    inputs = keras.Input(work.shape)
    return keras.Model(inputs, {"cnn": cnn, "vgg": vgg, "transformer": transformer}[name](keras.layers, inputs, work.num_classes))


def cnn(layers: Any, inputs: Any, num_classes: int) -> Any:
    """0.2M parameters in 8 tensors."""
    hidden = inputs  # (B, 28, 28, 1)
    for filters in (32, 64):
        hidden = layers.Conv2D(filters, 3, activation="relu", padding="same")(hidden)
        hidden = layers.MaxPooling2D()(hidden)  # (B, 14, 14, 32), (B, 7, 7, 64)
    hidden = layers.Dense(56, activation="relu")(layers.Flatten()(hidden))
    return layers.Dense(num_classes)(hidden)


def vgg(layers: Any, inputs: Any, num_classes: int) -> Any:
    """25M parameters in 20 tensors: the convolutions of VGG-11, and two dense layers."""
    hidden = inputs  # (B, 64, 64, 3)
    for filters, count in ((64, 1), (128, 1), (256, 2), (512, 2), (512, 2)):
        for _ in range(count):
            hidden = layers.Conv2D(filters, 3, activation="relu", padding="same")(hidden)
        hidden = layers.MaxPooling2D()(hidden)  # (B, 2, 2, 512) at the end
    hidden = layers.Dense(5120, activation="relu")(layers.Flatten()(hidden))
    return layers.Dense(num_classes)(hidden)


def transformer(layers: Any, inputs: Any, num_classes: int) -> Any:
    """0.6M parameters in 196 tensors: twelve blocks of width 64, each normalising its input first."""
    hidden = layers.Dense(64)(inputs)  # (B, 32, 64)
    for _ in range(12):
        normal = layers.LayerNormalization()(hidden)
        hidden = layers.Add()([hidden, layers.MultiHeadAttention(4, 16)(normal, normal)])
        normal = layers.LayerNormalization()(hidden)
        hidden = layers.Add()([hidden, layers.Dense(64)(layers.Dense(256, activation="gelu")(normal))])
    return layers.Dense(num_classes)(layers.GlobalAveragePooling1D()(layers.LayerNormalization()(hidden)))


def times_of(keras: Any) -> Any:
    """A callback for `fit`: `segment` is from the end of the first execution to the end of the last; ranks then began together."""

    class Times(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_begin(self, logs: object = None) -> None:
            self.clock, self.first, self.last = orders.Clock(), 0, 0

        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            self.last = batch + 1
            if not self.first:
                self.first = self.last
                self.clock.start()

        def on_train_end(self, logs: object = None) -> None:
            self.segment = self.clock.stop(self.last - self.first)

    return Times()

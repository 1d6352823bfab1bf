"""A plain feed-forward network for packed rows."""

from __future__ import annotations

import keras
from keras import layers

from models import Activation


def build(
    num_features: int, num_outputs: int, *, width: int = 64, depth: int = 2, dropout: float = 0.1, activation: Activation = "relu"
) -> keras.Model:
    """`depth` hidden layers of `width` ReLU units.

    Args:
        num_features: width F of the packed vector; numbers scaled, categories one-hot.
        num_outputs: number K of outputs: a logit for each class, or 1 for regression.
        width: hidden units W of each layer.
        depth: hidden layers, at least 1.
        dropout: share of each hidden layer dropped in training, [0, 1).
        activation: of the hidden units.
    """
    inputs = keras.Input((num_features,), dtype="float32", name="features")  # (B, F)
    hidden = inputs
    for index in range(depth):
        hidden = layers.Dense(width, activation=activation, kernel_initializer="he_normal", name=f"hidden_{index}")(hidden)  # (B, W)
        hidden = layers.Dropout(dropout, name=f"dropout_{index}")(hidden)  # (B, W)
    outputs = layers.Dense(num_outputs, dtype="float32", name="outputs")(hidden)  # (B, K)
    return keras.Model(inputs, outputs, name="mlp")

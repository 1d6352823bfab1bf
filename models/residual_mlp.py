"""A residual feed-forward network for packed rows."""

from __future__ import annotations

import keras
from keras import layers

from models import Activation


def build(
    num_features: int,
    num_outputs: int,
    *,
    width: int = 128,
    depth: int = 3,
    expansion: float = 2.0,
    dropout: float = 0.1,
    activation: Activation = "relu",
) -> keras.Model:
    """`depth` residual blocks, each normalising its input first.

    Args:
        num_features: width F of the packed vector; numbers scaled, categories one-hot.
        num_outputs: number K of outputs: a logit for each class, or the numbers of a regression.
        width: width W of the stream that blocks add to.
        depth: number of blocks, at least 1.
        expansion: hidden units of a block / W.
        dropout: share of a block's hidden units dropped in training, [0, 1).
        activation: of the hidden units.

    Source: Gorishniy et al. 2021, arXiv:2106.11959, section 3.2; layer norm in place of batch norm, so that rows stay independent.
    """
    inputs = keras.Input((num_features,), dtype="float32", name="features")  # (B, F)
    hidden = layers.Dense(width, name="stem")(inputs)  # (B, W)
    for index in range(depth):
        hidden = block(hidden, round(width * expansion), dropout, activation, name=f"block_{index}")  # (B, W)
    hidden = layers.LayerNormalization(name="norm")(hidden)  # (B, W)
    hidden = layers.Activation(activation, name="activation")(hidden)  # (B, W)
    outputs = layers.Dense(num_outputs, dtype="float32", name="outputs")(hidden)  # (B, K) float32 even in mixed precision
    return keras.Model(inputs, outputs, name="residual_mlp")


def block(stream: keras.KerasTensor, units: int, dropout: float, activation: str, *, name: str) -> keras.KerasTensor:
    hidden = layers.LayerNormalization(name=f"{name}_norm")(stream)  # (B, W)
    hidden = layers.Dense(units, activation=activation, kernel_initializer="he_normal", name=f"{name}_up")(hidden)  # (B, U)
    hidden = layers.Dropout(dropout, name=f"{name}_dropout")(hidden)  # (B, U)
    hidden = layers.Dense(stream.shape[-1], name=f"{name}_down")(hidden)  # (B, W)
    return layers.Add(name=f"{name}_add")([stream, hidden])  # (B, W)

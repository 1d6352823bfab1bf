"""A linear model and a deep one with embeddings, added, for rows of numbers and categories."""

from __future__ import annotations

from collections.abc import Mapping

import keras
from keras import layers, ops

from models import Activation


def build(
    num_features: int,
    num_outputs: int,
    category_sizes: Mapping[int, int] | None = None,
    *,
    embedding: int = 8,
    width: int = 64,
    depth: int = 2,
    dropout: float = 0.1,
    activation: Activation = "relu",
) -> keras.Model:
    """Wide: a weight for each number and each category value. Deep: embeddings and numbers through hidden layers. The output is their sum.

    Args:
        num_features: width F of the packed vector.
        num_outputs: number K of outputs: a logit for each class, or the numbers of a regression.
        category_sizes: position of each category that is a code (encode: ordinal or vocabulary) -> number of codes; the rest are numbers.
        embedding: width E of each category's embedding.
        width: hidden units W of each layer.
        depth: hidden layers, at least 1.
        dropout: share of each hidden layer dropped in training, [0, 1).
        activation: of the hidden units.

    Source: Cheng et al. 2016, arXiv:1606.07792, section 3; without crossed columns, and with one optimizer for both parts.
    """
    codes = dict(category_sizes or {})
    numbers = [position for position in range(num_features) if position not in codes]
    inputs = keras.Input((num_features,), dtype="float32", name="features")  # (B, F)
    wide, deep = [], []
    if numbers:
        plain = ops.take(inputs, numbers, axis=1) if codes else inputs  # (B, N)
        wide.append(layers.Dense(num_outputs, use_bias=False, name="wide_numbers")(plain))  # (B, K)
        deep.append(plain)
    for position, size in codes.items():
        code = ops.cast(inputs[:, position], "int32")  # (B,) 0 to size - 1
        wide.append(layers.Embedding(size, num_outputs, name=f"wide_{position}")(code))  # (B, K)
        deep.append(layers.Embedding(size, embedding, name=f"embedding_{position}")(code))  # (B, E)
    hidden = layers.Concatenate(name="deep_inputs")(deep) if len(deep) > 1 else deep[0]  # (B, N + E * categories)
    for index in range(depth):
        hidden = layers.Dense(width, activation=activation, kernel_initializer="he_normal", name=f"hidden_{index}")(hidden)  # (B, W)
        hidden = layers.Dropout(dropout, name=f"dropout_{index}")(hidden)  # (B, W)
    outputs = layers.Dense(num_outputs, name="deep")(hidden)  # (B, K)
    outputs = layers.Add(dtype="float32", name="outputs")([outputs, *wide])  # (B, K) float32 even in mixed precision
    return keras.Model(inputs, outputs, name="wide_deep")

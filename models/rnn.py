"""A recurrent network for texts, series, and rows read as a sequence of features."""

from __future__ import annotations

from typing import Literal

import keras
from keras import layers


def build(
    num_outputs: int,
    sequence_length: int | None = None,
    vocabulary_size: int | None = None,
    sequence_shape: tuple[int, int] | None = None,
    num_features: int | None = None,
    *,
    cell: Literal["lstm", "gru"] = "lstm",
    width: int = 64,
    depth: int = 1,
    bidirectional: bool = True,
    embedding: int = 64,
    dropout: float = 0.2,
) -> keras.Model:
    """Recurrent layers over the steps; the last layer's final state is the answer. Padding (token 0) is skipped.

    Args:
        num_outputs: number K of outputs: a logit for each class, or the numbers of a regression.
        sequence_length: tokens T of a text; with `vocabulary_size`.
        vocabulary_size: number of token ids, 0 (padding) and 1 (unknown) included.
        sequence_shape: (steps T, channels C) of a series.
        num_features: width F of a packed row; each feature is a step.
        cell: "lstm" or "gru".
        width: units W of each layer and direction.
        depth: recurrent layers on each other, at least 1.
        bidirectional: also read from the end; the two states stand side by side.
        embedding: width E of a token's vector.
        dropout: share of what goes into each layer dropped in training, [0, 1).

    Sources: Hochreiter & Schmidhuber 1997, 10.1162/neco.1997.9.8.1735; Cho et al. 2014, arXiv:1406.1078; Schuster & Paliwal 1997.
    """
    inputs, hidden = steps(sequence_length, vocabulary_size, sequence_shape, num_features, embedding)  # (B, T, E)
    kind = {"lstm": layers.LSTM, "gru": layers.GRU}[cell]
    for index in range(depth):
        is_last = index == depth - 1
        hidden = layers.Dropout(dropout, name=f"dropout_{index}")(hidden)  # (B, T, E) or (B, T, D)
        layer = kind(width, return_sequences=not is_last, name=f"{cell}_{index}")
        if bidirectional:
            layer = layers.Bidirectional(layer, name=f"both_ways_{index}")
        hidden = layer(hidden)  # (B, T, D), of the last (B, D); D = 2W if bidirectional, else W
    outputs = layers.Dense(num_outputs, dtype="float32", name="outputs")(hidden)  # (B, K) float32 even in mixed precision
    return keras.Model(inputs, outputs, name="rnn")


def steps(
    sequence_length: int | None,
    vocabulary_size: int | None,
    sequence_shape: tuple[int, int] | None,
    num_features: int | None,
    embedding: int,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The input and its steps as vectors, with the mask of a text's padding."""
    if vocabulary_size is not None:
        tokens = keras.Input((sequence_length,), dtype="int32", name="tokens")  # (B, T)
        return tokens, layers.Embedding(vocabulary_size, embedding, mask_zero=True, name="embedding")(tokens)  # (B, T, E)
    if sequence_shape is not None:
        series = keras.Input(sequence_shape, dtype="float32", name="series")  # (B, T, C)
        return series, series
    if num_features is None:
        raise ValueError("Expected one of vocabulary_size, sequence_shape, num_features. Received none.")
    row = keras.Input((num_features,), dtype="float32", name="features")  # (B, F)
    return row, layers.Reshape((num_features, 1), name="steps")(row)  # (B, F, 1)

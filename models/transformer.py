"""A Transformer encoder for texts, series, and rows whose features are the tokens."""

from __future__ import annotations

import keras
from keras import layers, ops

from models import Activation


def build(
    num_outputs: int,
    sequence_length: int | None = None,
    vocabulary_size: int | None = None,
    sequence_shape: tuple[int, int] | None = None,
    num_features: int | None = None,
    *,
    width: int = 64,
    depth: int = 2,
    heads: int = 4,
    expansion: float = 2.0,
    dropout: float = 0.1,
    activation: Activation = "gelu",
) -> keras.Model:
    """Self-attention blocks, each normalising its input first; the mean over the steps is the answer. Padding (token 0) is masked.

    Args:
        num_outputs: number K of outputs: a logit for each class, or the numbers of a regression.
        sequence_length: tokens T of a text; with `vocabulary_size`.
        vocabulary_size: number of token ids, 0 (padding) and 1 (unknown) included.
        sequence_shape: (steps T, channels C) of a series.
        num_features: width F of a packed row; T = F, each feature times a vector of its own plus another.
        width: width W of every token; a multiple of heads.
        depth: number of blocks, at least 1.
        heads: attention heads H of each block.
        expansion: hidden units of a block's feed-forward part / W.
        dropout: share dropped in training of tokens, attention and each block's two additions, [0, 1).
        activation: of the hidden units.

    Raises:
        ValueError: width does not divide over the heads.

    Sources: Vaswani et al. 2017, arXiv:1706.03762; norm before each part: Xiong et al. 2020, arXiv:2002.04745;
    features as tokens: Gorishniy et al. 2021, arXiv:2106.11959, section 3.3.
    """
    if width % heads:
        raise ValueError(f"Expected width to be a multiple of heads. Received: width={width}, heads={heads}")
    inputs, hidden = tokens_of(sequence_length, vocabulary_size, sequence_shape, num_features, width)  # (B, T, W)
    hidden = layers.Dropout(dropout, name="dropout")(hidden)  # (B, T, W)
    for index in range(depth):
        hidden = block(hidden, heads, round(width * expansion), dropout, activation, name=f"block_{index}")  # (B, T, W)
    hidden = layers.LayerNormalization(name="norm")(hidden)  # (B, T, W)
    hidden = layers.GlobalAveragePooling1D(name="pool")(hidden)  # (B, W) over the steps that are no padding
    outputs = layers.Dense(num_outputs, dtype="float32", name="outputs")(hidden)  # (B, K) float32 even in mixed precision
    return keras.Model(inputs, outputs, name="transformer")


def tokens_of(
    sequence_length: int | None,
    vocabulary_size: int | None,
    sequence_shape: tuple[int, int] | None,
    num_features: int | None,
    width: int,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The input and its tokens, each with its place, with the mask of a text's padding."""
    if vocabulary_size is not None:
        tokens = keras.Input((sequence_length,), dtype="int32", name="tokens")  # (B, T)
        words = layers.Embedding(vocabulary_size, width, mask_zero=True, name="embedding")(tokens)  # (B, T, W)
        return tokens, with_places(words, ops.ones_like(tokens))
    if sequence_shape is not None:
        series = keras.Input(sequence_shape, dtype="float32", name="series")  # (B, T, C)
        return series, with_places(layers.Dense(width, name="embedding")(series), ops.ones_like(series[:, :, 0], dtype="int32"))
    if num_features is None:
        raise ValueError("Expected one of vocabulary_size, sequence_shape, num_features. Received none.")
    row = keras.Input((num_features,), dtype="float32", name="features")  # (B, F)
    # The bias of a feature also says which feature it is: no places are needed.
    return row, layers.EinsumDense("bf,fw->bfw", (num_features, width), bias_axes="fw", name="embedding")(row)  # (B, F, W)


def with_places(tokens: keras.KerasTensor, ones: keras.KerasTensor) -> keras.KerasTensor:
    places = ops.cumsum(ones, axis=1) - 1  # (B, T) 0, 1 … T - 1
    learned = layers.Embedding(tokens.shape[1], tokens.shape[2], name="places")(places)  # (B, T, W)
    return layers.Add(name="placed")([tokens, learned])  # (B, T, W)


def block(stream: keras.KerasTensor, heads: int, units: int, dropout: float, activation: str, *, name: str) -> keras.KerasTensor:
    width = stream.shape[-1]
    hidden = layers.LayerNormalization(name=f"{name}_norm_a")(stream)  # (B, T, W)
    attention = layers.MultiHeadAttention(heads, width // heads, dropout=dropout, name=f"{name}_attention")
    hidden = layers.Dropout(dropout, name=f"{name}_dropout_a")(attention(hidden, hidden))  # (B, T, W)
    stream = layers.Add(name=f"{name}_add_a")([stream, hidden])  # (B, T, W)
    hidden = layers.LayerNormalization(name=f"{name}_norm_b")(stream)  # (B, T, W)
    hidden = layers.Dense(units, activation=activation, name=f"{name}_up")(hidden)  # (B, T, U)
    hidden = layers.Dropout(dropout, name=f"{name}_dropout_b")(layers.Dense(width, name=f"{name}_down")(hidden))  # (B, T, W)
    return layers.Add(name=f"{name}_add_b")([stream, hidden])  # (B, T, W)

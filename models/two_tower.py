"""A tower for the user and one for the item; how well the two vectors agree is the answer."""

from __future__ import annotations

import keras
from keras import layers


def build(
    tensor_shape: tuple[int, ...],
    num_users: int,
    num_items: int,
    num_outputs: int,
    *,
    embedding: int = 32,
    width: int = 32,
    depth: int = 1,
    dropout: float = 0.0,
    l2: float = 0.0,
) -> keras.Model:
    """Ids to vectors, each through its own hidden layers, multiplied; plus what user and item are worth on their own.

    Args:
        tensor_shape: (2 or more,) int32: user, item; what follows is not used.
        num_users: number of user ids, from 0.
        num_items: number of item ids, from 0.
        num_outputs: number K of outputs: 1 for a rating, or a logit for each class.
        embedding: width E of an id's vector.
        width: width W of a tower's last layer.
        depth: hidden layers of a tower; 0 makes it a factorisation of the matrix of ratings.
        dropout: share of each hidden layer dropped in training, [0, 1).
        l2: penalty on squared embeddings, >= 0.

    Sources: Covington et al. 2016, 10.1145/2959100.2959190; the sum of two biases: Koren et al. 2009, 10.1109/MC.2009.263.
    """
    inputs = keras.Input(tensor_shape, dtype="int32", name="ids")  # (B, 2)
    user_id, item_id = inputs[:, 0], inputs[:, 1]  # (B,) (B,)
    user = tower(user_id, num_users, embedding, width, depth, dropout, l2, name="user")  # (B, W)
    item = tower(item_id, num_items, embedding, width, depth, dropout, l2, name="item")  # (B, W)
    agreement = layers.Multiply(name="agreement")([user, item])  # (B, W)
    outputs = layers.Dense(num_outputs, kernel_initializer="ones", name="score")(agreement)  # (B, K) at first the dot product
    user_bias = layers.Embedding(num_users, num_outputs, embeddings_initializer="zeros", name="user_bias")(user_id)  # (B, K)
    item_bias = layers.Embedding(num_items, num_outputs, embeddings_initializer="zeros", name="item_bias")(item_id)  # (B, K)
    outputs = layers.Add(dtype="float32", name="outputs")([outputs, user_bias, item_bias])  # (B, K) float32 even in mixed precision
    return keras.Model(inputs, outputs, name="two_tower")


def tower(
    ids: keras.KerasTensor, num_ids: int, embedding: int, width: int, depth: int, dropout: float, l2: float, *, name: str
) -> keras.KerasTensor:
    penalty = keras.regularizers.L2(l2) if l2 else None
    size = embedding if depth else width
    hidden = layers.Embedding(num_ids, size, embeddings_regularizer=penalty, name=f"{name}_embedding")(ids)  # (B, E)
    for index in range(depth):
        activation = "relu" if index < depth - 1 else "linear"
        hidden = layers.Dropout(dropout, name=f"{name}_dropout_{index}")(hidden)  # (B, E) or (B, W)
        hidden = layers.Dense(width, activation=activation, name=f"{name}_hidden_{index}")(hidden)  # (B, W)
    return hidden

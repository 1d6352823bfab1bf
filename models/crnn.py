"""Convolutions and a recurrent layer over a log-mel spectrogram, for sounds of one length."""

from __future__ import annotations

from typing import Literal

import keras
from keras import layers, ops

WINDOW_S, HOP_S = 0.025, 0.010


def build(
    num_samples: int,
    sample_rate: int,
    num_outputs: int,
    tensor_dtype: str = "float32",
    *,
    mels: int = 40,
    filters: int = 16,
    blocks: int = 2,
    cell: Literal["lstm", "gru"] = "gru",
    width: int = 64,
    dropout: float = 0.2,
) -> keras.Model:
    """Waveform to log-mel spectrogram inside the model, so that training and serving cannot differ in it; then convolutions, then time.

    Args:
        num_samples: samples N of the waveform, mono.
        sample_rate: samples a second, Hz.
        num_outputs: number K of outputs: a logit for each class, or the numbers of a regression.
        tensor_dtype: int16 samples are divided by 32768; float32 samples are from -1 to 1.
        mels: mel bands M; at least 2**blocks.
        filters: filters F of the first block; block i has F * 2**i.
        blocks: convolution blocks; each halves the bands, the first also the frames.
        cell: "lstm" or "gru".
        width: units W of the recurrent layer and each direction.
        dropout: share of the answer's features dropped in training, [0, 1).

    Raises:
        ValueError: the sound is shorter than a window, or the bands are too few for the blocks.

    Source: Choi et al. 2017, arXiv:1609.04243; windows of 25 ms every 10 ms as in speech recognition.
    """
    window, hop = round(WINDOW_S * sample_rate), round(HOP_S * sample_rate)
    if num_samples < window or mels < 2**blocks:
        raise ValueError(
            f"Expected at least {window} samples ({WINDOW_S} s) and mels >= {2**blocks}. Received: num_samples={num_samples}, mels={mels}"
        )
    inputs = keras.Input((num_samples,), dtype=tensor_dtype, name="waveform")  # (B, N)
    hidden = log_mel(inputs, sample_rate, window, hop, mels)  # (B, T, M, 1) about zero
    for index in range(blocks):
        hidden = block(hidden, filters * 2**index, (2, 2) if index == 0 else (1, 2), name=f"block_{index}")  # (B, T/2, M / 2**i, F * 2**i)
    frames, bands, channels = hidden.shape[1:]
    hidden = layers.Reshape((frames, bands * channels), name="frames")(hidden)  # (B, T/2, M * F / 2)
    recurrent = {"lstm": layers.LSTM, "gru": layers.GRU}[cell](width, name=cell)
    hidden = layers.Bidirectional(recurrent, name="both_ways")(hidden)  # (B, 2W)
    hidden = layers.Dropout(dropout, name="dropout")(hidden)  # (B, 2W)
    outputs = layers.Dense(num_outputs, dtype="float32", name="outputs")(hidden)  # (B, K) float32 even in mixed precision
    return keras.Model(inputs, outputs, name="crnn")


def log_mel(waveform: keras.KerasTensor, sample_rate: int, window: int, hop: int, mels: int) -> keras.KerasTensor:
    scale = 1 / 32768 if waveform.dtype == "int16" else 1.0
    samples = layers.Rescaling(scale, dtype="float32", name="samples")(waveform)  # (B, N) -1 to 1
    spectrogram = layers.MelSpectrogram(
        fft_length=2 ** (window - 1).bit_length(),
        sequence_stride=hop,
        sequence_length=window,
        sampling_rate=sample_rate,
        num_mel_bins=mels,
        min_freq=20,
        max_freq=sample_rate / 2,
        power_to_db=False,  # Keras cuts decibels below the loudest of the whole batch: a row's answer would depend on its neighbours
        dtype="float32",
        name="mel",
    )(samples)  # (B, M, T) power
    logarithm = ops.log(spectrogram + 1e-5)  # (B, M, T)
    frames = layers.Permute((2, 1), dtype="float32", name="time_first")(logarithm)  # (B, T, M)
    frames = layers.LayerNormalization(axis=(1, 2), center=False, scale=False, dtype="float32", name="loudness")(frames)  # (B, T, M)
    return layers.Reshape((*frames.shape[1:], 1), name="spectrogram")(frames)  # (B, T, M, 1)


def block(spectrogram: keras.KerasTensor, filters: int, pool: tuple[int, int], *, name: str) -> keras.KerasTensor:
    hidden = layers.Conv2D(filters, 3, padding="same", kernel_initializer="he_normal", name=f"{name}_conv")(spectrogram)  # (B, T, M, F)
    hidden = layers.GroupNormalization(1, name=f"{name}_norm")(hidden)  # (B, T, M, F)
    hidden = layers.Activation("relu", name=f"{name}_relu")(hidden)  # (B, T, M, F)
    return layers.MaxPooling2D(pool, name=f"{name}_pool")(hidden)  # (B, T/p, M/p, F)

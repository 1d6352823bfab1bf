"""One sound: bytes of a WAV or FLAC file -> samples of one rate and length. Pure; runs in Spark's Python workers."""

from __future__ import annotations

import io
from functools import lru_cache
from math import gcd
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from pipeline.prepare.kinds.base import Undecodable
from pipeline.sections.media import MAX_SAMPLES, AudioOptions

MAGIC = {"WAV": b"RIFF", "FLAC": b"fLaC"}  # the only formats that libsndfile is let near, by their first bytes
ENDINGS = {"WAV": ("wav", "wave"), "FLAC": ("flac",)}
SUBTYPES = ("PCM_U8", "PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
MAX_CHANNELS = 32
BLOCK_FRAMES = 1 << 18  # decoded at a time
FULL_SCALE = 1 - 2**-15  # of 16 bits: 32767; what lies there or beyond counts as clipped

Samples = NDArray[np.float32]


def decode(content: bytes, options: AudioOptions, name: str = "") -> Samples:
    """(options.num_samples,) float32 from -1 to 1.

    Args:
        content: the file.
        options: rate, length, and what a sound must keep to.
        name: of the file; what it ends in must go with the bytes, if it is a sound's ending.

    Raises:
        Undecodable: with the reason; limits are checked on the header, before samples are decoded.
    """
    check_bytes(content, options, name)
    samples, rate = read(content, options)
    check_clipped(samples, options)
    if rate != options.sample_rate:
        samples = resample(samples, rate, options.sample_rate)
    samples = without_silence(samples, options)
    if len(samples) < options.min_seconds * options.sample_rate:
        raise Undecodable(f"{len(samples) / options.sample_rate:.3f} s is less than audio.min_seconds: {options.min_seconds:g}")
    return np.clip(to_length(samples, options), -1.0, 1.0)


def check_bytes(content: bytes, options: AudioOptions, name: str) -> None:
    if not content:
        raise Undecodable("the file is empty")
    if len(content) > options.max_file_mb << 20:
        raise Undecodable(f"{len(content)} bytes is more than audio.max_file_mb: {options.max_file_mb}")
    found = next((kind for kind, mark in MAGIC.items() if content.startswith(mark)), None)
    if found is None or (found == "WAV" and content[8:12] != b"WAVE"):
        raise Undecodable(f"not a readable sound: begins with {content[:8].hex(' ')}, which is none of {', '.join(MAGIC)}")
    ending = name.rpartition(".")[2].lower()
    if options.mislabelled == "quarantine" and ending not in ENDINGS[found] and any(ending in known for known in ENDINGS.values()):
        raise Undecodable(f"mislabelled: the name ends in .{ending}, the content is {found}")
    if found == "WAV":
        check_chunks(content)


def check_chunks(content: bytes) -> None:
    """Raises Undecodable for a WAV file that was cut off: libsndfile reads what there is of it, and says nothing."""
    place = 12
    while place + 8 <= len(content):
        mark, size = content[place : place + 4], int.from_bytes(content[place + 4 : place + 8], "little")
        if mark == b"data":
            held = len(content) - place - 8
            if size > held:
                raise Undecodable(f"truncated: its header says {size} bytes of samples, the file holds {held}")
            return
        place += 8 + size + size % 2
    raise Undecodable("truncated: the file ends before its samples")


def read(content: bytes, options: AudioOptions) -> tuple[Samples, int]:
    """((frames,) of one channel, rate), as the file has them. Channels are mixed block by block: a long sound is in memory once."""
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            check_header(file, options)
            num_frames, rate = file.frames, file.samplerate
            samples, held = np.empty(num_frames, np.float32), 0
            while held < num_frames and len(block := file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
                check_finite(block)
                samples[held : held + len(block)] = to_mono(block, options)
                held += len(block)
    except Undecodable:
        raise
    except Exception as error:  # libsndfile's errors, and what its file object raises on nonsense
        raise Undecodable(f"not a readable sound: {type(error).__name__}: {str(error).rpartition(': ')[2]}") from error
    if held != num_frames:
        raise Undecodable(f"truncated: its header says {num_frames} samples, {held} could be read")
    return samples, rate


def check_finite(block: NDArray[Any]) -> None:
    if not np.isfinite(block).all():
        raise Undecodable(f"{int((~np.isfinite(block)).sum())} samples are NaN or infinite")


def check_header(file: soundfile.SoundFile, options: AudioOptions) -> None:
    if file.format not in ("WAV", "WAVEX", "FLAC") or file.subtype not in SUBTYPES:
        raise Undecodable(f"{file.format} {file.subtype} is not read; expected WAV or FLAC of {', '.join(SUBTYPES)}")
    if not file.frames:
        raise Undecodable("no samples")
    if file.frames * file.channels > MAX_SAMPLES or file.channels > MAX_CHANNELS:
        raise Undecodable(
            f"{file.frames} samples of {file.channels} channels are more than {MAX_SAMPLES} in all, or {MAX_CHANNELS} channels"
        )
    if file.frames / file.samplerate * options.sample_rate > MAX_SAMPLES:
        raise Undecodable(f"{file.frames / file.samplerate:.0f} s would be more than {MAX_SAMPLES} samples")
    if options.max_seconds is not None and file.frames > options.max_seconds * file.samplerate:
        raise Undecodable(f"{file.frames / file.samplerate:.3f} s is more than audio.max_seconds: {options.max_seconds:g}")
    if options.other_rates == "quarantine" and file.samplerate != options.sample_rate:
        raise Undecodable(f"rate {file.samplerate} Hz, expected {options.sample_rate}")
    if options.channels == "quarantine" and file.channels > 1:
        raise Undecodable(f"{file.channels} channels, expected 1")


def to_mono(samples: NDArray[Any], options: AudioOptions) -> Samples:
    if samples.shape[1] == 1 or options.channels == "first":
        return np.ascontiguousarray(samples[:, 0])
    if samples.shape[1] == 2:  # half of a float32 sum is the same number as the rounded mean in float64
        return np.asarray((samples[:, 0] + samples[:, 1]) * np.float32(0.5), np.float32)
    total = samples[:, 0].astype(np.float64)  # channel by channel: NumPy's mean over so short an axis takes ten times as long
    for channel in range(1, samples.shape[1]):
        total += samples[:, channel]
    return np.asarray(total / samples.shape[1], np.float32)


def check_clipped(samples: Samples, options: AudioOptions) -> None:
    share = float(((samples >= FULL_SCALE) | (samples <= -FULL_SCALE)).mean())
    if share > options.max_clipped:
        raise Undecodable(f"{share:.2%} of the samples are clipped, more than audio.max_clipped: {options.max_clipped:.2%}")


def resample(samples: Samples, rate: int, wanted: int) -> Samples:
    """Polyphase filter (SciPy's Kaiser window): nothing above half of the lower rate comes through."""
    from scipy.signal import resample_poly  # 0.7 s, which workers on other kinds, and sounds of the right rate, need not pay

    common = gcd(rate, wanted)
    up, down = wanted // common, rate // common
    return np.asarray(resample_poly(samples, up, down, window=low_pass(up, down)), np.float32)


@lru_cache(maxsize=64)
def low_pass(up: int, down: int) -> NDArray[np.float32]:
    """The filter that `resample_poly` would design anew for every sound."""
    from scipy.signal import firwin

    highest = max(up, down)
    return np.asarray(firwin(20 * highest + 1, 1 / highest, window=("kaiser", 5.0)), np.float32)


def without_silence(samples: Samples, options: AudioOptions) -> Samples:
    """The sound, without silent ends if they are to be cut."""
    if options.silence == "keep":
        return samples
    loud = np.flatnonzero(np.abs(samples) > 10 ** (options.silence_db / 20))
    if not len(loud):
        raise Undecodable(f"silent: no sample above {options.silence_db:g} dB")
    return samples[loud[0] : loud[-1] + 1] if options.silence == "trim" else samples


def to_length(samples: Samples, options: AudioOptions) -> Samples:
    """Cut, or filled up with zeros."""
    surplus = len(samples) - options.num_samples
    before = abs(surplus) // 2 if options.align == "middle" else 0
    if surplus >= 0:
        return samples[before : before + options.num_samples]
    return np.pad(samples, (before, -surplus - before))

"""One GPU for each rank of a host. Without a GPU this does nothing; docs/gpu.md lists what no machine without one can check."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

import tensorflow as tf

from pipeline.errors import ConfigError

Device = TypeVar("Device")


def use_one_gpu() -> str | None:
    """Give this process the GPU of its place on the host, before TensorFlow touches any. Its memory grows as it is needed.

    Returns:
        The device's name, or None where there is no GPU.

    Raises:
        ConfigError: more ranks on this host than it has GPUs.
    """
    devices = tf.config.list_physical_devices("GPU")
    if not devices:
        return None
    place, size = int(os.environ.get("HOROVOD_LOCAL_RANK", "0")), int(os.environ.get("HOROVOD_LOCAL_SIZE", "1"))
    device = pick(devices, place, size)
    tf.config.set_visible_devices(device, "GPU")
    tf.config.experimental.set_memory_growth(device, True)  # or the first rank would take the memory of all
    return str(device.name)


def pick(devices: Sequence[Device], place: int, size: int) -> Device:
    """The device of rank `place` of `size` on a host."""
    if size > len(devices):
        raise ConfigError(
            f"{size} ranks on a host with {len(devices)} GPUs: expected one GPU for each rank. Lower train.ranks, or the host's number in "
            "launch.hosts; to train on the CPU there, set CUDA_VISIBLE_DEVICES to nothing."
        )
    return devices[place]

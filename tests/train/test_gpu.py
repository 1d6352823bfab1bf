"""Which GPU a rank takes; the rest of gpu.py needs one, see docs/gpu.md."""

from __future__ import annotations

import pytest

from pipeline.errors import ConfigError
from pipeline.train.gpu import pick, use_one_gpu


def test_every_rank_of_a_host_takes_a_gpu_of_its_own():
    assert [pick(["gpu0", "gpu1", "gpu2"], place, 3) for place in range(3)] == ["gpu0", "gpu1", "gpu2"]


def test_more_ranks_than_gpus_are_refused():
    with pytest.raises(ConfigError, match="3 ranks on a host with 2 GPUs"):
        pick(["gpu0", "gpu1"], 0, 3)


def test_without_a_gpu_nothing_is_chosen():
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    assert use_one_gpu() is None

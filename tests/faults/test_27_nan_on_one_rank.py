"""One rank goes wrong and computes what is no number: all ranks stop with it, and no checkpoint holds what came of it."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.train import checkpoint as checkpoints
from tests.train.places import HERE, training, with_callback
from tests.train.processes import wait_until_none_is_left

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

WRONG_AT = 7  # steps of the whole training; epochs have five


def test_what_is_no_number_on_one_rank_stops_all_and_reaches_no_checkpoint(iris_run, tmp_path):
    broken, callback = with_callback(iris_run, tmp_path / "recipe", "OneGoesWrong", rank=1, step=WRONG_AT)
    overrides = (callback, "train.early_stopping=null", "train.checkpoint_steps=1", "train.steps_per_execution=1", "train.epochs=10")
    with training(HERE, broken, tmp_path, *overrides) as job:
        assert job.end() == 3, job.printed()
        wait_until_none_is_left(job.mark, 10)
    assert "The loss was nan by step" in job.printed() and "Lower train.optimizer.learning_rate" in job.printed()
    assert not (job.run.stage("train") / "manifest.json").exists()
    (folder,) = job.checkpoints.iterdir()
    found, warnings = checkpoints.newest(folder)
    assert found is not None and not warnings and found.epoch * 5 + found.step <= WRONG_AT
    assert all(np.isfinite(array).all() for arrays in found.arrays.values() for array in arrays if array.dtype.kind == "f")

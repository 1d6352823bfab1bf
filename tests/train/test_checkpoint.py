"""Checkpoints on disk: whole or not there, and a damaged one is passed over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from pipeline.errors import InfrastructureError
from pipeline.train.checkpoint import KEPT, Checkpoint, best_epoch, newest, save


def a_checkpoint(step: int) -> Checkpoint:
    arrays = {"model": [np.full((3, 2), step, np.float32)], "optimizer": [np.asarray(step)], "metrics": [], "best": []}
    return Checkpoint(1, step, arrays, {"early_stopping": {"wait": 2}}, [{"epoch": 1}])


def test_what_is_saved_comes_back(tmp_path):
    save(tmp_path, a_checkpoint(7), 17)
    found, warnings = newest(tmp_path)
    assert found is not None and (found.epoch, found.step, warnings) == (1, 7, [])
    assert np.array_equal(found.arrays["model"][0], np.full((3, 2), 7, np.float32)) and found.arrays["optimizer"][0] == 7
    assert found.callbacks == {"early_stopping": {"wait": 2}} and found.history == [{"epoch": 1}]


def test_only_the_newest_few_are_kept(tmp_path):
    for step in range(6):
        save(tmp_path, a_checkpoint(step), step)
    assert len(list(tmp_path.iterdir())) == KEPT


def test_the_best_epochs_stays_beside_the_newest(tmp_path):
    for step in range(0, 60, 10):
        save(tmp_path, a_checkpoint(step), step, keep=2, best_step=20 if step >= 20 else None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000020", "step-00000040", "step-00000050"]


def test_the_best_epoch_is_by_the_metric_and_the_first_of_equals():
    history = [{"epoch": number + 1, "metrics": {"val_auc": value}} for number, value in enumerate((0.5, 0.9, 0.9, 0.7))]
    assert best_epoch(history, "val_auc", is_higher_better=True) == 2
    assert best_epoch(history, "val_auc", is_higher_better=False) == 1
    assert best_epoch(history, "val_loss", is_higher_better=False) is None


def cut(content: bytes) -> bytes:
    return content[:-5]


def flip_a_bit(content: bytes) -> bytes:
    """In a number: what is still valid JSON or a valid array must be found by its digest."""
    place = content.index(b'"wait": 2') + 8 if b'"wait": 2' in content else len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("damage", [cut, flip_a_bit])
@pytest.mark.parametrize("name", ["arrays.npy", "state.json"])
def test_a_damaged_newest_one_is_passed_over_with_a_warning(tmp_path, name, damage):
    save(tmp_path, a_checkpoint(1), 1)
    damaged = save(tmp_path, a_checkpoint(2), 2)
    (damaged / name).write_bytes(damage((damaged / name).read_bytes()))
    found, warnings = newest(tmp_path)
    assert found is not None and found.step == 1
    assert len(warnings) == 1 and "is damaged" in warnings[0]


def test_no_checkpoint_is_none(tmp_path):
    assert newest(tmp_path / "nothing") == (None, [])


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from pipeline.train import checkpoint
real = os.replace
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
checkpoint.os.replace = die
checkpoint.save(Path(sys.argv[1]), checkpoint.Checkpoint(1, 2, {"model": [np.zeros(9)]}), 2)
"""


def test_a_process_killed_while_it_saves_leaves_the_one_before(tmp_path):
    save(tmp_path, a_checkpoint(1), 1)
    assert subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False).returncode == -signal.SIGKILL
    found, warnings = newest(tmp_path)
    assert found is not None and found.step == 1 and not warnings


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_fails_clearly_and_the_checkpoint_before_loads(tmp_path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", tmp_path], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"this machine does not let root mount: {mounted.stderr.strip()}")
    try:
        save(tmp_path, a_checkpoint(1), 1)
        large = Checkpoint(1, 2, {"model": [np.random.default_rng(0).random(100_000)]})
        with pytest.raises(InfrastructureError, match=r"0 MB are free\). The one before is whole"):
            save(tmp_path, large, 2)
        found, _ = newest(tmp_path)
        assert found is not None and found.step == 1
    finally:
        subprocess.run(["umount", tmp_path], check=True)

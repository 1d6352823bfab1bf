"""Checkpoints: everything that training needs to go on as if it had never stopped. Atomic, verified, no pickle.

<folder>/step-00000420/arrays.npy    weights, optimizer, metrics of the running epoch, callbacks' weights
<folder>/step-00000420/state.json    position, callbacks' numbers, history, SHA-256 of arrays.npy and of itself; written last
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.attempt import sync_folder, write_durably
from pipeline.errors import InfrastructureError
from pipeline.manifest import sha256_of_file

KEPT = 3  # the newest, and more in case it is damaged
FORMAT = 2

Arrays = dict[str, list[NDArray[Any]]]


@dataclass(frozen=True)
class Checkpoint:
    """State at a position: `step` steps of epoch `epoch` (both from 0) are done."""

    epoch: int
    step: int
    arrays: Arrays  # "model", "optimizer", "metrics", "best": lists of arrays, in the variables' order
    callbacks: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)


def save(folder: Path, checkpoint: Checkpoint, global_step: int, *, keep: int = KEPT, best_step: int | None = None) -> Path:
    """Write a checkpoint aside and rename it into place; then remove older ones.

    Args:
        folder: of this training's checkpoints.
        checkpoint: what to write.
        global_step: steps since the training's beginning.
        keep: how many of the newest stay, >= 1.
        best_step: stays as well, if it is still there: the checkpoint of the best epoch.

    Raises:
        InfrastructureError: the disk is full or not writable; earlier checkpoints are untouched.
    """
    target = folder / step_name(global_step)
    draft: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=folder, prefix=".draft-"))
        write(draft, checkpoint)
        if target.exists():
            shutil.rmtree(target)
        os.replace(draft, target)
        sync_folder(folder)
    except OSError as error:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
        free = shutil.disk_usage(folder if folder.exists() else Path.cwd()).free >> 20
        raise InfrastructureError(
            f"Cannot write the checkpoint {target}: {error} ({free} MB are free). The one before is whole. Free space and run again."
        ) from error
    for old in sorted(folder.glob("step-*"))[:-keep]:
        if best_step is None or old.name != step_name(best_step):
            shutil.rmtree(old, ignore_errors=True)
    return target


def step_name(global_step: int) -> str:
    return f"step-{global_step:08d}"


def best_epoch(history: Sequence[Mapping[str, Any]], metric: str, *, is_higher_better: bool) -> int | None:
    """From 1, the first of equals; None where no epoch has the metric."""
    scores = {line["epoch"]: line["metrics"][metric] for line in history if metric in line["metrics"]}
    return (max if is_higher_better else min)(scores, key=lambda epoch: scores[epoch], default=None)


def write(folder: Path, checkpoint: Checkpoint) -> None:
    with (folder / "arrays.npy").open("wb") as file:  # one after another: numpy's zip writer cannot be closed on a full disk
        for array in itertools.chain.from_iterable(checkpoint.arrays.values()):
            np.save(file, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    state = {
        "format": FORMAT,
        "epoch": checkpoint.epoch,
        "step": checkpoint.step,
        "groups": {group: len(arrays) for group, arrays in checkpoint.arrays.items()},
        "callbacks": checkpoint.callbacks,
        "history": checkpoint.history,
        "sha256": sha256_of_file(folder / "arrays.npy"),
    }
    write_durably(folder / "state.json", json.dumps({**state, "state_sha256": digest_of_state(state)}, indent=1))


def digest_of_state(state: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint, and a warning for each newer one that is damaged."""
    warnings: list[str] = []
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            return read(path), warnings
        except (OSError, ValueError, KeyError) as error:
            warnings.append(f"{path} is damaged ({error}); going on from an earlier checkpoint.")
    return None, warnings


def read(path: Path) -> Checkpoint:
    state = json.loads((path / "state.json").read_text())
    if state["format"] != FORMAT:
        raise ValueError(f"format {state['format']}, expected {FORMAT}")
    if state.pop("state_sha256") != digest_of_state(state):
        raise ValueError("state.json does not have the digest that was written")
    if sha256_of_file(path / "arrays.npy") != state["sha256"]:
        raise ValueError("arrays.npy does not have the digest that was written")
    with (path / "arrays.npy").open("rb") as file:
        arrays = {group: [np.load(file, allow_pickle=False) for _ in range(count)] for group, count in state["groups"].items()}
    return Checkpoint(state["epoch"], state["step"], arrays, state["callbacks"], state["history"])

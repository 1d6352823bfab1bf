"""Checkpoints: everything that training needs to go on as if it had never stopped. Atomic, verified, no pickle.

<folder>/step-00000420/arrays.npy    weights, optimizer, metrics of the running epoch, callbacks' weights
<folder>/step-00000420/state.json    position, callbacks' numbers, history, SHA-256 of arrays.npy; written last
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.attempt import sync_folder, write_durably
from pipeline.errors import InfrastructureError
from pipeline.manifest import sha256_of_file

KEPT = 2  # the newest, and one more in case it is damaged
FORMAT = 1

Arrays = dict[str, list[NDArray[Any]]]


@dataclass(frozen=True)
class Checkpoint:
    """State at a position: `step` steps of epoch `epoch` (both from 0) are done."""

    epoch: int
    step: int
    arrays: Arrays  # "model", "optimizer", "metrics", "best": lists of arrays, in the variables' order
    callbacks: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)


def save(folder: Path, checkpoint: Checkpoint, global_step: int) -> Path:
    """Write a checkpoint aside and rename it into place; older ones beyond KEPT are removed.

    Raises:
        InfrastructureError: the disk is full or not writable; earlier checkpoints are untouched.
    """
    target = folder / f"step-{global_step:08d}"
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
    for old in sorted(folder.glob("step-*"))[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return target


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
    write_durably(folder / "state.json", json.dumps(state, indent=1))


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
    if sha256_of_file(path / "arrays.npy") != state["sha256"]:
        raise ValueError("arrays.npy does not have the digest that was written")
    with (path / "arrays.npy").open("rb") as file:
        arrays = {group: [np.load(file, allow_pickle=False) for _ in range(count)] for group, count in state["groups"].items()}
    return Checkpoint(state["epoch"], state["step"], arrays, state["callbacks"], state["history"])

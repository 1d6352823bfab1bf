"""Which checkpoints a training may go on from: its own, or on demand others, with what differs said. Loads no TensorFlow."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.attempt import write_durably
from pipeline.errors import DataError, InfrastructureError
from pipeline.manifest import digest_of

MADE_BY = "made_by.json"  # beside the checkpoints: what decides them
ABSENT = "nothing"
MAX_SHOWN = 12  # differences in a message

MadeBy = Mapping[str, Any]


def checkpoint_folder(root: Path, made_by: MadeBy, num_steps: int, *, source: Path | None = None, allow_changed: bool = False) -> Path:
    """The folder that a training's checkpoints are in; those that it may go on from are there on return.

    Args:
        root: holds a folder for each request that was trained in this run and not published.
        made_by: everything that decides the weights: sections of the recipe, digests of code and prepared data.
        num_steps: steps of an epoch.
        source: another run's root, whose checkpoints are copied here first, if there are none of this request.
        allow_changed: go on from what another configuration or other data has made.

    Raises:
        DataError: there are only checkpoints of something else; with what differs. Or `source` has none.
        InfrastructureError: the disk failed.
    """
    made_by = {**made_by, "steps_per_epoch": num_steps}
    own = root / digest_of(made_by)[:16]
    others = [] if any(own.glob("step-*")) else list(unfinished(source or root))
    if source is not None and not others and not any(own.glob("step-*")):
        raise DataError(
            f"{source} has no checkpoints to go on from. Expected those of a training that did not end: a finished one removes its own."
        )
    try:
        if others:
            newest = max(others, key=lambda folder: max(path.stat().st_mtime for path in folder.glob("step-*")))
            then = json.loads((newest / MADE_BY).read_text())
            differing = list(differences(then, made_by))
            if differing and not allow_changed:
                raise DataError(refusal(newest, differing))
            adopt(newest, own, num_steps, is_as_long=then.get("steps_per_epoch") == num_steps)
        own.mkdir(parents=True, exist_ok=True)
        write_durably(own / MADE_BY, json.dumps(made_by, indent=1, sort_keys=True))
    except OSError as error:
        raise InfrastructureError(f"Cannot prepare the checkpoints' folder {own}: {error}. Check free space and permissions.") from error
    return own


def unfinished(root: Path) -> Iterator[Path]:
    """Folders with checkpoints that say what made them."""
    return (path.parent for path in sorted(root.glob(f"*/{MADE_BY}")) if any(path.parent.glob("step-*")))


def refusal(folder: Path, differing: list[str]) -> str:
    shown = differing[:MAX_SHOWN] + ([f"and {len(differing) - MAX_SHOWN} more"] if len(differing) > MAX_SHOWN else [])
    return (
        f"The checkpoints in {folder} were made by something else than what is asked for now (then -> now):\n  "
        + "\n  ".join(shown)
        + "\nExpected the same configuration, code and prepared data. Go on from them all the same with --allow-changed, or begin anew "
        "with --force."
    )


def differences(then: Any, now: Any, place: str = "") -> Iterator[str]:
    """`train.epochs: 40 -> 20` for every leaf that is not the same; in the order of their names."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for name in sorted({*then, *now}):
            yield from differences(then.get(name, ABSENT), now.get(name, ABSENT), f"{place}.{name}" if place else name)
    elif json.dumps(then, sort_keys=True) != json.dumps(now, sort_keys=True):  # tuples and lists are one in JSON
        yield f"{place}: {shortened(then)} -> {shortened(now)}"


def shortened(value: Any, limit: int = 60) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def adopt(found: Path, own: Path, num_steps: int, *, is_as_long: bool) -> None:
    """Copy checkpoints, named by their place in epochs of `num_steps`; those within an epoch only if it is as long as it was."""
    own.mkdir(parents=True, exist_ok=True)
    for path in found.glob("step-*"):
        try:
            epoch, step = position(path)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # damaged; there is nothing to go on from in it
        if step and not is_as_long:
            continue
        draft, target = own / f".draft-{path.name}", own / step_name(epoch, step, num_steps)
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(path, draft)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(draft, target)


def position(path: Path) -> tuple[int, int]:
    state = json.loads((path / "state.json").read_text())
    return int(state["epoch"]), int(state["step"])


def step_name(epoch: int, step: int, num_steps: int) -> str:
    return f"step-{epoch * num_steps + step:08d}"

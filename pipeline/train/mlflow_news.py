"""Tells the process that writes epochs into MLflow what ranks told. Nothing here waits for it but the end, and that not for long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.errors import Interrupted
from pipeline.stage import Request
from pipeline.train.events import Event

WRITER = "pipeline.register.live"  # started, not imported: the registry is another stage's
GRACE_S = 30.0  # for what is left to be written when training is over


@contextmanager
def mlflow_news(request: Request, key: str, folder: Path, *, is_anew: bool) -> Iterator[Callable[[Event], None]]:
    """What hears every event of a training, and has its epochs written; whatever goes wrong there is a note on the console.

    Args:
        request: recipe and run.
        key: of the train stage.
        folder: for the writer's log.
        is_anew: not the going on of an earlier attempt.
    """
    spec = folder / "mlflow.json"
    about = {"root": str(request.run.root), "run_id": request.run.run_id, "key": key, "is_anew": is_anew}
    spec.write_text(json.dumps({**about, "recipe": request.recipe.resolved()}))
    log = folder / "mlflow.log"
    with log.open("wb") as output:
        # A session of its own, so that Ctrl-C reaches the ranks alone: the end of its input ends it, however this process ends.
        writer = subprocess.Popen(
            [sys.executable, "-m", WRITER, str(spec)], stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True
        )
    status = "FAILED"
    try:
        if writer.stdin is not None:
            os.set_blocking(writer.stdin.fileno(), False)
        yield lambda event: tell(writer, event)
        status = "FINISHED"
    except Interrupted:
        status = "KILLED"
        raise
    finally:
        if not has_ended_well(writer, status):
            request.console.note(f"MLflow does not have every epoch yet; register adds what is missing. Why: {log}")


def tell(writer: subprocess.Popen[bytes], event: dict[str, Any]) -> None:
    """A line, if the pipe takes it at once: a writer that hangs or has died is left alone."""
    if writer.stdin is None or not event.keys() & {"metrics", "end"}:
        return
    told = {name: event[name] for name in ("epoch", "metrics", "end") if name in event}
    with suppress(OSError):
        os.write(writer.stdin.fileno(), (json.dumps(told) + "\n").encode())


def has_ended_well(writer: subprocess.Popen[bytes], status: str) -> bool:
    tell(writer, {"end": status})
    if writer.stdin is not None:
        with suppress(OSError):
            writer.stdin.close()
    try:
        return writer.wait(GRACE_S) == 0
    except subprocess.TimeoutExpired:
        writer.kill()
        writer.wait()
        return False

"""What ranks tell the launcher: a JSON object a line, on a pipe that they inherit. Imports no TensorFlow."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Mapping
from typing import Any, TextIO

EVENTS_FD = "LONGHAUL_EVENTS_FD"
EVENTS_FILE = "LONGHAUL_EVENTS_FILE"  # where ranks inherit nothing (Spark): a file that the launcher follows

Event = dict[str, Any]


def tell(event: Mapping[str, Any]) -> None:
    """A line to the launcher, if there is one; texts are cut so that a pipe takes the line whole (4,096 bytes)."""
    short = {name: value[:900] if isinstance(value, str) else value for name, value in event.items()}
    line = (json.dumps(short, ensure_ascii=False) + "\n").encode()
    if descriptor := os.environ.get(EVENTS_FD):
        os.write(int(descriptor), line)
    elif path := os.environ.get(EVENTS_FILE):
        with open(path, "ab", buffering=0) as file:
            file.write(line)


def mark(name: str, rank: int) -> None:
    """What rank 0 has reached on its way to the first step."""
    if rank == 0:
        tell({"mark": name})


def show_on_screen() -> None:
    """What this process prints goes to the launcher too, a line at a time; what libraries write to stderr stays in the log."""
    sys.stdout = Screen(sys.stdout)


class Screen(io.TextIOBase):
    """The log, and the launcher's screen."""

    def __init__(self, log: TextIO) -> None:
        self._log, self._begun = log, ""

    def write(self, text: str) -> int:
        self._log.write(text)
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            tell({"line": line})
        return len(text)

    def flush(self) -> None:
        self._log.flush()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._log.fileno()

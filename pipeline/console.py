"""What a person sees: stage lines, one live bar on a terminal, plain lines elsewhere. Library noise goes to a file."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TextIO

import rich.console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

PLAIN_INTERVAL_S = 10.0  # a line at most this often where there is no terminal


class Meter(Protocol):
    """A running piece of work: `done` of its total, and a short note beside the bar."""

    def __call__(self, done: float, note: str = "") -> None: ...


class Console:
    """The one writer to the terminal. It keeps its own descriptor, so `quiet` can send everything else to a file."""

    def __init__(self, descriptor: int | None = 1) -> None:
        """Args: descriptor: 1 for stdout, 2 for stderr, None for silence."""
        file: TextIO = io.StringIO() if descriptor is None else os.fdopen(os.dup(descriptor), "w", encoding="utf-8", buffering=1)
        self.rich = rich.console.Console(file=file, highlight=False, soft_wrap=not file.isatty())

    def line(self, text: str, style: str = "") -> None:
        self.rich.print(escape(text), style=style)

    def note(self, text: str) -> None:
        self.line(f"          {text}", style="dim")

    def warn(self, text: str) -> None:
        self.line(f"warning   {text}", style="yellow")

    @contextmanager
    def meter(self, label: str, total: float | None = None) -> Iterator[Meter]:
        """A live bar while the block runs (terminal), or a line now and then (elsewhere)."""
        if not self.rich.is_terminal:
            yield _PlainMeter(self, label, total)
            return
        title, comment = TextColumn(f"{label:<10}"), TextColumn("{task.fields[note]}")
        counted = () if total is None else (MofNCompleteColumn(),)
        columns = (SpinnerColumn(), title, BarColumn(32), *counted, TimeElapsedColumn(), comment)
        bar = Progress(*columns, console=self.rich, transient=True, refresh_per_second=4, redirect_stdout=False, redirect_stderr=False)
        with bar:
            task = bar.add_task(label, total=total, note="")
            yield lambda done, note="": bar.update(task, completed=done, note=escape(note))


class _PlainMeter:
    def __init__(self, console: Console, label: str, total: float | None) -> None:
        self.console, self.label, self.total = console, label, total
        self.shown_at, self.shown = time.monotonic(), ""

    def __call__(self, done: float, note: str = "") -> None:
        text = f"{self.label:<9} {'' if self.total is None else f'{done:g}/{self.total:g}  '}{note}".rstrip()
        is_due = time.monotonic() - self.shown_at >= PLAIN_INTERVAL_S
        if is_due and text != self.shown:
            self.console.line(text)
            self.shown_at, self.shown = time.monotonic(), text


@contextmanager
def quiet(log: Path) -> Iterator[None]:
    """Send this process's stdout and stderr, and those of its children, to a file while the block runs.

    Works on descriptors, because Java and TensorFlow's C++ write to them directly.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.dup2(target, 1)
        os.dup2(target, 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(saved[0], 1)
        os.dup2(saved[1], 2)
        for descriptor in (*saved, target):
            os.close(descriptor)

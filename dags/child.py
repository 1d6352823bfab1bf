"""One command as a child process whose whole process group ends when it does, when it is told to, or when we die.

Nothing of Airflow here, and nothing but the standard library.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

POLL_S = 0.2  # how soon a request to stop is seen
GRACE_S = 3.0  # from SIGTERM to SIGKILL; Airflow's supervisor kills us 5 s after its own SIGTERM
CHUNK_BYTES = 1 << 16
STDOUT_BYTES = 1 << 16  # of stdout, only the end is kept
LINE_BYTES = 1 << 14  # a longer line of stderr is cut into several
TAIL_LINES = 15

PR_SET_PDEATHSIG = 1  # linux/prctl.h
LIBC = ctypes.CDLL(None)  # loaded here: between fork and exec is no place for it


@dataclass(frozen=True)
class Ended:
    """What is left of a command: exit code (negative: the signal that ended it), end of stdout, last lines of stderr."""

    code: int
    stdout: str
    last_lines: tuple[str, ...]


def run(
    argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], on_line: Callable[[str], None], told_to_stop: Callable[[], bool]
) -> Ended:
    """Run a command to its end, in a session of its own.

    Args:
        argv: executable and arguments; no shell looks at them.
        cwd: folder that it runs in.
        env: its whole environment.
        on_line: is given each line of its stderr, at once.
        told_to_stop: asked several times a second; True ends the process group (SIGTERM, after GRACE_S SIGKILL; see end_group).

    Raises:
        OSError: it could not be started.
    """
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    with process.stdout, process.stderr:  # type: ignore[union-attr]
        output = Output(process, on_line)
        try:
            while not has_ended(process) and not told_to_stop():
                output.pump(POLL_S)
        finally:
            end_group(process, output)
    return Ended(process.returncode, output.stdout.decode(errors="replace"), tuple(output.tail))


def die_with_parent() -> None:
    """Runs in the child: SIGTERM it when the thread that started it is gone, even by kill -9."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it exited. It is not reaped: while it is a zombie, the number of its process group can be no other's."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def end_group(process: subprocess.Popen[bytes], output: Output) -> None:
    """Leave no process of the group behind, then reap the leader. After a normal exit that is one look at /proc.

    The leader is told first: it ends its own children in order, which a Spark session whose JVM is suddenly gone cannot.
    """
    deadline = time.monotonic() + GRACE_S
    steps = (
        (lambda: not has_ended(process), os.kill, signal.SIGTERM, deadline),
        (lambda: has_members(process.pid), os.killpg, signal.SIGTERM, deadline),
        (lambda: has_members(process.pid), os.killpg, signal.SIGKILL, deadline + GRACE_S),
    )
    for is_needed, send, number, until in steps:
        if is_needed():
            send(process.pid, number)
        while is_needed() and time.monotonic() < until:
            output.pump(POLL_S / 4)
    while output.pump(0):
        pass
    process.wait()


def has_members(group: int) -> bool:
    """Whether a process of the group lives; zombies do not count."""
    return any(lives_in(group, pid) for pid in os.listdir("/proc") if pid.isdigit())


def lives_in(group: int, pid: str) -> bool:
    try:
        state, _, its_group = Path("/proc", pid, "stat").read_text(errors="replace").rpartition(")")[2].split()[:3]
    except OSError:  # it ended while we looked
        return False
    return int(its_group) == group and state not in "ZX"


class Output:
    """Both streams of a process, read as they come, without threads and without waiting for whoever else holds them open."""

    def __init__(self, process: subprocess.Popen[bytes], on_line: Callable[[str], None]) -> None:
        self.on_line = on_line
        self.stdout = b""
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._unfinished = b""
        self._selector = selectors.DefaultSelector()
        for stream, take in ((process.stdout, self._take_stdout), (process.stderr, self._take_stderr)):
            os.set_blocking(stream.fileno(), False)  # type: ignore[union-attr]
            self._selector.register(stream, selectors.EVENT_READ, take)  # type: ignore[arg-type]

    def pump(self, timeout_s: float) -> bool:
        """Wait for output at most this long and take it; False if there was none."""
        ready = self._selector.select(timeout_s)
        for key, _ in ready:
            data = os.read(key.fd, CHUNK_BYTES)
            if not data:
                self._selector.unregister(key.fileobj)
            key.data(data)
        return bool(ready)

    def _take_stdout(self, data: bytes) -> None:
        self.stdout = (self.stdout + data)[-STDOUT_BYTES:]

    def _take_stderr(self, data: bytes) -> None:
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        if len(self._unfinished) > LINE_BYTES or not data:
            lines, self._unfinished = [*lines, self._unfinished], b""
        for line in lines:
            if text := line.decode(errors="replace").rstrip():
                self.tail.append(text)
                self.on_line(text)

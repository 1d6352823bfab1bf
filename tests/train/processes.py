"""Processes of one command wherever they run, found by a mark in their environment, and the addresses that their sockets have."""

from __future__ import annotations

import ipaddress
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

MARK = "LONGHAUL_TEST_MARK"  # with a prefix that ranks on other hosts and in Spark get too
OPEN = ("0A", "01")  # listening, established: include/net/tcp_states.h


def new_mark() -> dict[str, str]:
    """For the environment of one command."""
    return {MARK: secrets.token_hex(8)}


def marked(mark: dict[str, str]) -> dict[int, str]:
    """Process id -> command line, of all that live with this mark."""
    (text,) = (f"{name}={value}".encode() for name, value in mark.items())
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if text in (path / "environ").read_bytes().split(b"\0"):
                found[int(path.name)] = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    found.pop(os.getpid(), None)
    return found


def wait_until_none_is_left(mark: dict[str, str], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while left := marked(mark):
        assert time.monotonic() < deadline, f"left after {limit_s} s: {left}"
        time.sleep(0.1)


def bound(pid: int) -> set[str]:
    """Addresses of a process's own at which it listens for TCP, or speaks, in its own network."""
    sockets = {os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir() if is_socket(path)}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] in OPEN and f"socket:[{fields[9]}]" in sockets:
                found.add(address(fields[1].partition(":")[0]))
    return found


def is_socket(path: Path) -> bool:
    with suppress(OSError):  # closed meanwhile
        return os.readlink(path).startswith("socket:")
    return False


def address(words: str) -> str:
    """As text, from the kernel's hexadecimal words in the machine's order."""
    raw = b"".join(bytes.fromhex(words[at : at + 8])[::-1] for at in range(0, len(words), 8))
    found = ipaddress.ip_address(raw)
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found)

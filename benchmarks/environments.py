"""The interpreter of each side: .venv for ours, .venv-bench/<peer> for a peer, made by uv from peers/<peer>.txt when it is first needed."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from benchmarks.bench import ROOT, WORK_ENVIRONMENT

PEERS = ROOT / "benchmarks" / "peers"
HOMES = ROOT / ".venv-bench"


def interpreter(name: str, say: Callable[[str], None]) -> Path:
    """The Python of an environment, which is made or mended if it is not what its requirements say.

    Raises:
        FileNotFoundError: there are no requirements of that name.
        subprocess.CalledProcessError: uv could not install them; it has said why.
    """
    if name == WORK_ENVIRONMENT:
        return ROOT / ".venv" / "bin" / "python"
    requirements = PEERS / f"{name}.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    home, stamp = HOMES / name, HOMES / name / ".made-from"
    if not stamp.exists() or stamp.read_text() != digest:
        say(f"making {home.relative_to(ROOT)}")
        make(home, requirements)
        stamp.write_text(digest)
    return home / "bin" / "python"


def make(home: Path, requirements: Path) -> None:
    uv = ROOT / ".tools" / "bin" / "uv"
    program = str(uv) if uv.exists() else shutil.which("uv") or str(uv)
    ours = str(ROOT / ".venv" / "bin" / "python")  # one Python version for all sides
    subprocess.run([program, "venv", "--quiet", "--clear", "--python", ours, str(home)], check=True)
    install = [program, "pip", "install", "--quiet", "--python", str(home / "bin" / "python"), "--require-hashes", "-r", str(requirements)]
    subprocess.run(install, check=True)

"""The interpreter of each side: .venv for ours, .venv-bench/<peer> for a peer, made from peers/<peer>.txt when it is first needed.

uv makes it, or pip where the file's first line begins with `# with pip`. The files are complete: nothing else is installed.
"""

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
        subprocess.CalledProcessError: they could not be installed; uv or pip has said why.
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
    options = ["install", "--quiet", "--no-deps", "--require-hashes", "-r", str(requirements)]
    target = str(home / "bin" / "python")
    if requirements.read_text().startswith("# with pip"):
        install = [ours, "-m", "pip", "--python", target, *options]
    else:
        install = [program, "pip", *options, "--python", target]
    subprocess.run(install, check=True)

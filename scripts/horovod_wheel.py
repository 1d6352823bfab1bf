"""Builds Horovod's wheel against the TensorFlow of this environment, keeps it, and installs it.

    .venv/bin/python scripts/horovod_wheel.py            # CPU: Gloo
    .venv/bin/python scripts/horovod_wheel.py --gpu      # GPU nodes: NCCL (CUDA and NCCL headers must be installed)
    .venv/bin/python scripts/horovod_wheel.py --rebuild  # whatever is kept or installed

The wheel is kept in $XDG_CACHE_HOME/longhaul/horovod/<key>/, where the key names Python, TensorFlow, Horovod and our headers,
so a new checkout on the same machine does not build again. Deleting that folder is always safe.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADERS = ROOT / "scripts" / "horovod_include"
STAMP = "longhaul-build"  # a file in the installed distribution's folder: the key that it was built for


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", action="store_true", help="build with NCCL for GPU nodes")
    parser.add_argument("--rebuild", action="store_true", help="build and install whatever is kept or installed")
    arguments = parser.parse_args()
    gpu = arguments.gpu
    version, digest = locked_sdist()
    key = build_key(version, gpu)
    if installed_key() == key and not arguments.rebuild:
        print(f"horovod: {key} is installed")
        return 0
    kept = cache_folder() / key
    wheel = next(kept.glob("*.whl"), None)
    if wheel is None or arguments.rebuild:
        wheel = build_wheel(version, digest, kept, gpu)
    else:
        print(f"horovod: found {wheel}")
    install(wheel, key)
    return 0


def locked_sdist() -> tuple[str, str]:
    """Version and SHA-256 of Horovod's source distribution, from uv.lock."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    package = next(package for package in lock["package"] if package["name"] == "horovod")
    return package["version"], package["sdist"]["hash"]


def build_key(version: str, gpu: bool) -> str:
    tensorflow = metadata.version("tensorflow" if gpu else "tensorflow-cpu")
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    return f"horovod-{version}-tf{tensorflow}-{python}-{'nccl' if gpu else 'gloo'}-{platform.machine()}-{headers_digest()}"


def headers_digest() -> str:
    """Of what is compiled in of ours."""
    digest = hashlib.sha256()
    for path in sorted(HEADERS.rglob("*.h")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def installed_key() -> str | None:
    try:
        return metadata.distribution("horovod").read_text(STAMP)
    except metadata.PackageNotFoundError:
        return None


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "longhaul" / "horovod"


def build_wheel(version: str, digest: str, kept: Path, gpu: bool) -> Path:
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept) as scratch:
        requirement = Path(scratch) / "requirements.txt"
        requirement.write_text(f"horovod=={version} --hash={digest}\n")
        log = Path(tempfile.gettempdir()) / f"horovod-build-{os.getpid()}.log"
        print(f"horovod: building {version} (about 4 minutes on 2 cores; log: {log})", flush=True)
        command = [
            sys.executable, "-m", "pip", "wheel", "--verbose", "--no-build-isolation", "--no-deps", "--require-hashes",
            "--no-cache-dir", "--wheel-dir", scratch, "--requirement", str(requirement),
        ]  # fmt: skip
        started = time.monotonic()
        with log.open("wb") as output:
            code = subprocess.call(command, env=build_environment(gpu), stdout=output, stderr=subprocess.STDOUT)
        if code:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-25:])
            sys.exit(f"{tail}\nhorovod: the build failed (exit {code}). The whole log is {log}.")
        built = next(Path(scratch).glob("*.whl"))
        wheel = kept / built.name
        os.replace(built, wheel)  # whole or not at all: another checkout may build at the same time
    log.unlink()
    print(f"horovod: built in {time.monotonic() - started:.0f} s, kept as {wheel}", flush=True)
    return wheel


def build_environment(gpu: bool) -> dict[str, str]:
    """As Horovod documents it but for headers: TensorFlow 2.19 moved one, two are bundled elsewhere, and ours binds one interface."""
    headers = Path(sysconfig.get_path("purelib")) / "tensorflow" / "include"
    includes = [
        headers / "external" / "highwayhash",
        headers / "external" / "farmhash_archive" / "src",
        HEADERS,
    ]
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CXXFLAGS": " ".join(["-w", "-g0", *(f"-I{path}" for path in includes), f"-include {HEADERS / 'named_interface.h'}"]),
        "MAKEFLAGS": f"-j{num_compilers()}",
        "HOROVOD_WITH_TENSORFLOW": "1",
        "HOROVOD_WITHOUT_PYTORCH": "1",
        "HOROVOD_WITHOUT_MXNET": "1",
        "HOROVOD_WITH_GLOO": "1",
        "HOROVOD_WITHOUT_MPI": "1",
    }
    return environment | ({"HOROVOD_GPU_OPERATIONS": "NCCL"} if gpu else {"HOROVOD_CPU_OPERATIONS": "GLOO"})


def num_compilers() -> int:
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    return max(1, min(len(os.sched_getaffinity(0)), memory_gb // 2, 8))  # a file that includes TensorFlow's headers takes up to 2 GB


def install(wheel: Path, key: str) -> None:
    uv = shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")
    subprocess.check_call([uv, "pip", "install", "--quiet", "--no-deps", "--reinstall", "--python", sys.executable, str(wheel)])
    for package in Path(sysconfig.get_path("purelib")).glob("horovod-*.dist-info"):
        (package / STAMP).write_text(key)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    print(f"horovod: installed {wheel.name} (sha256 {digest[:12]})", flush=True)


if __name__ == "__main__":
    sys.exit(main())

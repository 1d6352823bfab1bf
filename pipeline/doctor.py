"""What this machine and environment have, what is wrong with them, and the command that mends it.

Looks only: starts no session, imports neither TensorFlow nor Spark, and takes a few seconds.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess  # argument lists only
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

JAVA_VERSIONS = (17, 21)  # what Spark 4.0 runs on
HOROVOD_STAMP = "longhaul-build"  # written by scripts/horovod_wheel.py: what the installed build was made for
SET_UP_AGAIN = "make -B setup"  # -B: also when make believes that nothing has changed
REBUILD_HOROVOD = ".venv/bin/python scripts/horovod_wheel.py --rebuild"
MIN_MEMORY_GB = 3  # a Spark driver with its default 1 GB, TensorFlow, and the system
MIN_DISK_GB = 2  # prepared data, checkpoints and Spark's shuffle files of a small recipe
MIN_SHARED_MB = 64  # Docker's default; less than that and semaphores of multiprocessing fail
GB = 1 << 30

# What goes wrong with another version; the versions themselves are said once, in pyproject.toml.
WHY = {
    "tensorflow": "Horovod is built against one TensorFlow",
    "keras": "the optimizer's adapter for Horovod is written for Keras 3.15",
    "numpy": "pyarrow 14 is compiled for numpy 1",
    "pyarrow": "15 dropped what Petastorm imports, and before 14.0.1 a file can run code (CVE-2023-47248)",
    "petastorm": "0.13 ends epochs early without an error",
    "pyspark": "4.1 asks for pyarrow 15",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `ok` is None for what is neither right nor wrong, such as a machine without a GPU."""

    name: str
    ok: bool | None
    detail: str
    remedy: str | None = None


def diagnose(root: Path) -> list[Finding]:
    """Everything that a run needs, in the order in which to mend it.

    Args:
        root: folder of the runs, which may not exist yet; free space is measured there.
    """
    return [
        check_python(),
        check_java(),
        *check_packages(),
        check_horovod(),
        check_gpu(),
        *check_machine(),
        check_disk(root),
        check_shared(),
    ]


def check_python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] == (3, 11):
        return Finding("python", True, version)
    return Finding("python", False, f"{version}; the lock and Horovod's build are for 3.11", f"rm -rf .venv && {SET_UP_AGAIN}")


def check_java() -> Finding:
    home = os.environ.get("JAVA_HOME")
    java = f"{home}/bin/java" if home else shutil.which("java")
    wanted = " or ".join(map(str, JAVA_VERSIONS))
    said = output_of([java, "-version"]) if java else None
    if java is None or said is None:
        where = f"JAVA_HOME is {home}, which holds no bin/java that runs" if home else "there is no java on PATH"
        return Finding("java", False, f"{where}; Spark needs {wanted}", "unset JAVA_HOME && make -B setup" if home else SET_UP_AGAIN)
    found = re.search(r'version "((?:1\.)?(\d+)[^"]*)', said)
    if found and int(found[2]) in JAVA_VERSIONS:
        return Finding("java", True, f"{found[1]} ({java})")
    version = found[1] if found else "of an unknown version"
    remedy = f"export JAVA_HOME=… # a Java {wanted}; those installed: ls /usr/lib/jvm"
    return Finding("java", False, f"{java} is {version}; Spark needs {wanted}", remedy)


def check_packages() -> Iterator[Finding]:
    """Each pinned package that breaks something else when it changes; the versions come from this project's own metadata."""
    if installed("longhaul") is None:
        yield Finding("longhaul", False, f"this project is not installed for {sys.executable}", SET_UP_AGAIN)
        return
    pins = {pin.name: pin for pin in map(Requirement, metadata.requires("longhaul") or [])}
    for name, why in WHY.items():
        pin = pins["tensorflow-cpu" if name == "tensorflow" else name]
        version = installed(name)
        if version is None:
            yield Finding(name, False, f"not installed; {pin.specifier} is expected", SET_UP_AGAIN)
        elif pin.specifier.contains(version):
            yield Finding(name, True, version)
        else:
            yield Finding(name, False, f"{version}, but {pin.specifier} is expected: {why}", SET_UP_AGAIN)


def check_horovod() -> Finding:
    try:
        distribution = metadata.distribution("horovod")
    except metadata.PackageNotFoundError:
        return Finding("horovod", False, "not installed; recipes with train.ranks above 1 cannot run", SET_UP_AGAIN)
    stamp = distribution.read_text(HOROVOD_STAMP)
    expected = f"horovod-{distribution.version}-tf{installed('tensorflow')}-cp{sys.version_info.major}{sys.version_info.minor}-"
    if stamp is not None and not stamp.startswith(expected):
        return Finding("horovod", False, f"built as {stamp}, but this environment needs {expected}…", REBUILD_HOROVOD)
    libraries = sorted(Path(str(distribution.locate_file("horovod/tensorflow"))).glob("mpi_lib*.so"))
    if not libraries:
        return Finding("horovod", False, "its TensorFlow extension was not built", REBUILD_HOROVOD)
    return check_horovod_loads(f"{distribution.version}, {stamp or 'built elsewhere'}", libraries[0])


def check_horovod_loads(detail: str, library: Path) -> Finding:
    # In a process of its own: a library that does not fit can end the process. Without `import tensorflow`, which takes 6 s.
    tensorflow = metadata.distribution(installed_tensorflow() or "tensorflow").locate_file("tensorflow")
    needed = [f"{tensorflow}/libtensorflow_framework.so.2", f"{tensorflow}/libtensorflow_cc.so.2", str(library)]
    script = (
        "import ctypes, sys\n"
        "for path in sys.argv[1:]: library = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)\n"
        "print('gloo', bool(library.horovod_gloo_built()), 'nccl', bool(library.horovod_nccl_built()))"
    )
    said = output_of([sys.executable, "-c", script, *needed]) or "took too long"
    last = said.strip().splitlines()[-1]
    if "True" in last.split():
        return Finding("horovod", True, f"{detail}, loads ({last})")
    what = "it has neither Gloo nor NCCL" if last.startswith("gloo") else f"it does not load: {last}"
    return Finding("horovod", False, f"{detail}; {what}", REBUILD_HOROVOD)


def check_gpu() -> Finding:
    said = output_of(["nvidia-smi", "-L"]) if shutil.which("nvidia-smi") else None
    gpus = [line.split(" (UUID")[0] for line in (said or "").splitlines() if line.startswith("GPU ")]
    if not gpus:
        return Finding("gpu", None, "none seen; training runs on the CPU")
    if installed_tensorflow() == "tensorflow-cpu":
        return Finding("gpu", None, f"{', '.join(gpus)}, but TensorFlow here is the CPU build", "make setup DEVICE=gpu")
    return Finding("gpu", True, ", ".join(gpus))


def check_machine() -> Iterator[Finding]:
    yield Finding("cores", None, f"{num_cores():g}")
    memory_gb = memory_bytes() / GB
    enough = memory_gb >= MIN_MEMORY_GB
    detail = f"{memory_gb:.1f} GB" + ("" if enough else f"; Spark and TensorFlow together need {MIN_MEMORY_GB} GB")
    yield Finding(
        "memory", enough, detail, None if enough else "raise the container's limit (docker run --memory=4g) or use a larger machine"
    )


def check_disk(root: Path) -> Finding:
    folder = next(place for place in (root.absolute(), *root.absolute().parents) if place.exists())
    free_gb = shutil.disk_usage(folder).free / GB
    enough = free_gb >= MIN_DISK_GB
    if enough and os.access(folder, os.W_OK):
        return Finding("disk", True, f"{free_gb:.0f} GB free at {folder}")
    problem = f"cannot write in {folder}" if enough else f"{free_gb:.1f} GB free at {folder}; a small recipe needs {MIN_DISK_GB} GB"
    return Finding("disk", False, problem, "pipeline run --root <a folder on another disk>")


def check_shared(folder: Path = Path("/dev/shm")) -> Finding:  # measured, not written
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return Finding("shared memory", False, f"{folder} cannot be written; multiprocessing needs it", f"mount -t tmpfs tmpfs {folder}")
    size_mb = shutil.disk_usage(folder).total // (1 << 20)
    if size_mb >= MIN_SHARED_MB:
        return Finding("shared memory", True, f"{size_mb} MB")
    return Finding("shared memory", False, f"{size_mb} MB; {MIN_SHARED_MB} MB are needed", "docker run --shm-size=1g")


def num_cores(system: Path = Path("/")) -> float:
    """Cores that this process may use: its affinity, and its control group's share where that is smaller.

    Args:
        system: what to take for the root of the file system.
    """
    allowed = float(len(os.sched_getaffinity(0)))
    for limit in group_files(system, "cpu", "cpu.max"):
        quota, period = limit.split()
        allowed = allowed if quota == "max" else min(allowed, int(quota) / int(period))
    return allowed


def memory_bytes(system: Path = Path("/")) -> int:
    """Memory that this process may use: the machine's, or its control group's limit where that is smaller."""
    total = re.search(r"MemTotal:\s+(\d+) kB", (system / "proc/meminfo").read_text())
    allowed = int(total[1]) << 10 if total else 0
    for limit in (*group_files(system, "memory", "memory.max"), *group_files(system, "memory", "memory.limit_in_bytes")):
        allowed = allowed if limit == "max" else min(allowed, int(limit))
    return allowed


def group_files(system: Path, controller: str, name: str) -> Iterator[str]:
    """What a file of this process's control group says, then its parents' (version 2 of control groups, or version 1)."""
    try:
        lines = [line.split(":", 2) for line in (system / "proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return
    for _, controllers, path in lines:
        if controllers and controller not in controllers.split(","):
            continue
        base = system / "sys/fs/cgroup" / (controller if controllers else "")
        here = base / path.strip("/")
        for folder in (here, *here.parents):
            if folder.is_relative_to(base) and (folder / name).is_file():
                yield (folder / name).read_text().strip()


def installed(name: str) -> str | None:
    """Version of a distribution that is installed; `tensorflow` stands for its CPU build too."""
    try:
        return metadata.version(installed_tensorflow() or name if name == "tensorflow" else name)
    except metadata.PackageNotFoundError:
        return None


def installed_tensorflow() -> str | None:
    names = ("tensorflow", "tensorflow-cpu")
    return next((name for name in names if next(iter(metadata.distributions(name=name)), None)), None)


def output_of(command: list[str], timeout_s: float = 60) -> str | None:
    """What a command prints, errors included; None if it cannot be started or does not end in time."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout

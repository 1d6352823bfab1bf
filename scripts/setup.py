"""Makes this checkout able to run: system packages, uv, an environment from uv.lock, Horovod.

    python3 scripts/setup.py work [--gpu]    .venv: Spark, Petastorm, TensorFlow, Horovod, MLflow, and what tests and checks need
    python3 scripts/setup.py airflow         .venv-airflow: Airflow, whose pins and Petastorm's do not meet

The Makefile calls it. It needs only the standard library of the system's Python. Every step first looks at what is there, so a
run that was stopped goes on where it was. Logs are in .tools/log.
"""

from __future__ import annotations

import argparse
import fcntl
import importlib.util
import os
import platform
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from system_packages import SetupError, apt_get, apt_has, as_root, missing, package_names, refuse_what_installing_did_not_mend

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
UV = TOOLS / "bin" / "uv"
HEARTBEAT_S = 20  # a step that takes longer says that it is alive, and the last line of its log
WORK = ["--extra", "work", "--group", "test", "--group", "lint", "--group", "horovod-build"]
KEEP_HOROVOD = "horovod"  # uv must not build it: it needs TensorFlow's headers, see horovod_wheel.py


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environment", choices=["work", "airflow"])
    parser.add_argument("--gpu", action="store_true", help="TensorFlow with CUDA, Horovod with NCCL")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    try:
        refuse_other_platforms()
        with one_at_a_time():
            install_system_packages()
            fetch_uv()
            make_airflow() if arguments.environment == "airflow" else make_work(arguments.gpu)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 4
    say(f"the {arguments.environment} environment is ready ({time.monotonic() - started:.0f} s)")
    return 0


def refuse_other_platforms() -> None:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise SetupError(
            f"This is {sys.platform} on {platform.machine()}; the locked wheels are for Linux on x86_64. "
            "Use a Linux machine, a container or a virtual machine of that kind."
        )


class one_at_a_time:
    """Two `make` at once in one checkout: the second waits for the first, and then finds its work done."""

    def __enter__(self) -> None:
        (TOOLS / "log").mkdir(parents=True, exist_ok=True)
        self.file = (TOOLS / "lock").open("w")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up is running in this checkout; waiting for it")
            fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self.file.close()


def install_system_packages() -> None:
    needs = missing(need_venv=not UV.exists() and importlib.util.find_spec("ensurepip") is None)
    if not needs:
        return
    root = as_root(needs)
    # Minimal images lack this folder, and Java's package cannot be configured without it.
    run("a folder that Java's package needs", [*root, "mkdir", "-p", "/usr/share/man/man1"], log="system-packages")
    try:
        install(root, needs)
    except SetupError:  # no package lists yet, or so old that the files they name are gone
        run("apt's package lists", apt_get(root, "update"), log="system-packages")
        install(root, needs)
    refuse_what_installing_did_not_mend()


def install(root: list[str], needs: list[str]) -> None:
    packages = package_names(needs)
    if not all(map(apt_has, packages)):
        raise SetupError(f"apt does not know {' '.join(packages)}. Does /etc/apt/sources.list name the distribution's main archive?")
    run(f"system packages: {' '.join(packages)}", apt_get(root, "install", "--no-install-recommends", *packages), log="system-packages")


def fetch_uv() -> None:
    pinned = (ROOT / "scripts" / "uv.txt").read_text().split("uv==")[1].split()[0]
    if UV.exists() and f"uv {pinned}" in subprocess.run([UV, "--version"], capture_output=True, text=True, check=False).stdout:
        return
    run("a place for uv", [sys.executable, "-m", "venv", TOOLS], log="uv")
    pip = [TOOLS / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
    run(f"uv {pinned}", [*pip, "install", "--require-hashes", "--only-binary=:all:", "-r", ROOT / "scripts" / "uv.txt"], log="uv")


def make_work(gpu: bool) -> None:
    what = [*WORK, "--extra", "gpu" if gpu else "cpu"]
    sync(ROOT / ".venv", "Spark, TensorFlow, Petastorm, MLflow (700 MB to fetch)", what, without=KEEP_HOROVOD)
    script = [ROOT / ".venv" / "bin" / "python", ROOT / "scripts" / "horovod_wheel.py", *(["--gpu"] if gpu else [])]
    run("Horovod (4 minutes on 2 cores when it must be built)", script, log="horovod")
    archive = [ROOT / ".venv" / "bin" / "python", "-m", "pipeline.prepare.archive"]
    run("Spark's classes, archived so that it starts in half of the time", archive, log="spark")


def make_airflow() -> None:
    sync(ROOT / ".venv-airflow", "Airflow", ["--extra", "airflow"])


def sync(environment: Path, title: str, what: list[str], without: str | None = None) -> None:
    """Make an environment what uv.lock says; what is `without` is left as it is."""
    mirror = users_mirror()
    if mirror:
        sync_through_mirror(mirror, environment, title, what, without)
        return
    leave = ["--inexact", "--no-install-package", without] if without else []
    run(title, [UV, "sync", "--frozen", *what, *leave], log=environment.name[1:], UV_PROJECT_ENVIRONMENT=str(environment))


def sync_through_mirror(mirror: str, environment: Path, title: str, what: list[str], without: str | None) -> None:
    # uv.lock names each file by its address on PyPI and `uv sync --frozen` fetches from there, whatever index is set.
    # The same versions and digests as a requirements file go through the user's index.
    requirements = TOOLS / f"{environment.name}.txt"
    leave = ["--no-emit-package", without] if without else []
    export = [UV, "export", "--frozen", "--quiet", "--no-emit-project", *what, *leave, "--output-file", requirements]
    run("the lock as requirements", export, log=environment.name[1:])
    if not (environment / "bin" / "python").exists():
        run(f"an empty {environment.name}", [UV, "venv", environment], log=environment.name[1:])
    install = [UV, "pip", "install", "--python", environment / "bin" / "python"]
    shown = re.sub("//[^/@]*@", "//", mirror)  # without a password
    run(f"{title}, from {shown}", [*install, "--require-hashes", "-r", requirements], log=environment.name[1:], UV_DEFAULT_INDEX=mirror)
    run("this project", [*install, "--no-deps", "--editable", ROOT], log=environment.name[1:], UV_DEFAULT_INDEX=mirror)


def users_mirror() -> str | None:
    """The index that the user told uv or pip to use in place of the lock's own."""
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        if os.environ.get(name):
            return os.environ[name]
    pip = [TOOLS / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "config", "list"]
    lines = subprocess.run(pip, capture_output=True, text=True, check=False).stdout.splitlines()
    found = [line.split("=", 1) for line in lines if ".index-url=" in line]
    by_environment_first = sorted(found, key=lambda pair: not pair[0].startswith(":env:"))
    index = by_environment_first[0][1].strip("'\"") if found else ""
    is_the_locks_own = f'registry = "{index.rstrip("/")}"' in (ROOT / "uv.lock").read_text()
    return None if not index or is_the_locks_own else index


def run(title: str, command: list[str | Path], *, log: str, **variables: str) -> None:
    """One step: a line when it begins, one when it ends, one each `HEARTBEAT_S` between; its output goes to a log."""
    path = TOOLS / "log" / f"{log}.log"
    say(f"{title} …")
    started = time.monotonic()
    with path.open("ab") as output:
        process = subprocess.Popen(
            [str(part) for part in command], cwd=ROOT, env=variables_for(variables), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            wait_aloud(process, path, started)
        finally:
            process.terminate()  # does nothing to a process that has ended
    if process.returncode:
        raise SetupError(f"{title}: failed with exit code {process.returncode}.\n{tail(path, 25)}\nsetup: the whole log is {path}")
    if time.monotonic() - started >= 1:
        say(f"    done in {time.monotonic() - started:.0f} s")


def wait_aloud(process: subprocess.Popen[bytes], log: Path, started: float) -> None:
    while True:
        try:
            process.wait(timeout=HEARTBEAT_S)
            return
        except subprocess.TimeoutExpired:
            say(f"    {time.monotonic() - started:4.0f} s  {tail(log, 1)[:100]}")


def variables_for(step: dict[str, str]) -> dict[str, str]:
    variables = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")}
    variables.setdefault("UV_SYSTEM_CERTS", "true")  # a company's own certificates are in the system's store
    variables.setdefault("UV_HTTP_TIMEOUT", "180")
    return {**variables, "PATH": f"{TOOLS / 'bin'}:{variables.get('PATH', os.defpath)}", **step}


def tail(log: Path, num_lines: int) -> str:
    return "\n".join(log.read_text(errors="replace").strip().splitlines()[-num_lines:])


def say(line: str) -> None:
    print(f"setup: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

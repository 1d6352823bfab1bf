"""What the system must have, whether it has it, and the apt commands that add it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

JAVA_VERSIONS = (17, 21)  # what Spark 4.0 runs on; the first that apt has is installed


class SetupError(Exception):
    """The set-up cannot go on; the message says what to do."""


def missing(need_venv: bool) -> list[str]:
    """Of `java`, `g++` and `venv`, those that are not there."""
    there = {"java": java_version() in JAVA_VERSIONS, "g++": shutil.which("g++") is not None, "venv": not need_venv}
    return [need for need, found in there.items() if not found]


def refuse_what_installing_did_not_mend() -> None:
    if "java" in missing(need_venv=False):
        raise SetupError(
            f"`java` is version {java_version()}, and Spark needs {' or '.join(map(str, JAVA_VERSIONS))}. "
            "Set JAVA_HOME to one of /usr/lib/jvm, or choose it with: sudo update-alternatives --config java"
        )
    if "g++" in missing(need_venv=False):
        raise SetupError("There is no g++ on PATH, though its package is installed. Horovod is built with it.")


def java_version() -> int | None:
    """Major version of the Java that Spark would start: JAVA_HOME's, else the one on PATH."""
    home = os.environ.get("JAVA_HOME")
    try:
        said = subprocess.run([f"{home}/bin/java" if home else "java", "-version"], capture_output=True, text=True, check=False).stderr
    except OSError:
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(found.group(1)) if found else None


def package_names(needs: list[str]) -> list[str]:
    javas = [f"openjdk-{version}-jre-headless" for version in JAVA_VERSIONS]
    java = next((name for name in javas if apt_has(name)), javas[0])
    return [{"java": java, "venv": "python3-venv"}.get(need, need) for need in needs]


def apt_has(package: str) -> bool:
    """Whether apt's lists, if it has any, hold a version of the package that it can install."""
    said = subprocess.run(["apt-cache", "policy", package], capture_output=True, text=True, check=False).stdout
    return "Candidate:" in said and "Candidate: (none)" not in said


def as_root(needs: list[str]) -> list[str]:
    """What makes a command run as root: nothing, or sudo where it asks for no password.

    Raises:
        SetupError: not a Debian-like system, or not allowed to install; the message has the command to type.
    """
    names = " ".join(package_names(needs)) if shutil.which("apt-get") else " ".join(needs)
    if not shutil.which("apt-get"):
        raise SetupError(f"This is no Debian-like system. Install these by its own means, then call make again: {names} (Java 17 or 21)")
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode == 0:
        return [sudo, "-n"]
    raise SetupError(
        f"Some system packages are missing and only root can install them. Type this, then call make again:\n\n"
        f"    sudo apt-get update && sudo apt-get install -y --no-install-recommends {names}\n"
    )


def apt_get(root: list[str], *arguments: str) -> list[str]:
    # sudo drops the environment, hence env; another apt, such as a new machine's first update, may hold the lock for a while.
    return [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300", *arguments]

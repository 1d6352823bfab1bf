"""Faults are planted where the doctor looks (a folder on PATH, a distribution's folder, a control group's files), not mocked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from pipeline import doctor

Plant = Callable[..., Path]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Makes PATH hold nothing but the planted programs, each of which prints a text as `java -version` does, to stderr."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)

    def plant(name: str, says: str) -> Path:
        (folder / name).write_text(f"#!/bin/sh\nprintf '%s\\n' '{says}' >&2\n")
        (folder / name).chmod(0o755)
        return folder / name

    return plant


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Plants an installed distribution in front of the real ones; returns the folder that it would be imported from."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def plant(name: str, version: str, **files: str) -> Path:
        information = folder / f"{name}-{version}.dist-info"
        information.mkdir()
        for file, content in {"METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", **files}.items():
            (information / file).write_text(content)
        return folder

    return plant


def package(name: str) -> doctor.Finding:
    return next(finding for finding in doctor.check_packages() if finding.name == name)


def this_build() -> str:
    return f"horovod-0.28.1-tf{doctor.installed('tensorflow')}-cp311-gloo-x86_64"


def test_the_environment_that_runs_the_tests_is_healthy(tmp_path):
    assert [finding for finding in doctor.diagnose(tmp_path) if finding.ok is False] == []


def test_diagnose_imports_nothing_heavy():
    heavy = "{'tensorflow', 'keras', 'pyspark', 'horovod', 'petastorm', 'mlflow', 'pyarrow', 'numpy'}"
    script = f"import sys, pathlib, pipeline.doctor as d; d.diagnose(pathlib.Path('.')); print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_wrong_finding_has_a_remedy_or_says_what_is_needed(program, distribution):
    distribution("pyarrow", "15.0.0")
    wrong = [finding for finding in doctor.diagnose(Path("/proc/runs")) if finding.ok is False]
    assert {finding.name for finding in wrong} == {"java", "pyarrow", "disk"}
    assert all(finding.remedy for finding in wrong)


def test_no_java(program):
    finding = doctor.check_java()
    assert (finding.ok, finding.remedy) == (False, "make -B setup")
    assert finding.detail == "there is no java on PATH; Spark needs 17 or 21"


@pytest.mark.parametrize(
    ("version", "ok"), [("1.8.0_392", False), ("11.0.21", False), ("17.0.15", True), ("17", True), ("21.0.2", True), ("25", False)]
)
def test_java_must_be_a_version_that_spark_runs_on(program, version, ok):
    java = program("java", f'openjdk version "{version}" 2024-01-16')
    finding = doctor.check_java()
    assert finding.ok is ok
    assert finding.detail == (f"{version} ({java})" if ok else f"{java} is {version}; Spark needs 17 or 21")


def test_a_java_that_says_no_version_is_wrong(program):
    program("java", "Error occurred during initialization of VM")
    assert doctor.check_java().ok is False
    assert "unknown version" in doctor.check_java().detail


def test_java_home_counts_before_path(program, tmp_path, monkeypatch):
    program("java", 'openjdk version "17.0.15"')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "gone"))
    finding = doctor.check_java()
    assert finding.ok is False
    assert "gone" in finding.detail


@pytest.mark.parametrize(
    ("name", "version", "reason"),
    [
        ("pyarrow", "15.0.0", "15 dropped what Petastorm imports"),
        ("pyarrow", "14.0.0", "CVE-2023-47248"),
        ("petastorm", "0.13.1", "ends epochs early"),
        ("numpy", "2.1.0", "compiled for numpy 1"),
        ("pyspark", "4.1.0", "asks for pyarrow 15"),
        ("keras", "2.15.0", "Keras 3.15"),
        ("tensorflow", "2.16.1", "built against one TensorFlow"),
    ],
)
def test_a_wrong_version_says_what_it_breaks(distribution, name, version, reason):
    distribution(name, version)
    finding = package(name)
    assert (finding.ok, finding.remedy) == (False, "make -B setup")
    assert finding.detail.startswith(f"{version}, but ")
    assert reason in finding.detail


def test_a_package_that_is_missing_is_named(distribution, monkeypatch):
    requires = "".join(f"Requires-Dist: {pin}\n" for pin in metadata.requires("longhaul") or [])
    alone = distribution("longhaul", "0.1.0", METADATA=f"Metadata-Version: 2.1\nName: longhaul\nVersion: 0.1.0\n{requires}")
    monkeypatch.setattr(sys, "path", [str(alone)])
    assert {finding.detail.split(";")[0] for finding in doctor.check_packages()} == {"not installed"}
    assert doctor.check_horovod().detail.startswith("not installed; ")


def test_nothing_installed_at_all_is_one_finding(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert [finding.name for finding in doctor.check_packages()] == ["longhaul"]


def test_horovod_built_for_another_tensorflow(distribution):
    distribution("horovod", "0.28.1", **{"longhaul-build": "horovod-0.28.1-tf2.18.0-cp311-gloo-x86_64"})
    finding = doctor.check_horovod()
    assert finding.ok is False
    assert finding.remedy == ".venv/bin/python scripts/horovod_wheel.py --rebuild"
    assert "tf2.18.0" in finding.detail
    assert f"tf{doctor.installed('tensorflow')}-cp311" in finding.detail


def test_horovod_without_its_extension(distribution):
    distribution("horovod", "0.28.1", **{"longhaul-build": this_build()})
    assert doctor.check_horovod().detail == "its TensorFlow extension was not built"


def test_horovod_whose_extension_does_not_load(distribution):
    folder = distribution("horovod", "0.28.1", **{"longhaul-build": this_build()}) / "horovod" / "tensorflow"
    folder.mkdir(parents=True)
    (folder / "mpi_lib.cpython-311-x86_64-linux-gnu.so").write_bytes(b"cut off")
    finding = doctor.check_horovod()
    assert finding.ok is False
    assert "it does not load: " in finding.detail
    assert "mpi_lib" in finding.detail


def test_no_gpu_is_neither_right_nor_wrong(program):
    assert doctor.check_gpu() == doctor.Finding("gpu", None, "none seen; training runs on the CPU")


def test_a_gpu_under_a_cpu_build_of_tensorflow_has_a_remedy(program, distribution):
    program("nvidia-smi", "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-1)")
    finding = doctor.check_gpu()
    assert (finding.ok, finding.remedy) == (None, "make setup DEVICE=gpu")
    assert finding.detail.startswith("GPU 0: NVIDIA A100-SXM4-40GB, but")
    distribution("tensorflow", "2.21.0")
    assert doctor.check_gpu().ok is True


def plant_group(system: Path, group: str, **files: str) -> None:
    for name, content in {"proc/meminfo": "MemTotal: 8388608 kB\nMemFree: 1 kB\n", "proc/self/cgroup": group, **files}.items():
        (system / name).parent.mkdir(parents=True, exist_ok=True)
        (system / name).write_text(content)


@pytest.mark.parametrize(
    ("group", "files", "gb"),
    [
        ("", {}, 8),
        ("0::/\n", {"sys/fs/cgroup/memory.max": "2147483648\n"}, 2),
        ("0::/\n", {"sys/fs/cgroup/memory.max": "max\n"}, 8),
        ("0::/jobs/one\n", {"sys/fs/cgroup/jobs/memory.max": "1073741824", "sys/fs/cgroup/jobs/one/memory.max": "max"}, 1),
        ("4:memory:/docker/one\n", {"sys/fs/cgroup/memory/memory.limit_in_bytes": "3221225472"}, 3),
        ("4:memory:/\n", {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712"}, 8),
    ],
    ids=["no group", "container", "no limit", "limit of a parent", "version 1", "version 1 without limit"],
)
def test_memory_is_the_smallest_limit_that_holds(tmp_path, group, files, gb):
    plant_group(tmp_path, group, **files)
    assert doctor.memory_bytes(tmp_path) == gb << 30


def test_cores_heed_the_control_groups_share(tmp_path):
    plant_group(tmp_path, "0::/\n", **{"sys/fs/cgroup/cpu.max": "50000 100000\n"})
    assert doctor.num_cores(tmp_path) == 0.5


def test_a_full_disk_is_wrong_and_names_the_folder_that_was_measured():
    finding = doctor.check_disk(Path("/proc/runs/none"))  # procfs has no space, and is there everywhere
    assert finding.ok is False
    assert "0.0 GB free at /proc" in finding.detail


def test_shared_memory_that_is_missing(tmp_path):
    finding = doctor.check_shared(tmp_path / "shm")
    assert (finding.ok, finding.remedy) == (False, f"mount -t tmpfs tmpfs {tmp_path / 'shm'}")

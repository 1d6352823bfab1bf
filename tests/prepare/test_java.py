"""How a local session's Java is started."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline.prepare import archive, java


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """An environment without an archive."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    return tmp_path


def test_an_archive_is_used_where_set_up_has_made_one(environment):
    assert "SharedArchiveFile" not in java.start_options(0)
    java.archive_path().parent.mkdir(parents=True)
    java.archive_path().touch()
    assert f"-XX:SharedArchiveFile={java.archive_path()}" in java.start_options(0)


def test_only_much_data_is_worth_javas_second_compiler(environment):
    small, medium, large = map(java.start_options, (java.SMALL_BYTES - 1, java.MEDIUM_BYTES - 1, java.MEDIUM_BYTES))
    assert "TieredStopAtLevel=1" in small and "UseSerialGC" in small
    assert "TieredStopAtLevel=1" in medium and "UseSerialGC" not in medium
    assert "TieredStopAtLevel" not in large and "Tier4InvocationThreshold" in large


def test_half_an_archive_is_not_kept_and_no_failure(environment, monkeypatch, capsys):
    """A full disk leaves half of it, of which Java dies."""

    def full(option: str) -> None:
        if "ArchiveClassesAtExit" not in option:
            raise RuntimeError("Java gateway process exited")
        java.archive_path().with_name(option.rpartition("/")[2]).write_bytes(b"half")

    monkeypatch.setattr(archive, "run", full)
    assert archive.main() == 0
    assert not list(java.archive_path().parent.iterdir())
    assert "Java gateway process exited" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.spark
def test_java_takes_the_archive_that_is_made(environment):
    """In a process of its own: this one may have a session already."""
    code = f"import sys; sys.prefix = {str(environment)!r}; from pipeline.prepare import archive; sys.exit(archive.main())"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True)
    assert f"{java.archive_path()}: " in made.stdout, made.stdout
    assert java.archive_path().stat().st_size > 50 << 20

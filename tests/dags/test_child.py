"""The child process under a task: its output comes at once, and nothing of it stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dags import child

FOREVER = "while true; do sleep 0.05; done"


def run(script: str, folder: Path, *arguments: str, on_line=lambda line: None, told_to_stop=lambda: False) -> child.Ended:
    argv = ["/bin/sh", "-c", script, "sh", *arguments]
    return child.run(argv, cwd=folder, env={"PATH": os.environ["PATH"]}, on_line=on_line, told_to_stop=told_to_stop)


def is_alive(pid_file: Path) -> bool:
    try:
        return Path(f"/proc/{pid_file.read_text().strip()}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_arguments_are_taken_literally(tmp_path):
    arguments = ("; touch owned", "$(touch owned)", "`touch owned`", "{{ 7*7 }}", "*", "two words")
    ended = run('printf "%s\\n" "$@"', tmp_path, *arguments)
    assert ended.stdout.splitlines() == list(arguments)
    assert list(tmp_path.iterdir()) == []


def test_lines_come_while_the_command_runs(tmp_path):
    seen: list[str] = []

    def on_line(line: str) -> None:
        seen.append(line)
        (tmp_path / "go").touch()

    ended = run("echo first >&2; while [ ! -e go ]; do sleep 0.02; done; echo out; printf last >&2; exit 3", tmp_path, on_line=on_line)
    assert seen == ["first", "last"]
    assert ended == child.Ended(3, "out\n", ("first", "last"))


def test_long_output_is_bounded(tmp_path):
    script = "import sys; sys.stderr.write('e' * 1_000_000); sys.stdout.write('o' * 1_000_000 + 'end')"
    ended = run(f'exec "{sys.executable}" -S -c "{script}"', tmp_path)
    assert len(ended.stdout) == child.STDOUT_BYTES and ended.stdout.endswith("end")
    assert len(ended.last_lines) == child.TAIL_LINES
    assert max(map(len, ended.last_lines)) <= child.LINE_BYTES + child.CHUNK_BYTES


def test_a_signal_is_a_negative_code(tmp_path):
    assert run("kill -9 $$", tmp_path).code == -signal.SIGKILL


def test_told_to_stop_ends_those_too_that_ignore_sigterm(tmp_path):
    script = f"(trap '' TERM; sh -c 'echo $$ > deaf; {FOREVER}') & trap 'echo stopping >&2; exit 143' TERM; echo $$ > leader; {FOREVER}"

    def is_up() -> bool:
        return all((tmp_path / name).exists() and (tmp_path / name).read_text() for name in ("deaf", "leader"))

    ended = run(script, tmp_path, told_to_stop=is_up)
    assert (ended.code, ended.last_lines[-1]) == (143, "stopping")
    assert not is_alive(tmp_path / "deaf") and not is_alive(tmp_path / "leader")


def test_an_exception_while_it_runs_ends_it(tmp_path):
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(f"echo $$ > leader; echo here >&2; {FOREVER}", tmp_path, on_line=interrupt)
    assert not is_alive(tmp_path / "leader")


def test_what_a_finished_command_left_running_is_ended(tmp_path):
    ended = run(f"sh -c 'echo $$ > left; {FOREVER}' & while [ ! -s left ]; do sleep 0.02; done; echo done", tmp_path)
    assert (ended.code, ended.stdout) == (0, "done\n")
    assert not is_alive(tmp_path / "left")


def test_a_stranger_that_holds_the_streams_open_does_not_hold_us(tmp_path):
    start = time.monotonic()
    ended = run("setsid sh -c 'echo $$ > stranger; exec sleep 30' & while [ ! -s stranger ]; do sleep 0.02; done", tmp_path)
    assert ended.code == 0 and time.monotonic() - start < 5
    os.kill(int((tmp_path / "stranger").read_text()), signal.SIGKILL)


def test_it_is_told_to_end_when_we_are_killed(tmp_path):
    script = f"trap 'echo told > told; exit' TERM; echo $$ > leader; {FOREVER}"
    parent = "\n".join(
        (
            "import sys; sys.path.insert(0, sys.argv[1])",
            "from pathlib import Path; from dags import child",
            "child.run(['/bin/sh', '-c', sys.argv[2]], cwd=Path.cwd(), env={}, on_line=print, told_to_stop=lambda: False)",
        )
    )
    project = str(Path(__file__).resolve().parents[2])
    with subprocess.Popen([sys.executable, "-S", "-c", parent, project, script], cwd=tmp_path) as process:
        wait_for(lambda: (tmp_path / "leader").exists() and (tmp_path / "leader").read_text())
        process.kill()
    wait_for(lambda: not is_alive(tmp_path / "leader"))
    assert (tmp_path / "told").exists()


def test_the_command_is_told_first_so_that_it_can_end_its_own_children(tmp_path):
    script = f"sh -c \"trap 'echo told > wrong; exit' TERM; echo up > up; {FOREVER}\" & trap 'kill -9 $!; exit 143' TERM; {FOREVER}"
    ended = run(script, tmp_path, told_to_stop=(tmp_path / "up").exists)
    assert ended.code == 143 and not (tmp_path / "wrong").exists()

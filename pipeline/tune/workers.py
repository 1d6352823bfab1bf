"""Several workers on this machine: each a process of its own on the same search, seen and ended by the command that started them.

`python -m pipeline.tune.workers ASKED.json` is one of them. Workers on other machines are this command there, with tune.storage.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.console import Console
from pipeline.errors import Interrupted, LonghaulError, error_for_exit_code
from pipeline.lifeline import end_with_parent
from pipeline.tune.job import Asked, Search, best_note, num_done, open_search, run_trials, show_finished
from pipeline.tune.storage import known_failures

LOOK_S = 0.5
GRACE_S = 15.0  # a worker ends its ranks first


def work_together(search: Search, console: Console) -> None:
    """Run `workers` processes until none has work left.

    Raises:
        LonghaulError: the error of a worker that ended badly, if work is left; the others were let finish.
    """
    shown = {trial.number for trial in search.study.trials() if trial.state.is_finished()}
    with console.meter("tune", search.tune.num_trials) as meter, started(search) as processes:
        while True:
            is_over = all(process.poll() is not None for process in processes)
            finished = [trial.number for trial in search.study.trials() if trial.state.is_finished() and trial.number not in shown]
            for number in finished:
                shown.add(number)
                show_finished(search.study, number, console)
            running = ", ".join(str(trial.number) for trial in search.study.trials() if not trial.state.is_finished() and trial.params)
            meter(num_done(search.study), f"running {running or 'none'}{best_note(search.study)}")
            if is_over:
                break
            time.sleep(LOOK_S)
    codes = [process.returncode for process in processes]
    if any(codes) and num_done(search.study) < search.tune.num_trials:
        raise verdict(codes, search.study.folder)


def verdict(codes: Sequence[int], folder: Path) -> LonghaulError | Interrupted:
    index = next(index for index, code in enumerate(codes) if code)
    code, log = codes[index], folder / f"worker-{index}.log"
    said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    last = f" It said: {said[-1][:1000]}" if said else ""
    return error_for_exit_code(code, f"Worker {index} of {len(codes)} {how}.{last} Log: {log}. The same command goes on from here.")


@contextmanager
def started(search: Search) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The worker processes; those that still run at the end of the block are ended."""
    asked, folder = search.asked, search.study.folder
    spec = folder / "asked.json"
    record = {
        "recipe": str(asked.recipe.resolve()),
        "root": str(asked.root.resolve()),
        "overrides": asked.overrides,
        "study": search.study.name,
    }
    spec.write_text(json.dumps(record))
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for index in range(asked.workers):
            with (folder / f"worker-{index}.log").open("wb") as log:
                command = [sys.executable, "-m", "pipeline.tune.workers", str(spec)]
                processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        yield processes
    finally:
        end(processes)


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + GRACE_S
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main(arguments: Sequence[str]) -> int:
    end_with_parent()
    signal.signal(signal.SIGTERM, interrupt)
    record = json.loads(Path(arguments[0]).read_text())
    try:
        search = open_search(Asked(Path(record["recipe"]), Path(record["root"]), tuple(record["overrides"])), Console(None))
        if search.study.name != record["study"]:
            raise error_for_exit_code(2, f"{record['recipe']} has changed since the search {record['study']} was started. Start it again.")
        with known_failures(search.tune.storage):
            run_trials(search, lambda note: None, Console(1))
    except (LonghaulError, Interrupted) as error:
        print(error, file=sys.stderr, flush=True)
        return error.exit_code
    return 0


def interrupt(number: int, _frame: object) -> None:
    raise Interrupted(f"Stopped by {signal.Signals(number).name} in process {os.getpid()}.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

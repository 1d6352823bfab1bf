"""Times two pairs of workers in turns: two independent ones and two ranks, each worker pinned to a core.

    python -m benchmarks.p4.drive OUT SIDE MODEL ROWS ROUNDS

A pair whose turn it is not is stopped (SIGSTOP), because Horovod's thread works also when nothing trains. Standard library only, except for
our own side.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.p4 import orders
from benchmarks.p4.works import WORKS

ONE = "one"  # the first of the independent pair, while the second is stopped too
OURS = "longhaul"
HELLO_S = 180.0
REDUCED = (4_000, 100_000, 1_000_000, 10_000_000, 100_000_000)  # bytes of the sums that calibrate the simulation
# A plain process' settings for one core; our own ranks get theirs from the launcher.
ONE_CORE = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "2"}

Record = dict[str, Any]


class Worker:
    """One rank's connection."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(HELLO_S)
        self.lines = connection.makefile("rw")
        self.hello = self.hear()
        self.rank, self.pair, self.pid = self.hello["rank"], self.hello["pair"], self.hello["pid"]

    def hear(self) -> Record:
        line = self.lines.readline()
        if not line:
            raise SystemExit("A worker has ended early; the logs beside the report say why.")
        found: Record = json.loads(line)
        return found

    def say(self, order: str, count: int = 0) -> None:
        self.lines.write(json.dumps([order, count]) + "\n")
        self.lines.flush()

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)


def main() -> None:
    out, side, model, rows, rounds = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5])
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(out / "socket"))
    listener.listen()
    listener.settimeout(HELLO_S)
    os.environ.update({orders.ADDRESS: str(out / "socket"), orders.MODEL: model, orders.ROWS: rows, "PYTHONUNBUFFERED": "1"})
    with started(side, out):
        workers = sorted((Worker(listener.accept()[0]) for _ in range(4)), key=lambda worker: worker.rank)
        pairs = {pair: [worker for worker in workers if worker.pair == pair] for pair in (orders.ALONE, orders.TOGETHER)}
        try:
            record = measure(pairs, rounds, WORKS[model].steps, REDUCED if side == OURS else ())
        finally:
            for worker in workers:
                worker.go_on()
        for worker in workers:
            worker.say("end")
    (out / "report.json").write_text(json.dumps(record))


@contextmanager
def started(side: str, out: Path) -> Iterator[None]:
    """Four workers, ended when the block is over."""
    arguments = ["-m", f"benchmarks.p4.sides.{side}"]
    cores = sorted(os.sched_getaffinity(0))[:2]
    variables = [{orders.PAIR: orders.ALONE, orders.CORE: str(core), **ONE_CORE} for core in cores]
    processes = [start(arguments, mine, out / f"alone-{core}.log") for core, mine in enumerate(variables)]
    has_failed = threading.Event()
    with ExitStack() as stack:
        if side == OURS:
            stack.callback(start_ours(arguments, out, has_failed.is_set).join)
        else:
            meet = meetings(side, stack)
            together = [{**mine, orders.PAIR: orders.TOGETHER, **other} for mine, other in zip(variables, meet, strict=True)]
            processes += [start(arguments, mine, out / f"together-{core}.log") for core, mine in enumerate(together)]
        try:
            yield
        except BaseException:
            has_failed.set()
            for process in processes:
                process.kill()
            raise
        finally:
            for process in processes:
                process.wait()


def start(arguments: Sequence[str], variables: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen([sys.executable, *arguments], env={**os.environ, **variables}, stdout=file, stderr=file)


def start_ours(arguments: Sequence[str], out: Path, has_to_end: Callable[[], bool]) -> threading.Thread:
    """Ranks as `pipeline train` starts them."""
    from pipeline.sections.launch import Launch
    from pipeline.train.launch import launch

    os.environ[orders.PAIR] = orders.TOGETHER
    more = {"stall_timeout_s": 600, "on_event": print, "settings": Launch(pin=True), "has_to_end": has_to_end}
    thread = threading.Thread(target=partial(launch, arguments, 2, logs=out, **more))
    thread.start()
    return thread


def meetings(side: str, stack: ExitStack) -> list[dict[str, str]]:
    """Variables that tell each of two ranks where the other is, for as long as the stack is open."""
    if side == "horovod_plain":
        from pipeline.train.rendezvous import rendezvous

        # The one setting: by default a rank gives up after 30 s, and pairs are stopped for longer when it is not their turn.
        return [{**world, "HOROVOD_GLOO_TIMEOUT_SECONDS": "600"} for world in stack.enter_context(rendezvous([("localhost", 2)]))]
    ports = [free_port(), free_port()]
    if side == "torch_ddp":
        return [{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(ports[0]), "GLOO_SOCKET_IFNAME": "lo"}] * 2
    hosts = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    return [{"TF_CONFIG": json.dumps({"cluster": hosts, "task": {"type": "worker", "index": rank}})} for rank in (0, 1)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def measure(pairs: dict[str, list[Worker]], rounds: int, steps: int, sizes: Sequence[int]) -> Record:
    """All turns of all pairs.

    Args:
        pairs: two workers each.
        rounds: that count; one comes before them.
        steps: of a turn.
        sizes: bytes of the sums that are timed too; T1 is measured where there are some.

    Returns:
        `segments`: [who][round] -> a segment of each worker; `reduce`: [bytes, seconds]; `weights` and `hello` of all workers.
    """
    everyone = [worker for pair in pairs.values() for worker in pair]
    for worker in everyone:
        worker.pause()
    chosen = {ONE: pairs[orders.ALONE][:1], **pairs} if sizes else pairs
    segments: dict[str, list[list[Record]]] = {name: [] for name in chosen}
    for number in range(rounds + 1):  # the first is for tracing
        first = number % len(chosen)
        for name in [*list(chosen)[first:], *list(chosen)[:first]]:
            found = take_turn(chosen[name], "steps", steps)
            segments[name] += [found] if number else []
    reduced = [[size, take_turn(pairs[orders.TOGETHER], "reduce", size)[0]["seconds"]] for size in sizes]
    weights = {pair: take_turn(workers, "weights") for pair, workers in pairs.items()}
    return {"segments": segments, "reduce": reduced, "weights": weights, "hello": [worker.hello for worker in everyone]}


def take_turn(workers: Sequence[Worker], order: str, count: int = 0) -> list[Record]:
    for worker in workers:
        worker.go_on()
    for worker in workers:
        worker.say(order, count)
    found = [worker.hear() for worker in workers]
    for worker in workers:
        worker.pause()
    return found


if __name__ == "__main__":
    main()

"""Real trainings as commands of their own, wherever their ranks run."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.feed.dataset import ID_LOG
from pipeline.paths import Run
from pipeline.schema import Trained
from tests.conftest import PIPELINE, PROJECT, FinishedRun
from tests.prepare.test_cluster import PROFILES, SMALL, SPARK, Cluster
from tests.train.hosts import INTERFACE, Hosts
from tests.train.processes import new_mark
from tests.train.test_ranks import link_prepared

Steps = dict[tuple[int, int], list[list[int]]]  # (epoch, step) -> rank -> its rows


@dataclass(frozen=True)
class Place:
    """What a command has in front of `train`, and what its recipe says, for ranks to run there."""

    command: tuple[str, ...] = (str(PIPELINE),)
    overrides: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


HERE = Place()


def on_host_a(hosts: Hosts) -> Place:
    """On one of the hosts, ranks beside the command: a machine whose own name stands for its network card, as most have it."""
    return Place(tuple(hosts.on("a", str(PIPELINE))))


def over(hosts: Hosts, slots: str = "a:1,b:1") -> Place:
    settings = (f"launch.hosts={slots}", f"launch.interfaces=[{INTERFACE}]", f"launch.ssh_config={hosts.config}")
    return Place(tuple(hosts.on("a", str(PIPELINE))), settings)


def in_spark(cluster: Cluster, folder: Path, **conf: str) -> Place:
    """By spark-submit on a standalone cluster, an executor for each rank."""
    settings = {**SMALL, "master": cluster.url, "cores.max": "2", **conf}
    options = [part for key, value in settings.items() for part in ("--conf", f"spark.{key}={value}")]
    command = (
        SPARK / "bin" / "spark-submit",
        "--properties-file",
        PROFILES / "standalone.conf",
        *options,
        PROJECT / "scripts" / "submit.py",
    )
    return Place(tuple(map(str, command)), ("launch.spark=true", "launch.interfaces=[lo]"), cluster.environment)


@dataclass
class Training:
    """`pipeline train`, running or ended."""

    process: subprocess.Popen[bytes]
    run: Run
    output: Path
    mark: dict[str, str]  # in the environment of all its processes
    ids: Path  # what its ranks read

    @property
    def checkpoints(self) -> Path:
        return self.run.stage("train") / "checkpoints"

    @property
    def logs(self) -> Path:
        (attempt,) = self.run.stage("train").glob("attempt-*")
        return attempt / "log"

    def printed(self) -> str:
        return self.output.read_text()

    def wait_until(self, condition: Callable[[], bool], what: str, timeout_s: float = 300) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.process.poll() is None, f"training ended early: {self.printed()[-4000:]}"
            assert time.monotonic() < deadline, f"not in {timeout_s} s: {what}. {self.printed()[-4000:]}"
            time.sleep(0.05)

    def wait_for_step(self, step: int, timeout_s: float = 300) -> None:
        """Until a checkpoint is that far."""

        def is_reached() -> bool:
            return any(int(path.name.removeprefix("step-")) >= step for path in self.checkpoints.glob("*/step-*"))

        self.wait_until(is_reached, f"a checkpoint of step {step}", timeout_s)

    def end(self, timeout_s: float = 300) -> int:
        """Its exit code, once it has ended by itself."""
        return self.process.wait(timeout_s)

    def trained(self) -> Trained:
        manifest = json.loads((self.run.stage("train") / "manifest.json").read_text())
        return Trained.model_validate(manifest["facts"])

    def model(self) -> Path:
        manifest = json.loads((self.run.stage("train") / "manifest.json").read_text())
        path: Path = self.run.stage("train") / manifest["attempt"] / "model.keras"
        return path


@contextmanager
def training(place: Place, finished: FinishedRun, root: Path, *overrides: str, **environment: str) -> Iterator[Training]:
    """`pipeline train` on another run's prepared data, in the background. With the block it ends, if it has not."""
    overrides = (*overrides, *place.overrides)
    run = link_prepared(finished, root, overrides)
    sets = [part for override in overrides for part in ("--set", override)]
    mark, ids, output = new_mark(), root / "ids", root / "output"
    variables = {**os.environ, **place.environment, **mark, ID_LOG: str(ids), **environment}
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*place.command, "train", str(finished.path), *sets, "--root", str(root)],
            cwd=PROJECT, env=variables, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    try:
        yield Training(process, run, output, mark, ids)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=120)


def with_callback(finished: FinishedRun, folder: Path, name: str, **arguments: Any) -> tuple[FinishedRun, str]:
    """The recipe in a folder of its own, beside slow_callback.py; and the override that asks for one of its callbacks."""
    folder.mkdir()
    (folder / "slow.py").write_text((PROJECT / "tests" / "train" / "slow_callback.py").read_text())
    path = folder / finished.path.name
    path.write_text(finished.path.read_text())
    text = ", ".join(f"{key}: {value}" for key, value in arguments.items())
    return dataclasses.replace(finished, path=path), f"train.callbacks={{custom: [{{name: 'slow:{name}', arguments: {{{text}}}}}]}}"


def rows_read(ids: Path) -> list[tuple[tuple[int, int], Steps]]:
    """Of every world that was started, in order: the step it began with, and the rows of the steps that all its ranks had."""
    worlds: dict[tuple[int, int], list[tuple[int, dict[tuple[int, int], list[int]]]]] = {}
    for path in ids.glob("rank-*.jsonl"):
        whole = [json.loads(line) for line in path.read_text().split("\n")[:-1] if line]  # what a kill cut short has no end
        if whole:
            steps = {(line["epoch"], line["step"]): line["ids"] for line in whole}
            worlds.setdefault(min(steps), []).append((whole[0]["rank"], steps))
    found = []
    for begin, ranks in sorted(worlds.items()):
        ordered = [steps for _, steps in sorted(ranks, key=lambda item: item[0])]
        assert [rank for rank, _ in sorted(ranks, key=lambda item: item[0])] == list(range(len(ranks))), f"two worlds began at {begin}"
        found.append((begin, {step: [steps[step] for steps in ordered] for step in set.intersection(*map(set, ordered))}))
    return found


def rows_that_counted(worlds: list[tuple[tuple[int, int], Steps]]) -> Steps:
    """Each world's steps up to where the next one went on from."""
    counted: Steps = {}
    for begin, steps in worlds:
        counted = {step: rows for step, rows in counted.items() if step < begin} | steps
    return counted

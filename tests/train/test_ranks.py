"""Training with real ranks: 2 equal 1, and what is killed goes on where it was."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline import config
from pipeline.paths import Run, run_id
from pipeline.schema import Trained
from pipeline.train.launch import launch
from tests.conftest import PIPELINE, PROJECT, FinishedRun, pipeline

pytestmark = pytest.mark.e2e

TWO_CORES = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
SMALL_CNN = ("train.epochs=1", "model.dropout=0.0", "model.filters=8")


def train(finished: FinishedRun, root: Path, *overrides: str) -> tuple[Trained, Path]:
    """Train on another run's prepared data, in a process of its own; facts and model file."""
    link_prepared(finished, root, overrides)
    sets = [argument for override in overrides for argument in ("--set", override)]
    command = pipeline("train", finished.path, *sets, "--json", root=root)
    assert command.code == 0, command.err
    folder = Path(json.loads(command.out)["folder"])
    manifest = json.loads((folder / "manifest.json").read_text())
    return Trained.model_validate(manifest["facts"]), folder / manifest["attempt"] / "model.keras"


def link_prepared(finished: FinishedRun, root: Path, overrides: tuple[str, ...] = (), *, other: Path | None = None) -> Run:
    """The run that `overrides` name, of another recipe if one is given, with `finished`'s prepared data."""
    recipe = config.load(other or finished.path, overrides)
    run = Run(root, recipe.name, run_id(recipe.digest, None))
    run.folder.mkdir(parents=True, exist_ok=True)
    if not run.stage("prepare").exists():
        run.stage("prepare").symlink_to(finished.run.stage("prepare"))
    return run


def weights(model: Path) -> list[np.ndarray]:
    import keras

    return keras.saving.load_model(model, safe_mode=True, compile=False).get_weights()


@pytest.mark.parametrize(
    ("fixture", "overrides"),
    [
        ("iris_run", ("train.epochs=4", "train.early_stopping=null")),
        pytest.param("iris_run", ("train.epochs=4", "train.early_stopping=null", "launch.pin=true"), marks=[TWO_CORES, pytest.mark.slow]),
        # Small steps of SGD: Adam makes a whole step of a gradient's last digit near zero, and pooling one of a tie between two pixels.
        pytest.param(
            "digits_run",
            (*SMALL_CNN, "train.early_stopping=null", "train.optimizer={name: sgd, learning_rate: 0.005}"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["mlp", "mlp-pinned", "cnn"],
)
def test_two_ranks_on_a_global_batch_give_the_weights_of_one_rank_on_it(request, tmp_path, fixture, overrides):
    finished = request.getfixturevalue(fixture)
    two, model_of_two = train(finished, tmp_path, *overrides)
    one, model_of_one = train(finished, tmp_path, *overrides, "train.ranks=1")
    assert (two.ranks, one.ranks) == (2, 1)
    assert two.steps_per_epoch == one.steps_per_epoch
    for left, right in zip(weights(model_of_two), weights(model_of_one), strict=True):
        np.testing.assert_allclose(left, right, rtol=2e-4, atol=1e-4)
    for left, right in zip(two.history, one.history, strict=True):
        assert left.metrics == pytest.approx(right.metrics, rel=1e-3, abs=5e-4)


def test_three_uneven_ranks_weigh_their_gradients_by_their_rows(iris_run, tmp_path):
    overrides = ("train.epochs=2", "train.early_stopping=null")
    three, model_of_three = train(iris_run, tmp_path, *overrides, "train.ranks=3")  # 4 lanes: 1, 1 and 2
    _, model_of_one = train(iris_run, tmp_path, *overrides, "train.ranks=1")
    assert three.ranks == 3
    for left, right in zip(weights(model_of_three), weights(model_of_one), strict=True):
        np.testing.assert_allclose(left, right, rtol=2e-4, atol=2e-5)


@pytest.mark.slow
def test_eight_ranks_give_the_weights_of_one(iris_run, tmp_path):
    overrides = ("train.epochs=2", "train.early_stopping=null", "train.lanes=8", "train.global_batch=32")
    eight, model_of_eight = train(iris_run, tmp_path, *overrides, "train.ranks=8")
    one, model_of_one = train(iris_run, tmp_path, *overrides, "train.ranks=1")
    assert (eight.ranks, one.ranks) == (8, 1)
    assert eight.steps_per_epoch == one.steps_per_epoch > 1
    for left, right in zip(weights(model_of_eight), weights(model_of_one), strict=True):
        np.testing.assert_allclose(left, right, rtol=2e-4, atol=2e-5)


def start_training(finished: FinishedRun, root: Path, *overrides: str) -> tuple[subprocess.Popen[str], Path]:
    """`pipeline train` in the background, and the folder in which its checkpoints appear."""
    run = link_prepared(finished, root, overrides)
    sets = [argument for override in overrides for argument in ("--set", override)]
    process = subprocess.Popen(
        [PIPELINE, "train", finished.path, *sets], cwd=PROJECT, env={**os.environ, "LONGHAUL_ROOT": str(root)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    return process, run.stage("train") / "checkpoints"


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, f"training ended early: {process.communicate()}"
        assert time.monotonic() < deadline, "no checkpoint appeared"
        time.sleep(0.02)


def reached(folder: Path, step: int) -> Callable[[], bool]:
    return lambda: any(int(path.name.removeprefix("step-")) >= step for path in folder.glob("*/step-*"))


def ranks_of(launcher: int) -> list[int]:
    """Process ids of a launcher's ranks, rank 0 first."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            environment = dict(item.split("=", 1) for item in (path / "environ").read_text().split("\0") if "=" in item)
        except OSError:
            continue
        if parent == launcher and "LONGHAUL_EVENTS_FD" in environment:
            found[int(environment["HOROVOD_RANK"])] = int(path.name)
    return [found[rank] for rank in sorted(found)]


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_a_rank_killed_within_an_epoch_ends_the_job_and_the_next_one_goes_on_to_the_same_weights(iris_run, tmp_path):
    undisturbed = Trained.model_validate(json.loads((iris_run.run.stage("train") / "manifest.json").read_text())["facts"])
    overrides = ("train.checkpoint_steps=2", "train.steps_per_execution=1")
    process, checkpoints = start_training(iris_run, tmp_path, *overrides)
    wait_for(reached(checkpoints, 22), process)
    ranks = ranks_of(process.pid)
    assert len(ranks) == 2
    os.kill(ranks[1], signal.SIGKILL)
    started = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 4 and time.monotonic() - started < 60
    assert "Rank 1 of 2 was ended by SIGKILL" in errors and "goes on from its last checkpoint" in errors
    assert not any(is_alive(rank) for rank in ranks)
    resumed, _ = train(iris_run, tmp_path, *overrides)
    assert resumed.resumed_from is not None
    assert resumed.weight_digest == undisturbed.weight_digest
    for ours, theirs in zip(resumed.history, undisturbed.history, strict=True):  # the sums of the resumed epoch were added in another order
        assert ours.metrics == pytest.approx(theirs.metrics, rel=1e-6)


@pytest.mark.slow
def test_with_dropout_too_a_killed_training_goes_on_to_the_weights_of_an_undisturbed_one(iris_run, tmp_path):
    overrides = (
        "model.dropout=0.3",
        "train.epochs=8",
        "train.early_stopping=null",
        "train.checkpoint_steps=2",
        "train.steps_per_execution=1",
    )
    undisturbed, _ = train(iris_run, tmp_path / "whole", *overrides)
    process, checkpoints = start_training(iris_run, tmp_path / "cut", *overrides)
    wait_for(reached(checkpoints, 22), process)
    os.kill(ranks_of(process.pid)[1], signal.SIGKILL)
    process.communicate(timeout=120)
    resumed, _ = train(iris_run, tmp_path / "cut", *overrides)
    assert resumed.resumed_from is not None
    assert resumed.weight_digest == undisturbed.weight_digest


@pytest.mark.slow
def test_a_killed_launcher_takes_its_ranks_along_and_the_next_one_goes_on(iris_run, tmp_path):
    process, checkpoints = start_training(iris_run, tmp_path)
    wait_for(reached(checkpoints, 25), process)
    ranks = ranks_of(process.pid)
    process.kill()
    process.communicate(timeout=30)
    deadline = time.monotonic() + 10
    while any(is_alive(rank) for rank in ranks):
        assert time.monotonic() < deadline, "a rank outlived its launcher"
        time.sleep(0.05)
    resumed, _ = train(iris_run, tmp_path)
    assert resumed.resumed_from is not None and resumed.resumed_from.endswith("step 0")
    undisturbed = json.loads((iris_run.run.stage("train") / "manifest.json").read_text())["facts"]
    assert resumed.weight_digest == undisturbed["weight_digest"]


def test_a_stopped_training_saves_where_it_is_ends_its_ranks_says_143_and_goes_on_to_the_same_weights(iris_run, tmp_path):
    process, checkpoints = start_training(iris_run, tmp_path, "train.steps_per_execution=1")
    wait_for(reached(checkpoints, 5), process)
    ranks = ranks_of(process.pid)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143 and "interrupted: Stopped by SIGTERM" in errors
    assert not any(is_alive(rank) for rank in ranks)
    saved = re.search(r"a checkpoint was saved at epoch (\d+), step (\d+)", errors)
    assert saved, errors
    resumed, _ = train(iris_run, tmp_path, "train.steps_per_execution=1")
    assert resumed.resumed_from == f"epoch {saved[1]}, step {saved[2]}"
    undisturbed = json.loads((iris_run.run.stage("train") / "manifest.json").read_text())["facts"]
    assert resumed.weight_digest == undisturbed["weight_digest"]


def test_a_loss_that_is_no_number_stops_all_ranks_and_publishes_nothing(iris_run, tmp_path):
    run = link_prepared(iris_run, tmp_path, ("train.optimizer={name: sgd, learning_rate: 1.0e+30}",))
    command = pipeline("train", iris_run.path, "--set", "train.optimizer={name: sgd, learning_rate: 1.0e+30}", root=tmp_path)
    assert command.code == 3 and "Lower train.optimizer.learning_rate" in command.err
    assert not (run.stage("train") / "manifest.json").exists()


def test_too_few_rows_are_refused_before_any_rank_starts(iris_run, tmp_path):
    link_prepared(iris_run, tmp_path, ("train.global_batch=512",))
    started = time.monotonic()
    command = pipeline("train", iris_run.path, "--set", "train.global_batch=512", root=tmp_path)
    assert command.code == 3 and "do not fill one global batch of 512" in command.err
    assert time.monotonic() - started < 10


def test_training_without_prepared_data_says_what_to_run_first(tmp_path):
    command = pipeline("train", PROJECT / "conf" / "iris.yaml", root=tmp_path)
    assert command.code == 3 and "pipeline prepare RECIPE" in command.err


def test_the_launcher_runs_ranks_without_loading_tensorflow(tmp_path):
    code = """
import sys
from pathlib import Path
from pipeline.train.launch import launch
launch(["-c", "import os; print(os.environ['HOROVOD_RANK'])"], 2, logs=Path(sys.argv[1]), stall_timeout_s=60, on_event=print)
print([name for name in ("tensorflow", "keras", "horovod.tensorflow") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
    assert [(tmp_path / f"rank-{rank}.log").read_text().strip() for rank in range(2)] == ["0", "1"]


SHARES = """
import keras
from pipeline.train.horovod import detect_world
world = detect_world()
types = ("float32", "int64", "float32")
variables = [keras.Variable([world.rank + number], dtype=dtype, name="same") for number, dtype in enumerate(types)]
assert len({variable.value.name for variable in variables}) == 1
world.share_variables(variables)
print(world.rank, [variable.numpy().tolist() for variable in variables])
"""


@pytest.mark.slow
def test_variables_of_one_name_and_of_any_type_are_rank_zeros_everywhere(tmp_path):
    launch(["-c", SHARES], 2, logs=tmp_path, stall_timeout_s=120, on_event=lambda event: None)
    said = [(tmp_path / f"rank-{rank}.log").read_text().splitlines()[-1] for rank in range(2)]
    assert said == [f"{rank} [[0.0], [1], [2.0]]" for rank in range(2)]

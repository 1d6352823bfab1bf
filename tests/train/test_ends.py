"""However a real training ends, wherever its ranks run: the right exit code, and none of its processes left on any machine."""

from __future__ import annotations

import os
import re
import signal

import pytest

from tests.prepare.test_cluster import cluster
from tests.train.hosts import two_hosts, why_not
from tests.train.places import HERE, Place, Training, in_spark, on_host_a, over, training, with_callback
from tests.train.processes import bound, marked, wait_until_none_is_left

pytestmark = pytest.mark.e2e

__all__ = ["cluster"]  # a fixture

LACKING = why_not()
needs_hosts = pytest.mark.skipif(LACKING is not None, reason=LACKING or "")
SLOWLY = ("train.early_stopping=null", "train.checkpoint_steps=1", "train.steps_per_execution=1", "train.ranks=2")
EPOCHS = 60  # long enough to be ended; five steps each


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    with two_hosts(tmp_path_factory.mktemp("hosts")) as made:
        yield made


@pytest.fixture(params=["here", pytest.param("hosts", marks=needs_hosts), "spark"])
def place(request, tmp_path) -> Place:
    if request.param == "hosts":
        return over(request.getfixturevalue("hosts"))
    return HERE if request.param == "here" else in_spark(request.getfixturevalue("cluster"), tmp_path)


@pytest.fixture
def slow(iris_run, tmp_path):
    finished, callback = with_callback(iris_run, tmp_path / "recipe", "Unhurried", seconds=0.2)
    return finished, (*SLOWLY, callback)


def rank_processes(job: Training) -> list[int]:
    return sorted(pid for pid, command in marked(job.mark).items() if "pipeline.train.rank" in command)


@pytest.mark.slow
def test_after_a_good_end_nothing_is_left(place, slow, tmp_path):
    finished, overrides = slow
    with training(place, finished, tmp_path, *overrides, "train.epochs=2") as job:
        job.wait_until(lambda: len(rank_processes(job)) == 2, "two ranks")
        assert job.end() == 0, job.printed()
        wait_until_none_is_left(job.mark, 10)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_told_to_stop_it_saves_says_143_and_leaves_nothing(place, slow, tmp_path, number):
    finished, overrides = slow
    with training(place, finished, tmp_path, *overrides, f"train.epochs={EPOCHS}") as job:
        job.wait_for_step(4)
        os.killpg(job.process.pid, number)  # as a terminal and a scheduler do it: to the command and all that it started in its group
        assert job.end(90) in ((143, 130) if "spark-submit" in place.command[0] else (143,)), job.printed()  # Java's own, there
        wait_until_none_is_left(job.mark, 40)
        told = job.printed() + "".join(path.read_text() for path in job.logs.glob("events-*.jsonl"))  # Java took the screen along, there
        saved = re.search(r"a checkpoint was saved at epoch (\d+), step (\d+)", told)
        assert saved, job.printed()
        step = (int(saved[1]) - 1) * 5 + int(saved[2])
        assert list(job.checkpoints.glob(f"*/step-{step:08d}")), job.printed()


@pytest.mark.slow
def test_a_killed_rank_ends_all_with_4_and_its_last_lines_and_leaves_nothing(place, slow, tmp_path):
    finished, overrides = slow
    with training(place, finished, tmp_path, *overrides, f"train.epochs={EPOCHS}") as job:
        job.wait_for_step(4)
        os.kill(rank_processes(job)[1], signal.SIGKILL)
        assert job.end(120) == 4, job.printed()
        assert "SIGKILL" in job.printed() and re.search(r"rank-\d\.log", job.printed()), job.printed()
        assert sorted(path.name for path in job.logs.glob("rank-*.log")) == ["rank-0.log", "rank-1.log"]
        wait_until_none_is_left(job.mark, 20)


@pytest.mark.slow
def test_a_killed_launcher_takes_all_with_it(place, slow, tmp_path):
    finished, overrides = slow
    with training(place, finished, tmp_path, *overrides, f"train.epochs={EPOCHS}") as job:
        job.wait_for_step(4)
        job.process.kill()
        job.process.wait()
        wait_until_none_is_left(job.mark, 40)


@pytest.mark.slow
def test_a_stopped_rank_ends_all_with_4_and_its_name_and_leaves_nothing(place, slow, tmp_path):
    finished, overrides = slow
    with training(place, finished, tmp_path, *overrides, f"train.epochs={EPOCHS}", "train.stall_timeout_s=10") as job:
        job.wait_for_step(4)
        os.kill(rank_processes(job)[1], signal.SIGSTOP)
        assert job.end(120) == 4, job.printed()
        assert re.search(r"rank [01] on \S+ has been silent", job.printed()), job.printed()
        wait_until_none_is_left(job.mark, 20)


def addresses(job: Training) -> tuple[set[str], set[str]]:
    """Where ranks, and where other processes but Java, listen or speak. Ranks meet at addresses that they listen at for a moment only."""
    found: tuple[set[str], set[str]] = set(), set()
    for pid, command in marked(job.mark).items():
        if "java" not in command.split(" ")[0]:
            found["pipeline.train.rank" not in command].update(bound(pid))
    return found


@needs_hosts
def test_a_local_training_binds_loopback_only_even_where_the_machines_name_stands_for_its_network_card(hosts, iris_run, tmp_path):
    finished, callback = with_callback(iris_run, tmp_path / "recipe", "Unhurried", seconds=0.2)
    with training(on_host_a(hosts), finished, tmp_path, *SLOWLY, callback, "train.epochs=5") as job:
        job.wait_for_step(2)
        ranks, others = addresses(job)
        assert job.end() == 0, job.printed()
    assert ranks == others == {"127.0.0.1"}


@pytest.mark.slow
@needs_hosts
def test_over_hosts_everything_binds_the_named_network_only(hosts, slow, tmp_path):
    finished, overrides = slow
    with training(over(hosts), finished, tmp_path, *overrides, "train.epochs=5") as job:
        job.wait_for_step(2)
        ranks, others = addresses(job)
        assert job.end() == 0, job.printed()
    assert ranks == {"10.77.0.1", "10.77.0.2"} and others == {"10.77.0.1"}


@pytest.mark.slow
@needs_hosts
def test_in_spark_all_but_spark_itself_binds_the_named_network_only(hosts, slow, tmp_path):
    finished, overrides = slow
    settings = ("launch.spark=true", "launch.interfaces=[cable0]")
    with training(on_host_a(hosts), finished, tmp_path, *overrides, *settings, "train.epochs=5") as job:
        job.wait_for_step(2)
        ranks, others = addresses(job)
        assert job.end() == 0, job.printed()
    assert ranks == {"10.77.0.1"}
    assert others == {"10.77.0.1", "127.0.0.1"}  # Horovod's servers; Python's pipes to Spark

"""Real trainings that lose ranks and hosts: what is left goes on, every row of an epoch counts once, who comes back joins."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from pipeline.feed.plan import Plan
from tests.conftest import FinishedRun
from tests.train.hosts import two_hosts, why_not
from tests.train.places import HERE, Training, over, rows_read, rows_that_counted, training, with_callback
from tests.train.processes import wait_until_none_is_left
from tests.train.test_feed_resume import plan_of
from tests.train.test_ranks import ranks_of, weights

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

# SGD: Adam makes a whole step of a gradient's last digit near zero, and 2 ranks add up in another order than 3.
SLOWLY = (
    "train.early_stopping=null", "train.checkpoint_steps=1", "train.steps_per_execution=1",
    "train.optimizer={name: sgd, learning_rate: 0.05}",
)  # fmt: skip


def assert_every_row_of_every_epoch_counted_once(job: Training, plan: Plan, epochs: int) -> list[int]:
    """The size of each world, in order."""
    worlds = rows_read(job.ids)
    steps = rows_that_counted(worlds)
    assert sorted(steps) == [(epoch, step) for epoch in range(epochs) for step in range(plan.num_steps)]
    for epoch in range(epochs):
        rows = [row for step in range(plan.num_steps) for rank in steps[epoch, step] for row in rank]
        assert len(rows) == len(set(rows)) == plan.num_steps * plan.global_batch
    return [len(next(iter(rows.values()))) for _, rows in worlds]


def undisturbed(finished: FinishedRun, root: Path, *overrides: str) -> Training:
    root.mkdir()
    with training(HERE, finished, root, *overrides) as job:
        assert job.end() == 0, job.printed()
        return job


def begun_at(job: Training, world: int) -> int:
    """Steps of the whole training that were done when a world began."""
    (epoch, step), _ = rows_read(job.ids)[world]
    return epoch * 5 + step  # 86 rows in batches of 16


def test_a_killed_rank_costs_no_row_and_at_most_the_steps_since_the_last_checkpoint(iris_run, tmp_path):
    slow, callback = with_callback(iris_run, tmp_path / "recipe", "Unhurried", seconds=0.1)
    overrides = (*SLOWLY, callback, "train.epochs=8", "train.ranks=3")
    with training(HERE, slow, tmp_path, *overrides, "launch.elastic={cooldown_s: 3600}") as job:
        job.wait_for_step(7)
        ranks = ranks_of(job.process.pid)
        done = max(int(path.name.removeprefix("step-")) for path in job.checkpoints.glob("*/step-*"))
        os.kill(ranks[2], signal.SIGKILL)
        assert job.end() == 0, job.printed()
        assert "was ended by SIGKILL" in job.printed() and "going on from the last checkpoint" in job.printed()
        plan = plan_of(job.run, iris_run.recipe)
        assert assert_every_row_of_every_epoch_counted_once(job, plan, epochs=8) == [3, 2]
        assert begun_at(job, 1) >= done
        wait_until_none_is_left(job.mark, 10)
    other = undisturbed(slow, tmp_path / "undisturbed", *overrides)
    for left, right in zip(weights(job.model()), weights(other.model()), strict=True):
        np.testing.assert_allclose(left, right, rtol=2e-4, atol=2e-5)


@pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
def test_a_host_that_dies_is_done_without_and_joins_when_it_is_back(iris_run, tmp_path):
    slow, callback = with_callback(iris_run, tmp_path / "recipe", "Unhurried", seconds=0.2)
    overrides = (*SLOWLY, callback, "train.epochs=40")
    with two_hosts(tmp_path / "hosts") as hosts:
        with training(over(hosts), slow, tmp_path, *overrides, "launch.elastic={cooldown_s: 25}") as job:
            job.wait_for_step(7)
            hosts.kill("b")
            job.wait_until(lambda: len(rows_read(job.ids)) == 2, "going on without the host")
            hosts.start("b")
            assert job.end(500) == 0, job.printed()
            wait_until_none_is_left(job.mark, 20)
    sizes = assert_every_row_of_every_epoch_counted_once(job, plan_of(job.run, iris_run.recipe), epochs=40)
    assert sizes == [2, 1, 2], job.printed()
    assert "host b" in job.printed().lower() and "Hosts have come back" in job.printed()


def test_below_the_minimum_it_waits_and_goes_on_to_the_same_weights_when_the_place_is_back(iris_run, tmp_path):
    slow, callback = with_callback(iris_run, tmp_path / "recipe", "Unhurried", seconds=0.1)
    overrides = (*SLOWLY, callback, "train.epochs=6", "train.ranks=2")
    with training(HERE, slow, tmp_path, *overrides, "launch.elastic={min_ranks: 2, cooldown_s: 4, wait_s: 60}") as job:
        job.wait_for_step(7)
        os.kill(ranks_of(job.process.pid)[1], signal.SIGKILL)
        assert job.end() == 0, job.printed()
        assert "waiting for hosts to come back" in job.printed()
        assert assert_every_row_of_every_epoch_counted_once(job, plan_of(job.run, iris_run.recipe), epochs=6) == [2, 2]
    other = undisturbed(slow, tmp_path / "undisturbed", *overrides)
    assert job.trained().weight_digest == other.trained().weight_digest


@pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
def test_a_lost_host_that_does_not_come_back_ends_a_job_below_its_minimum_with_4(iris_run, tmp_path):
    slow, callback = with_callback(iris_run, tmp_path / "recipe", "Unhurried", seconds=0.2)
    with two_hosts(tmp_path / "hosts") as hosts:
        elastic = "launch.elastic={min_ranks: 2, cooldown_s: 3600, wait_s: 5}"
        with training(over(hosts), slow, tmp_path, *SLOWLY, callback, "train.epochs=20", elastic) as job:
            job.wait_for_step(7)
            hosts.kill("b")
            assert job.end() == 4
            wait_until_none_is_left(job.mark, 20)
    assert "There were only 1 places for ranks, launch.elastic.min_ranks=2, for 5 s" in job.printed()
    assert list(job.checkpoints.glob("*/step-*"))  # what a later run goes on from

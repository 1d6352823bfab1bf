"""One recipe, wherever its ranks run: the same rows in every step of every rank, and the same weights."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.prepare.test_cluster import cluster
from tests.train.hosts import two_hosts, why_not
from tests.train.places import HERE, Place, Steps, in_spark, over, rows_read, rows_that_counted, training

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

__all__ = ["cluster"]  # a fixture

# A convolution's gradient is summed in another order on another number of threads, so every rank has as many as it has here.
THREADS = {"TF_NUM_INTRAOP_THREADS": str(max(1, (os.cpu_count() or 1) // 2)), "TF_NUM_INTEROP_THREADS": "2"}
OVERRIDES = {"iris": ("train.epochs=4", "train.early_stopping=null"), "digits": ("train.epochs=1", "train.early_stopping=null")}


@pytest.fixture(scope="module", params=["iris", "digits"])
def recipe(request):
    """A finished run of the recipe, what to change in it, and what came out of two ranks here."""
    return request.param


@pytest.fixture(scope="module")
def local(recipe, request, tmp_path_factory):
    return trained(HERE, request.getfixturevalue(f"{recipe}_run"), tmp_path_factory.mktemp("here"), recipe)


def trained(place: Place, finished, root: Path, recipe: str) -> tuple[str, Steps]:
    """Digest of the weights, and which rank read which rows."""
    with training(place, finished, root, *OVERRIDES[recipe], "train.ranks=2", **THREADS) as job:
        assert job.end() == 0, job.printed()[-4000:]
        (world,) = rows_read(job.ids)
        assert job.trained().ranks == 2
        return job.trained().weight_digest, rows_that_counted([world])


@pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
def test_over_two_hosts_rows_and_weights_are_those_of_a_local_run(recipe, local, request, tmp_path):
    with two_hosts(tmp_path / "hosts") as hosts:
        assert trained(over(hosts), request.getfixturevalue(f"{recipe}_run"), tmp_path, recipe) == local


def test_in_two_executors_of_a_spark_cluster_rows_and_weights_are_those_of_a_local_run(recipe, local, cluster, request, tmp_path):
    assert trained(in_spark(cluster, tmp_path), request.getfixturevalue(f"{recipe}_run"), tmp_path, recipe) == local
    logs = sorted(path.name for path in tmp_path.glob("*/*/train/attempt-*/log/rank-*.log"))
    assert logs == ["rank-0.log", "rank-1.log"]

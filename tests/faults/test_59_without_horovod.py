"""A machine on which Horovod could not be built: one rank trains all the same, and two are refused with what to do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conftest import pipeline
from tests.train.test_ranks import link_prepared

pytestmark = pytest.mark.e2e

# In front of everything else on the path: what an environment without Horovod says to who imports it.
MISSING = "raise ModuleNotFoundError(\"No module named 'horovod'\", name='horovod')\n"


@pytest.fixture
def no_horovod(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "missing" / "horovod").mkdir(parents=True)
    (tmp_path / "missing" / "horovod" / "__init__.py").write_text(MISSING)
    return {"PYTHONPATH": str(tmp_path / "missing")}


@pytest.mark.slow
def test_one_rank_trains_where_there_is_no_horovod_and_two_are_refused_clearly(iris_run, tmp_path, no_horovod):
    overrides = ("train.ranks=1", "train.epochs=1", "train.early_stopping=null")
    sets = [part for override in overrides for part in ("--set", override)]
    link_prepared(iris_run, tmp_path, overrides)
    alone = pipeline("train", iris_run.path, *sets, root=tmp_path, **no_horovod)
    assert alone.code == 0, alone.err

    link_prepared(iris_run, tmp_path, ("train.epochs=1",))
    two = pipeline("train", iris_run.path, "--set", "train.epochs=1", root=tmp_path, **no_horovod)
    assert two.code == 4, two.err
    assert "Horovod" in two.err and "train.ranks=1" in two.err and "pipeline doctor" in two.err and "Traceback" not in two.err


def test_the_plant_is_real(no_horovod):
    import subprocess

    done = subprocess.run([sys.executable, "-c", "import horovod"], env=no_horovod, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "No module named 'horovod'" in done.stderr

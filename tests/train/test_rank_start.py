"""A rank loads what it needs, and nothing that Keras would load because it happens to be installed."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import pytest

from pipeline.train.rank_start import missing
from tests.conftest import PROJECT

LOAD = """
import json, sys
from pipeline.train.rank_start import missing
with missing("sklearn", "matplotlib"):
    from pipeline.train import rank
loaded = sorted({"sklearn", "scipy.stats", "matplotlib", "pandas", "petastorm", "pyspark"} & set(sys.modules))
import sklearn.linear_model, matplotlib.figure
print(json.dumps(loaded))
"""


def test_what_is_missing_cannot_be_imported_meanwhile_and_can_afterwards():
    sys.modules.pop("this", None)
    with missing("this", "json"):
        with pytest.raises(ImportError):
            importlib.import_module("this")
        assert sys.modules["json"] is json, "what is loaded already stays"
    assert "this" not in sys.modules
    assert sys.modules["json"] is json


def test_an_error_brings_them_back_too():
    with pytest.raises(KeyError), missing("this"):
        raise KeyError
    assert "this" not in sys.modules


@pytest.mark.tf
@pytest.mark.slow
def test_a_rank_loads_neither_what_draws_nor_scikit_learn_and_code_of_a_users_own_can():
    done = subprocess.run([sys.executable, "-c", LOAD], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(done.stdout) == ["pandas"]

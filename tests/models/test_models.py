"""Every family of models on two real ranks: it learns, equals one rank, and its file needs Keras alone.

All are trained by one launch of two ranks, see ranks.py: what takes time is starting TensorFlow, not these models.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.train.launch import launch
from tests.conftest import PROJECT
from tests.models.cases import CASES
from tests.models.precision import PLANTED_STEP

pytestmark = pytest.mark.e2e

LOAD_ALL = """
import sys, keras, numpy as np
for path in sys.argv[1:]:
    model = keras.saving.load_model(path + ".keras", safe_mode=True, compile=False)
    saved = dict(np.load(path + ".npz"))
    del saved["outputs"]
    outputs = model(saved.get("rows", saved), training=False)
    np.save(path + ".again.npy", np.asarray(next(iter(outputs.values())) if isinstance(outputs, dict) else outputs))
assert not [name for name in sys.modules if name.split(".")[0] in ("models", "pipeline", "tests")]
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The folder of saved models, and what each rank found."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(PROJECT)
        launch(["-m", "tests.models.ranks", str(folder)], 2, logs=folder, stall_timeout_s=500, on_event=print)
    return folder, [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def predicted_again(trained: tuple[Path, list[dict[str, Any]]]) -> Path:
    """The folder, with what a fresh process that knows Keras alone predicts from the saved files."""
    folder, _ = trained
    paths = [str(folder / str(index)) for index in range(len(CASES))]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    subprocess.run([sys.executable, "-I", "-c", LOAD_ALL, *paths], cwd=folder, env=environment, check=True, timeout=300)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_the_loss_goes_down_on_two_ranks(trained, name):
    first, second = (result[name] for result in trained[1])
    assert first["after"] < 0.9 * first["before"]
    assert first["weights"] == second["weights"]  # to the last bit


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.is_random])
def test_two_uneven_ranks_equal_one_on_the_same_rows(trained, name):
    two = trained[1][0][name]
    (one,) = [result[name]["alone"] for result in trained[1] if "alone" in result[name]]
    assert one["moved"] > 1e-2
    for left, right in zip(two["weights"], one["weights"], strict=True):
        np.testing.assert_allclose(np.asarray(left), np.asarray(right), rtol=2e-3, atol=2e-3 * one["moved"])
    assert two["after"] == pytest.approx(one["after"], rel=2e-3, abs=1e-4)


@pytest.mark.parametrize("index", range(len(CASES)), ids=list(CASES))
def test_a_saved_model_loads_with_keras_alone_and_predicts_the_same(predicted_again, index):
    again = np.load(predicted_again / f"{index}.again.npy")
    np.testing.assert_allclose(again, np.load(predicted_again / f"{index}.npz")["outputs"], rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def halves(trained: tuple[Path, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What each rank did in half precision, see precision.py."""
    return [json.loads((trained[0] / f"precision-{rank}.json").read_text()) for rank in range(2)]


def test_an_overflow_on_one_rank_makes_all_ranks_skip_the_update_and_halve_the_scale(halves):
    first, second = (half["overflow"] for half in halves)
    assert first == second
    assert [step["weight"] for step in first] == [-2.0, -4.0, -4.0, -6.0]
    scales = [step["scale"] for step in first]
    assert scales[PLANTED_STEP] == scales[0] / 2 and scales[:PLANTED_STEP] == [scales[0]] * PLANTED_STEP


def test_compressed_gradients_are_the_same_to_three_digits_and_the_same_on_all_ranks(halves):
    first, second = (half["compressed"] for half in halves)
    assert first == second and first["True"] != first["False"]
    np.testing.assert_allclose(first["True"], first["False"], rtol=2e-3, atol=2e-3)


def test_bfloat16_arithmetic_learns_with_float32_weights_and_outputs(halves):
    first, second = (half["bfloat16"] for half in halves)
    assert first["weights"] == second["weights"]
    assert first["losses"][-1] < 0.8 * first["losses"][0]
    assert (first["compute"], first["stored"], first["outputs"]) == ("bfloat16", "float32", "float32")

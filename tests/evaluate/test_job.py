"""The evaluate stage measures every test row once, and refuses what it cannot vouch for."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline import stage
from pipeline.errors import DataError
from pipeline.evaluate import job, rows
from pipeline.schema import Evaluated
from pipeline.sections.training import Gate
from tests.evaluate.finished_run import CLASSES, expected_log_loss, finish_prepare, finish_train, make_request, make_rows

pytestmark = pytest.mark.tf


def test_evaluation_gives_the_known_metrics_of_every_test_row(request_after_train):
    outcome = job.run(request_after_train)
    result = Evaluated.model_validate(outcome.manifest.facts)
    assert (result.rows, result.metrics["accuracy"].value) == (40, 0.9)
    assert result.metrics["log_loss"].value == pytest.approx(expected_log_loss(4), rel=1e-6)
    assert (result.baseline.answer, result.baseline.metrics["accuracy"]) == ("setosa", pytest.approx(14 / 40))
    assert {entry.path: entry.rows for entry in outcome.manifest.files} == {"predictions.parquet": 40, "report.html": None}


def test_predictions_are_named_ordered_and_add_up(request_after_train):
    found = job.run(request_after_train).found
    table = pq.read_table(found.files / rows.PREDICTIONS)
    labels, features = make_rows("test", 4)
    assert table.column("sample_id").to_pylist() == [f"test-{row:03}" for row in range(40)]
    assert table.column("label").to_pylist() == labels.tolist()
    assert table.column("predicted").to_pylist() == features.argmax(1).tolist()
    probabilities = np.array(table.column("probabilities").to_pylist())
    assert probabilities.sum(1) == pytest.approx(1, abs=1e-6)
    assert table.column("probability").to_pylist() == probabilities.max(1).tolist()
    assert json.loads(table.schema.metadata[b"classes"]) == list(CLASSES)


def test_evaluating_again_reuses_and_forcing_gives_the_same_digest(request_after_train):
    first = job.run(request_after_train)
    again = job.run(request_after_train)
    forced = job.run(dataclasses.replace(request_after_train, force=True))
    assert (first.reused_from, again.reused_from, forced.reused_from) == (None, first.manifest.run_id, None)
    assert forced.manifest.digest == first.manifest.digest


def test_a_changed_gate_gives_a_new_report(request_after_train):
    job.run(request_after_train)
    register = request_after_train.recipe.register_.model_copy(update={"gate": Gate()})
    recipe = request_after_train.recipe.model_copy(update={"register_": register})
    outcome = job.run(dataclasses.replace(request_after_train, recipe=recipe))
    assert outcome.reused_from is None
    assert "any model would be registered" in (outcome.found.files / "report.html").read_text()


def test_a_tampered_model_is_refused_before_it_is_loaded(request_after_train, monkeypatch):
    model = stage.upstream(request_after_train, "train").files / "model.keras"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    monkeypatch.setattr("pipeline.evaluate.inference.load_model", lambda path: pytest.fail("loaded"))
    with pytest.raises(DataError, match="SHA-256"):
        job.run(request_after_train)


def test_a_model_of_other_data_is_refused(request_after_train):
    finish_prepare(request_after_train, num_wrong=5)
    with pytest.raises(DataError, match="was not made from the prepare result that is there now"):
        job.run(request_after_train)


@pytest.mark.parametrize(
    ("change", "received"), [(lambda data: data.skip(1), 32), (lambda data: data.repeat(2), 80)], ids=["short", "twice"]
)
def test_another_number_of_rows_than_the_manifest_says_is_refused(request_after_train, monkeypatch, change, received):
    from pipeline.evaluate import inference

    whole = inference.evaluation_dataset
    monkeypatch.setattr(inference, "evaluation_dataset", lambda found, split, batch, settings: change(whole(found, split, 8)))
    with pytest.raises(DataError, match=f"saw {received} rows of the test split .* manifest says 40"):
        job.run(request_after_train)


def test_rows_in_another_order_than_stored_are_refused(request_after_train, monkeypatch):
    from pipeline.evaluate import inference

    whole = inference.evaluation_dataset
    shuffled = lambda *given, **named: whole(*given, **named).unbatch().shuffle(40, seed=1).batch(40)  # noqa: E731
    monkeypatch.setattr(inference, "evaluation_dataset", shuffled)
    with pytest.raises(DataError, match="another order"):
        job.run(request_after_train)


def test_outputs_that_are_not_finite_are_refused_and_nothing_is_published(tmp_path):
    from keras import layers

    request = make_request(tmp_path)
    finish_prepare(request)
    finish_train(request, [layers.Dense(3, bias_initializer=_constant(np.nan))])
    with pytest.raises(DataError, match="not finite in 40 of 40 rows"):
        job.run(request)
    assert not (request.run.stage("evaluate") / "manifest.json").exists()


def test_outputs_of_another_shape_are_refused(tmp_path):
    from keras import layers

    request = make_request(tmp_path)
    finish_prepare(request)
    finish_train(request, [layers.Dense(7)])
    with pytest.raises(DataError, match=r"shape \[40, 7\]. Expected \[40, 3\]"):
        job.run(request)


def test_a_model_with_code_inside_is_refused(tmp_path):
    from keras import layers

    request = make_request(tmp_path)
    finish_prepare(request)
    finish_train(request, [layers.Lambda(lambda rows: rows[:, :3])])
    with pytest.raises(DataError, match="no Lambda"):
        job.run(request)


def test_importing_the_job_and_reusing_a_result_import_no_tensorflow(request_after_train):
    job.run(request_after_train)
    program = (
        "import sys, pathlib\n"
        "from pipeline.evaluate import job\n"
        "from tests.evaluate.finished_run import make_request\n"
        "outcome = job.run(make_request(pathlib.Path(sys.argv[1])))\n"
        "assert outcome.reused_from\n"
        "print(sorted({'tensorflow', 'keras', 'petastorm', 'sklearn', 'matplotlib', 'mlflow', 'pyspark'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(request_after_train.run.root)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _constant(value):
    from keras import initializers

    return initializers.Constant(value)

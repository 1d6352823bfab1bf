"""The evaluate stage of a regression: known errors in the raw unit, and predictions that anyone can measure again."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from keras import layers

from pipeline.errors import DataError
from pipeline.evaluate import job, rows
from pipeline.schema import METRICS, Evaluated
from pipeline.summary import evaluated_text
from tests.evaluate.finished_regression import MEAN, STD, finish_prepare, finish_regressor, finish_train, make_request, prices_of_test

pytestmark = pytest.mark.tf


@pytest.fixture
def request_after_train(tmp_path):
    request = make_request(tmp_path)
    finish_prepare(request, spread=0.0)
    finish_regressor(request, bias=0.125)
    return request


def test_a_known_error_is_measured_in_the_raw_unit_on_every_test_row(request_after_train):
    outcome = job.run(request_after_train)
    result = Evaluated.model_validate(outcome.manifest.facts)
    assert (result.task, result.rows, tuple(result.metrics)) == ("regression", 50, METRICS["regression"])
    for name in ("mae", "rmse", "median_absolute_error"):
        assert result.metrics[name].value == pytest.approx(0.125 * STD, rel=1e-5)
    true, _ = prices_of_test(0.0)
    assert result.metrics["r2"].value == pytest.approx(1 - (0.125 * STD) ** 2 / true.var(), rel=1e-4)
    assert (result.baseline.answer, result.baseline.metrics["mae"]) == (MEAN, pytest.approx(np.abs(true - MEAN).mean()))
    assert (result.per_class, result.confusion) == ((), ()) and sum(item.support for item in result.ranges) == 50
    assert {entry.path: entry.rows for entry in outcome.manifest.files} == {"predictions.parquet": 50, "report.html": None}


def test_the_metrics_are_those_of_the_predictions_file(request_after_train):
    outcome = job.run(request_after_train)
    table = pq.read_table(outcome.found.files / rows.PREDICTIONS)
    assert table.schema.names == ["sample_id", "label", "predicted"] and table.schema.field("predicted").type == pa.float64()
    assert table.column("sample_id").to_pylist() == [f"test-{row:03}" for row in range(50)]
    errors = table.column("predicted").to_numpy() - table.column("label").to_numpy()
    assert np.abs(errors).mean() == Evaluated.model_validate(outcome.manifest.facts).metrics["mae"].value
    np.testing.assert_allclose(table.column("label"), prices_of_test(0.0)[0], rtol=1e-12)


def test_evaluating_again_with_force_gives_the_same_digest(request_after_train):
    first = job.run(request_after_train)
    forced = job.run(dataclasses.replace(request_after_train, force=True))
    assert forced.reused_from is None and forced.manifest.digest == first.manifest.digest


def test_the_line_for_a_person_says_the_error(request_after_train):
    said = evaluated_text(job.run(request_after_train).manifest.facts)
    assert said.startswith("50 test rows, mae 1,000 (95% interval ") and "accuracy" not in said


def test_a_classifier_in_a_regressor_s_place_is_refused(tmp_path):
    request = make_request(tmp_path)
    finish_prepare(request)
    finish_train(request, [layers.Dense(3)])
    with pytest.raises(DataError, match=r"shape \[50, 3\]. Expected \[50, 1\]"):
        job.run(request)

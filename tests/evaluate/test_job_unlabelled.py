"""The evaluate stage without a label to learn: known errors, known anomalies, copies found out, and pages that show them."""

from __future__ import annotations

import json

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.errors import DataError, GateRejected
from pipeline.evaluate import job, rows
from pipeline.register import job as register
from pipeline.schema import METRICS, Evaluated
from pipeline.summary import baseline, evaluated_text
from tests.evaluate.finished_unlabelled import (
    IMAGES,
    ODD,
    PICTURES,
    TABLE,
    finish_prepare,
    finish_train,
    grey,
    image_rows,
    make_request,
    moves_the_first_feature,
    repeats_one_image,
    table_rows,
)

pytestmark = pytest.mark.tf


def evaluated(root, document, model):
    request = make_request(root, document)
    finish_prepare(request)
    finish_train(request, model)
    outcome = job.run(request)
    return request, outcome, Evaluated.model_validate(outcome.manifest.facts)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return evaluated(tmp_path_factory.mktemp("odd"), TABLE, moves_the_first_feature())


def test_known_errors_are_measured_on_every_test_row_and_tell_anomalies(table):
    _, outcome, result = table
    _, features = table_rows("test")
    expected = features[:, 3] ** 2 / 4
    assert (result.task, result.rows) == ("autoencoder", 60)
    assert result.metrics["mse"].value == pytest.approx(expected.mean(), rel=1e-5)
    assert result.metrics["mae"].value == pytest.approx(np.abs(features[:, 3]).mean() / 4, rel=1e-5)
    assert result.metrics["auc"].value == 1 and result.metrics["average_precision"].value == pytest.approx(1)
    validation = table_rows("validation")[1]
    assert result.threshold.value == pytest.approx(np.quantile(validation[:, 3] ** 2 / 4, 0.9, method="higher"), rel=1e-5)
    assert (result.threshold.known, result.threshold.hits) == (len(ODD), len(ODD))
    assert {item.label: item.support for item in result.labels} == {"normal": 48, "odd": 12}
    assert [item.feature for item in result.features] == ["x0", "x1", "x2", "x3"] and result.features[1].mse == pytest.approx(0, abs=1e-9)


def test_the_baseline_gives_back_the_mean_validation_row(table):
    _, _, result = table
    mean = table_rows("validation")[1].astype(np.float64).mean(axis=0)
    expected = np.square(table_rows("test")[1] - mean).mean()
    assert result.baseline.metrics["mse"] == pytest.approx(expected) and 0.5 < result.baseline.metrics["auc"] <= 1
    assert baseline(result).startswith("the mean validation row: ")
    assert evaluated_text(result.model_dump()).startswith("60 test rows, auc 1.000 ")


def test_the_file_beside_the_page_holds_every_error(table):
    _, outcome, result = table
    found = pq.read_table(outcome.found.files / rows.PREDICTIONS)
    assert found.schema.names == ["sample_id", "error", "absolute_error", "is_above", "label", "is_anomaly"]
    assert found["error"].to_numpy().mean() == result.metrics["mse"].value
    threshold = json.loads(found.schema.metadata[b"threshold"])
    assert found["is_above"].to_pylist() == (found["error"].to_numpy() > threshold).tolist()
    assert np.flatnonzero(found["is_anomaly"].to_numpy(zero_copy_only=False)).tolist() == list(ODD)
    page = (outcome.found.files / "report.html").read_text()
    assert "12 known anomalies" in page and "By column" in page and "test-000" in page and "DeLong" in page


def test_the_gate_takes_errors_and_areas_and_the_version_knows_its_threshold(table):
    request, _, result = table
    version = register.run(request).manifest.facts
    assert [item["text"] for item in version["conditions"]] == ["mse <= 2.0", "auc >= 0.6"]
    from mlflow import MlflowClient

    client = MlflowClient(request.run.registry, request.run.registry)
    assert float(client.get_model_version("odd", "1").tags["anomaly_threshold"]) == result.threshold.value


def test_images_are_measured_in_standard_deviations_and_shown_in_pairs(tmp_path):
    inputs = keras.Input((8, 8, 1), dtype="uint8", name="image")
    brighter = keras.Model(inputs, keras.layers.Rescaling(1.0, 12.0)(inputs))
    _, outcome, result = evaluated(tmp_path, PICTURES, brighter)
    std = image_rows("train")[1].std()
    assert result.metrics["mse"].value == pytest.approx((12 / std) ** 2, rel=1e-5) and "auc" not in result.metrics
    assert (result.threshold.known, result.labels, result.features) == (None, (), ())
    page = (outcome.found.files / "report.html").read_text()
    assert page.count('alt="given back"') == 24 and "in standard deviations" not in page
    assert pq.read_schema(outcome.found.files / rows.PREDICTIONS).names == ["sample_id", "error", "absolute_error", "is_above"]


def test_a_reconstruction_of_another_shape_is_refused(tmp_path):
    row = keras.Input((4,))
    with pytest.raises(DataError, match=r"shape \[3\]. Expected \[4\]"):
        evaluated(tmp_path, TABLE, keras.Model(row, keras.layers.Dense(3)(row)))


def test_a_generator_of_grey_images_is_far_from_the_real_ones_and_copies_none(tmp_path):
    _, outcome, result = evaluated(tmp_path, IMAGES, grey())
    assert (result.rows, tuple(result.metrics)) == (60, METRICS["gan"])
    assert result.metrics["coverage"].value < 0.5 and result.metrics["novelty"].value > 0.3
    assert result.metrics["frechet_distance"].value > 2 * result.baseline.metrics["frechet_distance"]
    assert result.baseline.metrics["novelty"] == 0
    found = pq.read_table(outcome.found.files / rows.GENERATED)
    assert found.num_rows == 60 and len(found["image"][0].as_py()) == 64 and found["nearest_train"][0].as_py().startswith("train-")
    page = (outcome.found.files / "report.html").read_text()
    assert page.count('alt="generated"') == 48 + 12 and page.count('alt="real"') == 48 and "jackknife" in page


def test_a_generator_that_repeats_a_train_image_is_found_out(tmp_path):
    request, outcome, result = evaluated(tmp_path, IMAGES, repeats_one_image())
    assert result.metrics["novelty"].value == 0 and result.metrics["coverage"].value < 0.2
    assert set(pq.read_table(outcome.found.files / rows.GENERATED)["nearest_train"].to_pylist()) == {"train-000"}
    with pytest.raises(GateRejected, match="expected novelty >= 0.1, received 0"):
        register.run(request)

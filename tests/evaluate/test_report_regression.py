"""A regressor's page shows its errors in the raw unit, and nothing of a classification."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from pipeline import stage
from pipeline.evaluate import figures, report, rows
from pipeline.evaluate.regression import measure
from pipeline.evaluate.report_regression import MAX_WORST, find_worst, render
from tests.evaluate.finished_regression import MEAN, finish_prepare, finish_regressor, make_request, make_rows, prices_of_test

pytestmark = pytest.mark.tf  # the fixture saves a Keras model


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    request = make_request(tmp_path_factory.mktemp("regression"))
    finish_prepare(request)
    finish_regressor(request)
    found = stage.upstream(request, "prepare")
    names = rows.sample_ids(found, "test", make_rows("test", 0.1)[0])
    return report.Evidence(request.recipe, found, stage.upstream(request, "train").manifest, names)


def page_of(evidence, true, predicted):
    return render(evidence, measure(true, predicted, mean=MEAN), true, predicted)


def test_the_page_loads_nothing_and_has_no_script(evidence):
    page = page_of(evidence, *prices_of_test())
    assert "<script" not in page
    links = re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\')\s>]+)', page)
    assert [link for link in links if not link.startswith(("#", "data:"))] == []


def test_the_page_says_the_errors_with_interval_baseline_and_rows(evidence):
    true = np.linspace(40_000, 50_000, 50)
    page = page_of(evidence, true, true + 1234)
    assert "<b>1,234</b>mean absolute error" in page and "95 % interval 1,234 to 1,234" in page
    assert "always the train mean, 45,000" in page and "<b>2,551</b>baseline" in page
    assert "<b>50</b>test rows" in page and "The mean of all is 1,234" in page
    assert "In units of the scaled label (standard)" in page


def test_the_page_has_nothing_of_a_classification(evidence):
    page = page_of(evidence, *prices_of_test())
    assert "Residuals" in page and "Predicted against true" in page and "By true value" in page
    assert not [text for text in ("Confusion", "Calibration", "By class", "Wilson", "most frequent", "recall") if text in page]


def test_the_gate_is_shown_in_the_raw_unit(evidence):
    page = page_of(evidence, *prices_of_test())
    assert "<td>mae</td><td>at most 4000.0</td>" in page and "<td>r2</td><td>at least 0.5</td>" in page
    assert page.count('class="good">holds') == 2


def test_the_same_evidence_gives_the_same_bytes(evidence):
    assert page_of(evidence, *prices_of_test()) == page_of(evidence, *prices_of_test())


def test_the_worst_rows_come_first_and_are_bounded(evidence):
    true = np.linspace(40_000, 50_000, 50)
    predicted = true + np.where(np.arange(50) == 7, -900.0, np.arange(50))
    first, second, *_, last = worst = find_worst(evidence, true, predicted)
    assert (first.sample_id, first.error, second.sample_id) == ("test-007", -900, "test-049")
    assert len(worst) == MAX_WORST and abs(last.error) == 27


def test_labels_that_quantile_scaling_cut_off_are_owned_up_to(evidence):
    true, predicted = prices_of_test()
    assert "cut off" not in page_of(evidence, true, predicted)
    low, high = np.sort(true)[[2, -1]]
    scaler = evidence.facts.target.model_copy(update={"method": "quantile", "offset": 0.0, "scale": 1.0, "knots": (low, 45_000.0, high)})
    facts = evidence.facts.model_copy(update={"target": scaler}).model_dump(mode="json")
    data = dataclasses.replace(evidence.data, manifest=evidence.data.manifest.model_copy(update={"facts": facts}))
    page = page_of(dataclasses.replace(evidence, data=data), true, predicted)
    assert "scaled by quantiles, they are cut off" in page and "4 of the\ntest rows are at or beyond" in page


def test_a_model_without_errors_has_a_page(evidence):
    true, _ = prices_of_test()
    assert "Every test row was predicted exactly" in page_of(evidence, true, true)


def test_labels_that_are_all_equal_have_a_page(evidence):
    true = np.full(50, 3.0)
    assert "Residuals" in page_of(evidence, true, true) and "Residuals" in page_of(evidence, true, np.full(50, 4.0))


def test_many_rows_are_drawn_as_counts_and_stay_small():
    true = np.random.default_rng(0).normal(size=50_000)
    svg = figures.predicted_against_true(true, true + 0.1, "price $")
    assert len(svg) < 700_000 and svg == figures.predicted_against_true(true, true + 0.1, "price $")

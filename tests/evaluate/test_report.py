"""The page stands alone, says what the evidence says, and cannot be made to run what is in the data."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import stage
from pipeline.evaluate import report, rows
from pipeline.evaluate.classification import measure
from pipeline.evaluate.report_classification import MAX_MISTAKES, find_mistakes, render
from pipeline.schema import SplitFacts, Tensor
from pipeline.sections.training import Gate, Limit
from pipeline.stage import Work
from tests.evaluate.finished_run import CLASSES, ROWS, finish_prepare, finish_train, make_request, make_rows, prepared_facts, write_part

pytestmark = pytest.mark.tf  # the fixture saves a Keras model


def page_of(request, wrong=4):
    evidence, (labels, probabilities) = evidence_of(request, wrong), answers(wrong)
    return render(evidence, measured(evidence.facts.classes, wrong), labels, probabilities)


def evidence_of(request, wrong=4):
    found = stage.upstream(request, "prepare")
    names = rows.sample_ids(found, "test", answers(wrong)[0])
    return report.Evidence(request.recipe, found, stage.upstream(request, "train").manifest, names)


def measured(classes, wrong=4):
    return measure(*answers(wrong), classes, majority=0)


def answers(wrong):
    """The i-th wrong row is sure by 0.9 - i / 100; the right ones by 0.8."""
    labels, shown = make_rows("test", wrong)[0], make_rows("test", wrong)[1].argmax(1)
    sure = np.where(np.arange(len(labels)) < wrong, 0.9 - np.arange(len(labels)) / 100, 0.8)
    probabilities = np.repeat((1 - sure)[:, None] / 2, 3, axis=1)
    probabilities[np.arange(len(labels)), shown] = sure
    return labels, probabilities


def mistakes_of(request, wrong=4):
    return find_mistakes(evidence_of(request, wrong), *answers(wrong))


def test_the_page_loads_nothing_and_has_no_script(request_after_train):
    page = page_of(request_after_train)
    assert "<script" not in page
    links = re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\')\s>]+)', page)
    assert [link for link in links if not link.startswith(("#", "data:"))] == []


def test_the_page_says_accuracy_with_interval_baseline_and_rows(request_after_train):
    page = page_of(request_after_train)
    assert ">90.0 %<" in page
    assert "95 % interval 76.9 % to 96.0 %" in page
    assert ">35.0 %<" in page
    assert ">36<" in page and "of 40" in page


def test_the_same_evidence_gives_the_same_bytes(request_after_train):
    assert page_of(request_after_train) == page_of(request_after_train)


def test_a_classifier_s_page_has_nothing_of_a_regression(request_after_train):
    page = page_of(request_after_train)
    assert "By class" in page and "Calibration" in page
    assert not [text for text in ("Residuals", "mean absolute error", "R²", "scaled label") if text in page]


def test_mistakes_come_surest_first_with_their_names_and_classes(request_after_train):
    first, *_, last = mistakes_of(request_after_train)
    assert (first.sample_id, first.true, first.predicted, first.probability) == ("test-000", "setosa", "versicolor", 0.9)
    assert (last.sample_id, last.probability, first.image) == ("test-003", pytest.approx(0.87), None)


def test_mistakes_are_bounded(request_after_train):
    finish_prepare(request_after_train, num_wrong=40)
    assert len(mistakes_of(request_after_train, wrong=40)) == MAX_MISTAKES


def test_a_model_without_mistakes_has_a_page(request_after_train):
    assert "No test row was predicted wrongly" in page_of(request_after_train, wrong=0)


@pytest.mark.parametrize(("end", "bound", "holds"), [("min", 0.9, True), ("min", 0.91, False), ("max", 0.9, True), ("max", 0.89, False)])
def test_fixed_bounds_say_whether_they_hold(end, bound, holds):
    recipe = make_request(Path("unused")).recipe
    register = recipe.register_.model_copy(update={"gate": Gate(accuracy=Limit(**{end: bound}))})
    (bound,) = report.fixed_bounds(recipe.model_copy(update={"register_": register}), measured(CLASSES))
    assert bound.is_kept == holds


def test_what_is_in_the_data_cannot_become_markup(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.evaluate.finished_run.CLASSES", ("<script>alert(1)</script>", "a & b", "$x^{$"))
    request = make_request(tmp_path)
    finish_prepare(request)
    finish_train(request)
    page = page_of(request)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_images_of_mistakes_are_the_pixels_of_those_rows(tmp_path):
    request = make_request(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (ROWS["test"], 6, 5, 3), dtype=np.uint8)
    finish_images(request, pixels)
    finish_train(request)
    first = mistakes_of(request)[0]
    drawn = Image.open(io.BytesIO(base64.b64decode(first.image.partition(",")[2])))
    np.testing.assert_array_equal(np.asarray(drawn), pixels[0])


def test_tensors_are_read_by_position_over_files_in_any_order(tmp_path):
    request = make_request(tmp_path)
    pixels = np.random.default_rng(1).integers(0, 256, (ROWS["test"], 6, 5, 3), dtype=np.uint8)
    finish_images(request, pixels)
    np.testing.assert_array_equal(rows.read_tensors(stage.upstream(request, "prepare"), "test", [39, 0, 20]), pixels[[39, 0, 20]])


def finish_images(request, pixels):
    """A prepare result whose test split holds these images, in two files."""

    def work(attempt):
        labels, counts = make_rows("test", 0)[0], {}
        for index, part in enumerate(np.array_split(np.arange(len(pixels)), 2)):
            name = f"data/test/part-{index:05}.parquet"
            write_part(attempt.files / name, [f"test-{row:03}" for row in part], labels[part], pixels[part], "image")
            counts[name] = len(part)
        facts = prepared_facts(Tensor(name="image", dtype="uint8", shape=pixels.shape[1:]), {"test": labels})
        none = SplitFacts(rows=0, sources=0, label_counts={}).model_dump()
        return Work({**facts, "splits": {**facts["splits"], "train": none, "validation": none}}, counts)

    stage.run_stage(request, "prepare", {"images": len(pixels)}, {}, work)

"""The evaluate stage: the trained model on the whole test split, its metrics, a report and the predictions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import console, stage
from pipeline.attempt import Attempt, Found
from pipeline.lineage import check_made_from
from pipeline.schema import UNLABELLED, Evaluated, Interval, Trained, prepared
from pipeline.stage import Outcome, Request, Work

if TYPE_CHECKING:  # a result that is found again needs none of it
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.evaluate.report import Evidence

    Labels = NDArray[Any]  # (N,) as prepared
    Outputs = NDArray[np.floating[Any]]  # (N, K) of the model


def run(request: Request) -> Outcome:
    """Measure this run's model on this run's test split, or find that it was done.

    The report shows the gate, so the gate is part of the key: a changed gate gives a new report.

    Raises:
        DataError: an input is missing or damaged, the model was trained on other data, or the evaluation is not of every row.
    """
    inputs = {"prepare": stage.upstream(request, "prepare"), "train": stage.upstream(request, "train")}
    check_made_from(inputs["train"].manifest, inputs["prepare"].manifest)
    sections = request.recipe.section("evaluate", "task", "register", "anomalies")

    def work(attempt: Attempt) -> Work:
        with console.quiet(attempt.log / "evaluate.log"):
            return evaluate(request, inputs["prepare"], inputs["train"], attempt)

    return stage.run_stage(request, "evaluate", sections, inputs, work)


def evaluate(request: Request, data: Found, trained: Found, attempt: Attempt) -> Work:
    from pipeline.evaluate import inference, rows
    from pipeline.evaluate.report import Evidence

    facts = prepared(data.manifest)
    model = inference.load_model(trained.local_files / Trained.model_validate(trained.manifest.facts).model)
    if facts.task in UNLABELLED:
        from pipeline.evaluate import unlabelled

        judge_alone = unlabelled.judge_autoencoder if facts.task == "autoencoder" else unlabelled.judge_generator
        return judge_alone(request, data, trained.manifest, model, attempt.files)
    with request.console.meter("evaluate", facts.splits["test"].rows) as meter:
        labels, outputs = inference.predict_split(data, "test", model, request.recipe.evaluate.batch, meter, request.recipe.feed)
    evidence = Evidence(request.recipe, data, trained.manifest, rows.sample_ids(data, "test", labels))
    judge = judge_forecaster if facts.windows else {"classification": judge_classifier, "regression": judge_regressor}[facts.task]
    result, page = judge(evidence, labels, outputs, attempt.files / rows.PREDICTIONS)
    (attempt.files / result.report).write_text(page, encoding="utf-8")
    return Work(result.model_dump(mode="json"), {rows.PREDICTIONS: result.rows})


def judge_classifier(evidence: Evidence, labels: Labels, logits: Outputs, predictions: Path) -> tuple[Evaluated, str]:
    from pipeline.evaluate import classification, report_classification, rows

    facts, options = evidence.facts, evidence.recipe.evaluate
    probabilities = classification.softmax(logits)
    majority = classification.majority_class(facts.splits["train"].label_counts, facts.classes)
    result = classification.measure(labels, probabilities, facts.classes, majority=majority, confidence=options.confidence)
    if facts.interactions:
        result = with_ranks(result, evidence, labels, logits)
    rows.write_class_predictions(predictions, evidence.names, labels, probabilities, facts.classes)
    return result, report_classification.render(evidence, result, labels, probabilities)


def with_ranks(result: Evaluated, evidence: Evidence, labels: Labels, logits: Outputs) -> Evaluated:
    """Also how high positives are among their candidates; beside it, how high were the items that most train rows have put first."""
    from pipeline.evaluate import ranking, rows

    facts, options = evidence.facts, evidence.recipe.evaluate
    candidates = facts.interactions.candidates if facts.interactions else 0
    item = rows.unpack(rows.read_columns(evidence.data, "test", [facts.tensor.name]).column(0), facts.tensor.dtype, facts.tensor.shape)[
        :, 1
    ]
    popularity = -item.astype(float)  # ids go by falling number of train rows
    popularity[item == 0] = -math.inf  # the unknown one

    def measured(scores: Outputs) -> dict[str, Interval]:
        return ranking.measure(scores, labels, candidates, top=options.top, confidence=options.confidence)

    constant = {**result.baseline.metrics, **{name: found.value for name, found in measured(popularity).items()}}
    baseline = result.baseline.model_copy(update={"metrics": constant})
    return result.model_copy(update={"metrics": {**result.metrics, **measured(logits[:, 1] - logits[:, 0])}, "baseline": baseline})


def judge_regressor(evidence: Evidence, labels: Labels, outputs: Outputs, predictions: Path) -> tuple[Evaluated, str]:
    from pipeline.evaluate import regression, report_regression, rows

    facts, options = evidence.facts, evidence.recipe.evaluate
    true, predicted = regression.to_raw_unit(labels, facts), regression.to_raw_unit(outputs[:, 0], facts)
    result = regression.measure(true, predicted, mean=regression.train_mean(facts), confidence=options.confidence)
    rows.write_number_predictions(predictions, evidence.names, true, predicted)
    return result, report_regression.render(evidence, result, true, predicted)


def judge_forecaster(evidence: Evidence, labels: Labels, outputs: Outputs, predictions: Path) -> tuple[Evaluated, str]:
    from pipeline.evaluate import forecast, report_forecast, rows

    windows = evidence.facts.windows
    if windows is None:
        raise TypeError("this data holds no windows")
    history, shift = rows.read_history(evidence.data, "test")
    shape = (-1, windows.horizon, len(windows.targets))
    true, predicted = (forecast.to_raw_units(values.reshape(shape), shift, windows) for values in (labels, outputs))
    naive = forecast.naive_forecasts(forecast.to_raw_units(history, shift, windows), windows)
    found = forecast.Forecasts(true, predicted, naive)
    result = forecast.measure(found, confidence=evidence.recipe.evaluate.confidence)
    rows.write_forecasts(predictions, evidence.names, true, predicted, [target.column for target in windows.targets])
    return result, report_forecast.render(evidence, result, found)

"""The evaluate stage: the trained model on the whole test split, its metrics, a report and the predictions."""

from __future__ import annotations

from pipeline import console, stage
from pipeline.attempt import Attempt, Found
from pipeline.lineage import check_made_from
from pipeline.schema import Trained, prepared
from pipeline.stage import Outcome, Request, Work


def run(request: Request) -> Outcome:
    """Measure this run's model on this run's test split, or find that it was done.

    The report shows the gate, so the gate is part of the key: a changed gate gives a new report.

    Raises:
        DataError: an input is missing or damaged, the model was trained on other data, or the evaluation is not of every row.
    """
    inputs = {"prepare": stage.upstream(request, "prepare"), "train": stage.upstream(request, "train")}
    check_made_from(inputs["train"].manifest, inputs["prepare"].manifest)
    sections = request.recipe.section("evaluate", "task", "register")

    def work(attempt: Attempt) -> Work:
        with console.quiet(attempt.log / "evaluate.log"):
            return evaluate(request, inputs["prepare"], inputs["train"], attempt)

    return stage.run_stage(request, "evaluate", sections, inputs, work)


def evaluate(request: Request, data: Found, trained: Found, attempt: Attempt) -> Work:
    from pipeline.evaluate import inference, metrics, report, rows

    facts, options = prepared(data.manifest), request.recipe.evaluate
    model = inference.load_model(trained.files / Trained.model_validate(trained.manifest.facts).model)
    with request.console.meter("evaluate", facts.splits["test"].rows) as meter:
        labels, probabilities = inference.predict_split(data, "test", model, options.batch, meter)
    majority = metrics.majority_class(facts.splits["train"].label_counts, facts.classes)
    result = metrics.measure(labels, probabilities, facts.classes, majority=majority, confidence=options.confidence)

    names = rows.sample_ids(data, "test", labels)
    rows.write_predictions(attempt.files / rows.PREDICTIONS, names, labels, probabilities, facts.classes)
    calibration = metrics.calibration(labels, probabilities, options.confidence)
    evidence = report.Evidence(request.recipe, data.manifest, trained.manifest, result, calibration)
    page = report.render(evidence, report.find_mistakes(data, names, labels, probabilities))
    (attempt.files / result.report).write_text(page, encoding="utf-8")
    return Work(result.model_dump(mode="json"), {rows.PREDICTIONS: result.rows})

"""The evaluation of models that learnt without a label: autoencoders by what they give back, generators by what they make."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.attempt import Found
from pipeline.evaluate import generation, reconstruction, report_autoencoder, report_gan, rows
from pipeline.evaluate import unlabelled_inference as inference
from pipeline.evaluate.report import Evidence
from pipeline.manifest import Manifest
from pipeline.schema import SAMPLE_ID, Evaluated, Prepared, prepared
from pipeline.stage import Request, Work

if TYPE_CHECKING:
    import keras

FIT_IMAGES = 4_000  # train images that the projection is fitted on
MAX_IMAGES = 20_000  # of the test split, and as many generated ones; of more, evenly spaced ones
MAX_TRAIN = 50_000  # train images that copies are looked for among, evenly spaced


def judge_autoencoder(request: Request, data: Found, trained: Manifest, model: keras.Model, files: Path) -> Work:
    """Every validation row for the threshold, then every test row."""
    recipe, facts = request.recipe, prepared(data.manifest)
    options, total = recipe.evaluate, facts.splits["validation"].rows + facts.splits["test"].rows
    with request.console.meter("evaluate", total) as meter:
        before = inference.reconstruct_split(data, "validation", model, options.batch, meter, recipe.feed)
        found = inference.reconstruct_split(data, "test", model, options.batch, meter, recipe.feed, before.mean, done=len(before.labels))
    is_anomaly = known_anomalies(found.labels, facts, recipe.anomalies.values if recipe.anomalies else ())
    of_mean = found.of_mean or found.errors
    result = reconstruction.measure(
        found.errors, of_mean, before.errors.squared, is_anomaly, quantile=options.threshold_quantile, confidence=options.confidence
    )
    by_label = reconstruction.errors_by_label(found.errors.squared, found.labels, facts.classes) if facts.classes else ()
    by_feature = reconstruction.errors_by_feature(found.errors, of_mean, facts.features) if facts.features else ()
    result = result.model_copy(update={"labels": by_label, "features": by_feature})
    evidence = Evidence(recipe, data, trained, rows.sample_ids(data, "test", found.labels))
    rows.write_reconstructions(files / rows.PREDICTIONS, evidence.names, found, facts.classes, is_anomaly, result)
    page = report_autoencoder.render(evidence, result, found, is_anomaly, lambda images: inference.give_back(model, images))
    return finish(result, page, files, rows.PREDICTIONS)


def known_anomalies(labels: NDArray[np.int64], facts: Prepared, values: tuple[str, ...]) -> NDArray[np.bool_] | None:
    """(N,) which rows are; None if nobody says so, or if all or none of them are: then nothing can be told apart."""
    is_anomaly = np.isin(labels, [index for index, label in enumerate(facts.classes) if label in values])
    return is_anomaly if is_anomaly.any() and not is_anomaly.all() else None


def judge_generator(request: Request, data: Found, trained: Manifest, model: keras.Model, files: Path) -> Work:
    """As many images as there are test rows, all of the same seeded noise for the same number of rows."""
    recipe, facts, batch = request.recipe, prepared(data.manifest), request.recipe.evaluate.batch
    num_train, num_test = facts.splits["train"].rows, facts.splits["test"].rows
    with request.console.meter("evaluate", num_test) as meter:
        images = inference.imagine(model, min(num_test, MAX_IMAGES), facts.tensor.shape, batch, meter)
    project = generation.fit_projection(rows.read_tensors(data, "train", evenly(num_train, FIT_IMAGES).tolist()))
    real = inference.project_split(data, "test", project, batch, recipe.feed)[evenly(num_test, MAX_IMAGES)]
    places = evenly(num_train, MAX_TRAIN)
    train, made = inference.project_split(data, "train", project, batch, recipe.feed)[places], project(images)
    nearest, nearest_real = generation.nearest_train(made, train), generation.nearest_train(real, train)
    copies = train[np.random.default_rng(0).permutation(len(train))[: len(real)]]
    result = generation.measure(real, made, train, copies, nearest, nearest_real, confidence=recipe.evaluate.confidence)
    nearest = generation.Neighbours(places[nearest.index], nearest.distance)
    evidence = Evidence(recipe, data, trained, rows.read_columns(data, "test", [SAMPLE_ID]).column(0))
    rows.write_generated(files / rows.GENERATED, images, data, nearest, float(np.median(nearest_real.distance)))
    page = report_gan.render(evidence, result, images, nearest, nearest_real)
    return finish(result, page, files, rows.GENERATED)


def evenly(count: int, limit: int) -> NDArray[np.int64]:
    """Places of `count` rows, at most `limit` of them, evenly spaced."""
    return np.arange(count) if count <= limit else np.linspace(0, count - 1, limit).astype(np.int64)


def finish(result: Evaluated, page: str, files: Path, name: str) -> Work:
    (files / result.report).write_text(page, encoding="utf-8")
    facts: dict[str, Any] = result.model_dump(mode="json")
    return Work(facts, {name: result.rows})

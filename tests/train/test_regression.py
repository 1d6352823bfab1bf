"""A regression from prepared rows to a registered model, on real ranks; 2 equal 1."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from pipeline.errors import GateRejected
from pipeline.evaluate import job as evaluate
from pipeline.register import job as register
from pipeline.register import store
from pipeline.schema import Evaluated, Registered, Trained, prepared
from pipeline.stage import Request
from pipeline.train import job as train
from pipeline.train.build import compile_model
from tests.conftest import PROJECT
from tests.evaluate.finished_regression import finish_prepare, finish_regressor, make_request, make_rows

STOPPING = "train.early_stopping={metric: val_mae, patience: 2}"


def trained(request: Request) -> tuple[Trained, list[np.ndarray]]:
    found = train.run(request).found
    model = keras.saving.load_model(found.files / "model.keras", safe_mode=True, compile=False)
    return Trained.model_validate(found.manifest.facts), model.get_weights()


@pytest.mark.e2e
def test_two_ranks_on_a_global_batch_give_the_weights_and_errors_of_one_rank_on_it(tmp_path):
    results = []
    for ranks in (2, 1):
        request = make_request(tmp_path, f"manual-{ranks:08}", (f"train.ranks={ranks}", "train.epochs=3"))
        finish_prepare(request)
        results.append(trained(request))
    (two, weights_of_two), (one, weights_of_one) = results
    assert (two.ranks, one.ranks) == (2, 1)
    for left, right in zip(weights_of_two, weights_of_one, strict=True):
        np.testing.assert_allclose(left, right, rtol=2e-4, atol=2e-5)
    for left, right in zip(two.history, one.history, strict=True):
        assert left.metrics == pytest.approx(right.metrics, rel=1e-3, abs=1e-4)


RICH = (
    "train.optimizer={name: adamw, learning_rate: 0.01, weight_decay: 0.01, clip_norm: 0.5, accumulate: 2, ema: 0.8, "
    "schedule: {name: cosine, warmup_steps: 3}, scaling: sqrt, base_batch: 16}",
    "train.loss={name: huber, delta: 0.5}",
    "train.metrics=[rmse, r2]",
    "train.regularize={l2: 0.001, max_norm: 2.0}",
    "train.epochs=3",
    "train.early_stopping={metric: val_r2, patience: 3}",
    "train.callbacks={csv: true, tensorboard: true, time_limit_s: 3600, custom: [{name: 'own:Notes', ranks: first}]}",
    "model={name: residual_mlp, width: 16, depth: 1, dropout: 0.0}",
)


@pytest.mark.e2e
def test_all_that_a_recipe_may_ask_of_training_is_the_same_on_two_ranks_as_on_one(tmp_path):
    results = []
    (tmp_path / "own.py").write_text((PROJECT / "tests" / "train" / "own_callback.py").read_text())  # beside the recipe
    for ranks in (2, 1):
        request = make_request(tmp_path, f"manual-{ranks:08}", (f"train.ranks={ranks}", *RICH))
        finish_prepare(request)
        results.append((*trained(request), train.run(request).found.files))
    (two, weights_of_two, files), (one, weights_of_one, _) = results
    for left, right in zip(weights_of_two, weights_of_one, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-4)
    for left, right in zip(two.history, one.history, strict=True):
        assert left.metrics == pytest.approx(right.metrics, rel=1e-3, abs=1e-4)
        assert set(left.metrics) == {f"{part}{name}" for part in ("", "val_") for name in ("loss", "mae", "rmse", "r2")} | {"learning_rate"}
    lines = (files / "history.csv").read_text().splitlines()
    assert lines[0].startswith("epoch,") and [line.split(",")[0] for line in lines[1:]] == [str(line.epoch) for line in two.history]
    assert len(list((files / "tensorboard").iterdir())) == 1
    assert two.history[-1].metrics["val_r2"] > 0


@pytest.mark.e2e
def test_prepared_rows_become_a_registered_regressor(tmp_path):
    import mlflow.tensorflow

    request = make_request(tmp_path, overrides=(STOPPING,))
    finish_prepare(request)
    found, weights = trained(request)
    assert found.ranks == 2 and set(found.history[0].metrics) == {"loss", "mae", "val_loss", "val_mae", "learning_rate"}
    assert found.history[found.best_epoch - 1].metrics["val_mae"] == min(epoch.metrics["val_mae"] for epoch in found.history)

    measured = Evaluated.model_validate(evaluate.run(request).manifest.facts)
    assert measured.metrics["mae"].high < measured.baseline.metrics["mae"] / 2
    assert measured.metrics["r2"].value > 0.8

    facts = Registered.model_validate(register.run(request).manifest.facts)
    assert [condition.holds for condition in facts.conditions] == [True, True]
    store.connect(request.run)
    model = mlflow.tensorflow.load_model("models:/prices@champion")
    assert all(np.array_equal(left, right) for left, right in zip(model.get_weights(), weights, strict=True))
    assert mlflow.models.get_model_info("models:/prices@champion").signature.outputs.inputs[0].shape == (-1, 1)


@pytest.mark.tf
def test_a_regressor_is_recorded_and_a_worse_one_does_not_replace_it(tmp_path):
    gate = ("register.gate={versus_champion: {metric: mae, max_drop: 50}}",)
    good, bad = (make_request(tmp_path, run_id, gate) for run_id in ("manual-aaaaaaaa", "manual-bbbbbbbb"))
    for request, bias in ((good, 0.0), (bad, 0.5)):
        finish_prepare(request)
        finish_regressor(request, bias)
        evaluate.run(request)
    facts = Registered.model_validate(register.run(good).manifest.facts)
    with pytest.raises(GateRejected, match=r"expected mae <= champion \+ 50.0 \(champion: \d+\.?\d*\), received \d+"):
        register.run(bad)
    client = store.connect(good.run)
    logged = client.get_run(facts.mlflow_run_id).data.metrics
    assert logged["test/mae_low"] <= logged["test/mae"] < logged["test/baseline_mae"] and "test/accuracy" not in logged
    assert [point.step for point in client.get_metric_history(facts.mlflow_run_id, "epoch/val_mae")] == [1, 2, 3]
    assert client.get_model_version_by_alias("prices", "champion").version == 1


@pytest.mark.tf
@pytest.mark.parametrize(
    ("loss", "of_errors"),
    [
        (None, lambda errors: np.mean(errors**2)),
        ("mse", lambda errors: np.mean(errors**2)),
        ("mae", lambda errors: np.mean(np.abs(errors))),
        ("huber", lambda errors: np.mean(np.where(np.abs(errors) <= 1, errors**2 / 2, np.abs(errors) - 0.5))),
    ],
)
def test_each_loss_is_of_a_row_and_its_own_label(tmp_path, loss, of_errors):
    """A (B,) label against a (B, 1) output is easily broadcast to (B, B)."""
    request = make_request(tmp_path, overrides=() if loss is None else (f"train.loss={loss}",))
    facts = prepared(finish_prepare(request).manifest)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    compile_model(model, request.recipe, facts, keras.optimizers.SGD(0.0), num_steps=1)
    labels, features = make_rows("validation", 0.0)
    found = model.evaluate(features, labels, sample_weight=np.ones(len(labels), np.float32), verbose=0, return_dict=True)
    errors = model.predict(features, verbose=0)[:, 0] - labels
    assert found == {"loss": pytest.approx(of_errors(errors), rel=1e-5), "mae": pytest.approx(np.abs(errors).mean(), rel=1e-5)}

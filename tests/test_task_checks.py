"""What goes with one task only is refused with the other, with its place in the recipe and what to write instead."""

from __future__ import annotations

import pytest
import yaml

from pipeline import config
from pipeline.errors import ConfigError

CLASSIFICATION = """\
name: tiny
source: {format: csv, path: "bundled:iris"}
columns:
  petal_length: {kind: number}
  species: {kind: category, role: label}
model: {name: mlp}
register: {name: tiny}
"""
REGRESSION = CLASSIFICATION.replace("species: {kind: category", "sepal_width: {kind: number") + "task: regression\n"
STOP = "train: {{early_stopping: {{metric: {}}}}}"
SQUARES, SHARES = "expected one of mse, mae, huber, log_cosh, quantile", "expected one of accuracy, macro_f1, log_loss"
ERRORS = "expected one of mae, rmse, r2, median_absolute_error"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (REGRESSION, "train: {loss: cross_entropy}", f"9: train.loss: {SQUARES} for task: regression, received cross_entropy"),
        (
            CLASSIFICATION,
            "train: {loss: mse}",
            "8: train.loss: expected one of cross_entropy, focal for task: classification, received mse",
        ),
        (REGRESSION, STOP.format("val_accuracy"), "9: train.early_stopping.metric: expected one of val_loss, val_mae for task: regression"),
        (CLASSIFICATION, STOP.format("val_mae"), "8: train.early_stopping.metric: expected one of val_loss, val_accuracy for task"),
        (REGRESSION, "gate: {accuracy: {min: 0.9}}", f"7: register.gate.accuracy: {ERRORS} for task: regression, received accuracy"),
        (CLASSIFICATION, "gate: {r2: {min: 0.9}}", f"7: register.gate.r2: {SHARES} for task: classification, received r2"),
        (REGRESSION, "gate: {versus_champion: {max_drop: 3}}", f"7: register.gate.versus_champion.metric: {ERRORS} for task: regression"),
        (CLASSIFICATION, "gate: {versus_champion: {metric: mae}}", f"7: register.gate.versus_champion.metric: {SHARES} for task"),
    ],
)
def test_a_loss_or_metric_of_the_other_task_is_refused(tmp_path, text, line, says):
    path = tmp_path / "recipe.yaml"
    path.write_text(text.replace("{name: tiny}", f"{{name: tiny, {line}}}") if line.startswith("gate") else f"{text}{line}\n")
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert f"recipe.yaml:{says}" in str(caught.value)


def test_everything_of_a_regression_goes_together(tmp_path):
    gate = {"mae": {"max": 2}, "rmse": {"max": 3}, "r2": {"min": 0.5}, "versus_champion": {"metric": "rmse"}}
    train = {"loss": "huber", "early_stopping": {"metric": "val_mae"}}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(REGRESSION), "train": train, "register": {"name": "tiny", "gate": gate}}))
    recipe = config.load(path)
    assert list(recipe.register_.gate.limits) == ["mae", "rmse", "r2"]
    assert config.load(path, ["train.loss=null"]).train.loss is None

"""What an autoencoder or a gan does not go with is refused before anything runs, with its place in the recipe and what to write instead."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from pipeline import config
from pipeline.errors import ConfigError

TABLE: dict[str, Any] = {
    "name": "odd",
    "task": "autoencoder",
    "source": {"format": "csv", "path": "bundled:tumours"},
    "columns": {"mean_radius": {"kind": "number"}, "diagnosis": {"kind": "category", "role": "label"}},
    "model": {"name": "autoencoder"},
    "register": {"name": "odd"},
}
IMAGES: dict[str, Any] = {
    "name": "odd",
    "task": "gan",
    "source": {"format": "images", "path": "bundled:digits"},
    "columns": {"image": {"kind": "image", "shape": [8, 8, 1]}},
    "model": {"name": "dcgan"},
    "register": {"name": "odd"},
}
PICTURES = {**IMAGES, "task": "autoencoder", "model": {"name": "autoencoder"}}
CODES = {**TABLE["columns"], "kind": {"kind": "category"}}


def load(tmp_path, document: dict[str, Any]) -> config.Recipe:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return config.load(path)


@pytest.mark.parametrize(
    ("document", "changes", "says"),
    [
        (
            TABLE,
            {"model": {"name": "mlp"}},
            "model mlp is not for task: autoencoder. Expected one of: autoencoder, vae, or module:function",
        ),
        (TABLE, {"task": "classification"}, "model autoencoder is not for task: classification. Expected one of: cnn"),
        (TABLE, {"train": {"loss": "huber"}}, "expected one of mse, mae, binary_cross_entropy for task: autoencoder, received huber"),
        (TABLE, {"train": {"loss": "binary_cross_entropy"}}, "binary_cross_entropy is for pixels"),
        (PICTURES, {"train": {"loss": "binary_cross_entropy"}}, "set model.bounded: true"),
        (TABLE, {"train": {"metrics": ["accuracy"]}}, "expected one of mae for task: autoencoder, received accuracy"),
        (
            TABLE,
            {"register": {"name": "odd", "gate": {"auc": {"min": 0.9}}}},
            "expected one of mse, mae for task: autoencoder, received auc",
        ),
        (TABLE, {"columns": CODES, "encode": {"kind": "ordinal"}}, "expected one_hot or hash for task: autoencoder"),
        (TABLE, {"feed": {"augment": {"mixup": 0.2}}}, "mixup mixes labels"),
        (TABLE, {"transfer": {"source": "odd@champion"}}, "transfer starts from a model that answers about a label"),
        (TABLE, {"train": {"critic_optimizer": {"name": "adam"}}}, "only task: gan has a critic"),
        (PICTURES, {"anomalies": {"values": ["1"]}}, "received task: autoencoder without a label"),
        (PICTURES, {"split": {"by": "stratified"}}, "by: stratified without a label needs a column"),
        (IMAGES, {"model": {"name": "cnn"}}, "model cnn is not for task: gan. Expected one of: dcgan, wgan_gp"),
        (IMAGES, {"train": {"early_stopping": {"metric": "val_loss"}}}, "train.early_stopping.metric: expected none for task: gan"),
        (IMAGES, {"train": {"optimizer": {"name": "adam", "ema": 0.9}}}, "a moving average is not kept"),
        (IMAGES, {"train": {"precision": "float16"}}, "use float32 or bfloat16"),
        (IMAGES, {"train": {"regularize": {"l2": 0.1}}}, "take no penalties"),
        (IMAGES, {"train": {"loss": "wasserstein"}}, "use wgan_gp, or model.norm: false"),
        (IMAGES, {"register": {"name": "odd", "gate": {"mse": {"max": 1}}}}, "expected one of frechet_distance, kernel_distance, coverage"),
        (IMAGES, {"tune": {"parameters": {"model.latent": {"choices": [8, 16]}}}}, "trials cannot be compared"),
        ({**TABLE, "task": "gan", "model": {"name": "dcgan"}}, {}, "expected a feature column with kind: image"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path, document, changes, says):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, {**document, **changes})
    assert says in str(caught.value)


def test_a_rule_that_changes_the_label_does_not_go_with_anomalies(tmp_path):
    with pytest.raises(ConfigError, match="whose anomalies.values are as in the source"):
        load(tmp_path, {**TABLE, "anomalies": {"values": ["malignant"]}, "clean": {"rules": [{"tidy": {"columns": ["diagnosis"]}}]}})


def test_what_goes_together_is_taken(tmp_path):
    known = load(tmp_path, {**TABLE, "anomalies": {"values": ["malignant"]}, "register": {"name": "odd", "gate": {"auc": {"min": 0.9}}}})
    assert known.label == "diagnosis" and known.has_label
    unknown = load(tmp_path, {**TABLE, "columns": {"mean_radius": {"kind": "number"}}})
    assert not unknown.has_label
    shares = load(
        tmp_path, {**PICTURES, "model": {"name": "vae", "bounded": True}, "train": {"loss": {"name": "binary_cross_entropy", "beta": 0.5}}}
    )
    assert shares.train.loss.beta == 0.5
    pair = load(tmp_path, {**IMAGES, "model": {"name": "wgan_gp"}, "train": {"loss": {"name": "wasserstein", "critic_steps": 3}}})
    assert pair.train.loss.critic_steps == 3

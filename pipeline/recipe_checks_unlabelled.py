"""What `task: autoencoder` and `task: gan` do not go with. Called by recipe_checks.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.recipe_file import Location
from pipeline.schema import UNLABELLED

if TYPE_CHECKING:  # at run time nothing here imports config
    from pipeline.config import Recipe

Problem = tuple[Location, str]  # place in the recipe, message


def find_unlabelled_problems(recipe: Recipe) -> list[Problem]:
    """Every contradiction of a task that learns from inputs alone; of other tasks, what is only for such."""
    if recipe.task not in UNLABELLED:
        return [*_anomaly_problems(recipe), *_only_of_gan(recipe)]
    specific = _gan_problems(recipe) if recipe.task == "gan" else [*_autoencoder_problems(recipe), *_only_of_gan(recipe)]
    return [*_column_problems(recipe), *_anomaly_problems(recipe), *_training_problems(recipe), *specific]


def _column_problems(recipe: Recipe) -> list[Problem]:
    problems: list[Problem] = []
    if recipe.split.by == "stratified" and recipe.split.column is None and not recipe.has_label:
        problems.append((("split", "column"), "by: stratified without a label needs a column to stratify by"))
    for name in recipe.names("category"):
        method = recipe.encode[name].method if name in recipe.encode else "one_hot"
        if method not in ("one_hot", "hash"):
            text = f"{name!r}: encode: {method} " + (
                "needs a label to learn" if method == "target" else "makes codes, whose distance says nothing"
            )
            problems.append((("encode", name), f"{text}; expected one_hot or hash for task: {recipe.task}"))
    return problems


def _anomaly_problems(recipe: Recipe) -> list[Problem]:
    if recipe.anomalies is None:
        return []
    if recipe.task != "autoencoder" or not recipe.has_label:
        received = f"task: {recipe.task} {'with' if recipe.has_label else 'without'} a label"
        return [(("anomalies",), f"anomalies are found by task: autoencoder, and known by a column with role: label; received {received}")]
    changed = [index for index, rule in enumerate(recipe.clean.rules) if rule.name in ("tidy", "replace") and recipe.label in rule.used]
    text = f"changes {recipe.label!r}, whose anomalies.values are as in the source; mend the source, or list the values as they are there"
    return [(("clean", "rules", index), text) for index in changed]


def _training_problems(recipe: Recipe) -> list[Problem]:
    problems: list[Problem] = []
    if recipe.train.privacy is not None:
        problems.append((("train", "privacy"), f"private training is for tasks with a label; received task: {recipe.task}"))
    if recipe.transfer is not None:
        problems.append((("transfer",), f"transfer starts from a model that answers about a label; received task: {recipe.task}"))
    if recipe.feed.augment.mixup is not None:
        problems.append((("feed", "augment", "mixup"), f"mixup mixes labels; it does not go with task: {recipe.task}"))
    return problems


def _autoencoder_problems(recipe: Recipe) -> list[Problem]:
    problems: list[Problem] = []
    kind = recipe.columns[recipe.content].kind if recipe.content else "table"
    if kind not in ("image", "table"):
        problems.append((("columns", recipe.content or ""), f"an autoencoder gives back tables or images; received kind: {kind}"))
    if recipe.train.loss is not None and recipe.train.loss.name == "binary_cross_entropy":
        is_ours = ":" not in recipe.model.name
        if kind != "image":
            text = "binary_cross_entropy is for pixels, which are shares of 255; columns may be any number. Expected mse or mae"
            problems.append((("train", "loss"), text))
        elif is_ours and not recipe.model.arguments.get("bounded"):
            text = "binary_cross_entropy needs pixels between 0 and 255: set model.bounded: true, or use mse or mae"
            problems.append((("train", "loss"), text))
    return problems


def _gan_problems(recipe: Recipe) -> list[Problem]:
    problems: list[Problem] = []
    if recipe.content is None or recipe.columns[recipe.content].kind != "image":
        problems.append((("columns",), "a gan makes images: expected a feature column with kind: image"))
    for section in (recipe.train.optimizer, recipe.train.critic_optimizer):
        place = "optimizer" if section is recipe.train.optimizer else "critic_optimizer"
        if section is not None and section.ema is not None:
            problems.append((("train", place, "ema"), "a moving average is not kept of a gan's two models; leave ema out"))
        if section is not None and section.plateau is not None:
            problems.append((("train", place, "plateau"), "a gan's losses do not tell progress; expected a schedule, or neither"))
    if recipe.train.precision == "float16":
        problems.append((("train", "precision"), "a gan's two losses are not scaled; use float32 or bfloat16"))
    if recipe.train.regularize.l1 or recipe.train.regularize.l2:
        problems.append((("train", "regularize"), "a gan's losses take no penalties; use weight_decay of the optimizers"))
    if recipe.tune is not None:
        problems.append((("tune",), "a gan's losses do not tell progress, so trials cannot be compared; compare runs by their evaluation"))
    loss = recipe.train.loss.name if recipe.train.loss else None
    if loss == "wasserstein" and recipe.model.name == "dcgan" and recipe.model.arguments.get("norm", True):
        text = (
            "the gradient penalty is of each row alone, and batch normalisation lets rows see each other: use wgan_gp, or model.norm: false"
        )
        problems.append((("train", "loss"), text))
    return problems


def _only_of_gan(recipe: Recipe) -> list[Problem]:
    if recipe.train.critic_optimizer is None:
        return []
    return [(("train", "critic_optimizer"), f"only task: gan has a critic; received task: {recipe.task}")]

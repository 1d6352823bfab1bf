"""What each section of a recipe allows alone but the recipe as a whole does not. Reads recipes, never makes one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import model_arguments, model_facts, user_code
from pipeline.config_errors import suggestion
from pipeline.content_checks import content_problems
from pipeline.private_training_checks import private_training_problems
from pipeline.recipe_checks_interactions import find_interaction_problems
from pipeline.recipe_checks_privacy import find_privacy_problems
from pipeline.recipe_checks_series import find_window_problems
from pipeline.recipe_checks_text import find_text_problems
from pipeline.recipe_checks_transfer import find_transfer_problems
from pipeline.recipe_checks_unlabelled import find_unlabelled_problems
from pipeline.recipe_file import Location
from pipeline.schema import LABEL, METRICS, OF_ANOMALIES, OF_INTERACTIONS, SAMPLE_ID, UNLABELLED, WEIGHT
from pipeline.sections.augment import OPERATIONS_OF
from pipeline.sections.data import CONTENT_KINDS, SCHEMES
from pipeline.sections.objective import LOSSES, TRAIN_METRICS
from pipeline.sections.training import STOPPING_METRICS
from pipeline.sections.tuning import SEARCHED

if TYPE_CHECKING:  # config.load calls this module; at run time nothing here imports config
    from pipeline.config import Recipe
    from pipeline.sections.data import Column
    from pipeline.sections.rules import CleanRule, FillNulls

Problem = tuple[Location, str]  # place in the recipe, message

OWN_NAMES = (SAMPLE_ID, LABEL, WEIGHT, "features")  # columns of every prepared file; what is packed may be called like them
MAX_DIGITS = 15  # significant digits that every float64 has


def find_contradictions(recipe: Recipe) -> list[Problem]:
    """Every contradiction of a recipe whose sections are each valid: columns first, then what uses them."""
    return [
        *_column_problems(recipe),
        *_feature_problems(recipe),
        *find_text_problems(recipe),
        *find_privacy_problems(recipe),
        *_reference_problems(recipe),
        *_rule_problems(recipe),
        *find_window_problems(recipe),
        *find_interaction_problems(recipe),
        *_label_scaling_problems(recipe),
        *_source_problems(recipe),
        *_model_problems(recipe),
        *_callback_problems(recipe),
        *_task_problems(recipe),
        *find_unlabelled_problems(recipe),
        *private_training_problems(recipe),
        *find_transfer_problems(recipe),
        *_launch_problems(recipe),
        *_tuning_problems(recipe),
    ]


def _column_problems(recipe: Recipe) -> list[Problem]:
    problems: list[Problem] = []
    for role, allowed in (("label", (0, 1) if recipe.task in UNLABELLED else (1,)), ("key", (0, 1)), ("weight", (0, 1))):
        names = [name for name, column in recipe.columns.items() if column.role == role]
        is_free = role == "label" and ((names and recipe.windows) or recipe.interactions)  # of several, or made here
        if len(names) not in allowed and not is_free:
            expected = " or ".join(map(str, allowed))
            problems.append((("columns",), f"expected {expected} column with role: {role}, received {len(names)}: {names}"))
        kind = "number" if role == "weight" or (role, recipe.task) == ("label", "regression") else "category"
        problems += [
            (("columns", name), f"{name!r}: role: {role} of a {recipe.task} expects kind: {kind}, received {recipe.columns[name].kind}")
            for name in names
            if recipe.columns[name].kind != kind
        ]
        if role == "weight" and names and (recipe.windows or recipe.interactions):
            text = "is of a row of a table, image, sound or text; windows and interactions have none"
            problems.append((("columns", names[0]), f"{names[0]!r}: role: weight {text}"))
    for name, column in recipe.columns.items():
        problems += [(("columns", name, "expect"), f"{name!r}: {text}") for text in _expectation_problems(column)]
        problems += [(("columns", name), f"{name!r}: {text}; rename it in the source") for text in _name_problems(name, column)]
    return problems


def _name_problems(name: str, column: Column) -> list[str]:
    if name.startswith("_"):
        return ["names with a leading _ are the pipeline's own"]
    if "`" in name:
        return ["a name with a ` cannot be read"]
    stands_alone = column.role == "sensitive" or column.kind in CONTENT_KINDS
    is_free = column.role in ("key", "ignore") or (name != SAMPLE_ID and not stands_alone)
    return [] if is_free or name not in OWN_NAMES else [f"prepared files have a column {name} of their own"]


def _expectation_problems(column: Column) -> list[str]:
    expect = column.expect
    of_numbers = [name for name in ("min", "max") if getattr(expect, name) is not None] + (["integer"] if expect.integer else [])
    of_text = [name for name in ("values", "pattern") if getattr(expect, name) is not None]
    wrong = [*(of_numbers if column.kind != "number" else []), *(of_text if column.kind != "category" else [])]
    problems = [f"{', '.join(wrong)} does not go with kind: {column.kind}"] if wrong else []
    if expect.max_distinct is not None and (column.role == "key" or column.kind in CONTENT_KINDS):
        problems.append("max_distinct is not counted of " + ("a key" if column.role == "key" else f"kind: {column.kind}"))
    return problems


def _feature_problems(recipe: Recipe) -> list[Problem]:
    problems: list[Problem] = []
    contents = [name for kind in CONTENT_KINDS for name in recipe.names(kind)]
    tabular = recipe.names("number") + recipe.names("category") + recipe.names("time")
    if len(contents) > 1 or (bool(contents) == bool(tabular) and not recipe.windows):  # a target's own past is enough to forecast it
        one = " or one ".join(CONTENT_KINDS)
        problems.append((("columns",), f"expected either one {one}, or number, category or time features, received {contents + tabular}"))
    return problems + content_problems(recipe) + _augment_problems(recipe)


def _augment_problems(recipe: Recipe) -> list[Problem]:
    """Operations of another kind of data, and a balance where there are no classes."""
    if recipe.augment.balance is not None and (recipe.task != "classification" or recipe.windows is not None):
        return [(("augment", "balance"), "balance is between the classes of a classification; this recipe has none")]
    kind = recipe.columns[recipe.content].kind if recipe.content else "window" if recipe.windows else "table"
    if recipe.augment.mixup and recipe.task not in ("classification", "regression"):
        return [(("augment", "operations"), f"mixup mixes labels; task: {recipe.task} has none. Leave it out")]
    codes = [name for name, encoding in recipe.encode.items() if encoding.method in ("ordinal", "vocabulary")]
    if recipe.augment.mixup and kind == "table" and codes:
        text = f"mixup of a code is the code of something else: encode {', '.join(codes)} as one_hot, hash or target, or leave mixup out"
        return [(("augment", "operations"), text)]
    allowed = OPERATIONS_OF.get(kind, ())
    expected = f"expected one of {', '.join(allowed)}" if allowed else "it takes none"
    return [
        (("augment", "operations", index), f"{operation.name} is not for features of kind {kind}; {expected}")
        for index, operation in enumerate(recipe.augment.operations)
        if operation.name not in allowed
    ]


def _reference_problems(recipe: Recipe) -> list[Problem]:
    """Sections that name columns must name declared ones, of the right kind."""
    known = [name for name, column in recipe.columns.items() if column.role != "ignore"]
    of = {kind: [name for name in known if recipe.columns[name].kind == kind] for kind in ("number", "category", "time")}
    used: list[tuple[Location, str, list[str]]] = [(("normalize", name), name, of["number"]) for name in recipe.normalize]
    used += [(("encode", name), name, recipe.names("category")) for name in recipe.encode]
    for index, rule in enumerate(recipe.clean.rules):
        place = ("clean", "rules", index)
        kinds = _kinds_of(rule)
        fits = [name for name in known if recipe.columns[name].kind in kinds]
        if rule.fill_nulls is None:
            used += [(place, name, fits) for name in rule.used]
        else:
            used += [(place, name, fits) for name in rule.fill_nulls.columns]
            used += [(place, rule.fill_nulls.order, of["time"])] if rule.fill_nulls.order else []
            used += [(place, rule.fill_nulls.series, known)] if rule.fill_nulls.series else []
    if recipe.split.column is not None:
        used += [(("split", "column"), recipe.split.column, of["time"] if recipe.split.by == "time" else known)]
    if recipe.audit.group is not None:
        used += [(("audit", "group"), recipe.audit.group, known)]
    return [
        (place, f"column {name!r} is not one of {allowed}{suggestion(name, allowed)}")
        for place, name, allowed in used
        if name not in allowed
    ]


def _label_scaling_problems(recipe: Recipe) -> list[Problem]:
    """What a label's scaling cannot give back."""
    labels = [name for name, column in recipe.columns.items() if column.role == "label" and recipe.normalize.get(name) == "quantile"]
    text = "quantile cuts a label off at the train rows' range; expected another method, such as log or robust"
    return [(("normalize", name), f"{name!r}: {text}") for name in labels]


def _kinds_of(rule: CleanRule) -> tuple[str, ...]:
    """Kinds of columns that a rule can do something with."""
    if rule.fill_nulls is not None and rule.fill_nulls.by in ("mean", "median"):
        return ("number",)
    return RULE_KINDS[rule.name]


RULE_KINDS = {
    "drop_nulls": ("number", "category", "time", "image", "audio"),
    "fill_nulls": ("number", "category", "time"),
    "keep_range": ("number", "time"),
    "clip": ("number",),
    "clip_outliers": ("number",),
    "drop_outliers": ("number",),
    "keep_values": ("category",),
    "keep_pattern": ("category",),
    "tidy": ("category",),
    "replace": ("category",),
    "drop_near_duplicates": ("number", "category", "time"),
    "drop_duplicates": (),  # it names none
}


def _rule_problems(recipe: Recipe) -> list[Problem]:
    """Settings of rules that do not go with the columns they name."""
    problems: list[Problem] = []
    for index, rule in enumerate(recipe.clean.rules):
        texts = _filling_problems(recipe, rule.fill_nulls) if rule.fill_nulls is not None else []
        if rule.drop_near_duplicates is not None:
            texts += _digits_problems("digits", rule.drop_near_duplicates.digits)
            texts += ["drop_near_duplicates is not for sounds; use drop_duplicates"] if recipe.names("audio") else []
        problems += [(("clean", "rules", index), text) for text in texts]
    return problems + [(("audit", "near_digits"), text) for text in _digits_problems("near_digits", recipe.audit.near_digits)]


def _filling_problems(recipe: Recipe, rule: FillNulls) -> list[str]:
    if rule.value is None:
        return []
    if isinstance(rule.value, float) and not math.isfinite(rule.value):
        return [f"fill_nulls: expected a finite value, received {rule.value}"]
    given, kinds = ("text", ("category",)) if isinstance(rule.value, str) else ("a number", ("number", "time"))
    wrong = [name for name in rule.columns if name in recipe.columns and recipe.columns[name].kind not in kinds]
    expected = "a number (of a time: seconds since 1970)" if given == "text" else "text (in quotes)"
    return [f"fill_nulls: column {name!r} expects {expected} for a value, received {rule.value!r}" for name in wrong]


def _digits_problems(key: str, digits: int) -> list[str]:
    return [f"{key}: expected 1 to {MAX_DIGITS}, received {digits}"] if digits > MAX_DIGITS else []


def _source_problems(recipe: Recipe) -> list[Problem]:
    source = recipe.source
    if source.bundled is not None:
        known = ("digits", "iris", "tumours")
        return [] if source.bundled in known else [(("source", "path"), f"bundled:{source.bundled} is not known; expected one of {known}")]
    if source.scheme is not None:
        schemes = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        text = f"scheme {source.scheme}:// is not read; expected a local path or a URL of {schemes}"
        return [] if source.scheme in SCHEMES else [(("source", "path"), text)]
    if not any(mark in source.path for mark in "*?[") and not Path(source.path).exists():
        return [(("source", "path"), f"no such file or folder: {source.path} (from {Path.cwd()}). Write a path that exists, or a glob")]
    return []


def _model_problems(recipe: Recipe) -> list[Problem]:
    given = model_facts.names(recipe)
    found = model_arguments.problems(recipe.model.name, recipe.model.arguments, given, recipe.folder, recipe.task)
    return [(("model", *key), text) for key, text in found]


def _callback_problems(recipe: Recipe) -> list[Problem]:
    """Callbacks of the user's own whose module is nowhere."""
    expected = f"expected MODULE:CLASS in the recipe's folder ({recipe.folder}) or in an installed package"
    return [
        (("train", "callbacks", "custom", index, "name"), f"there is no module {custom.name.partition(':')[0]}; {expected}")
        for index, custom in enumerate(recipe.train.callbacks.custom)
        if user_code.locate(custom.name.partition(":")[0], recipe.folder) is None
    ]


def _task_problems(recipe: Recipe) -> list[Problem]:
    """Losses and metrics of the other task."""
    gate, stopping = recipe.register_.gate, recipe.train.early_stopping
    metrics = [*METRICS[recipe.task], *(["skill"] if recipe.windows else [])]  # naive forecasts are of windows
    metrics += OF_ANOMALIES if recipe.anomalies else OF_INTERACTIONS if recipe.interactions else ()
    used: list[tuple[Location, str | None, Sequence[str]]] = [
        (("train", "loss"), recipe.train.loss.name if recipe.train.loss else None, LOSSES[recipe.task])
    ]
    used += [(("train", "metrics"), name, TRAIN_METRICS[recipe.task]) for name in recipe.train.metrics]
    watched = [*STOPPING_METRICS[recipe.task], *(f"val_{name}" for name in recipe.train.metrics)]
    if stopping is not None:
        used.append((("train", "early_stopping", "metric"), stopping.metric, list(dict.fromkeys(watched))))
    if recipe.train.optimizer.plateau is not None:
        place = ("train", "optimizer", "plateau", "metric")
        used.append((place, recipe.train.optimizer.plateau.metric, list(dict.fromkeys(["loss", *watched]))))
    used += [(("register", "gate", name), name, metrics) for name in gate.limits]
    if gate.versus_champion is not None:
        used.append((("register", "gate", "versus_champion", "metric"), gate.versus_champion.metric, metrics))
    return [
        (place, f"{'.'.join(map(str, place))}: expected {one_of(allowed)} for task: {recipe.task}, received {name}")
        for place, name, allowed in used
        if name is not None and name not in allowed
    ]


def one_of(allowed: Sequence[str]) -> str:
    return f"one of {', '.join(allowed)}" if allowed else "none"


def _tuning_problems(recipe: Recipe) -> list[Problem]:
    """A search that its trials cannot answer."""
    tune = recipe.tune
    if tune is None:
        return []
    problems: list[Problem] = [
        (("tune", "parameters", key), f"{key}: expected a key below {' or '.join(SEARCHED)}; trials share everything that is prepared")
        for key in tune.parameters
        if key.partition(".")[0] not in SEARCHED or "." not in key
    ]
    known = list(dict.fromkeys([*STOPPING_METRICS[recipe.task], *(f"val_{name}" for name in recipe.train.metrics)]))
    if tune.metric not in known:
        text = f"tune.metric: expected {one_of(known)}, received {tune.metric}{suggestion(tune.metric, known)}"
        problems.append((("tune", "metric"), f"{text}; more of them come with train.metrics"))
    changed = [key for key in tune.parameters if key.startswith(("train.loss", "train.regularize"))]
    if tune.metric == "val_loss" and changed:
        text = f"val_loss means another thing in each trial, since {changed[0]} is part of the loss; take another metric"
        problems.append((("tune", "metric"), text))
    return problems


def _launch_problems(recipe: Recipe) -> list[Problem]:
    """Ranks and places for them."""
    slots, elastic = sum(count for _, count in recipe.launch.slots), recipe.launch.elastic
    problems: list[Problem] = []
    if slots and slots != recipe.train.ranks:
        text = (
            f"launch.hosts={recipe.launch.hosts} has places for {slots} ranks, train.ranks is {recipe.train.ranks}; leave train.ranks out"
        )
        problems.append((("launch", "hosts"), text))
    if elastic is not None and elastic.min_ranks > recipe.train.ranks:
        text = f"min_ranks={elastic.min_ranks} is more than train.ranks={recipe.train.ranks}, which is the most that ever run"
        problems.append((("launch", "elastic", "min_ranks"), text))
    return problems

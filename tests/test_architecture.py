"""The import rule: cli -> */job.py -> stage modules -> leaves; one importer for each big library; light doors stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
STAGES = ("prepare", "feed", "train", "evaluate", "register", "tune")
USES = {"train": {"feed"}, "evaluate": {"feed"}, "tune": {"prepare", "train"}}  # which stage may import which
OWNERS = {  # library -> where it may be imported, as prefixes of module names
    "pyspark": ("pipeline.prepare", "pipeline.train.ranks_in_spark"),
    "petastorm": ("pipeline.feed.reader",),
    "horovod": ("pipeline.train.horovod", "pipeline.train.rendezvous", "pipeline.train.ranks_in_spark", "pipeline.train.spark_servers"),
    "mlflow": ("pipeline.register.store",),
    "airflow": ("dags",),
    "optuna": ("pipeline.tune",),
    "fsspec": ("pipeline.storage",),
    "s3fs": ("pipeline.storage",),
}
LIGHT = {  # the command may ask these without a job, since they make no result of a run
    "pipeline.prepare.combine",  # reads results that are there
    "pipeline.prepare.infer",  # looks at a few raw rows, before there is a recipe
    "pipeline.train.look",  # prints what a model is and whether ranks agree; trains aside and publishes nothing
}
HEAVY = ("tensorflow", "keras", "pyspark", "petastorm", "horovod.tensorflow", "mlflow", "sklearn", "matplotlib", "pandas", "optuna")


def modules(folder: str) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((PROJECT / folder).rglob("*.py")):
        name = ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")
        yield name, ast.parse(path.read_text())


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere in a tree; for `from a import b`, both a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def stage_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "pipeline" and parts[1] in STAGES else None


def test_a_stage_imports_no_other_stage_but_the_feed():
    for name, tree in modules("pipeline"):
        stage = stage_of(name)
        if stage is None:
            continue
        others = {other for module in imports(tree) if (other := stage_of(module)) and other != stage}
        assert others <= USES.get(stage, set()), f"{name} imports {others}"


def test_tuning_reaches_what_it_drives_through_jobs_and_their_events():
    for name, tree in modules("pipeline"):
        if stage_of(name) == "tune":
            reached = {module for module in imports(tree) if stage_of(module) in USES["tune"] and module.count(".") == 2}
            assert reached <= {"pipeline.prepare.job", "pipeline.train.job", "pipeline.train.launch"}, f"{name} imports {reached}"


def test_leaves_import_no_stage():
    doors = {"pipeline.cli"}
    for name, tree in modules("pipeline"):
        if stage_of(name) is None and name not in doors:
            assert not {module for module in imports(tree) if stage_of(module)}, name


def test_the_command_reaches_stages_through_their_jobs_alone():
    for name, tree in modules("pipeline"):
        if name == "pipeline.cli":
            reached = {module for module in imports(tree) if stage_of(module) and module.count(".") >= 2}
            assert all(".job" in module for module in reached - LIGHT), reached


@pytest.mark.parametrize("library", OWNERS)
def test_each_big_library_has_one_owner(library):
    for folder in ("pipeline", "models", "dags"):
        for name, tree in modules(folder):
            if any(module == library or module.startswith(f"{library}.") for module in imports(tree)):
                assert name.startswith(OWNERS[library]), f"{name} imports {library}"


def test_every_function_that_spark_runs_goes_through_the_worker_that_settles():
    called = [
        (name, node)
        for name, tree in modules("pipeline")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "mapInArrow"
    ]
    bare = [f"{name}:{node.lineno}" for name, node in called if not ast.unparse(node.args[0]).startswith("in_worker(")]
    assert called and not bare


def test_models_import_nothing_of_the_pipeline():
    for name, tree in modules("models"):
        assert not [module for module in imports(tree) if module.split(".")[0] in ("pipeline", "dags")], name


def test_dags_import_no_stage():
    for name, tree in modules("dags"):
        assert not [module for module in imports(tree) if stage_of(module)], name


@pytest.mark.parametrize("door", ["pipeline.cli", "pipeline.train.launch", "pipeline.train.job", "pipeline.doctor", *sorted(LIGHT)])
def test_the_doors_load_no_big_library(door):
    code = f"import sys, {door}; print([name for name in {HEAVY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"

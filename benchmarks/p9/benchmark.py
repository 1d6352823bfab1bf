"""P9: from `pipeline train` to the first step, against one bare process that imports TensorFlow and builds the same model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.bench import OURS, ROOT, Benchmark, Checked, CheckFailed, Figures, Job, Side, at_most
from pipeline import config, model_facts
from pipeline.attempt import read_published
from pipeline.paths import Run, run_id
from pipeline.schema import Prepared

RECIPE, SETS, SIZE = ROOT / "conf" / "digits.yaml", ["train.epochs=1"], "digits"


def side(name: str, about: str) -> Side:
    def command(job: Job) -> list[str | Path]:
        return ["{python}", "-m", f"benchmarks.p9.sides.{name}", job.data, job.out]

    return Side(name, command, about, variables=lambda job: {"CUDA_VISIBLE_DEVICES": ""})


def make_data(cache: Path, rows: int, say: Callable[[str], None]) -> Path:
    """A root with the recipe's prepared data, and the arguments of its model in `model.json`."""
    recipe = config.load(RECIPE, SETS)
    folder = Run(cache, recipe.name, run_id(recipe.digest, None)).stage("prepare")
    if read_published(folder) is None:
        say("preparing conf/digits.yaml")
        sets = [argument for override in SETS for argument in ("--set", override)]
        command = [sys.executable, "-m", "pipeline.cli", "prepare", RECIPE, "--root", cache, *sets]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    manifest = read_published(folder)
    if manifest is None:
        raise CheckFailed(f"pipeline prepare has published nothing in {folder}.")
    facts = model_facts.values(Prepared.model_validate(manifest.facts))
    wanted = {name: facts[name] for name in ("image_shape", "pixel_mean", "pixel_std", "num_outputs")}
    (cache / "model.json").write_text(json.dumps({**wanted, **recipe.model.arguments}))
    return cache


def check(side: Side, job: Job, _: str) -> Checked:
    record = json.loads((job.out / "report.json").read_text())
    return Checked({"parameters": record["parameters"]}, record["own"], record["versions"])


def agree(checksums: Mapping[str, Mapping[str, Any]]) -> None:
    if len({found["parameters"] for found in checksums.values()}) > 1:
        raise CheckFailed(f"Sides built other models: {checksums}")


def over(side: str, figure: str) -> Callable[[Figures], float]:
    return lambda figures: figures(SIZE, OURS, figure) / figures(SIZE, side, "own.built_s")


BENCHMARK = Benchmark(
    id="P9",
    title="from `pipeline train` to the first step on two ranks, over one process that imports TensorFlow and builds the model",
    steps=(
        "pipeline train conf/digits.yaml on prepared data: recipe, digests, rendezvous, ranks, imports, model, graph, first step",
        "bare, lean: import tensorflow and keras, the same builder with the same arguments; neither trains nor reads",
        "seconds since the process was started, the interpreter's own start included",
    ),
    sizes={SIZE: 1797},
    quick_rows=1797,
    sides=(side(OURS, "two ranks"), side("bare", "one process"), side("lean", "one process, without scikit-learn and Matplotlib")),
    make_data=make_data,
    facts=lambda data, rows: {},
    check=check,
    agree=agree,
    values={
        "first_step_over_bare": over("bare", "own.first_step_s"),
        "model_built_over_bare": over("bare", "own.model_built_s"),
        "first_step_over_lean": over("lean", "own.first_step_s"),
    },
    targets={"first_step_over_bare": at_most(1.5)},
    fairness=(
        "ours trains a step, and traces its graph for that; the bare process does not",
        "Keras loads scikit-learn and Matplotlib where they are installed, as here; a rank of ours keeps it from that, as `lean` does",
    ),
)

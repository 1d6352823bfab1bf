"""P8: `pipeline run` on a machine that is set up: what is not the stages' own work, and how long training waits for rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.bench import OURS, ROOT, Benchmark, Checked, CheckFailed, Job, Side, at_most
from pipeline import config
from pipeline.attempt import read_published
from pipeline.manifest import Manifest
from pipeline.paths import STAGES, Run, Stage, run_id
from pipeline.schema import Evaluated, Trained

RECIPE, SIZE, ROWS = ROOT / "conf" / "digits.yaml", "digits", 1797


def command(job: Job) -> list[str | Path]:
    return ["{python}", "-m", "pipeline.cli", "run", RECIPE, "--root", job.out]


def make_data(cache: Path, rows: int, say: Callable[[str], None]) -> Path:
    """Nothing: the digits come with scikit-learn."""
    return cache


def check(side: Side, job: Job, _: str) -> Checked:
    """Every stage was worked through, and the model that came of it is worth the time."""
    recipe = config.load(RECIPE, [])
    run = Run(job.out, recipe.name, run_id(recipe.digest, None))
    manifests = {stage: published(run, stage) for stage in STAGES}
    accuracy = Evaluated.model_validate(manifests["evaluate"].facts).metrics["accuracy"].value
    if accuracy < 0.95:
        raise CheckFailed(f"The model's accuracy is {accuracy:.3f}. Expected at least 0.95, the recipe's gate.")
    feed = Trained.model_validate(manifests["train"].facts).feed
    if feed is None:
        raise CheckFailed("The train manifest says nothing of the feed.")
    seconds = {f"{stage}_s": manifest.seconds for stage, manifest in manifests.items()}
    return Checked({"rows": ROWS}, {**seconds, "stages_s": sum(seconds.values()), "stalled": feed.stalled})


def published(run: Run, stage: Stage) -> Manifest:
    manifest = read_published(run.stage(stage))
    if manifest is None:
        raise CheckFailed(f"{stage} has published nothing in {run.folder}.")
    return manifest


BENCHMARK = Benchmark(
    id="P8",
    title="the default recipe from raw images to a registered model, on a machine that is set up",
    steps=("pipeline run conf/digits.yaml in an empty root: prepare, train on two ranks, evaluate, register",),
    sizes={SIZE: ROWS},
    quick_rows=ROWS,
    sides=(Side(OURS, command, "the command as a person types it", variables=lambda job: {"CUDA_VISIBLE_DEVICES": ""}),),
    make_data=make_data,
    facts=lambda data, rows: {},
    check=check,
    values={
        "stalled": lambda figures: figures(SIZE, OURS, "own.stalled"),
        "overhead_over_stages": lambda figures: figures(SIZE, OURS, "wall_s") / figures(SIZE, OURS, "own.stages_s") - 1,
    },
    targets={"stalled": at_most(0.02), "overhead_over_stages": at_most(0.2)},
    fairness=(
        "a stage's own work is the time that its manifest names: the start of Spark and of ranks, and TensorFlow's, is in it",
        "the rest is the command's start and imports, checks between stages, and the summary",
    ),
)

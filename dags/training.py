"""One Airflow DAG per recipe in conf/: prepare -> train -> evaluate -> register. A retry finds what its run has already finished."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from airflow.sdk import DAG, Asset, chain

sys.path.insert(0, str(Path(__file__).parent))  # `airflow` has put it there already, a DagBag made by hand has not

from recipes import load_all
from stages import Stage, params_of, relative_to_project

from pipeline.config import Recipe

FIRST_DAY = datetime(2025, 1, 1, tzinfo=UTC)
TRAIN_POOL = "LONGHAUL_TRAIN_POOL"  # must exist in Airflow: tasks of a missing pool wait for ever


def training(path: Path, recipe: Recipe) -> DAG:
    with DAG(
        dag_id=recipe.name,
        description=recipe.description,
        doc_md=describe(path, recipe),
        schedule=recipe.schedule.cron,
        start_date=FIRST_DAY,
        catchup=False,
        max_active_runs=1,
        params=params_of(recipe),
        default_args={"retries": recipe.schedule.retries, "retry_delay": timedelta(seconds=recipe.schedule.retry_delay_s)},
        tags=["longhaul", recipe.task, recipe.model.name],
    ) as dag:
        where = relative_to_project(path)
        prepare = Stage(stage="prepare", recipe_path=where)
        train = Stage(stage="train", recipe_path=where, pool=os.environ.get(TRAIN_POOL, "default_pool"))
        evaluate = Stage(stage="evaluate", recipe_path=where)
        register = Stage(stage="register", recipe_path=where, outlets=[model_asset(recipe)])
        chain(prepare, train, evaluate, register)
    return dag


def model_asset(recipe: Recipe) -> Asset:
    """The registered model: a DAG scheduled on it runs after each new champion, and finds run id and digests in the event."""
    return Asset(name=recipe.register_.name, uri=f"x-longhaul://models/{recipe.register_.name}")


def describe(path: Path, recipe: Recipe) -> str:
    sections = yaml.safe_dump(recipe.resolved(), sort_keys=False, allow_unicode=True, width=120)
    return f"{recipe.description}\n\nFrom `{relative_to_project(path)}`, with every default:\n\n```yaml\n{sections}```\n"


for recipe_path, sound_recipe in load_all().sound.items():
    training(recipe_path, sound_recipe)

"""One DAG per recipe, as Airflow's own DagBag reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import config

PROJECT = Path(__file__).resolve().parents[2]
RECIPES = {path.stem: config.load(path, source_exists=False) for path in sorted((PROJECT / "conf").glob("*.yaml"))}
STAGES = ["prepare", "train", "evaluate", "register"]

LIGHT = {
    "config",
    "config_errors",
    "content_checks",
    "errors",
    "manifest",
    "model_arguments",
    "model_facts",
    "paths",
    "private_training_checks",
    "recipe_checks",
    *(f"recipe_checks_{name}" for name in ("interactions", "privacy", "series", "text", "transfer", "unlabelled")),
    "recipe_file",
    "schema",
    "sections",
    *(f"sections.{path.stem}" for path in (PROJECT / "pipeline" / "sections").glob("[a-z]*.py")),
    "storage",
    "user_code",
}  # of pipeline: what reading a recipe takes
PARSE_LIMIT_S = 1.5  # of processor time over `import airflow.sdk`, for all recipes; about 0.2 s when nothing else runs

pytestmark = pytest.mark.airflow

SOUND = (PROJECT / "conf" / "iris.yaml").read_text()
BROKEN = {
    "typo.yaml": SOUND.replace("name: iris\n", "name: typo\n").replace("epochs:", "epoch:"),
    "cron.yaml": SOUND.replace("name: iris\n", "name: cron\n").replace("30 3 * * *", "99 3 * * *"),
    "never.yaml": SOUND.replace("name: iris\n", "name: never\n").replace("30 3 * * *", "0 0 31 2 *"),
    "twice.yaml": SOUND,
    "not.yaml": "name: [",
}


def line_of(file_name: str, text: str) -> int:
    return next(number for number, line in enumerate(BROKEN[file_name].splitlines(), 1) if text in line)


@pytest.fixture(scope="module")
def parsed(shared_airflow):
    return shared_airflow.side("parse")


def test_every_recipe_is_a_dag_and_every_dag_a_recipe(parsed):
    assert parsed["import_errors"] == {}
    assert set(parsed["dags"]) == set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_dag_says_what_its_recipe_says(parsed, name):
    dag, recipe = parsed["dags"][name], RECIPES[name]
    assert dag["tasks"] == STAGES
    assert dag["downstream"] == {"prepare": ["train"], "train": ["evaluate"], "evaluate": ["register"], "register": []}
    assert dag["retries"] == {stage: [recipe.schedule.retries, recipe.schedule.retry_delay_s] for stage in STAGES}
    assert dag["schedule"] == recipe.schedule.cron
    assert (dag["catchup"], dag["max_active_runs"], dag["start_date"]) == (False, 1, "2025-01-01T00:00:00+00:00")
    assert {key: default for key, (default, _) in dag["params"].items()} == {"epochs": recipe.train.epochs, "force": False, "overrides": []}
    assert dag["outlets"] == {**dict.fromkeys(STAGES, []), "register": [f"x-longhaul://models/{recipe.register_.name}"]}
    assert dag["templates"] == dict.fromkeys(STAGES, [])
    assert recipe.description in dag["doc"] and "early_stopping:" in dag["doc"]


def test_reading_the_dags_imports_nothing_heavy(parsed):
    assert set(parsed["modules"]) <= {"pipeline", "models"} | {f"pipeline.{name}" for name in LIGHT}


def test_reading_the_dags_costs_little(parsed):
    assert parsed["seconds"] < PARSE_LIMIT_S


def test_the_pool_of_train_can_be_chosen(shared_airflow):
    pools = shared_airflow.side("parse", LONGHAUL_TRAIN_POOL="gpu")["dags"]["digits"]["pools"]
    assert pools == {**dict.fromkeys(STAGES, "default_pool"), "train": "gpu"}


def test_a_recipe_whose_data_is_not_there_yet_is_still_a_dag(airflow_on_copy):
    late = SOUND.replace("name: iris\n", "name: late\n").replace("bundled:iris", "data/not/yet.csv")
    parsed = airflow_on_copy({"late.yaml": late}).side("parse")
    assert parsed["import_errors"] == {}
    assert "late" in parsed["dags"]


def test_broken_recipes_are_import_errors_with_file_and_line_and_stop_no_other_dag(airflow_on_copy):
    airflow = airflow_on_copy(BROKEN)
    done = airflow.command("dags", "reserialize")
    assert done.returncode == 0, done.stderr
    assert sorted(airflow.rows("select dag_id, is_stale, has_import_errors from dag")) == [(name, 0, 0) for name in sorted(RECIPES)]
    [(file_name, text)] = airflow.rows("select filename, stacktrace from import_error")
    assert file_name == "broken_recipes.py"
    assert f"conf/typo.yaml:{line_of('typo.yaml', 'epoch:')}: " in text
    assert f"conf/cron.yaml:{line_of('cron.yaml', 'cron:')}: '99 3 * * *' is not a schedule" in text
    assert f"conf/never.yaml:{line_of('never.yaml', 'cron:')}: '0 0 31 2 *' is not a schedule" in text
    assert "conf/twice.yaml: name 'iris' is that of" in text
    assert "conf/not.yaml:" in text

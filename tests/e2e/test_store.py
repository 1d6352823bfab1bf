"""Prepared data on an S3 server: two real ranks train on it to the weights of the same data on this disk; nothing secret is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import config
from pipeline.manifest import Manifest
from pipeline.paths import Run, run_id
from pipeline.schema import Trained
from tests.conftest import FinishedRun, pipeline
from tests.store import SECRET
from tests.train.test_ranks import train

pytestmark = pytest.mark.e2e


def trained(folder: Path) -> Trained:
    return Trained.model_validate(Manifest.model_validate_json((folder / "manifest.json").read_text()).facts)


def files_with(text: str, root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


@pytest.mark.slow
def test_two_ranks_on_prepared_data_in_a_bucket_give_the_weights_of_a_local_run(iris_run: FinishedRun, s3, bucket, tmp_path):
    overrides = ("train.epochs=2", "train.early_stopping=null")
    local, _ = train(iris_run, tmp_path / "local", *overrides)
    run = Run(tmp_path / "remote", iris_run.recipe.name, run_id(config.load(iris_run.path, overrides).digest, None))
    s3.copy_folder(iris_run.run.stage("prepare"), bucket, f"runs/{run.recipe}/{run.run_id}/prepare")
    sets = [argument for override in overrides for argument in ("--set", override)]
    command = pipeline("train", iris_run.path, *sets, "--data", f"s3://{bucket}/runs", "--json", root=run.root)
    assert command.code == 0, command.err
    remote = trained(Path(json.loads(command.out)["folder"]))
    assert remote.ranks == 2 and remote.weight_digest == local.weight_digest
    assert not run.stage("prepare").exists()
    assert not files_with(SECRET, tmp_path) and SECRET not in command.out + command.err


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"url": "s3://no-such-bucket/runs"}, 2, "there is no bucket no-such-bucket"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, 2, "no credentials"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}, 4, "check AWS_ENDPOINT_URL and the network"),
        ({"url": f"s3://key:{SECRET}@bucket/runs"}, 2, "holds credentials"),
        ({}, 3, "has no published result"),
    ],
    ids=["no bucket", "no credentials", "wrong endpoint", "credentials in the URL", "nothing prepared"],
)
def test_a_store_that_cannot_be_used_is_told_before_a_rank_starts(iris_run: FinishedRun, s3, bucket, tmp_path, changes, code, message):
    environment = {name: value for name, value in changes.items() if name != "url"}
    command = pipeline("train", iris_run.path, "--data", changes.get("url", f"s3://{bucket}/runs"), root=tmp_path, **environment)
    assert command.code == code and message in command.err, command.err
    assert not list(tmp_path.rglob("spec.json")) and SECRET not in command.err


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_whole_run_publishes_to_a_bucket_keeps_copies_on_disk_and_is_found_again_from_an_empty_root(iris_run, s3, bucket, tmp_path):
    overrides = ("train.epochs=2", "train.early_stopping=null", "register.gate={}")
    local, _ = train(iris_run, tmp_path / "local", *overrides)
    copies = ("feed.cache=disk", f"feed.cache_folder={tmp_path / 'copies'}")
    options = ["--data", f"s3://{bucket}/runs", *(argument for override in (*overrides, *copies) for argument in ("--set", override))]
    whole = pipeline("run", iris_run.path, *options, root=tmp_path / "one", timeout=1000)
    assert whole.code == 0, whole.err
    (folder,) = (tmp_path / "one" / "iris").glob("*/train")
    assert trained(folder).weight_digest == local.weight_digest
    fetched = {path: count for (method, path), count in s3.requests().items() if method == "GET" and path.startswith(f"/{bucket}/")}
    times = {path: count for path, count in fetched.items() if "/data/train/" in path or "/data/validation/" in path}
    assert times and set(times.values()) == {1}  # verified twice and trained on by two ranks
    again = pipeline("prepare", iris_run.path, *options, "--json", root=tmp_path / "two")
    assert again.code == 0 and json.loads(again.out)["folder"].startswith(f"s3://{bucket}/runs/iris/")
    assert not (tmp_path / "two" / "iris").exists() or not list((tmp_path / "two" / "iris").glob("*/prepare/manifest.json"))
    assert not files_with(SECRET, tmp_path)

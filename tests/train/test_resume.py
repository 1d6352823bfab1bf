"""A training goes on from its own checkpoints, and from others' only when told to."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.errors import DataError
from pipeline.train.checkpoint import Checkpoint, newest, save
from pipeline.train.resume import checkpoint_folder, differences
from tests.conftest import pipeline
from tests.train.test_ranks import link_prepared, train

MADE_BY = {"train": {"epochs": 10, "ranks": 2, "optimizer": {"name": "adam"}}, "code": "c" * 64, "prepared_data": "a" * 64}
CHANGED = {**MADE_BY, "train": {"epochs": 20, "ranks": 2, "optimizer": {"name": "adam"}}, "prepared_data": "b" * 64}


def interrupted(root, made_by=MADE_BY, num_steps=5, positions=((0, 3), (1, 0), (1, 2))):
    """Checkpoints of a training that did not end."""
    folder = checkpoint_folder(root, made_by, num_steps)
    for epoch, step in positions:
        save(folder, Checkpoint(epoch, step, {"model": [np.full(2, 10 * epoch + step)]}), epoch * num_steps + step)
    return folder


def test_the_same_request_finds_its_own(tmp_path):
    folder = interrupted(tmp_path)
    assert checkpoint_folder(tmp_path, dict(MADE_BY), 5) == folder
    found, _ = newest(folder)
    assert found is not None and (found.epoch, found.step) == (1, 2)


def test_another_configuration_or_other_data_is_refused_with_every_difference(tmp_path):
    interrupted(tmp_path)
    with pytest.raises(DataError) as refused:
        checkpoint_folder(tmp_path, CHANGED, 5)
    text = str(refused.value)
    assert "train.epochs: 10 -> 20" in text and "prepared_data: aaa" in text and "train.ranks" not in text
    assert "--allow-changed" in text and "--force" in text


def test_told_to_it_goes_on_and_leaves_what_it_took_over(tmp_path):
    before = interrupted(tmp_path)
    folder = checkpoint_folder(tmp_path, CHANGED, 5, allow_changed=True)
    found, warnings = newest(folder)
    assert found is not None and (found.epoch, found.step, warnings) == (1, 2, []) and folder != before
    assert newest(before)[0] is not None
    assert checkpoint_folder(tmp_path, CHANGED, 5) == folder  # killed again, it goes on from its own without a word


def test_with_epochs_of_another_length_only_ends_of_epochs_are_taken_and_counted_anew(tmp_path):
    interrupted(tmp_path)
    folder = checkpoint_folder(tmp_path, CHANGED, 3, allow_changed=True)
    assert [path.name for path in folder.glob("step-*")] == ["step-00000003"]
    found, _ = newest(folder)
    assert found is not None and (found.epoch, found.step) == (1, 0)


def test_another_runs_are_found_by_its_id_and_their_absence_is_said(tmp_path):
    interrupted(tmp_path / "other")
    folder = checkpoint_folder(tmp_path / "mine", MADE_BY, 5, source=tmp_path / "other")
    assert folder.parent == tmp_path / "mine" and newest(folder)[0] is not None
    with pytest.raises(DataError, match="has no checkpoints to go on from"):
        checkpoint_folder(tmp_path / "third", MADE_BY, 5, source=tmp_path / "nothing")


def test_a_damaged_one_is_not_taken_over(tmp_path):
    folder = interrupted(tmp_path)
    (folder / "step-00000007" / "state.json").write_text("{")
    found, warnings = newest(checkpoint_folder(tmp_path, CHANGED, 5, allow_changed=True))
    assert found is not None and (found.epoch, found.step, warnings) == (1, 0, [])


def test_differences_name_the_place_of_every_leaf():
    assert list(differences({"a": {"b": 1, "c": [1]}, "d": "x"}, {"a": {"b": 2, "c": (1,)}, "e": None})) == [
        "a.b: 1 -> 2",
        "d: x -> nothing",
        "e: nothing -> null",
    ]


@pytest.mark.e2e
def test_the_command_refuses_changed_checkpoints_before_any_rank_starts_and_force_begins_anew(iris_run, tmp_path):
    overrides = ("train.epochs=2", "train.early_stopping=null", "train.ranks=1")
    run = link_prepared(iris_run, tmp_path, overrides)
    interrupted(run.stage("train") / "checkpoints")
    sets = [argument for override in overrides for argument in ("--set", override)]
    refused = pipeline("train", iris_run.path, *sets, root=tmp_path)
    assert refused.code == 3 and "were made by something else" in refused.err and "prepared_data: aaa" in refused.err
    forced = pipeline("train", iris_run.path, *sets, "--force", "--json", root=tmp_path)
    assert forced.code == 0 and json.loads(forced.out)["reused_from"] is None, forced.err
    assert not (run.stage("train") / "checkpoints").exists()
    trained, _ = train(iris_run, tmp_path, *overrides)
    assert len(trained.history) == 2 and trained.resumed_from is None

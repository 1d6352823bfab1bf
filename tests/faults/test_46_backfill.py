"""An old date is run again after a newer one: what its model becomes is decided by the gate, never by which was registered last."""

from __future__ import annotations

import pytest

from pipeline.errors import GateRejected
from pipeline.evaluate import job as evaluate
from pipeline.register import job as register
from pipeline.register import store
from tests.evaluate.finished_run import finish_prepare, finish_train, make_request

pytestmark = pytest.mark.tf

NEWER, OLDER = "20260103T000000Z-aaaaaaaa", "20260102T000000Z-bbbbbbbb"
GATE = ("register.gate={accuracy: {min: 0.5}, versus_champion: {metric: accuracy, max_drop: 0.02}}",)
FIXED = ("register.gate={accuracy: {min: 0.5}}",)


def evaluated(root, run_id: str, num_wrong: int, gate: tuple[str, ...] = GATE):
    """A request whose model was wrong about so many of 40 test rows."""
    request = make_request(root, run_id, gate)
    finish_prepare(request, num_wrong=num_wrong)
    finish_train(request)
    evaluate.run(request)
    return request


@pytest.mark.parametrize(("num_wrong", "champion"), [(8, NEWER), (1, OLDER)], ids=["worse", "better"])
def test_the_model_of_an_old_date_replaces_a_newer_champion_only_by_its_gate(tmp_path, num_wrong, champion):
    newer = evaluated(tmp_path, NEWER, num_wrong=4)
    register.run(newer)
    older = evaluated(tmp_path, OLDER, num_wrong)
    if champion == NEWER:
        with pytest.raises(GateRejected):
            register.run(older)
    else:
        register.run(older)
    client = store.connect(newer.run)
    assert client.get_model_version_by_alias("iris", "champion").tags["pipeline_run"] == champion


def test_a_gate_that_does_not_look_at_the_champion_lets_no_older_date_replace_it(tmp_path):
    newer = evaluated(tmp_path, NEWER, 4, FIXED)
    register.run(newer)
    with pytest.raises(GateRejected, match="expected a date not before the champion's, 20260103T000000Z.*received 20260102T000000Z"):
        register.run(evaluated(tmp_path, OLDER, 1, FIXED))
    client = store.connect(newer.run)
    assert client.get_model_version_by_alias("iris", "champion").tags["pipeline_run"] == NEWER


def test_a_newer_date_and_a_run_without_one_replace_the_champion_by_fixed_bounds(tmp_path):
    for num_wrong, run_id in enumerate((OLDER, NEWER, "manual-cccccccc"), start=4):
        request = evaluated(tmp_path, run_id, num_wrong, FIXED)
        register.run(request)
        assert store.connect(request.run).get_model_version_by_alias("iris", "champion").tags["pipeline_run"] == run_id

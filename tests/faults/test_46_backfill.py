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


def evaluated(root, run_id: str, num_wrong: int):
    """A request whose model was wrong about so many of 40 test rows."""
    request = make_request(root, run_id, GATE)
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

"""The launch section: one option decides where ranks run, and what contradicts itself is refused."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from pipeline import config
from pipeline.errors import ConfigError
from pipeline.sections.launch import Launch, count_ranks
from tests.conftest import PROJECT

IRIS = PROJECT / "conf" / "iris.yaml"
ETH0 = "launch.interfaces=[eth0]"


def test_where_ranks_run_is_no_part_of_what_is_asked_for():
    here = config.load(IRIS)
    there = config.load(IRIS, ["launch.hosts=a:1,b:1", ETH0])
    assert here.digest == there.digest
    assert there.launch.slots == [("a", 1), ("b", 1)]


def test_ranks_follow_from_the_hosts_where_the_recipe_does_not_say():
    assert count_ranks({"launch": {"hosts": "a:4,b:3"}})["train"] == {"ranks": 7}
    assert count_ranks({"launch": {"hosts": "a:4,b:3"}, "train": {"ranks": 2}})["train"] == {"ranks": 2}
    for broken in ({"launch": {"hosts": "a:x"}}, {"launch": None}, {"launch": {"hosts": 3}, "train": []}, {}):
        assert count_ranks(broken) == broken


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("launch.hosts=a:1,b:2", ETH0), "has places for 3 ranks, train.ranks is 2"),
        (("launch.elastic={min_ranks: 3}",), "min_ranks=3 is more than train.ranks=2"),
        (("launch.hosts=a:1,b:1",), "need launch.interfaces"),
        (("launch.spark=true",), "need launch.interfaces"),
        (("launch.spark=true", "launch.hosts=a:1,b:1", ETH0), "either on hosts or in Spark"),
        (("launch.hosts=a:1,a:1", ETH0), "names a host twice"),
        (("launch.hosts=localhost:1,b:1", ETH0), "cannot reach localhost"),
    ],
    ids=["places", "minimum", "no interface", "Spark without", "two places", "twice", "localhost"],
)
def test_contradictions_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        config.load(IRIS, overrides)


@pytest.mark.parametrize("hosts", ["-oProxyCommand=x:1", "a", "a:0", "a:1,", "a b:1", "a;b:1", "$(x):1"])
def test_what_ssh_could_take_for_something_else_is_no_host(hosts):
    with pytest.raises(ValidationError):
        Launch.model_validate_json(json.dumps({"hosts": hosts, "interfaces": ["eth0"]}))


def test_pinned_ranks_are_no_part_of_what_is_asked_for_and_none_of_sparks():
    assert config.load(IRIS).digest == config.load(IRIS, ["launch.pin=true"]).digest
    with pytest.raises(ValidationError, match="executors share cores"):
        Launch(spark=True, pin=True, interfaces=("eth0",))

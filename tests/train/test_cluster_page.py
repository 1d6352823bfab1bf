"""What docs/cluster.md tells to type and to apply is well-formed, and its recipes are valid."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
import yaml

from pipeline import config
from pipeline.sections.launch import Launch
from tests.conftest import PROJECT

PAGE = (PROJECT / "docs" / "cluster.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SCRIPTS = [text for kind, text in BLOCKS if not kind and not text.startswith("FROM ")]
OBJECTS = [item for kind, text in BLOCKS if kind == "yaml" for item in yaml.safe_load_all(text)]
LAUNCHES = [job["spec"]["template"]["spec"]["containers"][0]["args"] for job in OBJECTS if job["kind"] == "Job"]


@pytest.mark.parametrize("text", SCRIPTS, ids=lambda text: text.split(" ")[0].strip())
def test_what_is_to_be_typed_is_a_script(text):
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def settings(arguments: list[str]) -> list[str]:
    return [value for flag, value in zip(arguments, arguments[1:], strict=False) if flag == "--set"]


def test_the_job_is_a_command_and_a_recipe_that_are_valid():
    (arguments,) = LAUNCHES
    assert arguments[0] == "train" and 'ENTRYPOINT ["pipeline"]' in (PROJECT / "docker" / "Dockerfile").read_text()
    recipe = config.load(PROJECT / arguments[1], settings(arguments))
    assert sum(count for _, count in recipe.launch.slots) == recipe.train.ranks == 8


def test_every_volume_and_name_that_is_used_is_there():
    (hosts,) = [item for item in OBJECTS if item["kind"] == "StatefulSet"]
    (service,) = [item for item in OBJECTS if item["kind"] == "Service"]
    recipe = config.load(PROJECT / LAUNCHES[0][1], settings(LAUNCHES[0]))
    names = [f"{hosts['metadata']['name']}-{number}.{service['metadata']['name']}" for number in range(hosts["spec"]["replicas"])]
    assert [name for name, _ in recipe.launch.slots] == names and hosts["spec"]["serviceName"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == hosts["spec"]["template"]["metadata"]["labels"] == hosts["spec"]["selector"]["matchLabels"]
    for item in OBJECTS[1:]:
        pod = item["spec"]["template"]["spec"]
        assert {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("text", re.findall(r"`(launch: \{.*?\})`", PAGE))
def test_every_launch_section_on_the_page_is_valid(text):
    section = yaml.safe_load(text.replace("…, ", "hosts: 'a:4,b:4', interfaces: [eth0], "))["launch"]
    needed = {} if {"hosts", "spark", "elastic"} & set(section) else {"hosts": "a:4", "interfaces": ["eth0"]}
    Launch.model_validate_json(json.dumps({**needed, **section}))

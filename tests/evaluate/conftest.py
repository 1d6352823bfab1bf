"""Runs that are ready to be evaluated; made once, copied for each test."""

from __future__ import annotations

import shutil

import pytest

from pipeline.stage import Request
from tests.evaluate.finished_run import finish_prepare, finish_train, make_request


@pytest.fixture(scope="session")
def trained_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("trained")
    request = make_request(root)
    finish_prepare(request)
    finish_train(request)
    return root


@pytest.fixture
def request_after_train(trained_root, tmp_path) -> Request:
    """A run with prepare and train done: 36 of its 40 test rows are predicted rightly."""
    root = tmp_path / "runs"
    shutil.copytree(trained_root, root)
    return make_request(root)

"""Recipes that do not hold, as an Airflow import error that names file and line; it has no DAG of its own.

An import error stops every DAG of the file that it is in, so training.py leaves broken recipes out and this file reports them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline.errors import ConfigError

sys.path.insert(0, str(Path(__file__).parent))  # as in training.py

from recipes import load_all

if errors := load_all().errors:
    raise ConfigError("\n" + "\n".join(errors.values()))

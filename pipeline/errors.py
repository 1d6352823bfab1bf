"""Everything the pipeline raises on purpose, and the exit code of each.

    LonghaulError
    ├── ConfigError          2    the recipe or a flag is wrong; nothing was started
    ├── DataError            3    the data is wrong; nothing was published
    ├── InfrastructureError  4    a machine, disk, process or service failed; the only one worth a retry
    └── GateRejected         5    the model is whole but did not pass its gate
    Interrupted            143    told to stop (SIGTERM, Ctrl-C); not an Exception, so that no library swallows it

A message says what happened, where, expected, received, and what to do.
"""

from __future__ import annotations


class LonghaulError(Exception):
    """Base of the tree; never raised itself."""

    exit_code = 1


class ConfigError(LonghaulError):
    """A recipe or a flag that cannot be run as written."""

    exit_code = 2


class DataError(LonghaulError):
    """Data that is missing, malformed, or not what its manifest says."""

    exit_code = 3


class InfrastructureError(LonghaulError):
    """Something outside recipe and data failed; a retry may succeed."""

    exit_code = 4


class GateRejected(LonghaulError):
    """A trained model that its recipe's gate refuses."""

    exit_code = 5


class Interrupted(BaseException):
    """The run was told to stop. Py4J and others catch every Exception that a signal handler raises inside them."""

    exit_code = 143


def error_for_exit_code(code: int, message: str) -> LonghaulError | Interrupted:
    """The error that a child process with this exit code stands for; anything unknown is infrastructure."""
    for kind in (ConfigError, DataError, GateRejected, Interrupted):
        if kind.exit_code == code:
            return kind(message)
    return InfrastructureError(message)

"""The feed's split on disk, for the faults of files."""

from tests.feed.conftest import write_split  # noqa: F401

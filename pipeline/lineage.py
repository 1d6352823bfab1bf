"""Was this result made from that one? The digests that manifests keep of what they read."""

from __future__ import annotations

from pipeline.errors import DataError
from pipeline.manifest import Manifest


def check_made_from(result: Manifest, source: Manifest) -> None:
    """Refuse to combine a result with another source than the one it read.

    Raises:
        DataError: `result` read another result of `source.stage`, or none.
    """
    recorded = result.inputs.get(source.stage)
    if recorded is None or recorded.digest != source.digest:
        received = "none" if recorded is None else f"{recorded.digest[:16]}… of run {recorded.run_id}"
        raise DataError(
            f"The {result.stage} result of run {result.run_id} was not made from the {source.stage} result that is there now. "
            f"Expected: {source.stage} {source.digest[:16]}…. Received: {received}. "
            f"Run `pipeline {result.stage} RECIPE` again with the same --root, --date and --set."
        )

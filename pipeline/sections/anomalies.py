"""The section `anomalies`: which rows an autoencoder should find hard to give back."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.sections.base import Section


class Anomalies(Section):
    """Of task: autoencoder with a label. What is said here is for evaluation; the label is never an input."""

    values: Annotated[tuple[str, ...], Field(min_length=1)]  # of the label, as in the source: rows that are anomalies
    # leave_out: known anomalies of train and validation rows go to quarantine as `anomaly`, so that what is learnt is what is normal, and
    # the threshold is of normal rows. keep: they stay, as they would where nobody knows them.
    training: Literal["leave_out", "keep"] = "leave_out"

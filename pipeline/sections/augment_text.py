"""Operations of `augment.operations` on texts. What each does stands in pipeline/prepare/augment/text.py, by the same name."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.sections.base import Section

Share = Annotated[float, Field(gt=0, le=1)]
TEXT_OPERATIONS = ("word_dropout", "word_swap", "change_case", "typo")


class WordDropout(Section):
    """Each word goes with this probability; one always stays. Source: Iyyer et al. 2015, 10.3115/v1/P15-1162."""

    share: Share


class WordSwap(Section):
    """This share of the words, rounded up, trade places with their neighbours. Source: Wei, Zou 2019, arXiv:1901.11196."""

    share: Share


class ChangeCase(Section):
    """Each word is written otherwise with this probability."""

    share: Share
    to: Literal["lower", "upper", "title", "random"] = "random"  # random: one of the three for each word


class Typo(Section):
    """Each letter is struck wrong with this probability: left out, doubled, traded with the next, or a key beside it (QWERTY).

    Source: Belinkov, Bisk 2018, arXiv:1711.02173.
    """

    share: Share

"""What a text column says of itself: how a document is cleaned, which ones are refused, and how words become numbers."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from pipeline.sections.base import Section


class Tokens(Section):
    """How a document becomes token ids; fitted on train rows alone. 0 is padding, 1 a word that the vocabulary does not have.

    | method | a token is |
    |---|---|
    | words | a whole word or a run of punctuation, as often as `min_count` in the train rows |
    | bpe | a piece of a word. Source: Sennrich et al. 2016, arXiv:1508.07909 |
    | wordpiece | a piece of a word; pieces that do not begin one are marked ##. Source: Wu et al. 2016, arXiv:1609.08144 |
    | none | nothing: the text itself is stored, for a model that cuts it |
    """

    method: Literal["words", "bpe", "wordpiece", "none"] = "words"
    size: Annotated[int, Field(ge=16, le=1_000_000)] = 8000  # ids at most, padding and unknown included
    min_count: PositiveInt = 2  # of a word, or of a pair of pieces that becomes one
    max_tokens: Annotated[int, Field(ge=1, le=100_000)] = 128  # length of the tensor; what is beyond is cut off
    lowercase: bool = True
    sample_mb: PositiveInt = 256  # of train texts that the vocabulary is learnt from; the first ones in their arranged (hashed) order

    @model_validator(mode="before")
    @classmethod
    def name_alone(cls, value: Any) -> Any:
        return {"method": value} if isinstance(value, str) else value


class Text(Section):
    """Cleaning comes in this order: HTML, Unicode form, white space, length."""

    html: Literal["keep", "strip"] = "keep"  # strip: tags, comments, scripts and styles go, entities become their characters
    form: Literal["NFC", "NFKC", "keep"] = "NFC"  # Unicode normal form
    whitespace: Literal["collapse", "keep"] = "collapse"  # every run of it, control characters too, becomes one space; none at the ends
    min_characters: NonNegativeInt = 1  # after cleaning; documents with fewer go to quarantine
    max_characters: PositiveInt | None = None  # documents with more go to quarantine, or are cut
    too_long: Literal["drop", "cut"] = "drop"
    max_bytes: Annotated[int, Field(ge=1, le=64_000_000)] = 1_000_000  # of a document as it is stored; larger ones are not even decoded
    tokens: Tokens = Tokens()

    @model_validator(mode="after")
    def has_room(self) -> Self:
        if self.max_characters is not None and self.max_characters < self.min_characters:
            raise ValueError(f"expected min_characters up to max_characters, received {self.min_characters} and {self.max_characters}")
        if self.too_long == "cut" and self.max_characters is None:
            raise ValueError("too_long: cut goes with max_characters")
        return self

"""One document: bytes -> clean text, or the reason why it cannot be used. Pure; runs in Spark's Python workers.

Everything here takes time in proportion to the document, whatever is in it.
"""

from __future__ import annotations

import html
import re
import unicodedata

from pipeline.sections.text import Text

BOM = "\ufeff"
TOO_SHORT, TOO_LONG = "too short", "too long"
SHOWN_BYTES = 200  # of a document that cannot be read, in quarantine
TAG = re.compile(r"<[!?/]?([A-Za-z][A-Za-z0-9:-]*)[^<>]*>")
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]+")  # but white space, to which Unicode counts \x85 and \x1c to \x1f
SILENT = ("script", "style")  # what stands between their tags is no text
INLINE = frozenset("a abbr b bdi bdo big cite code dfn em font i kbd mark q s samp small span strike strong sub sup tt u var wbr".split())
CODECS = {"windows-1252": "cp1252"}  # else Python's codec is called as the recipe calls it


class BadDocument(ValueError):
    """Why a document cannot be used; the text goes to quarantine. `is_readable`: it is only longer or shorter than allowed."""

    def __init__(self, reason: str, *, is_readable: bool = False) -> None:
        super().__init__(reason)
        self.is_readable = is_readable


def decode(content: bytes, encoding: str) -> str:
    """The text of a document. A byte-order mark at its beginning must have been taken off (`without_mark`).

    Raises:
        BadDocument: bytes that are not of the encoding, a NUL, a byte-order mark within.
    """
    try:
        text = content.decode(CODECS.get(encoding, encoding))
    except UnicodeDecodeError as error:
        found = content[error.start : error.start + 1].hex()
        raise BadDocument(f"byte {error.start} (0x{found}) is not {encoding}") from None
    check_characters(text, encoding)
    return text


def check_characters(text: str, encoding: str) -> None:
    if (place := text.find("\0")) >= 0:
        raise BadDocument(f"character {place} is NUL: no {encoding} text")
    if (place := text.find(BOM)) >= 0:
        raise BadDocument(f"character {place} is a byte-order mark: files were joined, or the encoding is another")


def without_mark(content: bytes, encoding: str) -> bytes:
    """A file's content without the byte-order mark that it may begin with; of UTF-16 it says the order, and Python's codec takes it off."""
    return content.removeprefix(BOM.encode()) if encoding == "utf-8" else content


def clean(text: str, options: Text) -> str:
    """The text as it is staged.

    Raises:
        BadDocument: shorter or longer than the options allow.
    """
    if options.html == "strip":
        text = strip_html(text)
    if options.form != "keep" and not text.isascii():
        text = unicodedata.normalize(options.form, text)
    if options.whitespace == "collapse":
        text = " ".join((CONTROL.sub(" ", text) if not text.isprintable() else text).split())
    if len(text) < options.min_characters:
        raise BadDocument(f"{len(text)} characters, fewer than {options.min_characters}", is_readable=True)
    if options.max_characters is not None and len(text) > options.max_characters:
        if options.too_long == "drop":
            raise BadDocument(f"{len(text)} characters, more than {options.max_characters}", is_readable=True)
        text = text[: options.max_characters].rstrip()
    return text


def strip_html(text: str) -> str:
    """Text without tags, comments, scripts and styles; entities as characters. A tag that is no part of a sentence becomes a space.

    What only looks like a tag (`1 < 2`, `<3`) stays. An attribute's value with < or > in it ends the tag early.
    """
    if "<" not in text:
        return html.unescape(text)
    parts, at, ends = [], 0, dict.fromkeys(("-->", *(f"</{name}" for name in SILENT)), True)  # whether one may still come
    lower = text.lower() if len(text.lower()) == len(text) else text  # some letters have a longer small form
    while (start := text.find("<", at)) >= 0:
        parts.append(text[at:start])
        if text.startswith("<!--", start):
            at, space = after(lower, "-->", start, ends), " "
        elif found := TAG.match(text, start):
            name = found[1].lower()
            at, space = found.end(), "" if name in INLINE else " "
            if name in SILENT and text[start + 1] != "/":
                at = max(at, after(lower, f"</{name}", at, ends) - len(f"</{name}"))
        else:
            at, space = start + 1, "<"
        parts.append(space)
    return html.unescape("".join([*parts, text[at:]]))


def after(text: str, end: str, start: int, ends: dict[str, bool]) -> int:
    """Where the text goes on behind an end mark; right behind `start`'s character where there is none, which is looked for once only."""
    place = text.find(end, start) if ends[end] else -1
    ends[end] = place >= 0
    return place + len(end) if place >= 0 else start + 1


def shown(content: bytes) -> str:
    """The beginning of what could not be read, as text."""
    return content[:SHOWN_BYTES].decode("utf-8", "backslashreplace") + ("…" if len(content) > SHOWN_BYTES else "")

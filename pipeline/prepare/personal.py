"""Personal data in a text: where it stands, and the text without it. Pure; runs in Spark's Python workers.

Patterns find candidates, checks decide: Luhn's digit of a card, the checksum and length of an IBAN, the syntax of an address. A search
takes time in proportion to the text: every repetition has a bound.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pipeline.sections.privacy import Kind

MAIL = re.compile(r"(?<![\w.%+'-])[\w.%+'-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w-])")
CARD = re.compile(r"(?<![\d.,+])\d(?:[ -]?\d){12,18}(?![\d]|[.,]\d)")
IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d\d(?: ?[A-Za-z0-9]){11,40}")
IP = re.compile(
    r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:(?:\d{1,3}\.){3}\d{1,3}|[0-9A-Fa-f]{0,4})(?![\w:])"
    r"|(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?!\d|\.\d)"
)
PHONE = re.compile(r"(?<![\w.,/+-])(?:\+|\(\d|\d)[\d ()./-]{5,22}\d(?![\w]|[.,-]\d)")
NATIONAL = re.compile(r"(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}")  # as it is written in North America
DATE = re.compile(r"\d{4}[-./]\d\d?[-./]\d\d?|\d\d?[-./]\d\d?[-./]\d{4}")
WORD = re.compile(r"\w+(?:['’-]\w+)*")
HINT = "[@0-9]|::"  # a text without it holds none of them but names
LENGTHS = {  # of IBANs. Source: the SWIFT IBAN registry, ISO 13616
    **dict.fromkeys(["NO"], 15),
    **dict.fromkeys(["BE"], 16),
    **dict.fromkeys(["DK", "FK", "FI", "FO", "GL", "NL", "SD"], 18),
    **dict.fromkeys(["MK", "SI"], 19),
    **dict.fromkeys(["AT", "BA", "EE", "KZ", "LT", "LU", "MN", "XK"], 20),
    **dict.fromkeys(["CH", "CR", "HR", "LI", "LV"], 21),
    **dict.fromkeys(["BG", "BH", "DE", "GB", "GE", "IE", "ME", "RS", "VA"], 22),
    **dict.fromkeys(["AE", "GI", "IL", "IQ", "OM", "SO", "TL"], 23),
    **dict.fromkeys(["AD", "CZ", "ES", "MD", "PK", "RO", "SA", "SE", "SK", "TN", "VG"], 24),
    **dict.fromkeys(["LY", "PT", "ST"], 25),
    **dict.fromkeys(["IS", "TR"], 26),
    **dict.fromkeys(["BI", "DJ", "FR", "GR", "IT", "MC", "MR", "SM"], 27),
    **dict.fromkeys(["AL", "AZ", "BY", "CY", "DO", "GT", "HU", "LB", "NI", "PL", "SV"], 28),
    **dict.fromkeys(["BR", "EG", "PS", "QA", "UA"], 29),
    **dict.fromkeys(["JO", "KW", "MU", "YE"], 30),
    **dict.fromkeys(["MT", "SC"], 31),
    "LC": 32,
    "RU": 33,
}


class Found(NamedTuple):
    """Characters [start, stop) of a text."""

    start: int
    stop: int
    kind: Kind


Names = Mapping[str, Collection[tuple[str, ...]]]  # a name's first word -> its words, all in small letters


def find(text: str, kinds: Sequence[Kind], names: Names) -> list[Found]:
    """What stands in a text, in its order, nothing twice: an IBAN is no card, a card no phone number."""
    found: list[Found] = []
    for kind in (*FINDERS, "name"):
        if kind in kinds:
            spans = list(FINDERS[kind](text) if kind in FINDERS else name_spans(text, names))
            found += [Found(start, stop, kind) for start, stop in spans]
            text = blanked(text, spans)
    return sorted(found)


def blanked(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """The text with nothing to find in these places, and all else where it was."""
    parts, at = [], 0
    for start, stop in spans:
        parts += [text[at:start], "\0" * (stop - start)]
        at = stop
    return "".join([*parts, text[at:]])


def mask(text: str, found: Sequence[Found]) -> str:
    parts, at = [], 0
    for start, stop, kind in found:
        parts += [text[at:start], f"[{kind}]"]
        at = stop
    return "".join([*parts, text[at:]])


def spans_of(pattern: re.Pattern[str], holds: Callable[[str], bool]) -> Callable[[str], Iterator[tuple[int, int]]]:
    def spans(text: str) -> Iterator[tuple[int, int]]:
        return (match.span() for match in pattern.finditer(text) if holds(match[0]))

    return spans


def iban_spans(text: str) -> Iterator[tuple[int, int]]:
    """An IBAN in groups of four may be followed by words that look like further groups; its country says how long it is."""
    for match in IBAN.finditer(text):
        wanted = LENGTHS.get(match[0][:2].upper(), 0)
        places = [place for place, character in enumerate(match[0]) if character != " "]
        if wanted and len(places) >= wanted:
            stop = places[wanted - 1] + 1
            ends = match.start() + stop == len(text) or not text[match.start() + stop].isalnum()
            if ends and is_iban(match[0][:stop].replace(" ", "")):
                yield match.start(), match.start() + stop


def is_iban(text: str) -> bool:
    """The remainder of ISO 7064, mod 97-10; the length is not looked at."""
    turned = text[4:] + text[:4]
    return int("".join(str(int(character, 36)) for character in turned)) % 97 == 1


def is_card(text: str) -> bool:
    """13 to 19 digits, the first as payment cards have them, the last as Luhn's rule says (ISO/IEC 7812-1)."""
    digits = [int(character) for character in text if character.isdigit()]
    doubled = [digit if place % 2 == 0 else sum(divmod(2 * digit, 10)) for place, digit in enumerate(reversed(digits))]
    return digits[0] in (2, 3, 4, 5, 6) and sum(doubled) % 10 == 0 and len(set(digits)) > 1


def phone_spans(text: str) -> Iterator[tuple[int, int]]:
    for match in PHONE.finditer(text):
        start = match.start() + (match[0][0] == "(" and ")" not in match[0])  # a bracket that is not the number's
        if is_phone(text[start : match.end()]):
            yield start, match.end()


def is_phone(text: str) -> bool:
    """7 to 15 digits (ITU-T E.164) that begin with +, a bracket or 0, or are grouped as in North America; no date."""
    num_digits = sum(character.isdigit() for character in text)
    begins = text[0] in "+(0" or NATIONAL.fullmatch(text) is not None
    return begins and 7 <= num_digits <= 15 and not DATE.fullmatch(text) and not (text[0] == "0" and text[1:2] in "./")


def is_ip(text: str) -> bool:
    if ":" in text and sum(character in "0123456789abcdefABCDEF" for character in text) < 3:
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def name_spans(text: str, names: Names) -> Iterator[tuple[int, int]]:
    words = [(match[0].lower(), *match.span()) for match in WORD.finditer(text)]
    at = 0
    while at < len(words):
        fitting = [len(name) for name in names.get(words[at][0], ()) if tuple(word for word, _, _ in words[at : at + len(name)]) == name]
        if fitting:
            yield words[at][1], words[at + max(fitting) - 1][2]
        at += max(fitting, default=1)


def index_names(lines: Iterable[str]) -> dict[str, list[tuple[str, ...]]]:
    """Names by their first word; empty lines are passed over."""
    index: dict[str, list[tuple[str, ...]]] = {}
    for line in lines:
        if words := tuple(match[0].lower() for match in WORD.finditer(line)):
            index.setdefault(words[0], []).append(words)
    return index


FINDERS: dict[Kind, Callable[[str], Iterator[tuple[int, int]]]] = {  # what could be either is what stands first
    "mail": spans_of(MAIL, lambda text: True),
    "iban": iban_spans,
    "card": spans_of(CARD, is_card),
    "ip": spans_of(IP, is_ip),
    "phone": phone_spans,
}

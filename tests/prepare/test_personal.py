"""What is found in a text, and what is not. Numbers of cards and accounts are the published examples of their standards."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.prepare.personal import FINDERS, find, index_names, is_card, is_iban, mask

KINDS = tuple(FINDERS)
FOUND = {
    "mail": ["ann@example.org", "a.b+c@mail.example.co.uk", "o'neil@example.ie", "müller@bücher.example"],
    "phone": ["+49 30 1234567", "(030) 123 45 67", "555-123-4567", "(555) 123-4567", "+1 (555) 123-4567", "0171 2345678", "+4915112345678"],
    "card": ["4111111111111111", "4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005", "6011111111111117"],
    "iban": ["DE89370400440532013000", "GB82 WEST 1234 5698 7654 32", "FR14 2004 1010 0505 0001 3M02 606", "no9386011117947"],
    "ip": ["192.168.0.1", "255.255.255.255", "2001:db8::8a2e:370:7334", "fe80::1", "::ffff:10.0.0.1"],
}
NOT_FOUND = [
    "at 12:30:45 on 2016-02-01, 1.2.2016 and 31/12/2016",
    "4111111111111112 fails Luhn, 0000000000000000 is nothing",
    "DE89370400440532013001 fails its checksum",
    "1,234,567,890 rows in 1998 1999 2000",
    "256.1.1.1 and 1.2.3 and std::vector and a::b",
    "@home, me@, @example.org, a@b",
    "3.14159265358979 and 1234567",
    "the 0.1234567 share, 00/00/0000",
]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in FOUND.items() for text in texts])
@pytest.mark.parametrize("frame", ["{}", "Call {}, please.", "({})", "x: {}\nnext"])
def test_it_is_found_whole_and_once(kind, text, frame):
    whole = frame.format(text)
    assert [(one.kind, whole[one.start : one.stop]) for one in find(whole, KINDS, {})] == [(kind, text)]


@pytest.mark.parametrize("text", NOT_FOUND)
def test_what_only_looks_like_it_is_not_found(text):
    assert find(text, KINDS, {}) == []


def test_an_iban_ends_where_its_country_says_whatever_follows():
    text = "GB82 WEST 1234 5698 7654 32 IS MINE"
    assert mask(text, find(text, KINDS, {})) == "[iban] IS MINE"


def test_names_of_a_list_are_found_as_whole_words_in_any_case():
    names = index_names(["Ann", "Jean Luc", "", "O'Neil", "Jean Luc Picard"])
    text = "ann met Annabel, JEAN LUC PICARD, Jean  Luc and O'NEIL; jean left"
    assert mask(text, find(text, ("name",), names)) == "[name] met Annabel, [name], [name] and [name]; jean left"


@given(st.lists(st.sampled_from([text for texts in FOUND.values() for text in texts] + ["a word", "12", "Ann"]), max_size=8))
def test_nothing_is_left_after_masking(parts):
    text = " ; ".join(parts)
    masked = mask(text, find(text, (*KINDS, "name"), index_names(["Ann"])))
    assert find(masked, (*KINDS, "name"), index_names(["Ann"])) == []
    assert all(part not in masked for part in parts if part not in ("a word", "12"))


@given(st.integers(10**11, 10**17))
def test_one_last_digit_makes_a_card(number):
    digit = str(4 * 10 ** len(str(number)) + number)
    assert sum(is_card(digit + str(last)) for last in range(10)) == 1


@given(st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=11, max_size=20), st.integers(0, 97))
def test_a_changed_digit_breaks_an_iban(account, place):
    check = 98 - int("".join(str(int(character, 36)) for character in account + "DE00")) % 97
    iban = f"DE{check:02d}{account}"
    assert is_iban(iban)
    places = [number for number, character in enumerate(iban) if character.isdigit()]
    place = places[place % len(places)]
    other = "1" if iban[place] == "0" else "0"
    assert not is_iban(iban[:place] + other + iban[place + 1 :])


@pytest.mark.parametrize(
    "text", ["a" * 500_000, "1" * 500_000, "a@" * 200_000, "+1 " * 150_000, "ab12 " * 100_000, ":1" * 200_000, "1." * 200_000]
)
def test_hostile_texts_take_time_in_proportion_to_their_length(text):
    def seconds(length):
        start = time.process_time()
        find(text[:length], KINDS, {})
        return time.process_time() - start

    assert seconds(len(text)) < 60 * max(seconds(len(text) // 8), 0.02)  # 8 times the text; a square would be 64 times

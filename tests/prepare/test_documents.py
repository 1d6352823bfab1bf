"""Bytes -> clean text, or why not."""

from __future__ import annotations

import html.parser
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.prepare.documents import BadDocument, clean, decode, shown, strip_html
from pipeline.sections.text import Text


@pytest.mark.parametrize(
    ("content", "encoding", "reason"),
    [
        (b"caf\xe9", "utf-8", "byte 3 (0xe9) is not utf-8"),
        (b"\xff\xfea\0", "utf-8", "byte 0 (0xff) is not utf-8"),
        (b"a\xed\xa0\x80", "utf-8", "byte 1 (0xed) is not utf-8"),
        (b"ab\0c", "utf-8", "character 2 is NUL"),
        (b"ab\0c", "latin-1", "character 2 is NUL"),
        ("one\ufefftwo".encode(), "utf-8", "character 3 is a byte-order mark"),
        (b"a\x81", "windows-1252", "byte 1 (0x81) is not windows-1252"),
        (b"a\0b", "utf-16", "byte 2 (0x62) is not utf-16"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(content, encoding, reason):
    with pytest.raises(BadDocument) as refused:
        decode(content, encoding)
    assert str(refused.value).startswith(reason) and not refused.value.is_readable


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff")), st.sampled_from(["utf-8", "utf-16"]))
def test_what_can_be_read_is_read_as_it_is(text, encoding):
    assert decode(text.encode(encoding), encoding) == text


def test_a_replacement_character_of_the_source_is_no_damage():
    assert decode("\ufffd".encode(), "utf-8") == "\ufffd"


def test_quotation_marks_of_windows_are_read():
    assert decode(b"\x93so\x85\x94", "windows-1252") == "“so…”"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("a <b>bold</b>er word", "a bolder word"),
        ("one<br/>two<p>three", "one two three"),
        ("1 < 2 and 3 > 2, <3 you", "1 < 2 and 3 > 2, <3 you"),
        ("AT&amp;T &lt;b&gt; &eacute;&#33;", "AT&T <b> é!"),
        ("x<script>if (a < b) alert('</b>')</script>y<STYLE>p{}</STYLE >z", "x y z"),
        ("a<!-- <p>not this --> b", "a b"),
        ("<!DOCTYPE html><p>x</p>", "x"),
        ("open <!-- for ever", "open !-- for ever"),
        ("open <script> for ever", "open for ever"),
        ("tail <a href='x'", "tail <a href='x'"),
    ],
)
def test_html_is_stripped(text, expected):
    assert clean(text, Text(html="strip")) == expected


class Reference(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.parts = []

    def handle_data(self, data):
        self.parts.append(data)


WORDS = st.sampled_from(["one", "two three", "naïve", "&amp;", "&lt;", "4"])
MARKED = st.recursive(
    WORDS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(" ".join),
        st.tuples(st.sampled_from(["b", "p", "div", "a"]), inner).map(lambda pair: f'<{pair[0]} class="x">{pair[1]}</{pair[0]}>'),
        inner.map(lambda text: f"<!-- gone -->{text}<br>"),
    ),
)


@given(MARKED)
def test_text_of_well_formed_html_is_that_of_a_parser(text):
    reference = Reference()
    reference.feed(text)
    reference.close()
    assert strip_html(text).split() == "".join(reference.parts).split() or "<p" in text or "<d" in text or "<br" in text
    assert "".join(strip_html(text).split()) == "".join("".join(reference.parts).split())


@given(st.text())
def test_cleaning_twice_changes_nothing_more(text):
    once = clean(text, Text(min_characters=0))
    assert clean(once, Text(min_characters=0)) == once
    assert unicodedata.is_normalized("NFC", once) and once == once.strip() and "  " not in once


def test_two_ways_to_write_a_letter_become_one():
    assert clean("cafe\u0301", Text()) == clean("caf\u00e9", Text()) == "caf\u00e9"
    assert clean("\ufb01n", Text(form="NFKC")) == "fin" and clean("\ufb01n", Text()) == "\ufb01n"


def test_white_space_and_control_characters_become_one_space():
    assert clean(" a\t\r\nb\u00a0\u2003c\x07\x85d ", Text()) == "a b c d"
    assert clean(" a\tb ", Text(whitespace="keep")) == " a\tb "


def test_length_is_that_of_the_clean_text():
    with pytest.raises(BadDocument, match="0 characters, fewer than 1") as refused:
        clean("<p> </p>", Text(html="strip"))
    assert refused.value.is_readable
    with pytest.raises(BadDocument, match="5 characters, more than 4"):
        clean("a   b c", Text(max_characters=4))
    assert clean("ab cd", Text(max_characters=3, too_long="cut")) == "ab"


@pytest.mark.parametrize("piece", ["<", "<a", "<script", "<!--", "<script>", "</", '<a b="', "&", "&#", "&amp", "< ", "<!"])
def test_hostile_html_takes_time_in_proportion_to_its_length(piece):
    text = piece * (1_000_000 // len(piece))

    def seconds(length):
        start = time.process_time()
        strip_html(text[:length])
        return time.process_time() - start

    assert seconds(len(text)) < 60 * max(seconds(len(text) // 8), 0.02)


def test_what_is_shown_of_a_bad_document_is_short_and_whole_characters():
    assert shown(b"caf\xe9 " + b"x" * 999).startswith("caf\\xe9 x") and len(shown(b"x" * 9999)) == 201

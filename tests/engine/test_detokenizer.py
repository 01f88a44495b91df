"""Bytes to text: nothing lost, nothing early, stop texts met wherever tokens cut them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lokal.engine.detokenizer import Detokenizer, printable

# Bytes that make characters of every length, and what spoils them.
RAW = st.lists(
    st.sampled_from([b"a", b"b", "é".encode(), "🙂".encode(), b"\xf0", b"\x9f", b"\xff"])
)
TEXT = st.text(st.sampled_from("abé🙂"), max_size=12)
STOPS = st.lists(st.text(st.sampled_from("abé🙂"), min_size=1, max_size=3), max_size=3)


def run(pieces: Sequence[bytes], stop: Sequence[str] = ()) -> str:
    detokenizer = Detokenizer(stop)
    return "".join([*map(detokenizer.push, pieces), detokenizer.flush()])


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def reference(text: str, stop: Sequence[str]) -> str:
    """The text up to the stop text that is complete first; of several, the longest."""
    for end in range(len(text) + 1):
        starts = [end - len(s) for s in stop if text[:end].endswith(s)]
        if starts:
            return text[: min(starts)]
    return text


@given(st.binary(max_size=40) | RAW.map(b"".join), st.lists(st.integers(0, 100), max_size=10))
def test_any_bytes_cut_anywhere_come_back(data: bytes, places: list[int]) -> None:
    """Encoding the text with surrogateescape gives exactly the bytes that went in."""
    assert run(cut(data, places)).encode("utf-8", "surrogateescape") == data


@given(TEXT, STOPS, st.lists(st.integers(0, 100), max_size=10))
def test_equals_the_reference_on_the_whole_text(
    text: str, stop: list[str], places: list[int]
) -> None:
    """Where tokens cut the text does not change where it stops."""
    assert run(cut(text.encode(), places), stop) == reference(text, stop)


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("one END two", ["END"], "one "),
        ("aab", ["ab"], "a"),  # the first candidate was a false start
        ("ababac", ["abac"], "ab"),
        ("abcd", ["bc", "abc"], ""),  # both are complete at once: the longer one
        ("abcd", ["abcd", "bc"], "a"),  # the other one is complete first
        ("x é y", ["é"], "x "),
        ("x 🙂🙃 y", ["🙃"], "x 🙂"),
        ("never", ["nope"], "never"),
        ("almost EN", ["END"], "almost EN"),
    ],
)
def test_stop_texts_at_every_cut(text: str, stop: list[str], expected: str) -> None:
    """A stop text is met in one piece, in two, and byte by byte."""
    data = text.encode()
    assert run([bytes([byte]) for byte in data], stop) == expected
    for first in range(len(data) + 1):
        for second in range(first, len(data) + 1):
            assert run([data[:first], data[first:second], data[second:]], stop) == expected


def test_only_what_could_become_a_stop_text_is_held() -> None:
    """Text comes out as soon as it cannot be part of a stop text any more."""
    detokenizer = Detokenizer(["END"])
    assert [detokenizer.push(piece) for piece in (b"a", b"E", b"N", b"x", b"E")] == [
        "a",
        "",
        "",
        "ENx",
        "",
    ]
    assert detokenizer.flush() == "E"
    assert not detokenizer.stopped


def test_nothing_comes_out_after_a_stop_text() -> None:
    """What follows in the same piece, in later ones, or in the flush is not part of the answer."""
    detokenizer = Detokenizer(["."])
    assert detokenizer.push(b"a.b\xc3") == "a"
    assert detokenizer.stopped
    assert detokenizer.push(b"\xa9") == detokenizer.flush() == ""


def test_an_unfinished_character_waits_for_its_rest() -> None:
    """Half a character never comes out before it is certain that it stays one."""
    detokenizer = Detokenizer()
    assert [detokenizer.push(b) for b in (b"\xf0\x9f", b"\x99", b"\x82")] == ["", "", "🙂"]
    assert detokenizer.push(b"\xc3") == ""
    assert detokenizer.flush() == "\udcc3"


@given(st.binary(max_size=20))
def test_printable_text_is_what_a_decoder_makes_of_the_bytes(data: bytes) -> None:
    """Bytes that are no UTF-8 show as U+FFFD, as everywhere else."""
    shown = printable(run([data]))
    assert shown == data.decode("utf-8", "replace")


@given(st.text(), st.integers(0, 5))
def test_one_space_in_front_is_dropped_on_request(text: str, cut: int) -> None:
    """Wherever tokens cut the text; a second space stays."""
    data = text.encode()
    for drop in (True, False):
        detokenizer = Detokenizer(drop_space=drop)
        shown = detokenizer.push(data[:cut]) + detokenizer.push(data[cut:]) + detokenizer.flush()
        assert shown == (text.removeprefix(" ") if drop else text)

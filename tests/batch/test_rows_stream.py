"""Rows come as their lines come, and leave nothing behind."""

from __future__ import annotations

import io
import json
import os
import threading
import tracemalloc
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise, repeat
from typing import Any, BinaryIO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import complaint, rows, texts

from lokal.batch.lines import Line, lines
from lokal.batch.rows import ReadOptions, Row, read
from lokal.batch.sample import sample
from lokal.errors import UsageError

FIRST = {
    "-": (b'{"prompt": "a"}\n', b'{"prompt": "b"}\n'),
    "x.jsonl": (b'{"prompt": "a"}\n', b'{"prompt": "b"}\n'),
    "x.txt": (b"a\n", b"b\n"),
    "x.csv": (b"prompt,id\na,1\n", b"b,2\n"),
}


class Pieces(io.RawIOBase):
    """A stream that gives what it has been given, piece by piece, as a pipe does."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = (piece for piece in pieces if piece)
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._left or next(self._pieces, b"")
        taken, self._left = piece[: len(buffer)], piece[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)


def stream(pieces: Iterable[bytes]) -> BinaryIO:
    return cast("BinaryIO", io.BufferedReader(Pieces(pieces), 2**16))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(marks)]


@pytest.mark.parametrize("name", FIRST)
def test_a_row_comes_out_before_the_next_is_written(name: str) -> None:
    """Through a pipe whose writer waits for the row; each wait has an end."""
    first, second = FIRST[name]
    reader, writer = os.pipe()
    came = threading.Event()
    waited: list[bool] = []

    def write() -> None:
        with open(writer, "wb", buffering=0) as pipe:  # noqa: PTH123 - a descriptor
            pipe.write(first)
            waited.append(came.wait(30))
            pipe.write(second)

    thread = threading.Thread(target=write)
    thread.start()
    with open(reader, "rb") as source:  # noqa: PTH123 - a descriptor
        found = read(source, name)
        assert texts(next(found)) == [("user", "a")]
        came.set()
        assert texts(next(found)) == [("user", "b")]
        assert next(found, None) is None
    thread.join()
    assert waited == [True]


@given(
    st.lists(
        st.binary(max_size=12)
        | st.sampled_from([b'{"prompt": "a"}', b'{"prompt": "\xc3\xa9"}\r', b'"a\n,""b"', b"a,b"])
    ),
    st.lists(st.integers(0, 500)),
    st.sampled_from(["-", "x.jsonl", "x.txt", "x.csv"]),
)
def test_rows_are_the_same_however_the_bytes_are_cut(
    given_lines: list[bytes], places: list[int], name: str
) -> None:
    """Characters, newlines and marks may all fall in two."""
    data = b"prompt,id\n" * (name == "x.csv") + b"\n".join(given_lines)

    def outcome(source: BinaryIO) -> list[object]:
        seen: list[object] = []
        try:
            for row in read(source, name):
                seen.append((row._replace(error=None), str(row.error)))  # noqa: PERF401 - it may raise
        except UsageError as error:
            seen.append(str(error))
        return seen

    assert outcome(stream(cut(data, places))) == outcome(io.BytesIO(data))


@given(st.binary(), st.integers(1, 9))
def test_lines_are_those_of_the_stream(data: bytes, limit: int) -> None:
    """Numbers and ends count all of them; one that is too long is only counted."""
    data = b"x\n" + data
    expected = io.BytesIO(data).readlines()
    found = list(lines(io.BytesIO(data), "x", limit + 1))
    assert [line.number for line in found] == list(range(1, len(expected) + 1))
    assert [line.end for line in found] == [
        sum(map(len, expected[: n + 1])) for n in range(len(expected))
    ]
    for line, whole in zip(found, expected, strict=True):
        assert line.data == whole or (line.skipped and len(whole) > limit)
        assert line.digest == Line(1, whole, 0).digest


@pytest.mark.parametrize("name", ["x.jsonl", "x.txt", "x.csv"])
def test_a_line_that_is_too_long_is_not_held(name: str) -> None:
    """It fails, and the next one is read."""

    def endless() -> Iterator[bytes]:
        yield FIRST[name][0]
        for _ in range(80):
            yield b"x" * 2**20
        yield b"\n" + FIRST[name][1]

    first, long, last = read(stream(endless()), name)
    assert complaint(long).startswith("more than ")
    assert (texts(first), texts(last)) == ([("user", "a")], [("user", "b")])
    assert last.end == len(FIRST[name][0]) + 80 * 2**20 + 1 + len(FIRST[name][1])


@pytest.mark.parametrize("name", ["x.jsonl", "x.txt", "x.csv"])
def test_memory_does_not_grow_with_the_rows(name: str) -> None:
    """What was read is forgotten."""

    def peak(count: int) -> int:
        first, second = FIRST[name]
        source = stream(chain([first], repeat(second, count)))
        tracemalloc.start()
        assert sum(row.error is None for row in read(source, name)) == count + 1
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)
    assert peak(5000) < peak(500) + 50_000


def test_an_input_that_breaks_off_is_one_error() -> None:
    """In the words of the system; what came before it was yielded."""

    def broken() -> Iterator[bytes]:
        yield b"a\n"
        raise OSError(5, "Input/output error")

    found = read(stream(broken()), "tape")
    assert texts(next(found)) == [("user", "a")]
    with pytest.raises(UsageError, match="cannot read tape: Input/output error"):
        next(found)


def test_a_stream_that_does_not_wait_is_refused() -> None:
    """Else its first pause would look like its end."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with (
        open(writer, "wb"),  # noqa: PTH123 - a descriptor
        open(reader, "rb") as source,  # noqa: PTH123 - a descriptor
        pytest.raises(UsageError, match="standard input is a non-blocking stream"),
    ):
        next(read(source, "standard input"))


def test_options_may_be_left_out() -> None:
    """Then everything is found out."""
    assert [texts(row) for row in read(io.BytesIO(b"hi"), "-")] == [[("user", "hi")]]
    assert ReadOptions() == ("auto", None, None)


class TestSample:
    """A few rows of many."""

    def test_it_keeps_their_order(self) -> None:
        chosen = sample(iter(range(1000)), 20)
        assert chosen == sorted(set(chosen))
        assert len(chosen) == 20

    def test_it_is_always_the_same(self) -> None:
        assert sample(range(1000), 20) == sample(range(1000), 20)

    def test_fewer_than_asked_are_all(self) -> None:
        assert sample("abc", 5) == list("abc")
        assert sample("abc", 3) == list("abc")

    def test_every_row_can_be_chosen(self) -> None:
        """Not only the first ones: of many, about as many from each quarter."""
        chosen = sample(range(100_000), 1000)
        for quarter in range(4):
            share = sum(quarter * 25_000 <= n < (quarter + 1) * 25_000 for n in chosen)
            assert 180 < share < 320

    def test_it_takes_rows(self) -> None:
        found: list[Row] = sample(rows("\n".join(json.dumps({"prompt": c}) for c in "abcd")), 2)
        assert [row.index for row in found] == sorted(row.index for row in found)

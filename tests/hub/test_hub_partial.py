"""A partial file, and what the next process believes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lokal.hub.partial import NOTE_EVERY, Partial, state_path
from lokal.hub.ranges import Span

BLOCK = 64 << 10


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "0123.lokal.incomplete"


def reboot(path: Path) -> None:
    """As if the machine had started anew since."""
    state = json.loads(state_path(path).read_text())
    state_path(path).write_text(json.dumps(state | {"boot": "another"}) + "\n")


def test_the_next_process_goes_on(path: Path) -> None:
    with Partial(path, 100) as partial:
        partial.write(10, b"abc")
        partial.write(50, b"xyz")
    with Partial(path, 100) as partial:
        assert partial.here.spans == [Span(10, 13), Span(50, 53)]
        assert partial.done == 6
        assert partial.read(50, 53) == b"xyz"


def test_a_longer_note_does_not_spoil_a_shorter_one(path: Path) -> None:
    with Partial(path, 1000) as partial:
        for at in range(0, 900, 100):
            partial.write(at, b"a")
        partial.forget(0, 1000)
        partial.write(0, b"bb")
    with Partial(path, 1000) as partial:
        assert partial.here.spans == [Span(0, 2)]


def test_notes_are_written_while_bytes_arrive(path: Path) -> None:
    """A process that is killed closes nothing."""
    partial = Partial(path, 10 * NOTE_EVERY)
    partial.write(0, bytes(NOTE_EVERY - 1))
    assert state_path(path).read_text() == ""
    partial.write(NOTE_EVERY - 1, b"x")
    assert json.loads(state_path(path).read_text())["here"] == [[0, NOTE_EVERY]]
    partial.close()


def test_an_empty_one_leaves_nothing(path: Path) -> None:
    Partial(path, 100).close()
    assert list(path.parent.iterdir()) == []


def test_nothing_is_written_after_the_end(path: Path) -> None:
    """A thread that is late does no harm."""
    partial = Partial(path, 100)
    partial.write(0, b"a")
    partial.close()
    partial.close()
    with pytest.raises(ValueError, match="closed"):
        partial.write(1, b"b")
    assert path.read_bytes() == b"a"


@pytest.mark.parametrize(
    "note",
    [
        "",
        "{}\n",
        "[]\n",
        "null\n",
        '{"size": 101, "here": [[0, 5]]}\n',  # of another file
        '{"size": 100, "here": [[0, 50]]}\n',  # more than there is
        '{"size": 100, "here": [["x", 5]]}\n',
        '{"size": 100, "here": [[0, 5]',
        '{"size": 100, "here": 5}\n',
        "\x00\x01",
    ],
)
def test_a_note_that_cannot_be_believed_is_none(path: Path, note: str) -> None:
    path.write_bytes(b"12345")
    state_path(path).write_text(note)
    with Partial(path, 100) as partial:
        assert partial.done == 0
        partial.write(0, b"x")
    assert path.read_bytes() == b"x"


def test_after_a_crash_of_the_machine_zeros_are_not_believed(path: Path) -> None:
    """They are what file systems show of pages that were never written."""
    with Partial(path, 10 * BLOCK) as partial:
        partial.write(0, b"a" * BLOCK + bytes(BLOCK) + b"b" * BLOCK)
        partial.write(4 * BLOCK, bytes(100))
    with Partial(path, 10 * BLOCK) as partial:
        assert partial.done == 3 * BLOCK + 100
    reboot(path)
    with Partial(path, 10 * BLOCK) as partial:
        assert partial.here.spans == [Span(0, BLOCK), Span(2 * BLOCK, 3 * BLOCK)]

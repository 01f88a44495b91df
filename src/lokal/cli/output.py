"""Standard output is data, standard error is everything else; this is the one place that writes."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from lokal.errors import LokalError, SpaceError, UsageError


class ReaderGone(Exception):  # noqa: N818 - not an error: the reader has seen enough
    """Whoever read our standard output went away."""


class Sink:
    """Writes the model's text, byte for byte and at once, ending in exactly one newline."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self._newlines = 0

    def write(self, text: str) -> None:
        """Write a piece of text; newlines wait, because the last ones may be too many.

        Raises:
            ReaderGone: the other end of a pipe was closed.
            SpaceError: the disk is full.
        """
        body = text.rstrip("\n")
        if not body:
            self._newlines += len(text)
            return
        data = "\n" * self._newlines + body
        self._newlines = len(text) - len(body)
        self._put(data.encode("utf-8", "surrogateescape"))

    def end(self) -> None:
        """End the text with its newline."""
        self._newlines = 0
        self._put(b"\n")

    def _put(self, data: bytes) -> None:
        try:
            self._file.write(data)
            self._file.flush()
        except BrokenPipeError:
            raise ReaderGone from None
        except OSError as error:
            raise SpaceError(
                f"cannot write to {self._name}: {error.strerror}",
                hint="free some space, or write elsewhere",
            ) from None


@contextlib.contextmanager
def open_sink(path: str | None) -> Iterator[Sink]:
    """Standard output, or the file that -o names.

    Raises:
        UsageError: the file cannot be opened for writing.
    """
    if path is None or path == "-":
        yield Sink(sys.stdout.buffer, "standard output")
        return
    try:
        file = Path(path).expanduser().open("wb")
    except OSError as error:
        raise UsageError(
            f"cannot write to {path}: {error.strerror}", hint="choose another file with -o"
        ) from None
    with file:
        yield Sink(file, path)


def write_json(value: Any, sink: Sink | None = None) -> None:
    """One JSON value on one line, and nothing else."""
    with contextlib.nullcontext(sink) if sink else open_sink(None) as sink:
        sink.write(json.dumps(value, ensure_ascii=False))
        sink.end()


def write_lines(lines: Sequence[str]) -> None:
    """Lines of text for people, or for `cut` and `awk`."""
    with open_sink(None) as sink:
        sink.write("\n".join(lines))
        sink.end()


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as aligned columns; the first row is the header."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def note(text: str) -> None:
    """One line on standard error."""
    # The stream can be closed, or its reader gone; neither may cost the answer.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(text.encode("utf-8", "replace").decode("utf-8") + "\n")
        sys.stderr.flush()


def show_error(error: LokalError, *, as_json: bool) -> None:
    """An error for people on standard error, and for scripts on standard output."""
    if as_json:
        write_json({"error": error.as_dict()})
    note(f"error: {error.message}")
    note(f"hint: {error.hint}")


def silence_stdout() -> None:
    """Let the interpreter's last flush go nowhere, after the reader went away."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def human_bytes(n: int) -> str:
    """A size in decimal units, as disks and the Hub count."""
    size = float(n)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit in {"B", "kB"} else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"

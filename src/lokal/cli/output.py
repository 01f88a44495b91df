"""Standard output is data, standard error is everything else; this is the one place that writes."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from lokal.engine.detokenizer import printable
from lokal.errors import LokalError, SpaceError, UsageError
from lokal.settings import expand


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

    def line(self, data: bytes) -> None:
        """Write a whole line, which has its newline already."""
        self._put(data)

    def end(self) -> None:
        """End the text with its newline."""
        self._newlines = 0
        self._put(b"\n")

    def close(self) -> None:
        """Close the file; some file systems tell only now that they are full."""
        with self._failures_told():
            self._file.close()

    def _put(self, data: bytes) -> None:
        with self._failures_told():
            self._file.write(data)
            self._file.flush()

    @contextlib.contextmanager
    def _failures_told(self) -> Iterator[None]:
        try:
            yield
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
        UsageError: standard output is closed, or the file cannot be opened for writing.
    """
    if path is None or path == "-":
        if sys.stdout is None:
            raise UsageError("standard output is closed", hint="write to a file with -o")
        yield Sink(sys.stdout.buffer, "standard output")
        return
    try:
        file = expand(path).open("wb")
    except OSError as error:
        raise UsageError(
            f"cannot write to {path}: {error.strerror}", hint="choose another file with -o"
        ) from None
    sink = Sink(file, path)
    try:
        yield sink
    except BaseException:
        with contextlib.suppress(OSError):  # what it could not write has been told
            file.close()
        raise
    sink.close()


def write_json(value: Any, sink: Sink | None = None) -> None:
    """One JSON value on one line, and nothing else."""
    with contextlib.nullcontext(sink) if sink else open_sink(None) as sink:
        sink.write(printable(json.dumps(value, ensure_ascii=False)))
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
        visible("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())
        for row in rows
    ]


def visible(text: str) -> str:
    """The text on one line and harmless to a terminal: control characters are spelled out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def plain(value: Any) -> str:
    """A value as people read it."""
    if value is None or value in ((), {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(
            f"{name} {item if isinstance(item, str) else f'{item:g}'}"
            for name, item in value.items()
        )
    if isinstance(value, tuple):
        return ", ".join(map(repr, value))
    return visible(str(value))


def note(text: str) -> None:
    """One line on standard error."""
    # The stream can be closed, or its reader gone; neither may cost the answer.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(visible(text) + "\n")
        sys.stderr.flush()


def show_error(error: LokalError, *, as_json: bool) -> None:
    """An error for people on standard error, and for scripts on standard output."""
    if as_json:
        # Where nothing can be written to standard output, standard error and exit code must do.
        with contextlib.suppress(LokalError):
            write_json({"error": error.as_dict()})
    note(f"error: {error.message}")
    note(f"hint: {error.hint}")


def show_traceback(error: Exception) -> None:
    """Where an error comes from, on standard error."""
    import traceback

    for part in traceback.format_exception(error):
        for line in part.splitlines():
            note(line)


def flush() -> None:
    """A last flush; what cannot be written has been told before."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, AttributeError, ValueError):
            stream.flush()


def human_bytes(n: int) -> str:
    """A size in decimal units, as disks and the Hub count."""
    size = float(n)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit in {"B", "kB"} else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def human_count(n: int) -> str:
    """A number of parameters, as model names have it: 7.25B, 135M."""
    return f"{n / 1e9:.3g}B" if n >= 1e9 else f"{n / 1e6:.3g}M"


def duration(seconds: float) -> str:
    """A time as people say it: 42 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"

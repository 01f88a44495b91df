"""A stream of bytes, cut into lines as they arrive."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, NamedTuple

from lokal.errors import UsageError

MAX_LINE = 64 * 2**20  # bytes; more than any context holds, and an endless line must end somewhere
HEAD = 64  # bytes that are kept of a line that is too long
CHUNK = 2**20  # bytes at a time while the rest of it goes by

# What no format of ours begins with, and no row of it would make sense.
FOREIGN = {
    b"\xff\xfe": ("UTF-16", "convert it: iconv -f UTF-16 -t UTF-8 FILE"),
    b"\xfe\xff": ("UTF-16", "convert it: iconv -f UTF-16 -t UTF-8 FILE"),
    b"\x1f\x8b": ("compressed with gzip", "pipe it in: zcat FILE | llm batch MODEL"),
    b"\x28\xb5\x2f\xfd": ("compressed with zstd", "pipe it in: zstdcat FILE | llm batch MODEL"),
    b"\xfd7zXZ\0": ("compressed with xz", "pipe it in: xzcat FILE | llm batch MODEL"),
    b"PK\x03\x04": ("a zip archive or a spreadsheet", "unpack it, or save the sheet as CSV"),
}


class Line(NamedTuple):
    """A line with its newline, if it has one; `number` counts from 1.

    `end` is how many bytes of the stream came up to and including it. `skipped` is the SHA-256 of
    a line that is too long to be held; `data` is then only its beginning.
    """

    number: int
    data: bytes
    end: int
    skipped: str = ""

    @property
    def blank(self) -> bool:
        """Whether there is nothing but white space in it."""
        return not self.skipped and not self.data.strip()

    @property
    def digest(self) -> str:
        """Hex SHA-256 of its bytes."""
        return self.skipped or hashlib.sha256(self.data).hexdigest()


def lines(source: BinaryIO, name: str, limit: int = MAX_LINE) -> Iterator[Line]:
    """Yield each line as soon as its newline is here; no line is waited for to give the one before.

    A byte-order mark is dropped. What goes beyond `limit` bytes of a line is read and forgotten.

    Raises:
        UsageError: `name` cannot be read, or is no UTF-8 text from its first bytes on.
    """
    _check_blocking(source, name)
    number = end = 0
    while data := _readline(source, name, limit):
        number, end, skipped = number + 1, end + len(data), ""
        if number == 1:
            _check_start(data, name)
            data = data.removeprefix(b"\xef\xbb\xbf")
            if not data:
                return
        if len(data) >= limit and not data.endswith(b"\n"):
            digest = hashlib.sha256(data)
            data, more = data[:HEAD], b" "
            while more and not more.endswith(b"\n"):
                more = _readline(source, name, CHUNK)
                digest.update(more)
                end += len(more)
            skipped = digest.hexdigest()
        yield Line(number, data, end, skipped)


def _readline(source: BinaryIO, name: str, limit: int) -> bytes:
    try:
        return source.readline(limit)
    except OSError as error:
        raise UsageError(
            f"cannot read {name}: {error.strerror or error}", hint="check the input"
        ) from None


def _check_start(data: bytes, name: str) -> None:
    for magic, (what, hint) in FOREIGN.items():
        if data.startswith(magic):
            raise UsageError(f"{name} is {what}", hint=hint)
    if b"\0" in data[:4]:  # as in UTF-16 and UTF-32 without a mark
        raise UsageError(f"{name} is not UTF-8 text", hint="convert it, for example with iconv")


def _check_blocking(source: BinaryIO, name: str) -> None:
    """Of a stream that does not wait, "nothing yet" and "the end" look the same: rows would go."""
    with suppress(AttributeError, OSError, ValueError):  # no descriptor, or Windows
        if not os.get_blocking(source.fileno()):
            raise UsageError(
                f"{name} is a non-blocking stream", hint="give the rows as a file instead"
            )

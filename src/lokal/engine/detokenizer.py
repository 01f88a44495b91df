"""Bytes of tokens to text: incremental UTF-8, and stop texts held back across tokens."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from typing import AnyStr


class Detokenizer:
    """Turns the pieces of one sequence into text that is safe to show.

    Tokens cut characters anywhere, so an unfinished character waits for its rest. Bytes that
    can never become UTF-8 are kept as lone surrogates (PEP 383): encoding the text with
    `surrogateescape` gives back exactly the bytes that went in. The end of the text waits too
    while it could still grow into a stop text. `drop_space` drops one space at the beginning.
    """

    def __init__(self, stop: Iterable[str] = (), *, drop_space: bool = False) -> None:
        self._stop = tuple(stop)
        self._drop_space = drop_space
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._held = ""
        self.stopped = False
        """Whether a stop text was met; nothing more comes out then."""

    def push(self, piece: bytes) -> str:
        """Take the bytes of the next token and return the text that is now certain."""
        return self._release(self._decoder.decode(piece))

    def flush(self) -> str:
        """Return what was held back; call it once, after the last token."""
        text = self._release(self._decoder.decode(b"", final=True))
        held, self._held = self._held, ""
        return text + held

    def _release(self, text: str) -> str:
        if self.stopped:
            return ""
        if text and self._drop_space:
            self._drop_space, text = False, text.removeprefix(" ")
        if not self._stop:
            return text
        text = self._held + text
        found = [(at + len(stop), at) for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            # The one that is complete first, so that it does not matter how tokens cut the text.
            self.stopped, self._held = True, ""
            return text[: min(found)[1]]
        keep = max(overlap(text, stop) for stop in self._stop)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def overlap(text: AnyStr, stop: AnyStr) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0


def printable(text: str) -> str:
    """The text with U+FFFD for bytes that are no UTF-8, fit for JSON and for Python's `print`."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

"""What a model thinks before it answers, for people: dim, and on standard error."""

from __future__ import annotations

import contextlib
import re
import sys

from lokal.engine.detokenizer import printable

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Aside:
    """Shows reasoning as it comes, if standard error is a terminal; the answer comes after `end`.

    Without `color` there are no escape codes.
    """

    def __init__(self, *, shown: bool = True, color: bool = True) -> None:
        self._shown = shown and sys.stderr is not None and sys.stderr.isatty()
        # Around each piece, so that no terminal stays dim whatever happens in between.
        self._dim, self._bright = ("\x1b[2m", "\x1b[0m") if color else ("", "")
        self._last = ""

    def write(self, text: str) -> None:
        """Show a piece of reasoning."""
        if text:
            self._last = text
            self._put(f"{self._dim}{_CONTROLS.sub('', printable(text))}{self._bright}")

    def end(self) -> None:
        """The reasoning is over, if there was any; an empty line follows it."""
        if self._last:
            self._put("\n" if self._last.endswith("\n") else "\n\n")
        self._last = ""

    def _put(self, text: str) -> None:
        if self._shown:
            with contextlib.suppress(OSError, ValueError):  # a terminal that is gone is no failure
                sys.stderr.write(text)
                sys.stderr.flush()

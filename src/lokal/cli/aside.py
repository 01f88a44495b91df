"""What a model thinks before it answers, for people: dim, and on standard error."""

from __future__ import annotations

import contextlib
import sys

DIM, PLAIN = "\x1b[2m", "\x1b[0m"


class Aside:
    """Shows reasoning as it comes, if standard error is a terminal; the answer comes after `end`.

    Without `color` there are no escape codes.
    """

    def __init__(self, *, shown: bool = True, color: bool = True) -> None:
        self._shown = shown and sys.stderr is not None and sys.stderr.isatty()
        self._before, self._after = (DIM, PLAIN) if color else ("", "")
        self._open = False

    def write(self, text: str) -> None:
        """Show a piece of reasoning."""
        if not self._open:
            text, self._open = self._before + text, True
        self._put(text)

    def end(self) -> None:
        """The reasoning is over, if there was any: back to the terminal's own look."""
        if self._open:
            self._open = False
            self._put(f"{self._after}\n\n")

    def _put(self, text: str) -> None:
        if not self._shown:
            return
        with contextlib.suppress(OSError, ValueError):  # a terminal that is gone is no failure
            sys.stderr.buffer.write(text.encode("utf-8", "surrogateescape"))
            sys.stderr.flush()

"""Where an answer goes as it is written: to standard output, as it is or drawn."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from typing import Protocol

from lokal.cli.markdown import Blocks
from lokal.cli.output import Sink
from lokal.engine.detokenizer import printable
from lokal.settings import Settings

_BLANK_ENDS = re.compile(r"\A(?:[ \t]*\n)+|\s+\Z")  # rich is not sparing with empty lines
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class View(Protocol):
    """Takes one answer after the other."""

    begun: bool
    """Whether something of this answer has been taken."""

    def write(self, text: str) -> None:
        """Take a piece."""

    def end(self) -> None:
        """The answer is over."""


class Plain:
    """Byte for byte, each answer with exactly one newline at its end."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.begun = False

    def write(self, text: str) -> None:
        self.begun = True
        self._sink.write(text)

    def end(self) -> None:
        self.begun = False
        self._sink.end()


class Drawn:
    """Markdown on a terminal, block by block; drawn by rich."""

    def __init__(self, sink: Sink, settings: Settings) -> None:
        from rich.console import Console

        self._sink = sink
        self._console = Console(file=sys.stdout, no_color=settings.no_color, highlight=False)
        self._blocks = Blocks()
        self._drawn = False
        self.begun = False

    def write(self, text: str) -> None:
        self.begun = True
        self._draw(self._blocks.push(printable(text)))

    def end(self) -> None:
        self._draw(self._blocks.flush())
        if not self._drawn:
            self._sink.end()
        self.begun = self._drawn = False

    def _draw(self, blocks: list[str]) -> None:
        from rich.markdown import Markdown

        for block in blocks:
            with self._console.capture() as drawn:
                # A link that shows its address can be copied from any terminal.
                self._console.print(Markdown(block, hyperlinks=False))
            if text := _BLANK_ENDS.sub("", drawn.get()):
                gap = "\n" if self._drawn else ""
                self._sink.line(f"{gap}{text}\n".encode())
                self._drawn = True


class Thoughts:
    """Reasoning for people: dim, on standard error, and only if that is a terminal."""

    def __init__(self, settings: Settings, *, quiet: bool) -> None:
        self._shown = not quiet and sys.stderr is not None and sys.stderr.isatty()
        # Around each piece, so that no terminal stays dim whatever happens in between.
        self._dim, self._bright = ("", "") if settings.no_color else ("\x1b[2m", "\x1b[0m")
        self._newline = True

    def write(self, text: str) -> None:
        """Take a piece."""
        if self._shown and text:
            self._newline = text.endswith("\n")
            self._put(f"{self._dim}{_CONTROLS.sub('', printable(text))}{self._bright}")
            self._begun = True

    def end(self) -> None:
        """The answer begins, or nothing follows; an empty line stands between."""
        if self._begun:
            self._put("\n" if self._newline else "\n\n")
        self._begun, self._newline = False, True

    _begun = False

    def _put(self, text: str) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()

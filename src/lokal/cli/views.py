"""Where an answer goes as it is written: to standard output, as it is or drawn."""

from __future__ import annotations

import re
import sys
from typing import Protocol

from lokal.cli.markdown import Blocks
from lokal.cli.output import Sink
from lokal.engine.detokenizer import printable
from lokal.settings import Settings

_BLANK_ENDS = re.compile(r"\A(?:[ \t]*\n)+|\s+\Z")  # rich is not sparing with empty lines


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

"""Markdown while it is being written: what is complete can be drawn."""

from __future__ import annotations

import re

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


class Blocks:
    """Cuts a text that comes in pieces into blocks, which can be rendered one by one.

    A block ends before a line that begins at the margin after an empty one, so that a list keeps
    its paragraphs; and with the end of a code fence, in which nothing else counts.
    """

    def __init__(self) -> None:
        self._block: list[str] = []
        self._rest = ""
        self._fence = ""

    def push(self, text: str) -> list[str]:
        """Take a piece; returns the blocks that are complete with it."""
        *lines, self._rest = (self._rest + text).split("\n")
        return [block for line in lines for block in self._take(line)]

    def flush(self) -> list[str]:
        """What is left at the end."""
        found = [*self._take(self._rest), *self._cut()]
        self._rest = self._fence = ""
        return found

    def _take(self, line: str) -> list[str]:
        if self._fence:
            self._block.append(line)
            if self._closes(line):
                self._fence = ""
                return self._cut()
            return []
        begins = line.strip() and not line[0].isspace()
        complete = self._cut() if begins and self._block and not self._block[-1].strip() else []
        self._block.append(line)
        if opened := _FENCE.match(line):
            self._fence = opened[1]
        return complete

    def _closes(self, line: str) -> bool:
        mark = line.strip()
        return len(mark) >= len(self._fence) and set(mark) == set(self._fence)

    def _cut(self) -> list[str]:
        block, self._block = "\n".join(self._block).strip("\n"), []
        return [block] if block.strip() else []

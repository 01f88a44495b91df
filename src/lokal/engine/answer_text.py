"""What the tokens of one sequence say: reasoning and answer, as text."""

from __future__ import annotations

from collections.abc import Iterable

from lokal.engine.detokenizer import Detokenizer
from lokal.engine.splitter import Parts

Part = tuple[str, bool]
"""Text that is safe to show, and whether it is reasoning."""


class AnswerText:
    """Turns what a splitter has told apart into text.

    Stop texts end the answer, and `drop_space` is about its beginning; reasoning may hold anything.
    """

    def __init__(self, stop: Iterable[str] = (), *, drop_space: bool = False) -> None:
        self._answer = Detokenizer(stop, drop_space=drop_space)
        self._thought = Detokenizer()

    @property
    def stopped(self) -> bool:
        """Whether a stop text was met; nothing more comes out of the answer then."""
        return self._answer.stopped

    def push(self, parts: Parts) -> list[Part]:
        """Take the next bytes and return the text that is now certain."""
        texts: list[Part] = []
        for data, reasoning in parts:
            if reasoning:
                texts.append((self._thought.push(data), True))
            else:
                texts.append((self._thought.flush(), True))
                texts.append((self._answer.push(data), False))
        return [part for part in texts if part[0]]

    def flush(self) -> list[Part]:
        """What was held back at the end."""
        last = [(self._thought.flush(), True), (self._answer.flush(), False)]
        return [part for part in last if part[0]]

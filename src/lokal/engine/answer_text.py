"""What the tokens of one sequence say: reasoning and answer, as text."""

from __future__ import annotations

from collections.abc import Iterable

from lokal.engine.detokenizer import Detokenizer
from lokal.engine.reasoning import Reasoning
from lokal.engine.splitter import splitter

Part = tuple[str, bool]
"""Text that is safe to show, and whether it is reasoning."""


class AnswerText:
    """Turns the pieces of tokens into parts; without `reasoning` everything is the answer.

    Stop texts end the answer, and `drop_space` is about its beginning; reasoning may hold anything.
    """

    def __init__(
        self, stop: Iterable[str] = (), *, drop_space: bool = False, reasoning: Reasoning | None
    ) -> None:
        self._answer = Detokenizer(stop, drop_space=drop_space)
        self._thought = Detokenizer()
        self._splitter = splitter(reasoning.rule, reasoning.prompt) if reasoning else None
        self.beginning = b""
        """The bytes of the answer in the token that ended the reasoning."""

    @property
    def undecided(self) -> bool:
        """Whether the model has yet to show if it reasons."""
        return self._splitter is not None and self._splitter.undecided

    @property
    def reasoning(self) -> bool:
        """Whether what comes now is reasoning."""
        return self._splitter is not None and self._splitter.reasoning

    @property
    def answering(self) -> bool:
        """Whether what comes now is the answer."""
        return self._splitter is None or self._splitter.answering

    @property
    def over(self) -> bool:
        """Whether nothing more comes out: a stop text was met, or the format's own end."""
        return self._answer.stopped or (self._splitter is not None and self._splitter.over)

    def push(self, piece: bytes, name: bytes = b"") -> list[Part]:
        """Take what a token writes; `name` is a control token's, which writes nothing."""
        if self._splitter is None:
            text = self._answer.push(piece)
            return [(text, False)] if text else []
        was_answering = self._splitter.answering
        parts = self._splitter.push(piece, name)
        if not was_answering and self._splitter.answering:
            self.beginning = b"".join(data for data, reasoning in parts if not reasoning)
        return self._texts(parts)

    def close(self) -> list[Part]:
        """End the reasoning, as if the model had."""
        return self._texts(self._splitter.close()) if self._splitter else []

    def answer(self) -> None:
        """What comes now is the answer as it is, unless the model reasons."""
        if self._splitter:
            self._splitter.answer()

    def flush(self) -> list[Part]:
        """What was held back at the end."""
        parts = self._texts(self._splitter.flush()) if self._splitter else []
        last = [(self._thought.flush(), True), (self._answer.flush(), False)]
        return [*parts, *(part for part in last if part[0])]

    def _texts(self, parts: Iterable[tuple[bytes, bool]]) -> list[Part]:
        texts: list[Part] = []
        for data, reasoning in parts:
            if reasoning:
                texts.append((self._thought.push(data), True))
            else:
                texts.append((self._thought.flush(), True))
                texts.append((self._answer.push(data), False))
        return [part for part in texts if part[0]]

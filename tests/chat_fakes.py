"""A model that says what it is told to, and a session with it.

    session = FakeSession(home, answers=["Hello!", STOPPED], n_ctx=40)
    session.ask("Hi there")
    session.shown.answers, session.requests

A word is a token, and a message has one more. Answers repeat their last one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from lokal.cli.session import ChatOptions, Session
from lokal.engine.chat import Message
from lokal.engine.interrupt import Interrupt
from lokal.engine.prompt import Prompt, PromptOptions
from lokal.engine.reasoning import Reasoning, Tags
from lokal.engine.request import (
    Event,
    FinishEvent,
    FinishReason,
    Request,
    SamplingParams,
    TextEvent,
    Timings,
    Usage,
)
from lokal.errors import LoadError, RefusedError, UsageError
from lokal.loading import LoadOptions
from lokal.requests import check_budget
from lokal.settings import Settings

STOPPED = "Half an ans\x03"  # Ctrl-C comes at this place
UNBEGUN = "\x03"
FAILED = "\x18"  # the engine fails at this place
REFUSED = "refuse this"  # a message that the template does not take


class FakeWeights(NamedTuple):
    name: str = "fake"
    template: str | None = "a template"
    reasons: bool = False


class FakeContext(NamedTuple):
    n_ctx: int


class FakeFormat(NamedTuple):
    """Words are tokens; it is its own tokenizer."""

    options: PromptOptions
    reasons: bool

    @property
    def tokenizer(self) -> FakeFormat:
        return self

    def tokenize(self, text: str) -> list[int]:
        return [len(word) for word in ("<s> " + text).split()]

    def build(self, messages: Sequence[Message]) -> Prompt:
        if self.options.think is not None and not self.reasons:
            raise UsageError("this model has no switch for its reasoning", hint="leave it")
        if any(message["content"] == REFUSED for message in messages):
            raise RefusedError("the chat template refuses: no", hint="change it")
        text = "\n".join(f"{m['role']}: {m['content']}" for m in messages)
        reasoning = Reasoning(Tags("<think>", "</think>")) if self.reasons else None
        return Prompt(text, tuple(len(word) for word in text.split()), reasoning=reasoning)


class FakeModel:
    """Answers from a list, and remembers what it was asked."""

    description = "by the book"

    def __init__(self, weights: Any, answers: list[str], n_ctx: int) -> None:
        self.weights = weights
        self.lacks = "" if isinstance(weights, FakeWeights) else "fox"
        self.context = FakeContext(n_ctx)
        self.closed = False
        self.requests: list[Request] = []
        self._answers = answers

    def format(self, options: PromptOptions) -> FakeFormat:
        assert not self.closed
        return FakeFormat(options, getattr(self.weights, "reasons", False))

    def sampling(self, **changes: Any) -> SamplingParams:
        return replace(SamplingParams(), **changes)

    def logit_bias(self, pairs: tuple[tuple[str, float], ...]) -> tuple[tuple[int, float], ...]:
        if self.lacks in dict(pairs):
            raise UsageError(f"{self.lacks!r} is 2 tokens here", hint="name a token")
        return tuple((len(token), bias) for token, bias in pairs)

    def n_tokens(self, prompt: Prompt) -> int:
        return len(prompt.tokens)

    def n_cached(self, prompt: Prompt) -> int:
        return prompt.text.count("assistant:  ")

    def request(self, prompt: Prompt, params: SamplingParams, seed: int) -> Request:
        check_budget(prompt, params)
        return Request(prompt.tokens, params, seed, prompt.text)

    def events(self, request: Request) -> Iterator[Event]:
        assert not self.closed
        self.requests.append(request)
        said = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        text, stop, _ = said.partition("\x03")
        text, fails, _ = text.partition(FAILED)
        thought, _, text = text.rpartition("</think>")
        reason = FinishReason.ABORTED if stop else FinishReason.STOP
        error = LoadError("the weights make no numbers", hint="verify them") if fails else None
        if thought:
            yield TextEvent(request.id, thought, reasoning=True)
        for piece in re.findall(r"\S*\s*", text):
            yield TextEvent(request.id, piece)
        usage, timings = Usage(len(request.tokens), 3, 1), Timings(1, 1)
        yield FinishEvent(request.id, reason, usage, timings, error)
        if stop:
            raise KeyboardInterrupt

    def close(self) -> None:
        self.closed = True


class FakeView:
    """What was written, one text an answer."""

    begun = False

    def __init__(self) -> None:
        self.answers: list[str] = []

    def write(self, text: str) -> None:
        if not self.begun:
            self.answers.append("")
        self.begun = True
        self.answers[-1] += text

    def end(self) -> None:
        self.begun = False


class FakeSession(Session):
    """Loads fakes; of `broken` weights none, and Ctrl-C is pressed twice while `stopped` load."""

    def __init__(
        self, home: Path, answers: Sequence[str] = ("Hello!",), n_ctx: int = 1000, **options: Any
    ) -> None:
        self.said, self.n_ctx = list(answers), n_ctx
        self.broken, self.stopped = set[str](), set[str]()
        self.models: list[FakeModel] = []
        self.shown = FakeView()
        surroundings = Settings(
            home / "config", home / "state", no_color=options.pop("no_color", False)
        )
        weights = FakeWeights(reasons=options.pop("reasons", False))
        given = {"system": None, "sampling": {}, "seed": None, **options}
        super().__init__(
            ChatOptions(model="fake", load=LoadOptions(), **given),
            surroundings,
            self._fake,  # type: ignore[arg-type]
            weights,  # type: ignore[arg-type]
            self.shown,
            Interrupt(),
        )

    def _fake(self, weights: Any) -> FakeModel:
        self._interrupt.check()
        if weights.name in self.stopped:
            self._interrupt.request()
            raise KeyboardInterrupt
        if weights.name in self.broken:
            raise UsageError(f"{weights.name} is broken", hint="use another")
        self.models.append(FakeModel(weights, self.said, self.n_ctx))
        return self.models[-1]

    @property
    def requests(self) -> list[Request]:
        return [request for model in self.models for request in model.requests]

    @property
    def roles(self) -> list[str]:
        return [message["role"] for message in self.dialogue.messages]

    @property
    def contents(self) -> list[str]:
        return [message["content"] for message in self.dialogue.messages]

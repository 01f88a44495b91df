"""A vocabulary and a native side made of Python, strict about what llama.cpp is strict about."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from lokal.engine.engine import Engine
from lokal.engine.request import Event, FinishEvent, Request, SamplingParams, TextEvent
from lokal.engine.scheduler import Plan, Scheduler

EOG = 256
_LETTERS = [*b"abc", EOG]


class Bytes:
    """A vocabulary of the 256 bytes, and a token that ends the generation."""

    def piece(self, token: int) -> bytes:
        return b"" if token == EOG else bytes([token])

    def is_eog(self, token: int) -> bool:
        return token == EOG


def next_token(request: Request, position: int) -> int:
    """What the fake model says at a position: the script if the id is one, else by the seed."""
    if request.id.startswith("say:"):
        said = request.id.removeprefix("say:").encode()
        index = position - len(request.tokens)
        return said[index] if index < len(said) else EOG
    return random.Random(request.seed * 1009 + position).choice(_LETTERS)


class FakeBackend:
    """Keeps the KV cache as lists of tokens; `failures` are raised by the next decodes."""

    def __init__(self, n_slots: int, n_ctx: int, n_batch: int) -> None:
        self.cache: list[list[int]] = [[] for _ in range(n_slots)]
        self.n_ctx, self.n_batch = n_ctx, n_batch
        self.ready: dict[int, Request] = {}
        self.released: list[int] = []
        self.failures: list[BaseException | None] = []

    def decode(self, plan: Plan) -> list[int]:
        failure = self.failures.pop(0) if self.failures else None
        if failure and getattr(failure, "early", False):
            raise failure
        for slot in plan.released:
            self.cache[slot] = []
            self.ready.pop(slot, None)
            self.released.append(slot)
        for sequence in plan.admitted:
            assert not self.cache[sequence.slot]
            self.ready[sequence.slot] = sequence.request
        if failure:
            raise failure
        assert 0 < plan.n_tokens <= self.n_batch
        tokens = []
        for chunk in plan.chunks:
            cache = self.cache[chunk.sequence.slot]
            assert self.ready[chunk.sequence.slot] is chunk.sequence.request
            assert chunk.tokens
            assert chunk.start == len(cache)  # positions are contiguous
            cache += chunk.tokens
            assert len(cache) <= self.n_ctx
            if chunk.sample:
                tokens.append(next_token(chunk.sequence.request, len(cache)))
        return tokens


def engine(n_slots: int = 1, n_ctx: int = 64, n_batch: int = 8) -> tuple[Engine, FakeBackend]:
    backend = FakeBackend(n_slots, n_ctx, n_batch)
    scheduler = Scheduler(Bytes(), n_slots=n_slots, n_ctx=n_ctx, n_batch=n_batch)
    return Engine(backend, scheduler), backend


def request(id: str = "", *, n_prompt: int = 3, seed: int = 1, **params: Any) -> Request:  # noqa: A002
    return Request(tuple(range(n_prompt)), SamplingParams(**params), seed, id)


def say(text: str, **params: Any) -> Request:
    """A request that the fake model answers with these words."""
    return request(f"say:{text}", **params)


def text_of(events: Iterable[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextEvent))


def finish_of(events: list[Event]) -> FinishEvent:
    """The one final event, which must be the last."""
    assert [isinstance(event, FinishEvent) for event in events] == [False] * (len(events) - 1) + [
        True
    ]
    last = events[-1]
    assert isinstance(last, FinishEvent)
    return last
